"""Phases, objectives, targets, discriminators and the training loop."""
