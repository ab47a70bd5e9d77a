"""Losses as means over a batch that is split between processes.

A loss is a mean over n_r terms of process r's part of the batch. DistributedDataParallel averages
the gradients of the W processes, which is the gradient of the mean over the whole batch once each
loss is multiplied by its share

    s_r = W n_r / sum_q n_q

which is 1 for one process, and where every process has as many terms.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Term:
    """A weighted mean over `count` terms; 0 if there are none."""

    mean: Tensor
    count: int


Terms = Mapping[str, Sequence[Term]]
Shares = Callable[[Sequence[int]], Sequence[float]]  # from the counts n_r to the shares s_r


def total_losses(terms: Terms, shares: Shares | None = None) -> dict[str, Tensor]:
    """The sum of each name's terms, each times its share.

    Args:
        terms: by name; the same names and numbers of terms in every process.
        shares: of the processes; None: there is one.
    """
    if shares is not None:
        counts = [term.count for each in terms.values() for term in each]
        factors = iter(shares(counts))
        terms = {
            name: [Term(term.mean * next(factors), term.count) for term in each]
            for name, each in terms.items()
        }
    return {name: torch.stack([t.mean for t in each]).sum() for name, each in terms.items()}
