"""The networks of a model between which NumPy chooses, of one image, with free sizes.

    backbone    pixels                                  -> maps, objectness and deltas of anchors
    regions     maps, boxes by map                      -> classes, deltas, features, relpn's sides
    relations   maps, union boxes by map, pairs, regions -> logits of the graph
    generator   labels, triples, boxes, codes, noise    -> picture
    appearance  maps, boxes by map, mean colours        -> appearance codes
    background  finest map, boxes, mean colours         -> codes of what lies outside the boxes

Boxes come sorted by the map that they are pooled from, so that no size depends on values.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchvision.ops import MultiScaleRoIAlign, roi_align

from autoenc_sg.core.errors import bad_input
from autoenc_sg.core.relaxed_graph import RelaxedGraph
from autoenc_sg.core.structures import CandidatePairs, Regions
from autoenc_sg.detector.faster_rcnn import FasterRCNN
from autoenc_sg.detector.regions.gathered_pooling import GatheredRoIAlign
from autoenc_sg.detector.regions.pooling import LastPixel
from autoenc_sg.generator import Generator
from autoenc_sg.generator.noise import GeneratorNoise
from autoenc_sg.model.autoencoder import AutoEncoder
from autoenc_sg.model.background import outside_means
from autoenc_sg.relpn.model import unit_positions

NOMINAL_SIZE = (1024, 1024)  # of the image in whose pixels the relation head reads boxes


def plain_pool(pool: nn.Module) -> tuple[MultiScaleRoIAlign, bool]:
    """The RoIAlign in a pool of the detector, and whether boxes hold their last pixel.

    Raises:
        InputError: the pool is not made of a RoIAlign.
    """
    last_pixel = isinstance(pool, LastPixel)
    inner = pool.pool if isinstance(pool, (LastPixel, GatheredRoIAlign)) else pool
    if not isinstance(inner, MultiScaleRoIAlign):
        expected = "RoIAlign: detector.conventions torchvision or graph_rcnn"
        raise bad_input("export onnx", expected, "pooling at the corners, as in Neural Motifs")
    return inner, last_pixel


def pooled(pool: MultiScaleRoIAlign, maps: tuple[Tensor, ...], boxes: tuple[Tensor, ...]) -> Tensor:
    """RoIAlign of the boxes `[K_i, 4]` of each map, map after map."""
    assert pool.scales is not None
    parts = [
        roi_align(
            values,
            torch.cat([part.new_zeros(part.shape[0], 1), part], 1),
            pool.output_size,
            scale,
            pool.sampling_ratio,
        )
        for values, part, scale in zip(maps, boxes, pool.scales)
    ]
    return torch.cat(parts)


class BackboneGraph(nn.Module):
    """`[1, 3, H, W]`, normalized and padded, to maps, objectness and deltas of each map."""

    def __init__(self, detector: FasterRCNN) -> None:
        super().__init__()
        self.backbone, self.head = detector.backbone, detector.rpn.head

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """See the class."""
        maps = list(self.backbone(pixels).values())
        objectness, deltas = self.head(maps)
        return (*maps, *objectness, *deltas)


class RegionGraph(nn.Module):
    """The box head over boxes, and the sides of the relation proposals' products."""

    def __init__(self, model: AutoEncoder, detector: FasterRCNN) -> None:
        super().__init__()
        heads = detector.roi_heads
        self.pool, _ = plain_pool(heads.box_roi_pool)
        self.box_head, self.box_predictor = heads.box_head, heads.box_predictor
        self.projection, self.relpn = detector.projection, model.relpn

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Maps, boxes by map and unit boxes `[K, 4]` to what is named in `parts.REGION_OUTPUTS`."""
        count = len(inputs) // 2
        maps, boxes, unit_boxes = inputs[:count], inputs[count:-1], inputs[-1]
        features = self.box_head(pooled(self.pool, maps, boxes))
        class_logits, deltas = self.box_predictor(features)
        projected = self.projection(features)
        ends = self.relpn.ends(projected, class_logits, unit_positions(unit_boxes))
        return class_logits, deltas, projected, ends[0] / self.relpn.config.dim**0.5, ends[1]


class RelationGraph(nn.Module):
    """Union features and the relation head."""

    def __init__(self, model: AutoEncoder, detector: FasterRCNN) -> None:
        super().__init__()
        self.pool, _ = plain_pool(detector.union_pool)
        self.union_head, self.predictor = detector.union_head, model.predictor

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Maps, union boxes by map, then rows of the unions, pairs, boxes, logits and features."""
        *by_map, union_rows, pairs, boxes, class_logits, features = inputs
        count = len(by_map) // 2
        maps = pooled(self.pool, tuple(by_map[:count]), tuple(by_map[count:]))
        unions = _in_order(self.union_head, maps)[union_rows]
        image = pairs.new_zeros(boxes.shape[0])
        sizes = (NOMINAL_SIZE,)
        regions = Regions(boxes, class_logits, features, image, sizes, (), sizes)
        relatedness = boxes.new_ones(pairs.shape[0])
        graph = self.predictor(regions, CandidatePairs(pairs, relatedness), unions)
        return graph.object_logits, graph.boxes, graph.predicate_logits


