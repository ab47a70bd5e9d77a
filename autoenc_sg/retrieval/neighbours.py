"""Nearest vectors by squared L2 distance: exact, or with the extra `bank` (faiss-cpu) approximate.

    d(q, x) = |q - x|^2

`ExactIndex` ranks by |x|^2 - 2 q.x, one matrix product for all queries, and computes the distances
of the first ones anew, since that form loses digits. `FaissIndex` is an inverted file: k-means
cells, of which a query looks into the nearest few.
"""

from __future__ import annotations

import logging
import math
from typing import Any, Protocol

import torch
from torch import Tensor

EXACT_LIMIT = 100_000  # vectors of a class
PROBES = 32  # cells that a query looks into
_BLOCK = 1 << 26  # distances in memory at once: 256 MiB
_SPARE = 8  # more candidates than asked for, whose distances are computed anew
_TRAINING = 64  # vectors a cell for k-means
_NONE = -1

_logger = logging.getLogger(__name__)


class Index(Protocol):
    """Finds the nearest of n vectors."""

    def search(self, queries: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """The nearest ones of each query, nearest first.

        Shapes: `[Q, D], K -> positions [Q, K] int64, squared distances [Q, K]`; where there are
        fewer, -1 and infinity.
        """


class ExactIndex:
    """Every vector is compared; equal distances are ordered by position.

    Which of more than K + 8 vectors at one distance are returned is not defined.

    Args:
        vectors: `[n, D]` float32.
    """

    def __init__(self, vectors: Tensor) -> None:
        self.vectors = vectors
        self._squares = vectors.square().sum(1)

    def search(self, queries: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """See `Index`."""
        return self.search_allowed(queries, count, None)

    def search_allowed(
        self, queries: Tensor, count: int, allowed: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """`search` among `allowed [Q, n]` bool alone; None: all."""
        step = max(1, _BLOCK // max(len(self.vectors), 1))
        parts = [
            self._block(
                queries[start : start + step],
                count,
                None if allowed is None else allowed[start : start + step],
            )
            for start in range(0, max(len(queries), 1), step)
        ]
        positions, distances = zip(*parts)
        return torch.cat(positions), torch.cat(distances)

    def _block(self, queries: Tensor, count: int, allowed: Tensor | None) -> tuple[Tensor, Tensor]:
        ranking = torch.addmm(self._squares, queries, self.vectors.T, alpha=-2)
        if allowed is not None:
            ranking = ranking.masked_fill(~allowed, torch.inf)
        available = min(count + _SPARE, len(self.vectors))
        values, positions = ranking.topk(available, largest=False, sorted=False)
        positions = positions.sort(1).values  # so that ties are by position
        values = ranking.gather(1, positions)
        distances = (self.vectors[positions] - queries[:, None]).square().sum(2)
        distances = distances.masked_fill(values == torch.inf, torch.inf)
        distances, order = distances.sort(dim=1, stable=True)
        positions = positions.gather(1, order).masked_fill(distances == torch.inf, _NONE)
        return _filled(positions, count, _NONE), _filled(distances, count, torch.inf)


class FaissIndex:
    """An inverted file of faiss: 4 sqrt(n) cells, of which a query looks into `PROBES`.

    Args:
        vectors: `[n, D]` float32.
        probes: cells that a query looks into; more of them find more of the true neighbours.
        faiss: the module.
    """

    def __init__(self, vectors: Tensor, faiss: Any, probes: int = PROBES) -> None:
        count, width = vectors.shape
        cells = max(1, min(round(4 * math.sqrt(count)), count // 4))
        self._index = faiss.IndexIVFFlat(faiss.IndexFlatL2(width), width, cells)
        self._index.cp.max_points_per_centroid = _TRAINING
        self._index.cp.niter = 10
        self._index.nprobe = min(probes, cells)
        data = vectors.contiguous().numpy()
        self._index.train(data)
        self._index.add(data)

    def search(self, queries: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """See `Index`; a true neighbour in another cell is missed."""
        distances, positions = self._index.search(queries.contiguous().numpy(), count)
        found = torch.from_numpy(positions)
        return found, torch.from_numpy(distances).masked_fill(found == _NONE, torch.inf)


def build_index(vectors: Tensor, exact_limit: int = EXACT_LIMIT) -> Index:
    """Exact up to `exact_limit` vectors, and beyond where faiss is not installed."""
    if len(vectors) > exact_limit:
        try:
            import faiss
        except ImportError:
            _logger.warning(
                "%d patches of a class are compared one by one: pip install 'autoenc-sg[bank]' "
                "(faiss-cpu) is faster",
                len(vectors),
            )
        else:
            return FaissIndex(vectors, faiss)
    return ExactIndex(vectors)


def _filled(values: Tensor, count: int, fill: float) -> Tensor:
    """The first `count` columns, and `fill` where there are fewer."""
    missing = max(count - values.shape[1], 0)
    return torch.nn.functional.pad(values[:, :count], (0, missing), value=fill)
