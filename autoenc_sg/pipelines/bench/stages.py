"""The stages of a model, from a file's pixels to a graph and from a graph to a picture.

Each photo has the same number of objects whatever the weights find in it: random boxes are
described and related, so that the work of later stages does not depend on the photo.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from autoenc_sg.core.graph_logits import GraphLogits
from autoenc_sg.core.images import as_float, read_image
from autoenc_sg.core.scene_graph import SceneGraph
from autoenc_sg.core.structures import CandidatePairs, Regions
from autoenc_sg.detector import FeatureMaps
from autoenc_sg.model.autoencoder import AutoEncoder

ENCODER_STAGES = (
    "image decoding",
    "backbone",
    "proposals",
    "regions",
    "relpn",
    "unions",
    "predictor",
    "decode",
)
STAGES = (*ENCODER_STAGES, "generator")


@dataclass
class Pass:
    """One pass of a batch: each stage reads what those before it left here."""

    images: list[Tensor] = field(default_factory=list)
    maps: FeatureMaps | None = None
    regions: Regions | None = None
    pairs: CandidatePairs | None = None
    unions: Tensor | None = None
    logits: GraphLogits | None = None
    graphs: list[SceneGraph] = field(default_factory=list)


class Stages:
    """The stages of a model on a batch of photos.

    Args:
        model: on its device.
        files: the photos.
        objects: boxes of each photo.
    """

    def __init__(self, model: AutoEncoder, files: Sequence[Path], objects: int) -> None:
        self.model, self.files, self.objects = model, files, objects

    def steps(self) -> Iterator[tuple[str, Callable[[Pass], None]]]:
        """Name and function of each stage, in order; of a decoder alone the last one."""
        if self.model.has_encoder:
            yield "image decoding", self._read
            yield "backbone", self._encode
            yield "proposals", self._detect
            yield "regions", self._describe
            yield "relpn", self._propose_pairs
            yield "unions", self._unite
            yield "predictor", self._predict
            yield "decode", self._decode
        yield "generator", self._generate

    def _read(self, state: Pass) -> None:
        device = self.model.device
        state.images = [as_float(read_image(file).to(device)) for file in self.files]

    def _encode(self, state: Pass) -> None:
        state.maps = self.model.detector.encode(state.images)

    def _detect(self, state: Pass) -> None:
        self.model.detector.detect(_there(state.maps))

    def _describe(self, state: Pass) -> None:
        maps = _there(state.maps)
        boxes, index = random_boxes(maps.image_sizes, self.objects)
        device = self.model.device
        state.regions = self.model.detector.describe(maps, boxes.to(device), index.to(device))

    def _propose_pairs(self, state: Pass) -> None:
        regions = _there(state.regions)
        candidates, logits = self.model.relpn(regions)
        state.pairs = self.model.relpn.select(regions, candidates, logits)

    def _unite(self, state: Pass) -> None:
        pairs = _there(state.pairs).pairs
        state.unions = self.model.detector.union_features(_there(state.regions), pairs)

    def _predict(self, state: Pass) -> None:
        inputs = (_there(state.regions), _there(state.pairs), _there(state.unions))
        state.logits = self.model.predictor(*inputs)

    def _decode(self, state: Pass) -> None:
        threshold = self.model.config.decode.nms_threshold
        logits = _there(state.logits).without_duplicates(threshold)
        state.graphs = logits.decode().to("cpu").split()

    def _generate(self, state: Pass) -> None:
        graphs = state.graphs or [self._hand_made() for _ in self.files]
        self.model.render_batch(graphs)

    def _hand_made(self) -> SceneGraph:
        """A graph for a decoder alone: objects in a row, each related to the next."""
        size, last = (256, 256), self.model.vocabulary.num_objects - 1
        boxes, _ = random_boxes((size,), self.objects)
        labels = torch.arange(self.objects) % last + 1
        first = torch.arange(max(self.objects - 1, 0))
        triples = torch.stack([first, torch.ones_like(first), first + 1], 1)
        return SceneGraph(labels, boxes, triples, size)


def random_boxes(image_sizes: Sequence[tuple[int, int]], count: int) -> tuple[Tensor, Tensor]:
    """`count` boxes of each image, the same in every call: `[B count, 4]` and their images."""
    random = torch.Generator().manual_seed(0)
    low, size = (torch.rand(len(image_sizes), count, 2, generator=random) for _ in range(2))
    unit = torch.cat([low * 0.7, low * 0.7 + 0.05 + size * 0.25], 2)
    sides = torch.tensor([[w, h, w, h] for h, w in image_sizes], dtype=torch.float32)
    index = torch.arange(len(image_sizes)).repeat_interleave(count)
    return (unit * sides[:, None]).reshape(-1, 4), index


def stage_modules(model: AutoEncoder) -> dict[str, list[nn.Module]]:
    """The networks of each stage that has some; each belongs to one stage."""
    detector = model.detector
    modules: dict[str, list[nn.Module]] = {
        "backbone": [getattr(detector, "backbone", nn.Identity())],
        "proposals": [getattr(detector, "rpn", nn.Identity())],
        "regions": [getattr(detector, "roi_heads", nn.Identity()), detector.projection],
        "relpn": [model.relpn],
        "unions": [detector.union_head],
        "predictor": [model.predictor],
    }
    modules = modules if model.has_encoder else {}
    return modules | {"generator": [model.generator]}


def num_parameters(modules: Sequence[nn.Module]) -> int:
    """Numbers in the parameters of these modules, those that are shared once."""
    parameters = {id(p): p.numel() for module in modules for p in module.parameters()}
    return sum(parameters.values())


def _there(value: Any) -> Any:
    assert value is not None, "an earlier stage gives it"
    return value
