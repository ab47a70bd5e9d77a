"""Checked files of tensors (safetensors) and of records."""
