"""The loss of the relation proposal network: binary cross entropy on balanced pairs."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from autoenc_sg.core.layers import ImageRandom, first_per_group


def sample_pairs(
    related: Tensor,
    pair_image: Tensor,
    num_images: int,
    count: int,
    positive_fraction: float,
    random: ImageRandom | None = None,
) -> Tensor:
    """Rows of at most `count` random pairs per image, at most the given fraction of them related.

    An image has at most `positive_fraction * count` related and at most
    `(1 - positive_fraction) * count` unrelated rows; one kind does not fill up for the other.

    Shapes: `related [M] bool, pair_image [M] -> [m]`. Without `random` the seeds of the images come
    from the global random state.
    """
    random = random or ImageRandom.from_global_state(num_images, related.device)
    order = random.uniform(pair_image).argsort(stable=True)
    most = int(count * positive_fraction)
    sides = [(order[related[order]], most), (order[~related[order]], count - most)]
    rows = [side[first_per_group(pair_image[side], num_images, limit)] for side, limit in sides]
    return torch.cat(rows)


def relatedness_loss(logits: Tensor, related: Tensor) -> Tensor:
    r"""Balanced binary cross entropy, half the weight on each class.

        L = - 1/2 mean_{related} log \sigma(x) - 1/2 mean_{unrelated} log(1 - \sigma(x))

    A term without pairs is 0; without any pair the loss is 0 with a gradient of 0.

    Shapes: `logits [M], related [M] bool -> []`.
    """
    losses = F.binary_cross_entropy_with_logits(logits, related.to(logits), reduction="none")
    sides = [losses[related], losses[~related]]
    return sum((side.sum() / (2 * max(len(side), 1)) for side in sides), logits.sum() * 0)
