"""What is pooled of regions, and the heads on it."""
