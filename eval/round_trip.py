"""Graph -> picture -> graph: is what was drawn still there?

The number that an autoencoder of graphs is judged by: the picture of a graph is parsed again, and
the graph that comes out is scored against the one that went in, as SGGen against an annotation.
Nothing but the picture passes between the two.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor

from autoenc_sg.core.boxes import ImageSize
from autoenc_sg.core.scene_graph import SceneGraph
from autoenc_sg.core.structures import GraphPrediction


def in_pixels_of(
    predictions: Sequence[GraphPrediction], graphs: Sequence[SceneGraph], size: ImageSize
) -> list[GraphPrediction]:
    """What was found in pictures of `size` (height, width), in pixels of the graphs' own images.

    To be counted by `TripletRecall` or `RecallSuite` with the graphs as the truth.
    """
    return [replace(p, boxes=_scaled(p, size, g.image_size)) for p, g in zip(predictions, graphs)]


def _scaled(prediction: GraphPrediction, size: ImageSize, wanted: ImageSize) -> Tensor:
    y, x = (new / old for new, old in zip(wanted, size))
    return prediction.boxes * prediction.boxes.new_tensor([x, y, x, y])
