"""Limits of sizes, checked before anything is built."""

MAX_WIDTH = 1 << 14  # of a layer
MAX_LAYERS = 100
