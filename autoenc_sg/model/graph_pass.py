"""What one way from regions to a graph computes."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from autoenc_sg.core.graph_logits import GraphLogits
from autoenc_sg.core.structures import Regions


@dataclass(frozen=True, eq=False)
class GraphPass:
    """The graph of some regions; training needs the steps in between.

    Attributes:
        regions: the N regions.
        candidates: `[K, 2]` all ordered pairs, `relatedness_logits [K]` theirs.
        graph: the logits of the graph on the chosen pairs.
    """

    regions: Regions
    candidates: Tensor
    relatedness_logits: Tensor
    graph: GraphLogits
