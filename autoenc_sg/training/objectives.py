"""The training objectives of the three phases: modules from a `Batch` to named losses.

    L_sg = l_rel L_rel + l_obj L_obj + l_bb L_bb + l_relatedness L_relatedness    (eq. 7, RelPN's)
    L_G  = adversarial + lambda |x - x^|_1                                        (eq. 6)

They hold neither optimizer nor discriminator and do not depend on Lightning Fabric, so they work in
any training loop (the batch on the model's device):

    objective = JointObjective(model, model.config.joint).train()
    optimizer = torch.optim.Adam(p for p in objective.parameters() if p.requires_grad)
    for batch in loader:
        optimizer.zero_grad()
        objective(batch).total.backward()
        optimizer.step()

The adversarial losses of eq. 6 are those of `discriminators`, computed from the `Outcome`.
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
    pair_weights,
    region_labels,
)


class Objects(NamedTuple):
    """True objects of a batch and its `__image__` nodes, as the object discriminator reads them.

    Shapes: N objects of B images.

    Attributes:
        labels: `[N + B]`, 0 is `__image__`.
        boxes: `[N + B, 4]`, fractions of the image.
        image_index: `[N + B]`, ascending.
    """

    labels: Tensor
    boxes: Tensor
    image_index: Tensor


class Outcome(NamedTuple):
    """Weighted losses of a batch, and what the discriminators need of its forward pass.

    A tuple of plain tensors, so that DistributedDataParallel finds them.

    Attributes:
        losses: scalars by name; their sum is minimized.
        image: generated images `[B, 3, S, S]`, or None if the objective generates none.
        layout: the generator's layout `[B, D, S, S]`, or None if no discriminator reads it.
        target: true images `[B, 3, S, S]` in [0, 1], or None.
        objects: the true objects, or None if there is no object discriminator.
    """

    losses: dict[str, Tensor]
    image: Tensor | None = None
    layout: Tensor | None = None
    target: Tensor | None = None
    objects: Objects | None = None

    @property
    def total(self) -> Tensor:
        """The sum of the losses, a scalar."""
        return torch.stack(list(self.losses.values())).sum()


class DetectorObjective(nn.Module):
    """Phase 0: the losses of the detector's RPN and RoI head.

    Args:
        detector: the trained part of an `AutoEncoder`.
    """

    def __init__(self, detector: Detector) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, batch: Batch) -> Outcome:
        """`rpn_objectness`, `rpn_box`, `roi_class` and `roi_box`."""
        return Outcome(self.detector.losses(batch.images, batch.graphs))


class ReconstructionObjective(nn.Module):
    """Phase 1: images generated from true graphs.

    Its parameters are those of the generator and, if there is one, the appearance encoder.

    Args:
        model: the autoencoder; its detector is used as it is and not trained.
        config: weights of the losses.
    """

    def __init__(self, model: AutoEncoder, config: ReconstructionPhase) -> None:
        super().__init__()
        self.generator = model.generator
        self.appearance = model.appearance
        self.relax, self.region_maps = model.relax, model.region_maps
        self.config = config

    def forward(self, batch: Batch) -> Outcome:
        """`reconstruction_losses`, and the discriminators' inputs."""
        generator, graphs = self.generator, batch.graphs
        if self.appearance is not None:
            codes = self.appearance(self.region_maps(batch.images, graphs))
            graphs = replace(graphs, appearance=codes)
        graph = self.relax(graphs)
        target = target_images(batch.images, generator.config.image_size)
        generated = generator(graph, generator.noise(graph.num_images))
        objects = None
        if self.config.object_adversarial_weight > 0:
            labels = batch.graphs.labels.to(graph.image_index)
            objects = Objects(
                *with_image_boxes(labels, graph.boxes, graph.image_index, graph.num_images)
            )
        losses = reconstruction_losses(generated, graph, target, self.config)
        layout = _discriminator_layout(generated, generator)
        return Outcome(losses, generated.image, layout, target, objects)


