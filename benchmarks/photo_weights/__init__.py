"""Steps of `benchmarks/photos.py`."""
