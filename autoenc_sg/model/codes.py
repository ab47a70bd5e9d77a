"""Appearance codes of graphs: of their objects, and of what lies outside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from autoenc_sg.core.graph_logits import GraphLogits
from autoenc_sg.core.scene_graph_batch import SceneGraphBatch
from autoenc_sg.detector import FeatureMaps
from autoenc_sg.model.modes import eval_mode

if TYPE_CHECKING:
    from autoenc_sg.model.autoencoder import AutoEncoder


def encode_appearance(
    model: AutoEncoder, images: Sequence[Tensor], graphs: SceneGraphBatch
) -> SceneGraphBatch:
    """The graphs of these images with codes of their objects and of what lies outside them.

    The detector, as it is, in evaluation mode, gives the maps; gradient reaches the encoders of
    appearance alone. Unchanged by a model without codes.
    """
    if model.appearance is None:
        return graphs
    boxes, index = graphs.boxes.to(model.device), graphs.image_index.to(model.device)
    with eval_mode(model.detector), torch.no_grad():
        maps = model.detector.encode([image.to(model.device) for image in images])
        region_maps = model.detector.region_maps(model.detector.describe(maps, boxes, index))
    codes = model.appearance(region_maps).to(graphs.boxes.device)
    if model.background is None:
        return replace(graphs, appearance=codes)
    background = model.background(maps, boxes, index).to(graphs.boxes.device)
    return replace(graphs, appearance=codes, background=background)


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
