"""What metrics are built of: sums over images, resampling, and states in collections."""
