"""Several relation heads over one frozen detector: trained, scored, and set side by side."""

from autoenc_sg.pipelines.compare.grid import Cell, Grid
from autoenc_sg.pipelines.compare.run import Comparison, run_comparison

__all__ = ["Cell", "Comparison", "Grid", "run_comparison"]
