r"""The feature loss: the distance of two pictures in the maps of the frozen detector's backbone.

    d(u, v) = \sum_c |u_c / |u| - v_c / |v|| / \sqrt{C}    of two vectors of C channels, in [0, 2]

    features          = mean over images, maps and cells of d(generated, true)
    relation_features = mean over images of \sum_k w_k d_k / max(\sum_k w_k, 1)

`d_k` is the mean of d over the cells of the maps pooled over relation k's union box (RoIAlign), and
`w_k` the relation's edge weight. A whole-picture distance hardly sees a thin rope; over the union
box of `tied to` it counts.

The generated picture is resized to the true one's size, so that both have maps of one shape; cells
outside of a picture, in the padding of its batch, do not count. The detector's own normalization of
pixels is applied to both. No gradient reaches the detector, nor boxes or edge weights through the
pooling; gradient reaches the picture.

Source: the perceptual loss of Johnson et al. (ECCV 2016), with channels normalized as in LPIPS
(Zhang et al., CVPR 2018) and L1 as in pix2pixHD (Wang et al., CVPR 2018); at picture and object
level as in RetrieveGAN (Tseng et al., ECCV 2020). They take VGG of ImageNet; the detector is there
already and knows the data set.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from autoenc_sg.config.image_losses import ImageLossConfig
from autoenc_sg.core.boxes import ImageSize, to_pixel_boxes, union_boxes
from autoenc_sg.core.relaxed_graph import RelaxedGraph
from autoenc_sg.core.structures import Regions
from autoenc_sg.detector import Detector, FeatureMaps
from autoenc_sg.model.modes import eval_mode
from autoenc_sg.training.parallel.loss_terms import Term, Terms

EPSILON = 1e-6  # least length of a vector that is normalized


class FeatureLoss:
    """Both feature losses, weighted.

    Args:
        detector: as it is; it is not trained by these losses.
        weights: `feature_weight` and `relation_feature_weight`; a loss of weight 0 is left out.
        factor: of both weights.
    """

    def __init__(self, detector: Detector, weights: ImageLossConfig, factor: float = 1.0) -> None:
        self.detector = detector
        self.whole = factor * weights.feature_weight
        self.of_relations = factor * weights.relation_feature_weight

    def terms(
        self,
        generated: Tensor,
        images: Sequence[Tensor],
        graph: RelaxedGraph,
        true_maps: FeatureMaps | None = None,
    ) -> Terms:
        """`features` and `relation_features`, means over B images.

        Args:
            generated: `[B, 3, S, S]`, RGB in about [0, 1].
            images: the true ones, `[3, H, W]` each.
            graph: that was drawn; its relations, boxes and edge weights are used.
            true_maps: the detector's maps of `images`, if it has seen them as it is now; None: it
                sees them here, without gradient.
        """
        if self.whole == 0 and self.of_relations == 0:
            return {}
        device = generated.device
        with eval_mode(self.detector), _frozen(self.detector):
            if true_maps is None:
                with torch.no_grad():
                    true_maps = self.detector.encode([image.to(device) for image in images])
            true_maps = _detached(true_maps)
            maps = self.detector.encode(_resized(generated, true_maps.image_sizes))
            terms: dict[str, list[Term]] = {}
            if self.whole > 0:
                distance = self.whole * map_distance(maps, true_maps)
                terms["features"] = [Term(distance, len(generated))]
            if self.of_relations > 0:
                distance = relation_distance(self.detector, maps, true_maps, graph)
                distance = self.of_relations * distance
                terms["relation_features"] = [Term(distance, len(generated))]
            return terms


def map_distance(maps: FeatureMaps, true_maps: FeatureMaps) -> Tensor:
    """The distance of whole pictures, formula above: a scalar."""
    levels = []
    for level, true_level in zip(maps.maps, true_maps.maps):
        height, width = (min(level.shape[i], true_level.shape[i]) for i in (2, 3))
        first, second = (each[:, :, :height, :width] for each in (level, true_level))
        inside = _cells_inside(maps, level)[:, :height, :width]
        total = (cell_distances(first, second) * inside).sum((1, 2))
        levels.append((total / inside.sum((1, 2))).mean())
    return torch.stack(levels).mean()


def relation_distance(
    detector: Detector, maps: FeatureMaps, true_maps: FeatureMaps, graph: RelaxedGraph
) -> Tensor:
    """The distance over the relations' union boxes, formula above: a scalar, 0 without relations.

    NaN if a box is not finite, as in training that diverges.

    Args:
        detector: pools the maps.
        maps: of the generated pictures.
        true_maps: of the true ones.
        graph: its boxes are fractions of the image; they and its edge weights are detached here.
    """
    if len(graph.pairs) == 0:
        return maps.maps[0].sum() * 0
    index, order = torch.sort(graph.image_index[graph.pairs[:, 0]], stable=True)
    unions = union_boxes(graph.boxes.detach(), graph.pairs[order])
    boxes = to_pixel_boxes(unions, maps.image_sizes, index)
    is_finite = boxes.isfinite().all(1)
    boxes = torch.where(is_finite[:, None], boxes, 0)  # RoIAlign would read outside of the maps
    pooled, true_pooled = (_pooled(detector, each, boxes, index) for each in (maps, true_maps))
    distances = cell_distances(pooled, true_pooled).mean((1, 2))
    distances = torch.where(is_finite, distances, torch.nan)
    weights = graph.edge_weights.detach()[order].to(distances)
    zeros = distances.new_zeros(graph.num_images)
    total = zeros.index_add(0, index, weights * distances)
    return (total / zeros.index_add(0, index, weights).clamp(min=1)).mean()


def cell_distances(first: Tensor, second: Tensor) -> Tensor:
    """d(u, v) of each cell's channels: `[B, C, H, W], [B, C, H, W] -> [B, H, W]`."""
    unit, other = (F.normalize(each.float(), dim=1, eps=EPSILON) for each in (first, second))
    return (unit - other).abs().sum(1) / math.sqrt(first.shape[1])


