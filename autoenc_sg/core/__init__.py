"""Types and helpers that every part may import."""
