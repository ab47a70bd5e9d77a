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

Every random draw for an image (sampled regions and pairs, noise, dropout) is from a stream of its
own, `random`; without it the seeds come from the global random state. With `shares` (see
`parallel.loss_terms`) the losses of several processes average to those of the whole batch.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from autoenc_sg.config.phases import JointPhase, ReconstructionPhase
from autoenc_sg.core.images import target_images
from autoenc_sg.core.layers import ImageRandom
from autoenc_sg.core.relaxed_graph import RelaxedGraph
from autoenc_sg.core.scene_graph_batch import SceneGraphBatch
from autoenc_sg.data.base.samples import Batch
from autoenc_sg.detector import Detector
from autoenc_sg.generator import (
    Generated,
    Generator,
    box_loss,
    mask_loss,
    pixel_loss,
    with_image_boxes,
    with_image_relations,
)
from autoenc_sg.model.autoencoder import AutoEncoder
from autoenc_sg.model.codes import SeenMemory, encode_appearance, with_background
from autoenc_sg.model.graph_pass import GraphPass
from autoenc_sg.model.region_reader import DetectorRegions, RegionReader, SeenRegions
from autoenc_sg.relpn import all_pairs
from autoenc_sg.training.losses.features import FeatureLoss
from autoenc_sg.training.losses.graph import graph_terms
from autoenc_sg.training.losses.teacher import Teacher, teacher_terms
from autoenc_sg.training.parallel.loss_terms import Shares, Term, Terms, total_losses
from autoenc_sg.training.target_assignment import (
    is_annotated,
    pair_predicates,
    region_rows,
    usable_truth,
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


class Relations(NamedTuple):
    """True relations of a batch and one of each image to itself, for the relation discriminator.

    Shapes: M relations of B images.

    Attributes:
        labels: `[M + B]` predicates, 0 is `__in_image__`.
        boxes: `[M + B, 2, 4]` of subject and object, fractions of the image.
        image_index: `[M + B]`, ascending.
    """

    labels: Tensor
    boxes: Tensor
    image_index: Tensor

    @classmethod
    def of_graphs(cls, graphs: SceneGraphBatch, device: torch.device) -> Relations:
        """The relations of true graphs, on a device."""
        triples = graphs.triples.to(device)
        boxes = graphs.unit_boxes().to(device)[triples[:, [0, 2]]]
        index = graphs.triple_image_index.to(device)
        return cls(*with_image_relations(triples[:, 1], boxes, index, len(graphs)))


class Outcome(NamedTuple):
    """Weighted losses of a batch, and what the discriminators need of its forward pass.

    A tuple of plain tensors, so that DistributedDataParallel finds them.

    Attributes:
        losses: scalars by name; their sum is minimized.
        image: generated images `[B, 3, S, S]`, or None if the objective generates none.
        layout: the generator's layout `[B, D, S, S]`, or None if no discriminator reads it.
        target: true images `[B, 3, S, S]` in [0, 1], or None.
        objects: the true objects, or None if there is no object discriminator.
        relations: the true relations, or None if there is no relation discriminator.
    """

    losses: dict[str, Tensor]
    image: Tensor | None = None
    layout: Tensor | None = None
    target: Tensor | None = None
    objects: Objects | None = None
    relations: Relations | None = None

    @property
    def total(self) -> Tensor:
        """The sum of the losses, a scalar."""
        return torch.stack(list(self.losses.values())).sum()


class DetectorObjective(nn.Module):
    """Phase 0: the losses of the detector's RPN and RoI head.

    Args:
        detector: the trained part of an `AutoEncoder`.
        shares: of several processes.
    """

    def __init__(self, detector: Detector, shares: Shares | None = None) -> None:
        super().__init__()
        self.detector = detector
        self.shares = shares

    def forward(self, batch: Batch, random: ImageRandom | None = None) -> Outcome:
        """`rpn_objectness`, `rpn_box`, `roi_class` and `roi_box`."""
        return Outcome(total_losses(_detection_terms(self.detector, batch, random), self.shares))


def _detection_terms(
    detector: Detector, batch: Batch, random: ImageRandom | None, weight: float = 1.0
) -> Terms:
    losses = detector.counted_losses(batch.images, batch.graphs, random)
    return {name: [Term(weight * loss, count)] for name, (loss, count) in losses.items()}


class ReconstructionObjective(nn.Module):
    """Phase 1: images generated from true graphs.

    Its parameters are those of the generator and, if there are some, the encoders of appearance.

    Args:
        model: the autoencoder; its detector is used as it is and not trained.
        config: weights of the losses.
        shares: of several processes.
    """

    def __init__(
        self, model: AutoEncoder, config: ReconstructionPhase, shares: Shares | None = None
    ) -> None:
        super().__init__()
        self.shares = shares
        self.generator = model.generator
        self.appearance, self.background = model.appearance, model.background
        memory = SeenMemory(config.seen_memory) if config.seen_memory else None
        self.relax = model.relax
        self.feature_loss = FeatureLoss(model.detector, config.image_losses)
        self.encode_appearance = partial(encode_appearance, model, memory=memory)
        self.config = config

    def forward(self, batch: Batch, random: ImageRandom | None = None) -> Outcome:
        """`reconstruction_losses`, and the discriminators' inputs."""
        generator = self.generator
        random = random or ImageRandom.from_global_state(len(batch), generator.device)
        graph = self.relax(self.encode_appearance(batch.images, batch.graphs))
        target = target_images(batch.images, generator.config.image_size)
        generated = generator(graph, generator.noise_of(random), random=random)
        objects = None
        if self.config.object_adversarial_weight > 0:
            labels = batch.graphs.labels.to(graph.image_index)
            objects = Objects(
                *with_image_boxes(labels, graph.boxes, graph.image_index, graph.num_images)
            )
        terms = reconstruction_terms(generated, graph, target, self.config)
        terms = {**terms, **self.feature_loss.terms(generated.image, batch.images, graph)}
        if self.shares is not None and self.config.mask_weight > 0:
            terms = self._with_mask_term(terms, generated)
        losses = total_losses(terms, self.shares)
        layout = _discriminator_layout(generated, generator)
        relations = _discriminator_relations(batch.graphs, self.config, target.device)
        return Outcome(losses, generated.image, layout, target, objects, relations)

    @staticmethod
    def _with_mask_term(terms: Terms, generated: Generated) -> Terms:
        """In every process the same losses: another process's graphs may have masks."""
        if generated.masks is None or "mask" in terms:
            return terms
        return {**terms, "mask": [Term(generated.masks.sum() * 0, 0)]}


def reconstruction_losses(
    generated: Generated, graph: RelaxedGraph, target: Tensor, config: ReconstructionPhase
) -> dict[str, Tensor]:
    """sg2im's losses that need no discriminator: weighted `pixel`, `layout_box` and `mask`.

    Boxes and masks are left out if their weight is 0, masks also if the graphs have none.
    """
    return total_losses(reconstruction_terms(generated, graph, target, config))


def reconstruction_terms(
    generated: Generated, graph: RelaxedGraph, target: Tensor, config: ReconstructionPhase
) -> Terms:
    """`reconstruction_losses` with the numbers of images, and of objects with `__image__` nodes."""
    num_images = len(target)
    num_objects = len(graph.boxes) + num_images
    pixels = pixel_loss(generated.image, target, config.pixel_space)
    terms = {"pixel": [Term(config.pixel_weight * pixels, num_images)]}
    if config.box_weight > 0:
        boxes = box_loss(generated.boxes, graph.boxes, generated.image_boxes, config.box_kind)
        terms["layout_box"] = [Term(config.box_weight * boxes, num_objects)]
    if config.mask_weight > 0 and graph.masks is not None and generated.masks is not None:
        masks = mask_loss(generated.masks, graph.masks, generated.image_masks)
        terms["mask"] = [Term(config.mask_weight * masks, num_objects)]
    return terms


def _discriminator_layout(generated: Generated, generator: Generator) -> Tensor | None:
    """The layout, if the patch discriminator is conditioned on it."""
    return generated.layout if generator.config.discriminator_condition == "layout" else None


def _discriminator_relations(
    graphs: SceneGraphBatch, config: ReconstructionPhase | JointPhase, device: torch.device
) -> Relations | None:
    """The true relations, if there is a relation discriminator."""
    if config.image_losses.relation_adversarial_weight == 0:
        return None
    return Relations.of_graphs(graphs, device)


class JointObjective(nn.Module):
    """Phase 2: graph losses, and image losses on the image of the predicted relaxed graph.

    Of the batch's unannotated images nothing but the pixels is used: they have image losses, and
    those against the teacher.

    With `config.freeze_backbone` the parameters of backbone and RPN are set not to require a
    gradient, with `config.freeze_detector` those of box head and classifier, too.

    Args:
        model: the autoencoder.
        config: weights and options of the losses.
        shares: of several processes.
        regions: where regions come from; None: the detector runs.

    Attributes:
        teacher: the average of the relation head, if `config.unannotated` asks for it; whoever
            steps the optimizer updates it.
    """

    def __init__(
        self,
        model: AutoEncoder,
        config: JointPhase,
        shares: Shares | None = None,
        regions: RegionReader | None = None,
    ) -> None:
        super().__init__()
        self.shares = shares
        self.model = model
        self.config = config
        factor = config.image_loss_weight
        self.feature_loss = FeatureLoss(model.detector, config.image_losses, factor)
        self.regions = regions or DetectorRegions(model.detector, not config.freeze_backbone)
        options = config.unannotated
        self.teacher = Teacher(model, options.teacher_decay) if options.has_teacher else None
        for part in self._frozen():
            part.requires_grad_(False)

    def _frozen(self) -> list[nn.Module]:
        """The parts of the detector that stay as they are."""
        detector, config = self.model.detector, self.config
        frozen = list(detector.frozen_modules()) if config.freeze_backbone else []
        return frozen + (list(detector.classifier_modules()) if config.freeze_detector else [])

    def train(self, mode: bool = True) -> JointObjective:
        """Training mode; what is frozen stays in evaluation mode and keeps its statistics."""
        super().train(mode)
        for part in self._frozen():
            part.eval()
        return self

    def forward(self, batch: Batch, random: ImageRandom | None = None) -> Outcome:
        """`graph_losses` and, by their weights, the detector's and the image losses."""
        config, model = self.config, self.model
        random = random or ImageRandom.from_global_state(len(batch), model.device)
        seen = self.regions.read(batch.images, batch.graphs)
        truth, annotated = usable_truth(batch), is_annotated(batch)
        graph_pass, matched, rows = self._graph(seen, batch, random)
        given = (graph_pass, matched, truth, config, model, random, annotated)
        terms = dict(graph_terms(*given))
        if self.teacher is not None:
            graph = graph_pass.graph
            terms |= teacher_terms(self.teacher, seen, rows, graph, annotated, config, random)
        has_truth = len(batch.unannotated) < len(batch)
        if config.detection_weight > 0 and has_truth:
            part, streams = _annotated_part(batch, random)
            terms |= _detection_terms(model.detector, part, streams, config.detection_weight)
        if config.image_loss_weight == 0:
            return Outcome(total_losses(terms, self.shares))
        generator = model.generator
        target = target_images(batch.images, generator.config.image_size)
        relaxed = graph_pass.graph.relax(config.mode)
        generated = generator(relaxed, generator.noise_of(random), random=random)
        weight = config.image_loss_weight * config.pixel_weight
        terms["pixel"] = [Term(weight * pixel_loss(generated.image, target), len(batch))]
        maps = seen.maps if config.freeze_backbone else None
        terms |= self.feature_loss.terms(generated.image, batch.images, relaxed, maps)
        if config.true_graph_weight > 0 and has_truth:
            terms |= self._true_graph_terms(*_annotated_part(batch, random))
        layout = _discriminator_layout(generated, generator)
        relations = _discriminator_relations(truth, config, target.device)
        losses = total_losses(terms, self.shares)
        return Outcome(losses, generated.image, layout, target, relations=relations)

    def _true_graph_terms(self, batch: Batch, random: ImageRandom) -> Terms:
        """Pixel loss of images generated from the true graphs, and the box head's error."""
        config, generator = self.config, self.model.generator
        target = target_images(batch.images, generator.config.image_size)
        graph = self.model.relax(batch.graphs)
        generated = generator(graph, generator.noise_of(random), random=random)
        weight = config.image_loss_weight * config.true_graph_weight
        pixels = pixel_loss(generated.image, target)
        terms = {"true_graph_pixel": [Term(weight * config.pixel_weight * pixels, len(batch))]}
        if config.layout_box_weight > 0:
            error = weight * box_loss(generated.boxes, graph.boxes, generated.image_boxes)
            num_objects = len(graph.boxes) + len(batch)
            terms["layout_box"] = [Term(config.layout_box_weight * error, num_objects)]
        return terms

    def _graph(
        self, seen: SeenRegions, batch: Batch, random: ImageRandom | None = None
    ) -> tuple[GraphPass, Tensor, Tensor]:
        """The graph over some rows of `seen`, their true rows, -1 without one, and these rows.

        True relations are among the pairs of the graph. `[N]` both; see `region_rows`.
        """
        model, truth = self.model, usable_truth(batch)
        least_score = self.config.unannotated.object_threshold
        if least_score is None:
            least_score = model.config.decode.object_threshold
        rows, matched = region_rows(seen, batch, self.config, least_score)
        regions = seen.regions(rows)
        candidates = all_pairs(regions.image_index, len(batch))
        related = pair_predicates(candidates, matched, truth) > 0
        graph_pass = model.graph_pass(regions, related, random)
        graph = with_background(model, graph_pass.graph, seen.maps)
        return replace(graph_pass, graph=graph), matched, rows


def _annotated_part(batch: Batch, random: ImageRandom) -> tuple[Batch, ImageRandom]:
    """The annotated images of a batch, at least one, and their streams."""
    if not batch.unannotated:
        return batch, random
    places = [place for place in range(len(batch)) if place not in batch.unannotated]
    return batch.select(places), random.select(places)
