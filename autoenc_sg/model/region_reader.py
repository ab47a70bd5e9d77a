"""What a detector sees of a batch: its maps, its detections, and the boxes of the true objects.

Training, validation and evaluation read regions through a `RegionReader`: `DetectorRegions` runs
the detector, `region_cache.RegionCache` reads what a frozen one saw before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from autoenc_sg.core.graph_logits import GraphLogits
from autoenc_sg.core.scene_graph_batch import SceneGraphBatch
from autoenc_sg.core.structures import Regions
from autoenc_sg.detector import Detections, Detector, FeatureMaps
from autoenc_sg.model.codes import with_background
from autoenc_sg.model.given_objects import with_given_classes

if TYPE_CHECKING:
    from autoenc_sg.model.autoencoder import AutoEncoder


@dataclass(frozen=True, eq=False)
class SeenRegions:
    """A detector's view of B images.

    Its rows are the detections of all images, then the true boxes of all images.

    Attributes:
        detector: describes the rows that are asked for.
        maps: of the backbone.
        detections: N_d detections, images ascending, best first in each.
        true_boxes: `[N_t, 4]` in pixels of the images passed in.
        true_index: `[N_t]` image of each true box, ascending.
        box_features: the box head's features and class logits of all rows, if they are known
            already: `[N_d + N_t, width]` and `[N_d + N_t, C]`.
    """

    detector: Detector
    maps: FeatureMaps
    detections: Detections
    true_boxes: Tensor
    true_index: Tensor
    box_features: tuple[Tensor, Tensor] | None = None

    @property
    def detected_rows(self) -> Tensor:
        """The rows of the detections: `[N_d]`."""
        return torch.arange(len(self.detections.boxes), device=self.true_index.device)

    @property
    def true_rows(self) -> Tensor:
        """The rows of the true boxes: `[N_t]`."""
        first = len(self.detections.boxes)
        count = len(self.true_boxes)
        return torch.arange(first, first + count, device=self.true_index.device)

    def regions(self, rows: Tensor) -> Regions:
        """The regions of these rows, whose images ascend."""
        boxes = torch.cat([self.detections.boxes, self.true_boxes.to(self.detections.boxes)])[rows]
        index = torch.cat([self.detections.image_index, self.true_index])[rows]
        if self.box_features is None:
            return self.detector.describe(self.maps, boxes, index)
        features, class_logits = (values[rows] for values in self.box_features)
        return self.detector.as_regions(self.maps, boxes, index, features, class_logits)


class RegionReader(Protocol):
    """Gives a detector's view of images."""

    def read(self, images: Sequence[Tensor], truth: SceneGraphBatch) -> SeenRegions:
        """The view of B images `[3, H, W]` on the model's device, and of their true boxes."""


class DetectorRegions:
    """Runs the detector.

    Args:
        detector: as it is, in its present mode.
        with_gradient: keep the gradient of the backbone's maps, where gradients are enabled.
    """

    def __init__(self, detector: Detector, with_gradient: bool = False) -> None:
        self.detector = detector
        self.with_gradient = with_gradient

    def read(self, images: Sequence[Tensor], truth: SceneGraphBatch) -> SeenRegions:
        """See `RegionReader.read`."""
        with torch.set_grad_enabled(self.with_gradient and torch.is_grad_enabled()):
            maps = self.detector.encode(images)
        detections = self.detector.detect(maps)
        device = detections.boxes.device
        boxes, index = truth.boxes.to(device), truth.image_index.to(device)
        return SeenRegions(self.detector, maps, detections, boxes, index)


@torch.no_grad()
def graph_of_detections(
    model: AutoEncoder, regions: Regions, maps: FeatureMaps, object_threshold: float | None = None
) -> GraphLogits:
    """The graph over detected regions (SGGen), without duplicates, with codes of the background.

    Duplicates are suppressed with `config.decode.nms_threshold`, after the predictor.
    """
    logits = model.graph_pass(regions).graph
    logits = logits.without_duplicates(model.config.decode.nms_threshold)
    return with_background(model, logits, maps, object_threshold)


@torch.no_grad()
def graph_of_true_boxes(
    model: AutoEncoder, seen: SeenRegions, labels: Tensor | None = None
) -> GraphLogits:
    """The graph over the true boxes (SGCls), or also the true classes `[N_t]` (PredCls)."""
    regions = replace(seen.regions(seen.true_rows), given=True)
    if labels is not None:
        regions = with_given_classes(regions, labels)
    return model.graph_pass(regions).graph
