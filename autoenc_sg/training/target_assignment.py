"""Training targets: the true object of a region, the true predicate of a pair of regions."""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.ops import box_iou

from autoenc_sg.config.phases import JointPhase
from autoenc_sg.core.boxes import box_scale, covered_shares
from autoenc_sg.core.layers import first_per_group
from autoenc_sg.core.scene_graph import SceneGraph
from autoenc_sg.core.scene_graph_batch import SceneGraphBatch
from autoenc_sg.data.base.samples import Batch
from autoenc_sg.detector.sampling import COVERED
from autoenc_sg.model.region_reader import SeenRegions


def is_annotated(batch: Batch) -> Tensor:
    """Whether the graph of each image may be used: `[B]` bool, on the graphs' device."""
    flags = [place not in batch.unannotated for place in range(len(batch))]
    return torch.tensor(flags, device=batch.graphs.labels.device)


def usable_truth(batch: Batch) -> SceneGraphBatch:
    """The batch's graphs, those of unannotated images empty."""
    if not batch.unannotated:
        return batch.graphs
    graphs = batch.graphs.split()
    for place in batch.unannotated:
        size, device = graphs[place].image_size, graphs[place].labels.device
        graphs[place] = SceneGraph.empty(size, graphs[place].vocabulary).to(device)
    return SceneGraphBatch.collate(graphs)


def region_rows(
    seen: SeenRegions, batch: Batch, config: JointPhase, least_score: float
) -> tuple[Tensor, Tensor]:
    """The rows of `seen` to train on, and the row in `usable_truth` of each, or -1: `[N]` both.

    Of annotated images they are the best detections and, with `config.true_regions`, the true boxes
    that these miss; of the others the best detections with a score of `least_score` or more.
    """
    detections, truth, annotated = seen.detections, usable_truth(batch), is_annotated(batch)
    image = detections.image_index
    objects = (annotated[image] | (detections.scores >= least_score)).nonzero()[:, 0]
    best_rows = objects[first_per_group(image[objects], len(batch), config.regions_per_image)]
    best = detections.select(best_rows)
    if not config.true_regions:
        return best_rows, match_regions(best.boxes, best.image_index, truth)
    chosen, matched = rows_with_missed(best.boxes, best.image_index, truth)
    true_rows = seen.true_rows[annotated[seen.true_index]]
    return torch.cat([best_rows, true_rows])[chosen], matched


def match_regions(
    boxes: Tensor, image_index: Tensor, truth: SceneGraphBatch, threshold: float = 0.5
) -> Tensor:
    """The true object with the largest IoU of each region, -1 if that IoU is below `threshold`.

    Shapes: `boxes [N, 4]` in pixels, `image_index [N] -> [N]`, rows of `truth`.
    """
    if len(boxes) == 0 or len(truth.labels) == 0:
        return image_index.new_full((len(boxes),), -1)
    widest = box_scale(truth.image_sizes, image_index).max()
    shift = (widest + 1) * torch.stack([image_index, image_index * 0] * 2, 1)
    truth_shift = (widest + 1) * torch.stack([truth.image_index, truth.image_index * 0] * 2, 1)
    overlap = box_iou(boxes + shift, truth.boxes + truth_shift)  # 0 across images
    best, row = overlap.max(1)
    return torch.where(best >= threshold, row, torch.full_like(row, -1))


def in_ignored(boxes: Tensor, image_index: Tensor, truth: SceneGraphBatch) -> Tensor:
    """Whether half of a region or more lies in one of its image's ignored ones: `[N, 4] -> [N]`."""
    if truth.ignored is None:
        return torch.zeros_like(image_index, dtype=torch.bool)
    same_image = image_index[:, None] == truth.ignored[None, :, 0]
    shares = covered_shares(boxes, truth.ignored[:, 2:].to(boxes))
    return (same_image & (shares >= COVERED)).any(1)


def region_labels(matched: Tensor, truth: SceneGraphBatch) -> Tensor:
    """The class of each region, 0 (background) if it matches no object: `[N] -> [N]`."""
    if len(truth.labels) == 0:
        return torch.zeros_like(matched)
    return torch.where(matched >= 0, truth.labels[matched.clamp(min=0)], 0)


