"""Runs the metrics of `eval` over a checkpoint or over files, and reports."""
