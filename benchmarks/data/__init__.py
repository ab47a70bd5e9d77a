"""Building and reading data sets."""
