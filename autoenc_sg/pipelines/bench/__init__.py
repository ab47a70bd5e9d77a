"""Time, parameters, FLOPs and memory of a model's stages, and steps per second of its training."""
