"""Samples, batches, augmentation and the data sets that all formats share."""
