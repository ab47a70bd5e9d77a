"""Which anchors and regions the detection losses are computed on: random, at a fixed ratio.

Those that lie in an ignored region (a crowd) and match no true box are not among them.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.models.detection._utils import BalancedPositiveNegativeSampler
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.models.detection.rpn import RegionProposalNetwork

from autoenc_sg.core.boxes import covered_shares
from autoenc_sg.core.layers import ImageRandom

COVERED = 0.5  # share of a box's area in an ignored region from which it is no negative
Targets = list[dict[str, Tensor]]  # torchvision's `boxes`, `labels`, and perhaps `ignored [K, 4]`


class CrowdAwareProposals(RegionProposalNetwork):
    """torchvision's, whose negative anchors do not lie in a target's `ignored` boxes."""

    def assign_targets_to_anchors(
        self, anchors: list[Tensor], targets: Targets
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Labels (1, 0, -1: neither) `[A]` and matched boxes `[A, 4]` of each image's anchors."""
        labels, boxes = super().assign_targets_to_anchors(anchors, targets)
        return without_ignored(labels, anchors, targets), boxes


class CrowdAwareHeads(RoIHeads):
    """torchvision's, whose background regions do not lie in a target's `ignored` boxes."""

    _targets: Targets | None = None  # of the call of `select_training_samples`

    def select_training_samples(
        self, proposals: list[Tensor], targets: Targets | None
    ) -> tuple[list[Tensor], list[Tensor], list[Tensor], list[Tensor]]:
        """See torchvision's."""
        self._targets = targets
        samples: tuple[list[Tensor], list[Tensor], list[Tensor], list[Tensor]]
        samples = super().select_training_samples(proposals, targets)
        self._targets = None
        return samples

    def assign_targets_to_proposals(
        self, proposals: list[Tensor], gt_boxes: list[Tensor], gt_labels: list[Tensor]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Matched rows `[R]` and labels (0: background, -1: neither) of each image's regions."""
        matched, labels = super().assign_targets_to_proposals(proposals, gt_boxes, gt_labels)
        return matched, without_ignored(labels, proposals, self._targets or [])


def without_ignored(
    labels: list[Tensor], boxes: Sequence[Tensor], targets: Targets
) -> list[Tensor]:
    """The labels of each image's boxes, -1 in place of the 0 of those in an ignored region."""
    if not any("ignored" in target for target in targets):
        return labels
    return [
        torch.where((label == 0) & in_regions(box, target["ignored"]), -1, label)
        for label, box, target in zip(labels, boxes, targets)
    ]


def in_regions(boxes: Tensor, regions: Tensor) -> Tensor:
    """Whether half of a box's area or more is in one of the regions: `[N, 4], [K, 4] -> [N]`."""
    return (covered_shares(boxes, regions) >= COVERED).any(1)


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
