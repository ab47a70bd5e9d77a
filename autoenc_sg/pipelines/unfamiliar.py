"""The hint that photos are of a kind that the weights do not know."""

from __future__ import annotations

from autoenc_sg.core.scene_graph import SceneGraph
from autoenc_sg.model.autoencoder import AutoEncoder
from autoenc_sg.model.familiarity import is_unfamiliar, weights_for_photographs
from autoenc_sg.pipelines.options import ParseOptions


def looks_unfamiliar(model: AutoEncoder, graph: SceneGraph, options: ParseOptions) -> bool:
    """Whether the scores of a parsed photo are below the limit of the model's `about`.

    False where the graph does not hold all objects that were judged: given boxes, or a threshold
    above the configuration's.
    """
    threshold, default = options.object_threshold, model.config.decode.object_threshold
    comparable = options.boxes is None and (threshold is None or threshold <= default)
    return comparable and is_unfamiliar(model, graph)


def better_weights(model: AutoEncoder) -> str:
    """The end of the hint, or nothing if no other weights know photographs."""
    names = weights_for_photographs(model)
    return f"weights that know photographs: {', '.join(names)}" if names else ""
