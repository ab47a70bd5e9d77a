"""Photos of any kind to scene graphs, a batch at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from autoenc_sg.config.model import DecodeConfig
from autoenc_sg.core.errors import bad_input, require
from autoenc_sg.core.images import ImageSource, as_tensor
from autoenc_sg.core.scene_graph import SceneGraph
from autoenc_sg.core.scene_graph_batch import SceneGraphBatch
from autoenc_sg.model.given_objects import Boxes, GivenObjects, Labels, given_objects
from autoenc_sg.model.modes import inference

if TYPE_CHECKING:
    from autoenc_sg.model.autoencoder import AutoEncoder


def parse_photos(
    model: AutoEncoder,
    photos: Sequence[ImageSource],
    boxes: Sequence[Boxes] | None,
    labels: Sequence[Labels] | None,
    batch_size: int,
    decode: DecodeConfig,
) -> list[SceneGraph]:
    """The graphs of photos with detected or given objects; see `AutoEncoder.parse`."""
    require(batch_size >= 1, "batch_size", "1 or more", batch_size)
    _check_given(len(photos), boxes, labels)
    graphs: list[SceneGraph] = []
    for start in range(0, len(photos), batch_size):
        part = slice(start, start + batch_size)
        images = [as_tensor(photo) for photo in photos[part]]
        if boxes is None:
            batch = _detected(model, images, decode)
        else:
            classes = [None] * len(images) if labels is None else labels[part]
            sizes = [(int(image.shape[1]), int(image.shape[2])) for image in images]
            objects = [
                given_objects(b, c, size, model.vocabulary)
                for b, c, size in zip(boxes[part], classes, sizes)
            ]
            batch = _given(model, images, objects, decode)
        graphs += replace(batch, vocabulary=model.vocabulary).to("cpu").split()
    return graphs


def with_thresholds(
    decode: DecodeConfig, object_threshold: float | None, edge_threshold: float | None
) -> DecodeConfig:
    """The configuration with the thresholds that are not None.

    Raises:
        InputError: a threshold is not a number in [0, 1].
    """
    changes: dict[str, float] = {}
    for name, value in (("object_threshold", object_threshold), ("edge_threshold", edge_threshold)):
        if value is not None:
            require(0 <= value <= 1, name, "a number in 0..1", value)
            changes[name] = value
    return replace(decode, **changes)


def _detected(
    model: AutoEncoder, images: Sequence[Tensor], decode: DecodeConfig
) -> SceneGraphBatch:
    with inference(model):
        logits = model.graph_logits(images)
    return logits.decode(decode.object_threshold, decode.edge_threshold)


def _given(
    model: AutoEncoder,
    images: Sequence[Tensor],
    objects: Sequence[GivenObjects],
    decode: DecodeConfig,
) -> SceneGraphBatch:
    """The graphs over given boxes, which stay as they are; all objects are kept."""
    if not model.has_encoder:
        raise bad_input("parse", "a model with an encoder", "a decoder alone")
    boxes = torch.cat([given.boxes for given in objects]).to(model.device)
    counts = torch.tensor([len(given.boxes) for given in objects])
    index = torch.repeat_interleave(torch.arange(len(objects)), counts).to(model.device)
    known = [given.labels for given in objects if given.labels is not None]
    labels = torch.cat(known).to(model.device) if known else None
    with inference(model):
        maps = model.detector.encode([image.to(model.device) for image in images])
        logits = model.graph_logits_of(maps, boxes, index, labels)
    return replace(logits, boxes=boxes).decode(0.0, decode.edge_threshold)


def _check_given(
    count: int, boxes: Sequence[Boxes] | None, labels: Sequence[Labels] | None
) -> None:
    if boxes is None and labels is not None:
        raise bad_input("labels", "boxes beside them", "no boxes")
    for name, values in (("boxes", boxes), ("labels", labels)):
        if values is not None and len(values) != count:
            raise bad_input(name, f"those of each of {count} photos", len(values))
