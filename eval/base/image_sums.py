"""Metrics that are functions of sums over images; resampling needs the addends of each image."""

from __future__ import annotations

import math
import warnings
from abc import abstractmethod
from collections.abc import Mapping, Sequence

import torch
import torchmetrics
from torch import Tensor, distributed

from autoenc_sg.eval.base.compute_groups import prevent_compute_groups


class ImageSumMetric(torchmetrics.Metric):
    """A metric whose value depends on the images only through sums over them.

    A subclass names the sums and their shapes, adds the addends of each image in `update` by
    `add_images`, and computes its figures from the sums in `figures`. With `keep_images` the
    addends that are not 0 are kept, so that `weighted_sums` can sum over any choice of the images.

    Args:
        shapes: of the sums, by name.
        keep_images: keep the addends of each image; about 1 KB an image for `TripletRecall`.
        sync_on_compute: gather the states of all processes; False if only one process computes.
    """

    full_state_update = False
    higher_is_better = True
    is_differentiable = False

    kept_batches: list[Tensor]  # [[images, values, process]] of each batch
    kept_cells: list[Tensor]  # [[image of the batch, column]] of each value
    kept_values: list[Tensor]

    def __init__(
        self,
        shapes: Mapping[str, Sequence[int]],
        keep_images: bool = False,
        sync_on_compute: bool = True,
    ) -> None:
        super().__init__(sync_on_compute=sync_on_compute)
        self.shapes = {name: tuple(shape) for name, shape in shapes.items()}
        self.keep_images = keep_images
        for name, shape in self.shapes.items():
            self.add_state(name, torch.zeros(shape, dtype=torch.float64), dist_reduce_fx="sum")
        if keep_images:
            for name in ("kept_batches", "kept_cells", "kept_values"):
                self.add_state(name, [], dist_reduce_fx="cat")
        prevent_compute_groups(self)

    @abstractmethod
    def figures(self, sums: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The figures by name, from sums of shapes `[..., *shape]`: `[...]`, lists `[..., P]`."""

    def compute(self) -> dict[str, Tensor]:
        """The figures of all images."""
        return self.figures({name: getattr(self, name) for name in self.shapes})

    def add_images(self, addends: Mapping[str, Tensor]) -> None:
        """Add the addends of some images, `[B, *shape]` by name; those not named are 0."""
        for name, values in addends.items():
            sums = getattr(self, name)
            setattr(self, name, sums + values.sum(0).to(sums))
        if self.keep_images:
            self._keep(addends)

    def weighted_sums(self, addends: Tensor, weights: Tensor) -> dict[str, Tensor]:
        """The sums over weighted images, for `figures`.

        Args:
            addends: `[F, N]`, from `image_addends`.
            weights: `[R, N]`, how often each of R samples has each image.

        Returns:
            `[R, *shape]` by name.
        """
        flat = (addends @ weights.to(addends.dtype).T).T
        parts = flat.split([math.prod(shape) for shape in self.shapes.values()], 1)
        return {
            name: part.reshape(len(flat), *shape)
            for (name, shape), part in zip(self.shapes.items(), parts)
        }

    def image_addends(self) -> Tensor:
        """The addends `[F, N]` of the N images, a sparse matrix; F: all sums one after another.

        Images are numbered as they were given to `update`; those of several processes, which take
        the images in turn, as one process would see them. Needs `keep_images`.
        """
        with self.sync_context(should_sync=self.sync_on_compute):
            batches = _joined(self.kept_batches, torch.zeros(0, 3, dtype=torch.int64))
            cells = _joined(self.kept_cells, torch.zeros(0, 2, dtype=torch.int64))
            values = _joined(self.kept_values, torch.zeros(0, dtype=torch.float64))
        images = cells[:, 0] + _first_images(batches).repeat_interleave(batches[:, 1])
        ranks = batches[:, 2].repeat_interleave(batches[:, 1])
        images = images * (int(batches[:, 2].max()) + 1 if len(batches) else 1) + ranks
        shape = (self._width(), int(batches[:, 0].sum()))
        indices = torch.stack([cells[:, 1], images])
        return by_rows(torch.sparse_coo_tensor(indices, values, shape, check_invariants=True))

    def _width(self) -> int:
        return sum(math.prod(shape) for shape in self.shapes.values())

    def _keep(self, addends: Mapping[str, Tensor]) -> None:
        count = len(next(iter(addends.values())))
        parts = [
            addends[name].reshape(count, -1).double().cpu()
            if name in addends
            else torch.zeros(count, math.prod(shape), dtype=torch.float64)
            for name, shape in self.shapes.items()
        ]
        flat = torch.cat(parts, 1)
        cells = flat.nonzero()
        self.kept_cells.append(cells)
        self.kept_values.append(flat[cells[:, 0], cells[:, 1]])
        self.kept_batches.append(torch.tensor([[count, len(cells), _rank()]]))


def by_rows(matrix: Tensor) -> Tensor:
    """A sparse matrix in the order of its rows (CSR), whose products are 3 times as fast."""
    with warnings.catch_warnings():  # PyTorch calls them beta
        warnings.filterwarnings("ignore", "Sparse CSR tensor support", UserWarning)
        return matrix.coalesce().to_sparse_csr()


def _first_images(batches: Tensor) -> Tensor:
    """The number of each batch's first image among its process's: `[batches, 3] -> [batches]`."""
    before = torch.zeros(len(batches), dtype=torch.int64)
    for rank in batches[:, 2].unique():
        rows = batches[:, 2] == rank
        before[rows] = batches[rows, 0].cumsum(0) - batches[rows, 0]
    return before


def _rank() -> int:
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank()
    return 0


def _joined(state: list[Tensor] | Tensor, empty: Tensor) -> Tensor:
    """A list state in one tensor, which it is after the processes were gathered."""
    return torch.cat([empty, *([state] if isinstance(state, Tensor) else state)])
