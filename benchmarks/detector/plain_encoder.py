"""The encoder beyond the detector in the plain way: what `encoder_cost.py` compares with.

Every pair's union box is pooled by torchvision's RoIAlign and convolved, with channels first, and
each formula is a layer of its own. Weights are those of the product's modules.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from autoenc_sg.core.boxes import grid_coverage, rescale_boxes, union_boxes
from autoenc_sg.core.layers import segment_mean
from autoenc_sg.core.structures import Regions
from autoenc_sg.detector import FasterRCNN
from autoenc_sg.detector.conventions import CONVENTIONS
from autoenc_sg.detector.regions.pooling import roi_pool
from autoenc_sg.predictors.gcn import GraphPredictor, MessagePassing
from autoenc_sg.relpn import RelationProposalNetwork, all_pairs
from autoenc_sg.relpn.model import positions


def plain_relatedness(relpn: RelationProposalNetwork, regions: Regions) -> tuple[Tensor, Tensor]:
    """`RelationProposalNetwork.forward`, a product of two rows a pair."""
    objects = torch.cat([regions.features, regions.class_logits.softmax(-1)], 1)
    place = positions(regions)
    subjects = [relpn.subject_projection(objects), relpn.subject_position(place)]
    others = [relpn.object_projection(objects), relpn.object_position(place)]
    pairs = all_pairs(regions.image_index, regions.num_images)
    rows = torch.cat(subjects, 1)[pairs[:, 0]] * torch.cat(others, 1)[pairs[:, 1]]
    return pairs, rows.sum(1) / relpn.config.dim**0.5


def plain_unions(detector: FasterRCNN, regions: Regions, pairs: Tensor) -> Tensor:
    """`Detector.union_features`, each pair's box pooled and convolved."""
    boxes, index = union_boxes(regions.boxes, pairs), regions.image_index[pairs[:, 0]]
    sizes = (regions.image_sizes, regions.network_sizes)
    scaled = rescale_boxes(boxes, *sizes, index).to(boxes)
    counts = torch.bincount(index, minlength=regions.num_images).tolist()
    conventions = CONVENTIONS[detector.config.conventions]
    pool = roi_pool(detector.backbone.strides, detector.pooled_size, conventions)
    named = OrderedDict(zip(detector.backbone.names, regions.feature_maps))
    pooled = pool(named, list(scaled.split(counts)), list(regions.network_sizes))
    features: Tensor = nn.Sequential.forward(detector.union_head, pooled)
    return features


def plain_graph(
    predictor: GraphPredictor, regions: Regions, pairs: Tensor, unions: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Object logits, refined boxes and predicate logits of `GraphPredictor`, without options."""
    frames, size = union_boxes(regions.boxes, pairs), unions.shape[-1]
    masks = [grid_coverage(regions.boxes[end], frames, size) for end in pairs.unbind(1)]
    coverage = predictor.coverage_in(torch.stack(masks, 1))
    maps = F.relu(predictor.subgraph_in(unions) + coverage)
    objects = predictor._objects(regions)
    for layer in predictor.rounds:
        assert isinstance(layer, MessagePassing)
        objects, maps = _plain_round(layer, objects, maps, pairs)
    projected = predictor.subgraph_map(maps)
    kernels = (predictor.subject_kernel(objects), predictor.object_kernel(objects))
    ends = [kernel[end][:, :, None, None] for kernel, end in zip(kernels, pairs.unbind(1))]
    joined = torch.cat([*(F.relu(end * projected) for end in ends), maps], 1)
    hidden = F.relu(predictor.bottleneck(joined)).flatten(1)
    object_logits = regions.class_logits + predictor.object_classifier(objects)
    boxes = predictor._refine(regions, objects)
    return object_logits, boxes, predictor.relation_classifier(hidden)


def _plain_round(
    layer: MessagePassing, objects: Tensor, maps: Tensor, pairs: Tensor
) -> tuple[Tensor, Tensor]:
    pooled, n = maps.mean((2, 3)), len(objects)
    as_subject = layer.to_subject(segment_mean(pooled, pairs[:, 0], n))
    as_object = layer.to_object(segment_mean(pooled, pairs[:, 1], n))
    ends = layer.from_subject(objects)[pairs[:, 0]] + layer.from_object(objects)[pairs[:, 1]]
    return objects + F.relu(as_subject + as_object), maps + F.relu(ends)[:, :, None, None]