def _pooled(detector: Detector, maps: FeatureMaps, boxes: Tensor, index: Tensor) -> Tensor:
    """The maps over boxes in pixels of the images: `[M, D_map, S, S]`."""
    none = boxes.new_zeros(len(boxes), 0)
    sizes = (maps.image_sizes, maps.maps, maps.network_sizes)
    return detector.region_maps(Regions(boxes, none, none, index, *sizes))


def _cells_inside(maps: FeatureMaps, level: Tensor) -> Tensor:
    """Which cells of a level begin inside of their picture: `[B, H, W]`, of 0 and 1."""
    height, width = level.shape[2:]
    sizes = torch.tensor(maps.network_sizes, device=level.device)
    strides = [maps.padded_size[0] / height, maps.padded_size[1] / width]
    rows = torch.arange(height, device=level.device) * strides[0] < sizes[:, :1]
    columns = torch.arange(width, device=level.device) * strides[1] < sizes[:, 1:]
    return (rows[:, :, None] & columns[:, None]).float()


def _resized(generated: Tensor, sizes: Sequence[ImageSize]) -> list[Tensor]:
    """The generated pictures at the sizes (height, width) of the true ones; differentiable."""
    return [
        F.interpolate(image[None], size, mode="bilinear", antialias=True, align_corners=False)[0]
        for image, size in zip(generated, sizes)
    ]


def _detached(maps: FeatureMaps) -> FeatureMaps:
    return replace(maps, maps=tuple(level.detach() for level in maps.maps))


@contextmanager
def _frozen(module: nn.Module) -> Iterator[None]:
    """Inside a `with` no parameter requires a gradient; afterwards each does as before."""
    trained = [p for p in module.parameters() if p.requires_grad]
    for parameter in trained:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)
