"""Crops of the real objects of a data set, and a classifier trained on them."""

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
    crop_boxes,
    fit_crop_classifier,
)

BATCH = 16  # images at a time


def real_crops(dataset: GraphDataset, size: int, limit: int | None = None) -> tuple[Tensor, Tensor]:
    """Crops `[N, 3, S, S]` uint8 and classes `[N]` of all objects of the first `limit` images.

    Args:
        dataset: images and graphs, unaugmented.
        size: side of the generator's images in pixels, to which the images are resized first.
        limit: number of images, the first ones; None: all.
    """
    crops, labels = [torch.zeros(0, 3, 32, 32, dtype=torch.uint8)], [torch.zeros(0).long()]
    for batch in batches(dataset, BATCH, limit):
        images, graphs = target_images(batch.images, size), batch.graphs
        crops.append(as_bytes(crop_boxes(images, graphs.unit_boxes(), graphs.image_index)))
        labels.append(graphs.labels)
    return torch.cat(crops), torch.cat(labels)


def real_union_crops(
    dataset: GraphDataset, size: int, limit: int | None = None
) -> tuple[Tensor, Tensor]:
    """Crops of the union boxes of all relations, and their predicates; as `real_crops`."""
    crops, labels = [torch.zeros(0, 3, 32, 32, dtype=torch.uint8)], [torch.zeros(0).long()]
    for batch in batches(dataset, BATCH, limit):
        images, graphs = target_images(batch.images, size), batch.graphs
        boxes = union_boxes(graphs.unit_boxes(), graphs.triples[:, [0, 2]])
        crops.append(as_bytes(crop_boxes(images, boxes, graphs.triple_image_index)))
        labels.append(graphs.triples[:, 1])
    return torch.cat(crops), torch.cat(labels)


def crop_classifier_of(
    dataset: GraphDataset,
    size: int,
    limit: int | None = 2000,
    options: CropTraining | None = None,
) -> CropClassifier:
    """The classifier of `eval.crop_classifier`, trained on the objects of a data set.

    Args and units as in `real_crops`.

    Raises:
        InputError: the images have no object.
    """
    crops, labels = real_crops(dataset, size, limit)
    return fit_crop_classifier(crops, labels, dataset.vocabulary.num_objects, options)
