"""Losses of training that are functions of the model's outputs."""
