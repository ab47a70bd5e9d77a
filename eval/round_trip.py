"""Round trip graph -> image -> graph.

The image drawn from a graph is parsed, and the parsed graph is scored against the original one as
SGGen predictions are against annotations. No information but the image's pixels is passed on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor

from autoenc_sg.core.boxes import ImageSize, rescale_boxes
from autoenc_sg.core.scene_graph import SceneGraph
from autoenc_sg.core.structures import GraphPrediction


def rescale_predictions(
    predictions: Sequence[GraphPrediction], graphs: Sequence[SceneGraph], size: ImageSize
) -> list[GraphPrediction]:
    """Predictions on images of `size` (height, width), with boxes in pixels of the graphs' images.

    They can then be counted by `TripletRecall` or `RecallSuite` with the graphs as the truth.
    """
    return [replace(p, boxes=_rescaled(p, size, g.image_size)) for p, g in zip(predictions, graphs)]


def _rescaled(prediction: GraphPrediction, size: ImageSize, new_size: ImageSize) -> Tensor:
    image_index = prediction.labels.new_zeros(len(prediction.boxes))
    return rescale_boxes(prediction.boxes, [size], [new_size], image_index)
