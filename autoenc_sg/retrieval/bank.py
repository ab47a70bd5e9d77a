"""A bank of patches, opened.

Classes, images and boxes of all patches are in memory; vectors and pixels stay in the files, which
are memory-mapped. A patch is known by its row, 0..n-1, in the order of the files.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from autoenc_sg.core.errors import InputError, bad_input
from autoenc_sg.core.vocabulary import Vocabulary
from autoenc_sg.retrieval.manifest import VectorKind, read_manifest
from autoenc_sg.retrieval.shard import Shard, shard_path


class PatchBank:
    """A whole bank.

    Attributes:
        folder: of the bank.
        manifest: of what it was made.
        labels: `[n]` int64, class of each patch; 0: a whole photo.
        image_ids: `[n]` int64, the photo it was cut from.
        boxes: `[n, 4]` float32, xyxy as fractions of that photo.
        image_sizes: `[n, 2]` int32, (height, width) of that photo in pixels.

    Args:
        folder: of the bank.
        vocabulary: which the bank must have; None: any.

    Raises:
        InputError: there is no bank, it is unfinished (perhaps another process builds it), of
            another vocabulary, or a file is missing, damaged or of another build.
    """

    def __init__(self, folder: Path, vocabulary: Vocabulary | None = None) -> None:
        self.folder = folder
        self.manifest = read_manifest(folder)
        if self.manifest.shards is None:
            got = "an unfinished one; autoenc-sg bank build goes on with it"
            raise bad_input(f"bank {folder}", "a finished bank", got)
        if vocabulary is not None and vocabulary != self.manifest.vocabulary:
            raise bad_input(f"bank {folder}", "a bank of this vocabulary", _other(self, vocabulary))
        self._shards = [self._open(number) for number in range(self.manifest.num_shards)]
        self._starts = np.cumsum([0, *(len(shard) for shard in self._shards)])
        self.labels: NDArray[np.int64] = self._whole_column("labels", np.int64, ())
        self.image_ids: NDArray[np.int64] = self._whole_column("image_ids", np.int64, ())
        self.boxes: NDArray[np.float32] = self._whole_column("boxes", np.float32, (4,))
        self.image_sizes: NDArray[np.int32] = self._whole_column("image_sizes", np.int32, (2,))

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def vocabulary(self) -> Vocabulary:
        """The names behind the classes."""
        return self.manifest.vocabulary

    @property
    def areas(self) -> NDArray[np.float32]:
        """Area of each patch as a fraction of its photo: `[n]`."""
        areas: NDArray[np.float32] = np.prod(self.boxes[:, 2:] - self.boxes[:, :2], axis=1)
        return areas

    def rows_of_class(self, label: int) -> NDArray[np.int64]:
        """The patches of a class, ascending; of class 0 the whole photos."""
        start, end = np.searchsorted(self._sorted_labels, [label, label + 1])
        return self._rows_by_label[start:end]

    def vectors(self, rows: NDArray[np.int64], kind: VectorKind = "features") -> Tensor:
        """Vectors of patches, in the order of `rows`: `[len(rows), D]`, float32.

        Raises:
            InputError: the bank has no graph vectors, or they are damaged.
        """
        source = self.manifest.source(kind)
        if source is None:
            raise bad_input(f"bank {self.folder}", "graph vectors (bank build --graph)", "none")
        values = np.empty((len(rows), source.width), np.float32)
        shard_of_row = np.searchsorted(self._starts, rows, "right") - 1
        for number in np.unique(shard_of_row):
            places = np.flatnonzero(shard_of_row == number)
            column = self._shards[number].column(kind)
            values[places] = column[rows[places] - self._starts[number]]
        return torch.from_numpy(values)

    def pixels(self, rows: Sequence[int]) -> list[Tensor]:
        """Crops `[3, S, S]` and whole photos `[3, K, K]`, uint8 RGB, in the order of `rows`.

        Raises:
            InputError: a row is not in the bank, or the pixels are damaged.
        """
        images = []
        for row in rows:
            if not 0 <= row < len(self):
                raise bad_input(f"bank {self.folder}", f"rows 0..{len(self) - 1}", row)
            number = int(np.searchsorted(self._starts, row, "right")) - 1
            images.append(
                torch.from_numpy(self._shards[number].pixels(row - int(self._starts[number])))
            )
        return images

    @cached_property
    def _rows_by_label(self) -> NDArray[np.int64]:
        return np.argsort(self.labels, kind="stable")

    @cached_property
    def _sorted_labels(self) -> NDArray[np.int64]:
        return self.labels[self._rows_by_label]

    def _open(self, number: int) -> Shard:
        shard = Shard(shard_path(self.folder, number))
        assert self.manifest.shards is not None
        entry = self.manifest.shards[number]
        if shard.file.checksum != entry.checksum or len(shard) != entry.patches:
            expected = f"the {entry.patches} patches of its manifest"
            got = "those of another build; run autoenc-sg bank build again"
            raise bad_input(shard.file.path, expected, got)
        self._check_widths(shard)
        return shard

    def _check_widths(self, shard: Shard) -> None:
        manifest = self.manifest
        for name, source in (("features", manifest.features), ("graph", manifest.graph)):
            width, expected = shard.shape(name)[1], 0 if source is None else source.width
            if width != expected:
                raise InputError(
                    f"{shard.file.path}: expected {name} of {expected} numbers (manifest), "
                    f"got {width}"
                )

    def _whole_column(
        self, name: str, dtype: type[np.generic], shape: tuple[int, ...]
    ) -> NDArray[Any]:
        parts = [shard.column(name) for shard in self._shards]
        return np.concatenate([np.zeros((0, *shape), dtype), *parts])


def _other(bank: PatchBank, vocabulary: Vocabulary) -> str:
    """The first name in which a bank's vocabulary differs."""
    for kind in ("objects", "predicates"):
        expected, got = getattr(vocabulary, kind), getattr(bank.vocabulary, kind)
        for number, (first, second) in enumerate(zip(expected, got)):
            if first != second:
                return f"{kind[:-1]} {number} {second!r} where {first!r} is expected"
        if len(expected) != len(got):
            return f"{len(got) - 1} {kind} where {len(expected) - 1} are expected"
    return "another one"
