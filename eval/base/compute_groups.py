"""Several metrics in one `torchmetrics.MetricCollection`."""

from __future__ import annotations

import torch
from torchmetrics import Metric


def prevent_compute_groups(metric: Metric) -> None:
    """Keep a `MetricCollection` from joining this metric with others; adds a state of NaN.

    A collection joins metrics whose states are equal after the first batch into a compute group, of
    which it updates only one from then on. That is wrong for two metrics with different options
    whose states were equal by chance. NaN equals nothing.
    """
    metric.add_state("never_equal", torch.tensor(torch.nan), dist_reduce_fx="max")
