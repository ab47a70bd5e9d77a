"""The joint phase's losses of the predicted graph: predicates, classes, boxes, relatedness."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from autoenc_sg.config.phases import JointPhase
from autoenc_sg.config.predicate_loss import PredicateLossConfig
from autoenc_sg.core.boxes import encode_deltas
from autoenc_sg.core.layers import ImageRandom, first_per_group
from autoenc_sg.core.scene_graph_batch import SceneGraphBatch
from autoenc_sg.model.autoencoder import AutoEncoder
from autoenc_sg.model.graph_pass import GraphPass
from autoenc_sg.predictors.parts.long_tail import predicate_losses
from autoenc_sg.relpn import relatedness_loss, sample_pairs
from autoenc_sg.training.parallel.loss_terms import Term, Terms, total_losses
from autoenc_sg.training.target_assignment import (
    in_ignored,
    near_misses,
    pair_predicates,
    pair_weights,
    region_labels,
)


def graph_losses(
    graph_pass: GraphPass,
    matched: Tensor,
    truth: SceneGraphBatch,
    config: JointPhase,
    model: AutoEncoder,
) -> dict[str, Tensor]:
    """Equation 7 and the relatedness loss, weighted; `matched [N]` are true rows or -1."""
    return total_losses(graph_terms(graph_pass, matched, truth, config, model))


def graph_terms(
    graph_pass: GraphPass,
    matched: Tensor,
    truth: SceneGraphBatch,
    config: JointPhase,
    model: AutoEncoder,
    random: ImageRandom | None = None,
    annotated: Tensor | None = None,
) -> Terms:
    """`graph_losses` with the numbers of pairs, regions, matched regions, and sampled pairs.

    Regions in an ignored one that match no true object have no class. Regions and pairs of images
    that are not `annotated` (`[B]` bool; None: all are) are in no loss.
    """
    graph, regions = graph_pass.graph, graph_pass.regions
    if annotated is None:
        annotated = matched.new_ones(regions.num_images, dtype=torch.bool)
    labels = region_labels(matched, truth)
    random = random or ImageRandom.from_global_state(regions.num_images, matched.device)
    is_object = matched >= 0
    boxes = graph.boxes[is_object]
    true_boxes = truth.boxes[matched[is_object]] if is_object.any() else boxes
    judged = (matched >= 0) | ~in_ignored(regions.boxes, regions.image_index, truth)
    judged = judged & annotated[regions.image_index]
    object_ = _mean_cross_entropy(graph.object_logits[judged], labels[judged])
    box = refinement_loss(boxes, regions.boxes[is_object], true_boxes)
    given = (graph_pass, matched, truth, annotated, config, model, random)
    return {
        "predicate": [_predicate_term(*given)],
        "object": [Term(config.object_weight * object_, int(judged.sum()))],
        "box": [Term(config.box_weight * box, len(boxes))],
        "relatedness": _relatedness_terms(*given),
    }


def _predicate_term(
    graph_pass: GraphPass,
    matched: Tensor,
    truth: SceneGraphBatch,
    annotated: Tensor,
    config: JointPhase,
    model: AutoEncoder,
    random: ImageRandom,
) -> Term:
    """The predicates' loss over the sampled pairs, with those of a head's branches."""
    graph, options = graph_pass.graph, model.predictor.config.loss
    predicates = pair_predicates(graph.pairs, matched, truth)
    ratio = config.background_ratio
    rows = _predicate_rows(graph_pass, predicates, truth, annotated, ratio, options, random)
    target, counts = predicates[rows], model.predictor.predicate_counts
    losses = predicate_losses(graph.predicate_logits[rows], target, options, counts)
    for logits in graph.auxiliary_logits:
        losses = losses + predicate_losses(logits[rows], target, options, counts)
    if truth.triple_scores is not None:
        losses = pair_weights(graph.pairs, matched, truth)[rows].to(losses) * losses
    return Term(config.predicate_weight * losses.sum() / max(len(rows), 1), len(rows))


def _predicate_rows(
    graph_pass: GraphPass,
    predicates: Tensor,
    truth: SceneGraphBatch,
    annotated: Tensor,
    background_ratio: float,
    options: PredicateLossConfig,
    random: ImageRandom,
) -> Tensor:
    """Rows of the pairs in the predicates' loss: a sample of each image, without near misses."""
    regions, pairs = graph_pass.regions, graph_pass.graph.pairs
    image = regions.image_index[pairs[:, 0]]
    near = near_misses(pairs, regions.boxes, regions.image_index, truth, options.ignored_iou)
    judged = (((predicates > 0) | ~near) & annotated[image]).nonzero()[:, 0]
    predicates, image = predicates[judged], image[judged]
    if options.pairs_per_image == 0:
        return judged[sample_predicates(predicates, image, background_ratio, random)]
    limits = (options.pairs_per_image, options.positive_fraction)
    return judged[sample_pairs(predicates > 0, image, regions.num_images, *limits, random)]


def _relatedness_terms(
    graph_pass: GraphPass,
    matched: Tensor,
    truth: SceneGraphBatch,
    annotated: Tensor,
    config: JointPhase,
    model: AutoEncoder,
    random: ImageRandom,
) -> list[Term]:
    """One over the related pairs of the sample, one over the unrelated ones."""
    regions, candidates = graph_pass.regions, graph_pass.candidates
    related, relpn = pair_predicates(candidates, matched, truth) > 0, model.relpn.config
    image = regions.image_index[candidates[:, 0]]
    judged = annotated[image].nonzero()[:, 0]
    limits = (relpn.samples_per_image, relpn.positive_fraction)
    sample = sample_pairs(related[judged], image[judged], regions.num_images, *limits, random)
    rows = judged[sample]
    sides = [rows[related[rows]], rows[~related[rows]]]
    logits, weight = graph_pass.relatedness_logits, config.relatedness_weight
    losses = [relatedness_loss(logits[side], related[side]) for side in sides]
    return [Term(weight * loss, len(side)) for loss, side in zip(losses, sides)]


def sample_predicates(
    predicates: Tensor, pair_image: Tensor, background_ratio: float, random: ImageRandom
) -> Tensor:
    """Rows of all related pairs, and of a random sample of each image's unrelated ones.

    The sample of an image has `background_ratio` times as many pairs as the image has related ones
    (as if it had one, if it has none), rounded down, or all there are.

    Shapes: `predicates [M], pair_image [M] -> [m]`.
    """
    num_images = len(random.streams)
    positive = (predicates > 0).nonzero()[:, 0]
    order = random.uniform(pair_image).argsort(stable=True)
    negative = order[predicates[order] == 0]
    counts = torch.bincount(pair_image[positive], minlength=num_images)
    counts = (background_ratio * counts.clamp(min=1)).long()
    rows = first_per_group(pair_image[negative], num_images, counts)
    return torch.cat([positive, negative[rows]])


def refinement_loss(boxes: Tensor, start: Tensor, target: Tensor) -> Tensor:
    """Smooth L1 between the deltas from `start` to `boxes` and to `target`; 0 without boxes.

    Shapes: `[N, 4]` each -> `[]`.
    """
    if len(boxes) == 0:
        return boxes.sum() * 0
    return F.smooth_l1_loss(encode_deltas(boxes, start), encode_deltas(target, start))


def _mean_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Mean cross entropy; 0 with a gradient of 0 if there is no row."""
    return F.cross_entropy(logits, target, reduction="sum") / max(len(target), 1)
