"""Whole jobs: demo, reconstruct, generate, sample."""