def reconstruction_losses(
    generated: Generated, graph: RelaxedGraph, target: Tensor, config: ReconstructionPhase
) -> dict[str, Tensor]:
    """sg2im's losses that need no discriminator: weighted `pixel`, `layout_box` and `mask`.

    Boxes and masks are left out if their weight is 0, masks also if the graphs have none.
    """
    pixels = pixel_loss(generated.image, target, config.pixel_space)
    losses = {"pixel": config.pixel_weight * pixels}
    if config.box_weight > 0:
        boxes = box_loss(generated.boxes, graph.boxes, generated.image_boxes, config.box_kind)
        losses["layout_box"] = config.box_weight * boxes
    if config.mask_weight > 0 and graph.masks is not None and generated.masks is not None:
        masks = mask_loss(generated.masks, graph.masks, generated.image_masks)
        losses["mask"] = config.mask_weight * masks
    return losses


def _discriminator_layout(generated: Generated, generator: Generator) -> Tensor | None:
    """The layout, if the patch discriminator is conditioned on it."""
    return generated.layout if generator.config.discriminator_condition == "layout" else None


class JointObjective(nn.Module):
    """Phase 2: graph losses, and image losses on the image of the predicted relaxed graph.

    With `config.freeze_backbone` the parameters of backbone and RPN are set not to require a
    gradient.

    Args:
        model: the autoencoder.
        config: weights and options of the losses.
    """

    def __init__(self, model: AutoEncoder, config: JointPhase) -> None:
        super().__init__()
        self.model = model
        self.config = config
        if config.freeze_backbone:
            for part in model.detector.frozen_modules():
                part.requires_grad_(False)

    def train(self, mode: bool = True) -> JointObjective:
        """Training mode; a frozen backbone stays in evaluation mode and keeps its statistics."""
        super().train(mode)
        if self.config.freeze_backbone:
            for part in self.model.detector.frozen_modules():
                part.eval()
        return self

    def forward(self, batch: Batch) -> Outcome:
        """`graph_losses` and, by their weights, the detector's and the image losses."""
        config, model = self.config, self.model
        graph_pass, matched = self._graph(batch)
        losses = graph_losses(graph_pass, matched, batch.graphs, config, model)
        if config.detection_weight > 0:
            detection = model.detector.losses(batch.images, batch.graphs)
            losses |= {name: config.detection_weight * loss for name, loss in detection.items()}
        if config.image_loss_weight == 0:
            return Outcome(losses)
        generator = model.generator
        target = target_images(batch.images, generator.config.image_size)
        relaxed = graph_pass.graph.relax(config.mode)
        generated = generator(relaxed, generator.noise(relaxed.num_images))
        weight = config.image_loss_weight * config.pixel_weight
        losses["pixel"] = weight * pixel_loss(generated.image, target)
        if config.true_graph_weight > 0:
            losses |= self._true_graph_losses(batch, target)
        layout = _discriminator_layout(generated, generator)
        return Outcome(losses, generated.image, layout, target)

    def _true_graph_losses(self, batch: Batch, target: Tensor) -> dict[str, Tensor]:
        """Pixel loss of images generated from the true graphs, and the box head's error."""
        config, generator = self.config, self.model.generator
        graph = self.model.relax(batch.graphs)
        generated = generator(graph, generator.noise(len(batch)))
        weight = config.image_loss_weight * config.true_graph_weight
        pixels = pixel_loss(generated.image, target)
        losses = {"true_graph_pixel": weight * config.pixel_weight * pixels}
        if config.layout_box_weight > 0:
            error = box_loss(generated.boxes, graph.boxes, generated.image_boxes)
            losses["layout_box"] = weight * config.layout_box_weight * error
        return losses

    def _graph(self, batch: Batch) -> tuple[GraphPass, Tensor]:
        """The graph over detections and missed true objects, and their true rows `[N]` or -1."""
        model, truth = self.model, batch.graphs
        with torch.set_grad_enabled(not self.config.freeze_backbone and torch.is_grad_enabled()):
            maps = model.detector.encode(batch.images)
        detections = model.detector.detect(maps)
        detections = _at_most(detections, len(batch), self.config.regions_per_image)
        boxes, image_index = detections.boxes, detections.image_index
        if self.config.true_regions:
            boxes, image_index, matched = add_missed(boxes, image_index, truth)
        else:
            matched = match_regions(boxes, image_index, truth)
        regions = model.detector.describe(maps, boxes, image_index)
        candidates = all_pairs(image_index, len(batch))
        related = pair_predicates(candidates, matched, truth) > 0
        return model.graph_pass(regions, related), matched