def _in_order(layers: nn.Module, maps: Tensor) -> Tensor:
    """The layers one after another, without the union head's faster way for many maps."""
    for layer in layers.children():
        maps = layer(maps)
    return maps


class AppearanceGraph(nn.Module):
    """Appearance codes of objects."""

    def __init__(self, model: AutoEncoder, detector: FasterRCNN) -> None:
        super().__init__()
        self.pool, _ = plain_pool(detector.union_pool)
        assert model.appearance is not None
        self.encoder = model.appearance

    def forward(self, *inputs: Tensor) -> Tensor:
        """Maps, boxes by map, unit boxes `[N, 4]`, colours `[1, 3, G, G]` -> codes `[N, A]`."""
        *by_map, boxes, colors = inputs
        count = len(by_map) // 2
        maps = pooled(self.pool, tuple(by_map[:count]), tuple(by_map[count:]))
        image = torch.zeros_like(boxes[:, 0], dtype=torch.int64)
        sizes = ((1, 1),)
        regions = Regions(boxes, boxes, boxes, image, sizes, (), sizes, colors=colors)
        codes: Tensor = self.encoder(maps, regions)
        return codes


class BackgroundGraph(nn.Module):
    """Codes of what lies outside all boxes."""

    def __init__(self, model: AutoEncoder) -> None:
        super().__init__()
        assert model.background is not None
        self.encoder = model.background

    def forward(self, finest: Tensor, inside: Tensor, boxes: Tensor, colors: Tensor) -> Tensor:
        """The finest map, `inside [1, 2]`, unit boxes `[N, 4]`, colours -> codes `[G G, A]`.

        `inside` is the fraction of the padded height and width that the image takes.
        """
        image = torch.zeros_like(boxes[:, 0], dtype=torch.int64)
        means, counts = outside_means(finest, inside, boxes, image, self.encoder.cells)
        if self.encoder.with_colors:
            whole = torch.ones_like(inside)
            parts, _ = outside_means(colors, whole, boxes, image, self.encoder.cells)
            means = torch.cat([means, parts], -1)
        return self.encoder.codes_of(means, counts)[0]


class GeneratorGraph(nn.Module):
    """The generator over a hard graph of one image.

    Attributes:
        more_names: of its inputs after labels, triples and boxes: codes and noise, those it has.
    """

    def __init__(self, generator: Generator) -> None:
        super().__init__()
        self.generator = generator
        codes = {"appearance": generator.appearance_net, "background": generator.background_net}
        names = [name for name, network in codes.items() if network is not None]
        self.more_names = (*names, *noise_shapes(generator))
        classes = generator.obj_embeddings.num_embeddings - 1
        predicates = generator.pred_embeddings.num_embeddings
        self.register_buffer("one_hot_classes", torch.eye(classes))
        self.register_buffer("one_hot_predicates", torch.eye(predicates))

    def forward(self, labels: Tensor, triples: Tensor, boxes: Tensor, *more: Tensor) -> Tensor:
        """Labels `[N]`, triples `[M, 3]` and unit boxes `[N, 4]` to the picture `[1, 3, S, S]`."""
        named = dict(zip(self.more_names, more))
        graph = RelaxedGraph(
            self.get_buffer("one_hot_classes")[labels],
            self.get_buffer("one_hot_predicates")[triples[:, 1]],
            triples[:, ::2],
            boxes.new_ones(triples.shape[0]),
            boxes.new_ones(boxes.shape[0]),
            boxes,
            labels * 0,
            1,
            appearance=named.get("appearance"),
            background=named.get("background"),
        )
        both = GeneratorNoise(named.get("noise_input"), named.get("noise_layout"))
        image: Tensor = self.generator(graph, both).image
        return image


def noise_shapes(generator: Generator) -> dict[str, list[int]]:
    """The inputs of standard normal numbers that the generator has: name and shape."""
    noise = generator.noise(1)
    named = {"noise_input": noise.input, "noise_layout": noise.layout}
    return {name: list(value.shape) for name, value in named.items() if value is not None}
