r"""sg2im's graph convolution, with edge weights.

For every triple k = (s, p, o) with weight w_k one network maps the two nodes and the edge to
messages and the edge's new vector:

    [m_k^s; p'_k; m_k^o] = net1([v_s; p_k; v_o])           (H, D_out, H wide)
    u_i  = \sum_{k: s=i} w_k m_k^s + \sum_{k: o=i} w_k m_k^o
    W_i  = \sum_{k: s=i} w_k + \sum_{k: o=i} w_k
    v'_i = net2(u_i / max(W_i, 1))      `avg`
    v'_i = net2(u_i)                    `sum`

With unit weights max(W_i, 1) is sg2im's number of edges. It differs from that number in that an
edge of weight 0 is the same as no edge, and from a plain weighted mean in that an object's only
edge still loses influence as its weight falls.

Source: Johnson et al., Image Generation from Scene Graphs (CVPR 2018), section 3; google/sg2im
`graph.py`. The edge weights are ours.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from autoenc_sg.core.layers import mlp

Pooling = Literal["avg", "sum"]


class GraphTripleConv(nn.Module):
    """One layer of the formula above; ReLU after every linear layer, He initialization.

    Args:
        d_in: width of the object and predicate vectors.
        d_out: their width after the layer.
        hidden: H, the width of a message.
        pooling: `avg` or `sum` of the messages.
        batch_norm: between linear layers and ReLUs.

    Shapes: objects `[N, d_in]`, predicates `[M, d_in]`, pairs `[M, 2]`, weights `[M]` ->
    objects `[N, d_out]`, predicates `[M, d_out]`.
    """

    def __init__(
        self,
        d_in: int,
        d_out: int,
        hidden: int,
        pooling: Pooling = "avg",
        batch_norm: bool = False,
    ) -> None:
        super().__init__()
        self.widths = [hidden, d_out, hidden]
        self.pooling = pooling
        self.net1 = mlp([3 * d_in, hidden, 2 * hidden + d_out], 0.0, True, batch_norm)
        self.net2 = mlp([hidden, hidden, d_out], 0.0, True, batch_norm)
        for layer in (*self.net1, *self.net2):
            if isinstance(layer, nn.Linear):
                nn.init.kaiming_normal_(layer.weight)

    def forward(
        self, objects: Tensor, predicates: Tensor, pairs: Tensor, weights: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The new vectors of objects and predicates."""
        subject, object_ = pairs.unbind(1)
        triples = torch.cat([objects[subject], predicates, objects[object_]], 1)
        to_subject, predicates, to_object = self.net1(triples).split(self.widths, 1)
        pooled = _pool(to_subject, to_object, pairs, weights, len(objects))
        if self.pooling == "avg":
            ones = torch.ones_like(weights)[:, None]
            total = _pool(ones, ones, pairs, weights, len(objects))
            pooled = pooled / total.clamp(min=1)
        return self.net2(pooled), predicates


class GraphTripleConvNet(nn.Module):
    """A stack of `layers` graph convolutions of equal width; shapes as one layer's."""

    def __init__(
        self,
        dim: int,
        hidden: int,
        layers: int,
        pooling: Pooling = "avg",
        batch_norm: bool = False,
    ) -> None:
        super().__init__()
        self.gconvs = nn.ModuleList(
            GraphTripleConv(dim, dim, hidden, pooling, batch_norm) for _ in range(layers)
        )

    def forward(
        self, objects: Tensor, predicates: Tensor, pairs: Tensor, weights: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The vectors of objects and predicates after the last layer."""
        for gconv in self.gconvs:
            objects, predicates = gconv(objects, predicates, pairs, weights)
        return objects, predicates


def _pool(
    to_subject: Tensor, to_object: Tensor, pairs: Tensor, weights: Tensor, size: int
) -> Tensor:
    """Weighted messages `[M, H]` to both ends of each pair, summed by node: `[size, H]`."""
    subject_part = to_subject * weights[:, None]
    total = subject_part.new_zeros(size, subject_part.shape[1])
    total = total.index_add(0, pairs[:, 0], subject_part)
    return total.index_add(0, pairs[:, 1], to_object * weights[:, None])
