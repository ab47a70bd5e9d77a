"""Metrics side by side in a `torchmetrics.MetricCollection`."""

from __future__ import annotations

import torch
from torchmetrics import Metric


def keep_apart(metric: Metric) -> None:
    """Give a metric a state that equals that of no other metric: NaN.

    A collection joins metrics whose states are equal after the first batch and from then on updates
    one for all of them, which is wrong for two that differ in their options and agreed by chance.
    """
    metric.add_state("apart", torch.tensor(torch.nan), dist_reduce_fx="max")
