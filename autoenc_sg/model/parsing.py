"""Photos of any kind to scene graphs, a batch at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from autoenc_sg.config.model import DecodeConfig
from autoenc_sg.core.errors import bad_input, is_fraction, require, whole_number
from autoenc_sg.core.graph_logits import GraphLogits
from autoenc_sg.core.images import ImageSource, as_tensor
from autoenc_sg.core.scene_graph import SceneGraph
from autoenc_sg.core.vocabulary import Vocabulary
from autoenc_sg.model.codes import with_background
from autoenc_sg.model.given_objects import Boxes, GivenObjects, Labels, given_objects
from autoenc_sg.model.modes import inference

if TYPE_CHECKING:
    from autoenc_sg.model.autoencoder import AutoEncoder


@dataclass(frozen=True, eq=False)
class ParseRequest:
    """What `AutoEncoder.parse` was asked for.

    Attributes:
        photos: of any kind, read a batch at a time.
        boxes, labels: those of each photo, or None: to be found.
        batch_size: photos that the network sees at a time.
        decode: the thresholds.
        is_list: a list of photos was asked for, not one.
    """

    photos: Sequence[ImageSource]
    boxes: Sequence[Boxes] | None
    labels: Sequence[Labels | None] | None
    batch_size: int
    decode: DecodeConfig
    is_list: bool = True

    def __post_init__(self) -> None:
        size = whole_number(self.batch_size, "batch_size", "a whole number of 1 or more")
        require(size >= 1, "batch_size", "1 or more", size)
        if self.boxes is None and self.labels is not None:
            raise bad_input("labels", "boxes beside them", "no boxes")
        count = len(self.photos)
        for name, values in (("boxes", self.boxes), ("labels", self.labels)):
            if values is not None and not hasattr(values, "__len__"):
                raise bad_input(name, f"a list of those of each of {count} photos", repr(values))
            if values is not None and len(values) != count:
                raise bad_input(name, f"those of each of {count} photos", len(values))


@dataclass(frozen=True, eq=False)
class ParsedBatch:
    """The logits of a batch of photos, and what its graphs keep of them.

    Attributes:
        logits: of all detected or given objects and the proposed pairs.
        objects: `[N] bool`, the objects of the graphs.
        pairs: `[M] bool`, the relations of the graphs.
        vocabulary: the model's.
    """

    logits: GraphLogits
    objects: Tensor
    pairs: Tensor
    vocabulary: Vocabulary

    def graphs(self) -> list[SceneGraph]:
        """The graphs of the photos, on the CPU."""
        batch = self.logits.decode_selected(self.objects, self.pairs)
        return replace(batch, vocabulary=self.vocabulary).to("cpu").split()


def as_request(
    photo: ImageSource | Sequence[ImageSource],
    boxes: Any,
    labels: Any,
    batch_size: int,
    decode: DecodeConfig,
) -> ParseRequest:
    """A request for one photo or for a list of them; raises as `AutoEncoder.parse`."""
    if isinstance(photo, Sequence) and not isinstance(photo, str):
        return ParseRequest(photo, boxes, labels, batch_size, decode)
    given_boxes = None if boxes is None else [boxes]
    given_labels = None if labels is None else [labels]
    return ParseRequest([photo], given_boxes, given_labels, batch_size, decode, is_list=False)


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
            require(is_fraction(value), name, "a number in 0..1", value)
            changes[name] = value
    return replace(decode, **changes)


def parsed_batches(model: AutoEncoder, request: ParseRequest) -> Iterator[ParsedBatch]:
    """The photos of a request, `batch_size` at a time, in order."""
    for start in range(0, len(request.photos), request.batch_size):
        part = slice(start, start + request.batch_size)
        images = [as_tensor(photo) for photo in request.photos[part]]
        if request.boxes is None:
            decode = request.decode
            with inference(model):
                logits = model.graph_logits(images, decode.object_threshold)
            selected = logits.selection(decode.object_threshold, decode.edge_threshold)
        else:
            labels = [None] * len(images) if request.labels is None else request.labels[part]
            objects = [
                given_objects(b, c, (image.shape[1], image.shape[2]), model.vocabulary)
                for b, c, image in zip(request.boxes[part], labels, images)
            ]
            logits = _logits_of_given(model, images, objects)
            selected = (
                torch.ones_like(logits.image_index, dtype=torch.bool),  # however small they are
                logits.edge_weights() >= request.decode.edge_threshold,
            )
        yield ParsedBatch(logits, *selected, model.vocabulary)


def _logits_of_given(
    model: AutoEncoder, images: Sequence[Tensor], objects: Sequence[GivenObjects]
) -> GraphLogits:
    """The logits over given boxes, which stay as they are."""
    if not model.has_encoder:
        raise bad_input("parse", "a model with an encoder", "a decoder alone")
    boxes = torch.cat([given.boxes for given in objects]).to(model.device)
    labels = torch.cat([given.labels for given in objects]).to(model.device)
    counts = torch.tensor([len(given.boxes) for given in objects])
    index = torch.repeat_interleave(torch.arange(len(objects)), counts).to(model.device)
    with inference(model):
        maps = model.detector.encode([image.to(model.device) for image in images])
        logits = replace(model.graph_logits_of(maps, boxes, index, labels), boxes=boxes)
        return with_background(model, logits, maps, object_threshold=0.0)
