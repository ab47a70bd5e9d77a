"""What the phases minimize: modules that turn a batch into named losses.

    L_sg = l_rel L_rel + l_obj L_obj + l_bb L_bb + l_relatedness L_relatedness    (eq. 7, RelPN's)
    L_G  = adversarial + lambda |x - x^|_1                                        (eq. 6)

They hold no optimizer and know no loop; one forward is one batch, so that Fabric can wrap them.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from autoenc_sg.config.phases import JointPhase, ReconstructionPhase
from autoenc_sg.core.boxes import encode_deltas
from autoenc_sg.core.images import target_images
from autoenc_sg.core.layers import first_per_group
from autoenc_sg.core.relaxed_graph import RelaxedGraph
from autoenc_sg.core.scene_graph_batch import SceneGraphBatch
from autoenc_sg.data.base.samples import Batch
from autoenc_sg.detector import Detections, Detector
from autoenc_sg.generator import (
    Generated,
    Generator,
    box_loss,
    mask_loss,
    pixel_loss,
    with_image_boxes,
)
from autoenc_sg.model.autoencoder import AutoEncoder, GraphPass
from autoenc_sg.relpn import all_pairs, relatedness_loss, sample_pairs
from autoenc_sg.training.target_assignment import (
    add_missed,
    match_regions,
    pair_predicates,
    region_labels,
)


class Parcel:
    """A batch on its way through Fabric, which looks into dataclasses and refuses frozen ones."""

    def __init__(self, batch: Batch) -> None:
        self.batch = batch


class Objects(NamedTuple):
    """The true objects of a batch and its `__image__` nodes, for the object discriminator.

    Attributes:
        labels: `[N + B]`, 0 is `__image__`.
        boxes: `[N + B, 4]`, fractions of the image.
        image_index: `[N + B]`, ascending.
    """

    labels: Tensor
    boxes: Tensor
    image_index: Tensor


class Outcome(NamedTuple):
    """Losses of a batch, already weighted, and the picture where one was drawn.

    A tuple of plain tensors, so that DistributedDataParallel finds them.

    Attributes:
        losses: scalars; their sum is minimized.
        image, layout: the generator's, `[B, 3, S, S]` and `[B, D, S, S]`, or None.
        target: the true picture `[B, 3, S, S]`, or None.
        objects: the true objects, where their discriminator needs them.
    """

    losses: dict[str, Tensor]
    image: Tensor | None = None
    layout: Tensor | None = None
    target: Tensor | None = None
    objects: Objects | None = None


class DetectorObjective(nn.Module):
    """Phase 0: the detector's own losses."""

    def __init__(self, detector: Detector) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, parcel: Parcel) -> Outcome:
        """Losses of RPN and RoI head."""
        batch = parcel.batch
        return Outcome(self.detector.losses(batch.images, batch.graphs))


class ReconstructionObjective(nn.Module):
    """Phase 1: pictures from true graphs."""

    def __init__(self, model: AutoEncoder, config: ReconstructionPhase) -> None:
        super().__init__()
        self.generator = model.generator
        self.appearance = model.appearance
        self.relax, self.region_maps = model.relax, model.region_maps
        self.config = config

    def forward(self, parcel: Parcel) -> Outcome:
        """`reconstruction_losses`, and what the discriminators are to see."""
        batch, generator = parcel.batch, self.generator
        graphs = batch.graphs
        if self.appearance is not None:
            codes = self.appearance(self.region_maps(batch.images, graphs))
            graphs = replace(graphs, appearance=codes)
        graph = self.relax(graphs)
        target = target_images(batch.images, generator.config.image_size)
        made = generator(graph, generator.noise(graph.num_images))
        objects = None
        if self.config.object_adversarial_weight > 0:
            labels = batch.graphs.labels.to(graph.image_index)
            objects = Objects(
                *with_image_boxes(labels, graph.boxes, graph.image_index, graph.num_images)
            )
        losses = reconstruction_losses(made, graph, target, self.config)
        return Outcome(losses, made.image, _seen_layout(made, generator), target, objects)


def reconstruction_losses(
    made: Generated, graph: RelaxedGraph, target: Tensor, config: ReconstructionPhase
) -> dict[str, Tensor]:
    """Those of sg2im's losses that need no discriminator, weighted, where their weight is not 0."""
    losses = {
        "pixel": config.pixel_weight * pixel_loss(made.image, target, config.pixel_space),
    }
    if config.box_weight > 0:
        boxes = box_loss(made.boxes, graph.boxes, made.image_boxes, config.box_kind)
        losses["layout_box"] = config.box_weight * boxes
    if config.mask_weight > 0 and graph.masks is not None and made.masks is not None:
        masks = mask_loss(made.masks, graph.masks, made.image_masks)
        losses["mask"] = config.mask_weight * masks
    return losses


def _seen_layout(made: Generated, generator: Generator) -> Tensor | None:
    """The layout, if the discriminator sees it."""
    return made.layout if generator.config.discriminator_condition == "layout" else None


