"""The evaluation's time, its ceilings, and judges of pictures."""
