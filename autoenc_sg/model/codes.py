"""Appearance codes of graphs: of their objects, and of what lies outside them."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from autoenc_sg.core.graph_logits import GraphLogits
from autoenc_sg.core.scene_graph import SceneGraph
from autoenc_sg.core.scene_graph_batch import SceneGraphBatch
from autoenc_sg.detector import FeatureMaps
from autoenc_sg.model.appearance import region_looks
from autoenc_sg.model.background import seen_outside
from autoenc_sg.model.modes import eval_mode

if TYPE_CHECKING:
    from autoenc_sg.model.autoencoder import AutoEncoder


@dataclass(frozen=True, eq=False)
class Seen:
    """What a detector sees of the objects of B images and outside of them; no gradient.

    Attributes:
        looks: of the objects, `[N, width]`, see `appearance.region_looks`.
        outside: `[B, G G, width]` and `[B, G G]`, see `background.seen_outside`; None without a
            background encoder.
    """

    looks: Tensor
    outside: tuple[Tensor, Tensor] | None


def see(model: AutoEncoder, images: Sequence[Tensor], graphs: SceneGraphBatch) -> Seen:
    """What the detector, as it is, in evaluation mode, sees of these images' graphs."""
    boxes, index = graphs.boxes.to(model.device), graphs.image_index.to(model.device)
    with eval_mode(model.detector), torch.no_grad():
        maps = model.detector.encode([image.to(model.device) for image in images])
        regions = model.detector.describe(maps, boxes, index)
        region_maps = model.detector.region_maps(regions)
        outside = None
        if model.background is not None:
            cells, with_colors = model.background.cells, model.background.with_colors
            outside = seen_outside(maps, boxes, index, cells, with_colors)
        color_cells = model.appearance.color_cells if model.appearance is not None else 0
        return Seen(region_looks(region_maps, regions, color_cells), outside)


def encode_appearance(
    model: AutoEncoder,
    images: Sequence[Tensor],
    graphs: SceneGraphBatch,
    memory: SeenMemory | None = None,
) -> SceneGraphBatch:
    """The graphs of these images with codes of their objects and of what lies outside them.

    Gradient reaches the encoders of appearance alone. Unchanged by a model without codes.

    Args:
        model: its detector sees the images.
        images: of the graphs.
        graphs: with boxes in pixels of the images.
        memory: remembers what the detector has seen, which must not change then.
    """
    if model.appearance is None:
        return graphs
    seen = see(model, images, graphs) if memory is None else memory.see(model, images, graphs)
    codes = model.appearance.codes(seen.looks).to(graphs.boxes.device)
    if model.background is None or seen.outside is None:
        return replace(graphs, appearance=codes)
    background = model.background.codes_of(*seen.outside).to(graphs.boxes.device)
    return replace(graphs, appearance=codes, background=background)


class SeenMemory:
    """Remembers what a detector that does not change has seen of an image with its boxes.

    Each image is seen alone, so that what is remembered does not depend on the other images of its
    batch, nor a resumed run's codes on what was remembered before. The key is a digest of pixels
    and boxes; what was used longest ago is forgotten first.

    Args:
        megabytes: of all that is remembered (2^20 bytes each).
    """

    def __init__(self, megabytes: int) -> None:
        self.capacity = megabytes * 2**20
        self.size = 0
        self._entries: OrderedDict[bytes, Seen] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def see(self, model: AutoEncoder, images: Sequence[Tensor], graphs: SceneGraphBatch) -> Seen:
        """As the function `see`, of each image alone."""
        parts = [self._see(model, image, g) for image, g in zip(images, graphs.split())]
        looks = torch.cat([part.looks for part in parts])
        outside = [part.outside for part in parts if part.outside is not None]
        if not outside:
            return Seen(looks, None)
        means, counts = zip(*outside)
        return Seen(looks, (torch.cat(means), torch.cat(counts)))

    def _see(self, model: AutoEncoder, image: Tensor, graph: SceneGraph) -> Seen:
        key = image_digest(image, graph.boxes)
        if key in self._entries:
            self._entries.move_to_end(key)
            return self._entries[key]
        seen = see(model, [image], SceneGraphBatch.collate([graph]))
        self._entries[key] = seen
        self.size += _num_bytes(seen)
        while self.size > self.capacity and len(self._entries) > 1:
            self.size -= _num_bytes(self._entries.popitem(last=False)[1])
        return seen


def image_digest(image: Tensor, boxes: Tensor) -> bytes:
    """BLAKE2b (16 bytes) of an image's pixels and of its boxes."""
    digest = hashlib.blake2b(repr(tuple(image.shape)).encode(), digest_size=16)
    for tensor in (image, boxes):
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.digest()


def _num_bytes(seen: Seen) -> int:
    tensors = [seen.looks, *(seen.outside or ())]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def with_background(
    model: AutoEncoder, graph: GraphLogits, maps: FeatureMaps, object_threshold: float | None = None
) -> GraphLogits:
    """The graph with codes of what lies outside its objects; unchanged by a model without.

    Its objects are those that `decode(object_threshold)` keeps; by default `config.decode`'s.
    """
    if model.background is None:
        return graph
    if object_threshold is None:
        object_threshold = model.config.decode.object_threshold
    objects, _ = graph.selection(object_threshold, 1.0)
    codes = model.background(maps, graph.boxes[objects], graph.image_index[objects])
    return replace(graph, background=codes)