class JointObjective(nn.Module):
    """Phase 2: graph losses, and image losses on the picture of the predicted relaxed graph."""

    def __init__(self, model: AutoEncoder, config: JointPhase) -> None:
        super().__init__()
        self.model = model
        self.config = config

    def train(self, mode: bool = True) -> JointObjective:
        """Training mode, but a frozen backbone keeps its statistics."""
        super().train(mode)
        if self.config.freeze_backbone:
            for part in self.model.detector.frozen_modules():
                part.eval()
        return self

    def forward(self, parcel: Parcel) -> Outcome:
        """All losses of the joint phase."""
        batch = parcel.batch
        passed, matched = self._graph(batch)
        losses = graph_losses(passed, matched, batch.graphs, self.config, self.model)
        if self.config.detection_weight > 0:
            own = self.model.detector.losses(batch.images, batch.graphs)
            losses |= {name: self.config.detection_weight * v for name, v in own.items()}
        if self.config.image_loss_weight == 0:
            return Outcome(losses)
        generator = self.model.generator
        target = target_images(batch.images, generator.config.image_size)
        relaxed = passed.graph.relax(self.config.mode)
        made = generator(relaxed, generator.noise(relaxed.num_images))
        weight = self.config.image_loss_weight * self.config.pixel_weight
        losses["pixel"] = weight * pixel_loss(made.image, target)
        if self.config.true_graph_weight > 0:
            losses |= self._true_graph_losses(batch, target)
        return Outcome(losses, made.image, _seen_layout(made, generator), target)

    def _true_graph_losses(self, batch: Batch, target: Tensor) -> dict[str, Tensor]:
        """Pixel loss of the pictures of the true graphs, and the box head's error, weighted."""
        config, generator = self.config, self.model.generator
        graph = self.model.relax(batch.graphs)
        made = generator(graph, generator.noise(len(batch)))
        weight = config.image_loss_weight * config.true_graph_weight
        losses = {"true_graph_pixel": weight * config.pixel_weight * pixel_loss(made.image, target)}
        if config.layout_box_weight > 0:
            error = box_loss(made.boxes, graph.boxes, made.image_boxes)
            losses["layout_box"] = weight * config.layout_box_weight * error
        return losses

    def _graph(self, batch: Batch) -> tuple[GraphPass, Tensor]:
        """The graph over found regions (and missed true ones), and their true rows or -1."""
        model, truth = self.model, batch.graphs
        with torch.set_grad_enabled(not self.config.freeze_backbone and torch.is_grad_enabled()):
            maps = model.detector.encode(batch.images)
        found = _at_most(model.detector.detect(maps), len(batch), self.config.regions_per_image)
        if self.config.true_regions:
            boxes, image_index, matched = add_missed(found.boxes, found.image_index, truth)
        else:
            boxes, image_index = found.boxes, found.image_index
            matched = match_regions(boxes, image_index, truth)
        regions = model.detector.describe(maps, boxes, image_index)
        candidates = all_pairs(image_index, len(batch))
        related = pair_predicates(candidates, matched, truth) > 0
        return model.graph_pass(regions, related), matched


def _at_most(found: Detections, num_images: int, count: int) -> Detections:
    rows = first_per_group(found.image_index, num_images, count)
    return Detections(
        found.boxes[rows], found.labels[rows], found.scores[rows], found.image_index[rows]
    )


def graph_losses(
    passed: GraphPass,
    matched: Tensor,
    truth: SceneGraphBatch,
    config: JointPhase,
    model: AutoEncoder,
) -> dict[str, Tensor]:
    """Equation 7 and the relatedness loss, weighted; `matched [N]` are true rows or -1."""
    graph, regions = passed.graph, passed.regions
    labels = region_labels(matched, truth)
    predicates = pair_predicates(graph.pairs, matched, truth)
    related = pair_predicates(passed.candidates, matched, truth) > 0
    relpn = model.relpn.config
    rows = sample_pairs(
        related,
        regions.image_index[passed.candidates[:, 0]],
        regions.num_images,
        relpn.samples_per_image,
        relpn.positive_fraction,
    )
    own = matched >= 0
    target = truth.boxes[matched[own]] if own.any() else graph.boxes[own]
    return {
        "predicate": config.predicate_weight
        * predicate_loss(graph.predicate_logits, predicates, config.background_ratio),
        "object": config.object_weight * _mean_cross_entropy(graph.object_logits, labels),
        "box": config.box_weight * refinement_loss(graph.boxes[own], regions.boxes[own], target),
        "relatedness": config.relatedness_weight
        * relatedness_loss(passed.relatedness_logits[rows], related[rows]),
    }


def predicate_loss(logits: Tensor, predicates: Tensor, background_ratio: float) -> Tensor:
    """Cross entropy over all related pairs and `ratio` times as many unrelated ones, or 8 if more.

    Shapes: `logits [M, P], predicates [M] -> []`.
    """
    positive = (predicates > 0).nonzero()[:, 0]
    negative = (predicates == 0).nonzero()[:, 0]
    count = max(8, int(background_ratio * len(positive)))
    negative = negative[torch.randperm(len(negative), device=negative.device)[:count]]
    rows = torch.cat([positive, negative])
    return _mean_cross_entropy(logits[rows], predicates[rows])


def refinement_loss(boxes: Tensor, start: Tensor, target: Tensor) -> Tensor:
    """Smooth L1 of the deltas from `start` to `boxes` and to `target`: `[N, 4]` each to `[]`."""
    if len(boxes) == 0:
        return boxes.sum() * 0
    return F.smooth_l1_loss(encode_deltas(boxes, start), encode_deltas(target, start))


def _mean_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Mean cross entropy, 0 with a gradient of 0 where there is no row."""
    return F.cross_entropy(logits, target, reduction="sum") / max(len(target), 1)
