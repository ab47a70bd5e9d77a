"""Real objects cut out of a data set, and the network that learns them."""

from __future__ import annotations

import torch
from torch import Tensor

from autoenc_sg.core.boxes import union_boxes
from autoenc_sg.core.images import target_images
from autoenc_sg.data.base.samples import GraphDataset
from autoenc_sg.data.loading import batches
from autoenc_sg.eval.crop_classifier import (
    CropClassifier,
    CropTraining,
    as_bytes,
    fit_crop_classifier,
    object_crops,
)

BATCH = 16  # images at a time


def real_crops(dataset: GraphDataset, size: int, limit: int | None = None) -> tuple[Tensor, Tensor]:
    """Crops `[N, 3, S, S]` uint8 and classes `[N]` of all objects of the first `limit` images.

    Args:
        dataset: images and graphs, unaugmented.
        size: side of the generator's pictures, to which the images are resized first.
        limit: images at most; None: all.
    """
    crops, labels = [torch.zeros(0, 3, 32, 32, dtype=torch.uint8)], [torch.zeros(0).long()]
    for batch in batches(dataset, BATCH, limit):
        images, graphs = target_images(batch.images, size), batch.graphs
        crops.append(as_bytes(object_crops(images, graphs.unit_boxes(), graphs.image_index)))
        labels.append(graphs.labels)
    return torch.cat(crops), torch.cat(labels)


def real_union_crops(
    dataset: GraphDataset, size: int, limit: int | None = None
) -> tuple[Tensor, Tensor]:
    """The same of the union boxes of all relations, with their predicates."""
    crops, labels = [torch.zeros(0, 3, 32, 32, dtype=torch.uint8)], [torch.zeros(0).long()]
    for batch in batches(dataset, BATCH, limit):
        images, graphs = target_images(batch.images, size), batch.graphs
        boxes = union_boxes(graphs.unit_boxes(), graphs.triples[:, [0, 2]])
        crops.append(as_bytes(object_crops(images, boxes, graphs.triple_image_index)))
        labels.append(graphs.triples[:, 1])
    return torch.cat(crops), torch.cat(labels)


def crop_classifier_of(
    dataset: GraphDataset,
    size: int,
    limit: int | None = 2000,
    options: CropTraining | None = None,
) -> CropClassifier:
    """The network of `eval.crop_classifier`, trained on a data set's objects.

    Args and units as in `real_crops`.

    Raises:
        InputError: the images have no object.
    """
    crops, labels = real_crops(dataset, size, limit)
    return fit_crop_classifier(crops, labels, dataset.vocabulary.num_objects, options)