def _at_most(detections: Detections, num_images: int, count: int) -> Detections:
    """The first `count` detections of each image."""
    rows = first_per_group(detections.image_index, num_images, count)
    return detections.select(rows)


def graph_losses(
    graph_pass: GraphPass,
    matched: Tensor,
    truth: SceneGraphBatch,
    config: JointPhase,
    model: AutoEncoder,
) -> dict[str, Tensor]:
    """Equation 7 and the relatedness loss, weighted; `matched [N]` are true rows or -1."""
    graph, regions, candidates = graph_pass.graph, graph_pass.regions, graph_pass.candidates
    labels = region_labels(matched, truth)
    predicates = pair_predicates(graph.pairs, matched, truth)
    weights = None
    if truth.triple_scores is not None:
        weights = pair_weights(graph.pairs, matched, truth)
    related = pair_predicates(candidates, matched, truth) > 0
    relpn = model.relpn.config
    rows = sample_pairs(
        related,
        regions.image_index[candidates[:, 0]],
        regions.num_images,
        relpn.samples_per_image,
        relpn.positive_fraction,
    )
    is_object = matched >= 0
    boxes = graph.boxes[is_object]
    true_boxes = truth.boxes[matched[is_object]] if is_object.any() else boxes
    return {
        "predicate": config.predicate_weight
        * predicate_loss(graph.predicate_logits, predicates, config.background_ratio, weights),
        "object": config.object_weight * _mean_cross_entropy(graph.object_logits, labels),
        "box": config.box_weight * refinement_loss(boxes, regions.boxes[is_object], true_boxes),
        "relatedness": config.relatedness_weight
        * relatedness_loss(graph_pass.relatedness_logits[rows], related[rows]),
    }


def predicate_loss(
    logits: Tensor, predicates: Tensor, background_ratio: float, weights: Tensor | None = None
) -> Tensor:
    """Mean cross entropy over all related pairs and a random sample of unrelated ones.

    The sample has `background_ratio` times as many pairs, at least 8 (or all there are). With
    weights each pair's cross entropy is multiplied by its own before the mean is taken.

    Shapes: `logits [M, P], predicates [M], weights [M] -> []`.
    """
    positive = (predicates > 0).nonzero()[:, 0]
    negative = (predicates == 0).nonzero()[:, 0]
    count = max(8, int(background_ratio * len(positive)))
    negative = negative[torch.randperm(len(negative), device=negative.device)[:count]]
    rows = torch.cat([positive, negative])
    return _mean_cross_entropy(
        logits[rows], predicates[rows], None if weights is None else weights[rows]
    )


def refinement_loss(boxes: Tensor, start: Tensor, target: Tensor) -> Tensor:
    """Smooth L1 between the deltas from `start` to `boxes` and to `target`; 0 without boxes.

    Shapes: `[N, 4]` each -> `[]`.
    """
    if len(boxes) == 0:
        return boxes.sum() * 0
    return F.smooth_l1_loss(encode_deltas(boxes, start), encode_deltas(target, start))


def _mean_cross_entropy(logits: Tensor, target: Tensor, weights: Tensor | None = None) -> Tensor:
    """Mean (weighted) cross entropy; 0 with a gradient of 0 if there is no row."""
    if weights is not None:
        losses = F.cross_entropy(logits, target, reduction="none")
        return (weights.to(losses) * losses).sum() / max(len(target), 1)
    return F.cross_entropy(logits, target, reduction="sum") / max(len(target), 1)
