r"""The relation proposal network (paper, section 3.2 and eq. 2; after Graph R-CNN).

    S_ij = sigmoid( (<\Phi(o_i), \Psi(o_j)> + <\Phi_p(b_i), \Psi_p(b_j)>) / \sqrt{d} ),   i \ne j

`\Phi` and `\Psi` are two MLPs of one architecture, without shared parameters, over an object's
feature and class distribution `o_i`. d is their width; division by its root (not in the paper)
keeps the sigmoid of an untrained network from saturating. As in graph-rcnn.pytorch a second product
is over the positions `b_i`: (x1/W, y1/H, x2/W, y2/H, area, aspect). The K best pairs of each image
are kept.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from autoenc_sg.config.model import RelpnConfig
from autoenc_sg.core.boxes import to_unit_boxes
from autoenc_sg.core.layers import mlp
from autoenc_sg.core.structures import CandidatePairs, Regions
from autoenc_sg.relpn.pairs import all_pairs, pair_nms, top_pairs


class RelationProposalNetwork(nn.Module):
    """Scores all ordered pairs of an image and keeps the best.

    Args:
        config: widths and K.
        feature_dim: D of the regions' features.
        num_classes: C with background.
    """

    def __init__(self, config: RelpnConfig, feature_dim: int, num_classes: int) -> None:
        super().__init__()
        self.config = config
        sizes = (feature_dim + num_classes, config.dim, config.dim)
        self.subject_projection = mlp(sizes)
        self.object_projection = mlp(sizes)
        self.subject_position = mlp((6, config.dim, config.dim))
        self.object_position = mlp((6, config.dim, config.dim))

    def forward(self, regions: Regions) -> tuple[Tensor, Tensor]:
        """All ordered pairs `[M, 2]` and their relatedness logits `[M]`."""
        subject_side, object_side = self.ends(
            regions.features, regions.class_logits, positions(regions)
        )
        pairs = all_pairs(regions.image_index, regions.num_images)
        products = pair_products(subject_side, object_side, pairs, regions)
        return pairs, products / self.config.dim**0.5

    def ends(
        self, features: Tensor, class_logits: Tensor, position: Tensor
    ) -> tuple[Tensor, Tensor]:
        r"""The two sides of the products, without the factor: `[N, 2 d]` of subjects and objects.

        Shapes: features `[N, D]`, class logits `[N, C]`, positions `[N, 6]`.
        """
        objects = torch.cat([features, class_logits.softmax(-1)], 1)
        subject_side = torch.cat(
            [self.subject_projection(objects), self.subject_position(position)], 1
        )
        object_side = torch.cat(
            [self.object_projection(objects), self.object_position(position)], 1
        )
        return subject_side, object_side

    def select(
        self, regions: Regions, pairs: Tensor, logits: Tensor, required: Tensor | None = None
    ) -> CandidatePairs:
        """The K best pairs of each image, best first, after pair NMS if that is on.

        Pairs marked in `required [M] bool` rank before all others and are never suppressed;
        training passes the true relations.
        """
        rank = logits.detach()
        if required is not None:
            rank = rank + required.to(rank) * (rank.max() - rank.min() + 1 if len(rank) else 1)
        pair_image = regions.image_index[pairs[:, 0]]
        rows = torch.arange(len(pairs), device=pairs.device)
        if self.config.pair_nms is not None:
            rows = self._suppress(regions, pairs, rank, required)
        best = rows[top_pairs(rank[rows], pair_image[rows], regions.num_images, self.config.top_k)]
        return CandidatePairs(pairs[best], logits[best].sigmoid())

    def _suppress(
        self, regions: Regions, pairs: Tensor, scores: Tensor, required: Tensor | None
    ) -> Tensor:
        """Rows `[m]` of the pairs that pair NMS keeps in each image, and of the required ones."""
        assert self.config.pair_nms is not None
        pair_image = regions.image_index[pairs[:, 0]]
        is_kept = torch.zeros(len(pairs), dtype=torch.bool, device=pairs.device)
        for image in range(regions.num_images):
            rows = (pair_image == image).nonzero()[:, 0]
            best = pair_nms(regions.boxes, pairs[rows], scores[rows], self.config.pair_nms)
            is_kept[rows[best]] = True
        if required is not None:
            is_kept |= required
        return is_kept.nonzero()[:, 0]


def pair_products(subjects: Tensor, objects: Tensor, pairs: Tensor, regions: Regions) -> Tensor:
    """`<subjects_i, objects_j>` of the pairs (i, j), by one product of matrices an image.

    Shapes: `subjects, objects [N, d], pairs [M, 2]` of one image each `-> [M]`.
    """
    image, num_images = regions.image_index, regions.num_images
    counts = torch.bincount(image, minlength=num_images)
    place = torch.arange(len(image), device=image.device) - (counts.cumsum(0) - counts)[image]
    longest = max(counts.tolist(), default=0)
    empty = subjects.new_zeros(num_images, longest, subjects.shape[1])
    tables = [empty.index_put((image, place), side) for side in (subjects, objects)]
    products = tables[0] @ tables[1].transpose(1, 2)
    first, second = pairs.unbind(1)
    return products[image[first], place[first], place[second]]


def positions(regions: Regions) -> Tensor:
    """(x1/W, y1/H, x2/W, y2/H, area / image area, w / (w + h)) of each region: `[N, 6]` in [0, 1].

    graph-rcnn.pytorch uses the aspect h/w, which is unbounded; w / (w + h) is equivalent.
    """
    return unit_positions(to_unit_boxes(regions.boxes, regions.image_sizes, regions.image_index))


def unit_positions(unit: Tensor) -> Tensor:
    """`positions` of boxes `[N, 4]` in fractions of their image."""
    size = (unit[:, 2:] - unit[:, :2]).clamp(min=0)
    aspect = size[:, :1] / size.sum(1, keepdim=True).clamp(min=1e-6)
    return torch.cat([unit, size.prod(1, keepdim=True), aspect], 1)
