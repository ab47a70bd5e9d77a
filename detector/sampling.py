"""Which anchors and regions the detection losses are computed on: random, at a fixed ratio."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.models.detection._utils import BalancedPositiveNegativeSampler

from autoenc_sg.core.layers import ImageRandom


class ImageSampler(BalancedPositiveNegativeSampler):
    """torchvision's sampler with random numbers of each image's own, and a count of the samples.

    Args:
        batch_size_per_image: samples an image.
        positive_fraction: of them positive, at most.

    Attributes:
        random: of the images of the next call; None: the seeds come from the global random state.
        num_sampled: of the last call, over all images.
    """

    def __init__(self, batch_size_per_image: int, positive_fraction: float) -> None:
        super().__init__(batch_size_per_image, positive_fraction)
        self.random: ImageRandom | None = None
        self.num_sampled = 0

    def __call__(self, matched_idxs: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Masks of the positive and of the negative samples of each image.

        Args:
            matched_idxs: labels of each image's candidates: >= 1 positive, 0 negative, below
                neither.
        """
        num_images, device = len(matched_idxs), matched_idxs[0].device
        random = self.random or ImageRandom.from_global_state(num_images, device)
        counts = torch.tensor([len(labels) for labels in matched_idxs], device=device)
        image_index = torch.arange(num_images, device=device).repeat_interleave(counts)
        numbers = random.uniform(image_index).split(counts.tolist())
        positive, negative = [], []
        most = int(self.batch_size_per_image * self.positive_fraction)
        for labels, order in zip(matched_idxs, numbers):
            positive.append(_smallest(order, labels >= 1, most))
            rest = self.batch_size_per_image - int(positive[-1].sum())
            negative.append(_smallest(order, labels == 0, rest))
        self.num_sampled = sum(int(mask.sum()) for mask in (*positive, *negative))
        return positive, negative


def _smallest(numbers: Tensor, is_candidate: Tensor, count: int) -> Tensor:
    """Mask `[K]` uint8 of the `count` candidates with the smallest numbers, or of all there are."""
    rows = is_candidate.nonzero()[:, 0]
    chosen = rows[numbers[rows].argsort(stable=True)[:count]]
    return torch.zeros_like(is_candidate, dtype=torch.uint8).index_fill_(0, chosen, 1)
