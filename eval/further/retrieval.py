"""How well patches are retrieved: the rank of the true one, and how many come from one photo."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from autoenc_sg.core.errors import bad_input

NOT_RETRIEVED = 0


def true_ranks(candidates: Tensor, true: Tensor) -> Tensor:
    """The rank of each query's true patch among its candidates, from 1 on: `[Q]` int64.

    Args:
        candidates: `[Q, K]` ids, best first; negative ids are none.
        true: `[Q]` id of the true patch, not negative.

    Returns:
        `NOT_RETRIEVED` where it is not among them.
    """
    if candidates.ndim != 2 or true.shape != candidates.shape[:1]:
        raise bad_input(
            "ids of true patches", f"shape {list(candidates.shape[:1])}", list(true.shape)
        )
    is_true = candidates == true[:, None]
    ranks = torch.arange(1, candidates.shape[1] + 1, device=candidates.device)
    return torch.where(is_true, ranks, 0).amax(1) if candidates.shape[1] else true * 0


def retrieval_accuracy(ranks: Tensor, ks: Sequence[int] = (1, 5, 10)) -> dict[str, float]:
    """Of `true_ranks [Q]`: `R@K`, the share at most K, and `MRR`, the mean of 1 / rank.

    A patch that is not retrieved counts as 0. NaN without queries.
    """
    retrieved = ranks != NOT_RETRIEVED
    shares = {f"R@{k}": float((retrieved & (ranks <= k)).double().mean()) for k in ks}
    inverse = torch.where(retrieved, 1 / ranks.clamp(min=1).double(), 0.0)
    return {**shares, "MRR": float(inverse.mean())}


def source_share(sources: Tensor, image_index: Tensor, num_images: int) -> Tensor:
    """Of each picture, the largest share of its patches that come from one photo: `[B]`.

    1: all are of one photo, so they occurred together; 1 / n: n patches of n photos. NaN for a
    picture without patches.

    Args:
        sources: `[N]` id of the photo that each patch was cut from.
        image_index: `[N]` picture that it is in, in any order.
        num_images: B.
    """
    shares = torch.full((num_images,), torch.nan, dtype=torch.float64)
    for image in image_index.unique().tolist():
        _, counts = sources[image_index == image].unique(return_counts=True)
        shares[image] = counts.max() / counts.sum()
    return shares