def pair_predicates(pairs: Tensor, matched: Tensor, truth: SceneGraphBatch) -> Tensor:
    """The predicate of each pair of regions, 0 (no relation) if it is not annotated.

    Of several predicates of one pair the last one counts.

    Shapes: `pairs [M, 2], matched [N] -> [M]`.
    """
    row = _pair_triples(pairs, matched, truth)
    if len(truth.triples) == 0:
        return row * 0
    return torch.where(row >= 0, truth.triples[row.clamp(min=0), 1], 0)


def pair_weights(pairs: Tensor, matched: Tensor, truth: SceneGraphBatch) -> Tensor:
    """The weight of each pair's predicate: the score of a pseudo-relation, else 1.

    Shapes: `pairs [M, 2], matched [N] -> [M]` float32 in [0, 1].
    """
    row = _pair_triples(pairs, matched, truth)
    scores = truth.triple_scores
    if scores is None or len(scores) == 0:
        return torch.ones_like(row, dtype=torch.float32)
    return torch.where(row >= 0, scores.nan_to_num(1.0)[row.clamp(min=0)], 1.0)


def near_misses(
    pairs: Tensor, boxes: Tensor, image_index: Tensor, truth: SceneGraphBatch, iou: float
) -> Tensor:
    """Whether both boxes of a pair overlap those of one true relation by `iou` or more.

    Related pairs are among them; with an `iou` of 1 or more nothing is.

    Shapes: `pairs [M, 2], boxes [N, 4] in pixels, image_index [N] -> [M] bool`.
    """
    if iou >= 1 or len(truth.triples) == 0:
        return torch.zeros_like(pairs[:, 0], dtype=torch.bool)
    same_image = image_index[:, None] == truth.image_index
    near = (box_iou(boxes, truth.boxes.to(boxes)) >= iou) & same_image
    subjects, objects = near[:, truth.triples[:, 0]], near[:, truth.triples[:, 2]]
    both: Tensor = subjects[pairs[:, 0]] & objects[pairs[:, 1]]
    return both.any(1)


def _pair_triples(pairs: Tensor, matched: Tensor, truth: SceneGraphBatch) -> Tensor:
    """The row of each pair's last triple, -1 if it has none: `[M]`."""
    if len(truth.triples) == 0 or len(pairs) == 0:
        return pairs.new_full((len(pairs),), -1)
    size = len(truth.labels)
    true_keys = truth.triples[:, 0] * size + truth.triples[:, 2]
    order = torch.sort(true_keys, stable=True).indices
    ends = matched[pairs]
    keys = ends[:, 0] * size + ends[:, 1]
    place = torch.searchsorted(true_keys[order], keys, right=True) - 1
    row = order[place.clamp(min=0)]
    is_related = (ends >= 0).all(1) & (place >= 0) & (true_keys[row] == keys)
    return torch.where(is_related, row, -1)


def add_missed(
    boxes: Tensor, image_index: Tensor, truth: SceneGraphBatch
) -> tuple[Tensor, Tensor, Tensor]:
    """The regions, and after those of each image the true boxes that no region matches.

    Returns:
        Boxes `[N', 4]`, image index `[N']` (ascending) and matched true rows `[N']`.
    """
    rows, matched = rows_with_missed(boxes, image_index, truth)
    all_boxes = torch.cat([boxes, truth.boxes.to(boxes)])
    return all_boxes[rows], torch.cat([image_index, truth.image_index])[rows], matched


def rows_with_missed(
    boxes: Tensor, image_index: Tensor, truth: SceneGraphBatch
) -> tuple[Tensor, Tensor]:
    """`add_missed` as rows `[N']` of the regions followed by all true boxes, and matched rows."""
    matched = match_regions(boxes, image_index, truth)
    missed = torch.ones(len(truth.labels), dtype=torch.bool, device=boxes.device)
    missed[matched[matched >= 0]] = False
    missed_rows = missed.nonzero()[:, 0]
    regions = torch.arange(len(boxes), device=boxes.device)
    rows = torch.cat([regions, len(boxes) + missed_rows])
    index = torch.cat([image_index, truth.image_index[missed_rows]])
    order = torch.sort(index, stable=True).indices
    return rows[order], torch.cat([matched, missed_rows])[order]
