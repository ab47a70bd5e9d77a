"""The interface of all detectors, whichever library they are built on.

    maps       = detector.encode(images)                       the backbone's maps, computed once
    detections = detector.detect(maps)                         boxes, classes, scores
    regions    = detector.describe(maps, boxes, image_index)   features and logits of any boxes
    subgraphs  = detector.union_features(regions, pairs)       features of pairs' union boxes

`describe` gets the true boxes in PredCls and SGCls, the detections in SGGen. It is `box_features`,
which a frozen detector may have computed before, then `as_regions`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from autoenc_sg.core.boxes import ImageSize, union_boxes
from autoenc_sg.core.errors import bad_input
from autoenc_sg.core.layers import ImageRandom, select_maps
from autoenc_sg.core.scene_graph_batch import SceneGraphBatch
from autoenc_sg.core.structures import Regions


@dataclass(frozen=True, eq=False)
class FeatureMaps:
    """The backbone's output for B images.

    Attributes:
        maps: `[B, D_map, H', W']` each, finest first.
        image_sizes: (height, width) of the images passed in.
        network_sizes: (height, width) of each image after resizing.
        padded_size: (height, width) of the padded batch the backbone saw.
        colors: mean colours of each image's parts, see `colors`; None where not kept.
    """

    maps: tuple[Tensor, ...]
    image_sizes: tuple[ImageSize, ...]
    network_sizes: tuple[ImageSize, ...]
    padded_size: ImageSize
    colors: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Detections:
    """Detected objects of B images, one class a box, best first within an image.

    Attributes:
        boxes: `[N, 4]` xyxy in pixels of the images passed in, inside them.
        labels: `[N]` int64, >= 1.
        scores: `[N]` in [0, 1].
        image_index: `[N]` int64, ascending.
    """

    boxes: Tensor
    labels: Tensor
    scores: Tensor
    image_index: Tensor

    def select(self, rows: Tensor) -> Detections:
        """The detections of these rows `[n]`, in that order."""
        return Detections(
            self.boxes[rows], self.labels[rows], self.scores[rows], self.image_index[rows]
        )

    def split(self, num_images: int) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Boxes, labels and scores of each of the B images, on the CPU."""
        counts = torch.bincount(self.image_index, minlength=num_images).tolist()
        parts = [self.boxes.cpu(), self.labels.cpu(), self.scores.cpu()]
        return list(zip(*(part.split(counts) for part in parts)))


class Detector(nn.Module, ABC):
    """A detector of `num_classes` classes (with background 0).

    Attributes:
        num_classes: C.
        feature_dim: D, width of object and subgraph features.
        pooled_size: S, side of the subgraph maps.
        map_channels: D_map, width of the backbone's maps.
        projection: from the box head's features to D.
        union_head: from maps over union boxes to D, `[M, D_map, S, S] -> [M, D, S, S]`.
        graph_layers: name prefixes of the weights that only scene graphs need; weights of a plain
            detector do not have them.
    """

    num_classes: int
    feature_dim: int
    pooled_size: int
    map_channels: int
    projection: nn.Module
    union_head: nn.Module
    graph_layers: tuple[str, ...] = ("union_head.", "projection.")

    @abstractmethod
    def encode(self, images: Sequence[Tensor]) -> FeatureMaps:
        """Run the backbone on images `[3, H, W]`, uint8 or float in [0, 1], of any sizes."""

    @abstractmethod
    def detect(self, maps: FeatureMaps) -> Detections:
        """Detected objects, without gradient."""

    def describe(self, maps: FeatureMaps, boxes: Tensor, image_index: Tensor) -> Regions:
        """Class logits and features of the boxes `[N, 4]`, pixels of the images passed in.

        `image_index [N]` ascends.
        """
        features, class_logits = self.box_features(maps, boxes, image_index)
        return self.as_regions(maps, boxes, image_index, features, class_logits)

    @abstractmethod
    def box_features(
        self, maps: FeatureMaps, boxes: Tensor, image_index: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The box head's features `[N, width]`, not yet projected, and class logits `[N, C]`.

        Arguments as in `describe`; nothing of `graph_layers` is used.
        """

    def as_regions(
        self,
        maps: FeatureMaps,
        boxes: Tensor,
        image_index: Tensor,
        features: Tensor,
        class_logits: Tensor,
    ) -> Regions:
        """The regions of boxes whose `box_features` are known."""
        return Regions(
            boxes,
            class_logits,
            self.projection(features),
            image_index,
            maps.image_sizes,
            maps.maps,
            maps.network_sizes,
            colors=maps.colors,
        )

    @abstractmethod
    def region_maps(self, regions: Regions) -> Tensor:
        """The backbone's maps over each region's box, before any head: `[N, D_map, S, S]`."""

    def union_features(self, regions: Regions, pairs: Tensor) -> Tensor:
        """Subgraph features of the pairs' union boxes: `[M, 2] -> [M, D, S, S]`.

        Pairs (i, j) and (j, i) have the same, computed once. The pairs lie within images, images in
        order, as in `CandidatePairs`.
        """
        unordered, rows = pairs.sort(1).values.unique(dim=0, return_inverse=True)
        is_shared = len(unordered) < len(pairs)
        computed = unordered if is_shared else pairs
        boxes, index = union_boxes(regions.boxes, computed), regions.image_index[computed[:, 0]]
        pooled = self.region_maps(replace(regions, boxes=boxes, image_index=index))
        features: Tensor = self.union_head(pooled)
        return select_maps(features, rows) if is_shared else features

    @abstractmethod
    def losses(self, images: Sequence[Tensor], truth: SceneGraphBatch) -> dict[str, Tensor]:
        """The detection losses by name, on images and their true boxes and labels.

        Modules in evaluation mode (frozen ones) have no loss.
        """

    def counted_losses(
        self,
        images: Sequence[Tensor],
        truth: SceneGraphBatch,
        random: ImageRandom | None = None,
    ) -> dict[str, tuple[Tensor, int]]:
        """`losses`, each with the number of terms that it is the mean of.

        Args:
            images: as in `losses`.
            truth: likewise.
            random: for the choice of those terms. A detector that does not read it, as here,
                chooses by the global random state, and the same number in every image.
        """
        return {name: (loss, len(images)) for name, loss in self.losses(images, truth).items()}

    @abstractmethod
    def backbone_parameters(self) -> Iterator[nn.Parameter]:
        """Of the backbone's layers that ImageNet weights fill, without `frozen_parameters`."""

    @abstractmethod
    def frozen_parameters(self) -> Iterator[nn.Parameter]:
        """Those that no phase trains."""

    @abstractmethod
    def frozen_modules(self) -> Iterator[nn.Module]:
        """Backbone and region proposals: what the joint phase freezes."""

    @abstractmethod
    def trainable_head_modules(self) -> Iterator[nn.Module]:
        """Heads between the frozen maps and the predictor: trained in the joint phase."""

    def remember_backbone(self, megabytes: int) -> None:
        """Keep the maps of the backbone's ImageNet layers by image, while these are not trained.

        Args:
            megabytes: MiB of all maps; 0: none are kept, and those that were are forgotten.

        Raises:
            InputError: not 0, as this detector cannot.
        """
        if megabytes:
            raise bad_input("runtime.backbone_memory", "0 with this detector", megabytes)

    def classifier_modules(self) -> Iterator[nn.Module]:
        """The `trainable_head_modules` that detection losses train too: box head, classifier."""
        return iter(())
