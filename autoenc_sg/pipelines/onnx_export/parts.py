"""Each graph with names of its inputs and outputs, and inputs to export and to check it with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from autoenc_sg.config.model import GeneratorConfig
from autoenc_sg.core.errors import bad_input
from autoenc_sg.detector.colors import COLOR_PARTS
from autoenc_sg.detector.faster_rcnn import FasterRCNN
from autoenc_sg.generator.layout.factors import MAX_OBJECTS
from autoenc_sg.model.autoencoder import AutoEncoder
from autoenc_sg.pipelines.onnx_export.graphs import (
    AppearanceGraph,
    BackboneGraph,
    BackgroundGraph,
    GeneratorGraph,
    RegionGraph,
    RelationGraph,
    noise_shapes,
    plain_pool,
)

REGION_OUTPUTS = ("class_logits", "deltas", "features", "subject_ends", "object_ends")
RELATION_OUTPUTS = ("object_logits", "moved_boxes", "predicate_logits")
SEED = 0  # of the inputs that are made up
_SIDES = (96, 128)  # pixels of the network, of the inputs that are made up

Inputs = tuple[Tensor, ...]


@dataclass(frozen=True)
class Part:
    """One graph.

    Attributes:
        name: of its file, without `.onnx`.
        network: of one image.
        inputs, outputs: their names.
        free: for each input the axes of free size.
        example: inputs that it is exported with.
        checks: further ones, of other sizes.
    """

    name: str
    network: nn.Module
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    free: tuple[tuple[int, ...], ...]
    example: Inputs
    checks: tuple[Inputs, ...]

    @property
    def dynamic_shapes(self) -> tuple[Any, ...]:
        """`free` as `torch.onnx.export` wants it; inputs of `*args` are one tuple."""
        dynamic = torch.export.Dim.DYNAMIC
        shapes = tuple(dict.fromkeys(axes, dynamic) for axes in self.free)
        if isinstance(self.network, (RegionGraph, RelationGraph, AppearanceGraph)):
            return (shapes,)
        if isinstance(self.network, GeneratorGraph):
            return (*shapes[:3], shapes[3:])
        return shapes


def all_parts(model: AutoEncoder) -> list[Part]:
    """The graphs of a model; of one without an encoder only the generator's.

    Raises:
        InputError: a part of the model that has sizes which depend on values, or other poolings.
    """
    with torch.random.fork_rng([]):
        torch.manual_seed(SEED)
        parts = [_generator(model)]
        if model.has_encoder:
            detector = plain_detector(model)
            parts += [_backbone(detector), _regions(model, detector), _relations(model, detector)]
            parts += [] if model.appearance is None else [_appearance(model, detector)]
            parts += [] if model.background is None else [_background(model, detector)]
    return parts


def plain_detector(model: AutoEncoder) -> FasterRCNN:
    """The detector of a model whose encoder can be exported.

    Raises:
        InputError: it cannot.
    """
    detector = model.detector
    if not isinstance(detector, FasterRCNN):
        raise bad_input("export onnx", "detector.backend torchvision", "detectron2")
    plain_pool(detector.union_pool)
    options = model.config.predictor
    if options.name == "gcn" and options.gcn.shared_subgraphs:
        expected = "a model with predictor.gcn.shared_subgraphs false"
        raise bad_input("export onnx", expected, "true, whose sizes depend on values")
    return detector


def _backbone(detector: FasterRCNN) -> Part:
    count = len(detector.backbone.names)
    names = [f"{kind}_{i}" for kind in ("map", "objectness", "deltas") for i in range(count)]
    sizes = ((64, 192), (160, 64))
    checks = tuple((torch.randn(1, 3, *size),) for size in sizes)
    example = (torch.randn(1, 3, *_SIDES),)
    return Part(
        "backbone",
        BackboneGraph(detector),
        ("pixels",),
        tuple(names),
        ((2, 3),),
        example,
        checks,
    )


def _regions(model: AutoEncoder, detector: FasterRCNN) -> Part:
    network = RegionGraph(model, detector)
    assert network.pool.scales is not None
    count = len(network.pool.scales)

    def inputs(boxes_a_map: int) -> Inputs:
        boxes = [_boxes(boxes_a_map, *_SIDES) for _ in range(count)]
        unit = torch.cat(boxes) / torch.tensor([_SIDES[1], _SIDES[0]] * 2)
        return (*_maps(detector, network.pool.scales), *boxes, unit)

    names = [f"{kind}_{i}" for kind in ("map", "boxes") for i in range(count)]
    return Part(
        "regions",
        network,
        (*names, "unit_boxes"),
        REGION_OUTPUTS,
        (*((2, 3),) * count, *((0,),) * (count + 1)),
        inputs(7),
        (inputs(1), inputs(70)),
    )


def _relations(model: AutoEncoder, detector: FasterRCNN) -> Part:
    network = RelationGraph(model, detector)
    assert network.pool.scales is not None
    count = len(network.pool.scales)

    def inputs(objects: int, unions_a_map: int, num_pairs: int) -> Inputs:
        unions = [_boxes(unions_a_map, *_SIDES) for _ in range(count)]
        rows = torch.arange(num_pairs) % max(count * unions_a_map, 1)
        first = torch.arange(num_pairs) % objects
        pairs = torch.stack([first, (first + 1) % objects], 1)
        classes = torch.randn(objects, detector.num_classes)
        features = torch.randn(objects, detector.feature_dim).relu()
        boxes = _boxes(objects, 1024, 1024)
        maps = _maps(detector, network.pool.scales)
        return (*maps, *unions, rows, pairs, boxes, classes, features)

    names = [f"{kind}_{i}" for kind in ("map", "unions") for i in range(count)]
    return Part(
        "relations",
        network,
        (*names, "union_rows", "pairs", "boxes", "class_logits", "features"),
        RELATION_OUTPUTS,
        (*((2, 3),) * count, *((0,),) * (count + 5)),
        inputs(9, 11, 23),
        (inputs(2, 1, 2), inputs(30, 40, 100), inputs(1, 0, 0)),
    )


def _appearance(model: AutoEncoder, detector: FasterRCNN) -> Part:
    network = AppearanceGraph(model, detector)
    assert network.pool.scales is not None
    count = len(network.pool.scales)

    def inputs(boxes_a_map: int) -> Inputs:
        boxes = [_boxes(boxes_a_map, *_SIDES) for _ in range(count)]
        unit = torch.cat(boxes) / torch.tensor([_SIDES[1], _SIDES[0]] * 2)
        return (*_maps(detector, network.pool.scales), *boxes, unit, _colors())

    names = [f"{kind}_{i}" for kind in ("map", "boxes") for i in range(count)]
    return Part(
        "appearance",
        network,
        (*names, "unit_boxes", "colors"),
        ("codes",),
        (*((2, 3),) * count, *((0,),) * (count + 1), ()),
        inputs(7),
        (inputs(1), inputs(30)),
    )


def _background(model: AutoEncoder, detector: FasterRCNN) -> Part:
    def inputs(objects: int, height: int, width: int) -> Inputs:
        finest = torch.randn(1, detector.map_channels, height, width)
        return finest, torch.tensor([[0.75, 1.0]]), _boxes(objects, 1, 1) * 0.8, _colors()

    return Part(
        "background",
        BackgroundGraph(model),
        ("map_0", "inside", "unit_boxes", "colors"),
        ("codes",),
        ((2, 3), (), (0,), ()),
        inputs(5, 12, 16),
        (inputs(0, 9, 20), inputs(1, 30, 8)),
    )


def _generator(model: AutoEncoder) -> Part:
    """The graph of the generator."""
    classes, predicates = model.vocabulary.num_objects, model.vocabulary.num_predicates
    network, config = GeneratorGraph(model.generator), model.config.generator
    shapes = noise_shapes(model.generator)

    def inputs(objects: int, triples: int) -> Inputs:
        labels = torch.arange(objects) % (classes - 1) + 1
        first = torch.arange(triples) % objects
        kinds = torch.arange(triples) % max(predicates - 1, 1) + 1
        ends = torch.stack([first, kinds, (first + 1) % objects], 1)
        code = config.appearance_dim
        sizes = shapes | {
            "appearance": [objects, code],
            "background": [1, config.background_cells**2, code],
        }
        more = [torch.randn(sizes[name]) for name in network.more_names]
        return (labels, ends, _boxes(objects, 1, 1), *more)

    more = network.more_names
    return Part(
        "generator",
        network,
        ("labels", "triples", "boxes", *more),
        ("image",),
        ((0,), (0,), (0,), *(((0,) if name == "appearance" else ()) for name in more)),
        inputs(*_many(config)),
        (inputs(1, 0), inputs(3, 2), inputs(12, 20)),
    )


def _many(config: GeneratorConfig) -> tuple[int, int]:
    """So many objects and relations that layouts are computed plainly, and in one piece.

    Few objects have a faster convolution and very many are added up in chunks (`Layout.maps`); the
    plain way is right for every number.
    """
    free = MAX_OBJECTS - 8 - config.background_cells**2
    return (free // 2, free // 2) if config.relation_layout else (free, free // 2)


def _colors() -> Tensor:
    return torch.rand(1, 3, COLOR_PARTS, COLOR_PARTS) * 2 - 1


def _boxes(count: int, height: int, width: int) -> Tensor:
    """Random boxes inside an image, at least an eighth of its sides wide and high."""
    low, high = torch.rand(count, 2) * 0.5, 0.625 + torch.rand(count, 2) * 0.375
    return torch.cat([low, high], 1) * torch.tensor([width, height] * 2)


def _maps(detector: FasterRCNN, scales: list[float]) -> list[Tensor]:
    shape = (1, detector.map_channels)
    return [torch.randn(*shape, *(int(side * scale) for side in _SIDES)) for scale in scales]
