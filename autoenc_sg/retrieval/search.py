"""The nearest patches of a class, never one of the image that is drawn.

For each query, a class, a vector and the id of the image it belongs to, the K nearest patches of
that class by L2, those of that image left out. An index that knows nothing of images is asked for
as many more as any image has patches of the class; what an approximate one still misses is looked
for exactly. So an answer does not depend on the other queries. A class without a patch of another
image is replaced by the nearest one by name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from autoenc_sg.core.errors import bad_input, require
from autoenc_sg.retrieval.bank import PatchBank
from autoenc_sg.retrieval.class_names import NearestNames
from autoenc_sg.retrieval.manifest import VectorKind
from autoenc_sg.retrieval.neighbours import EXACT_LIMIT, ExactIndex, Index, build_index

NO_PATCH = -1


@dataclass(frozen=True, eq=False)
class Candidates:
    """The nearest patches of Q queries.

    Attributes:
        rows: `[Q, K]` int64 in the bank, nearest first; `NO_PATCH` where there are fewer.
        distances: `[Q, K]` squared L2; infinity where there are fewer.
        labels: `[Q]` int64, the class they are of: the query's, or that which stands in for it;
            `NO_PATCH`: there is none.
    """

    rows: Tensor
    distances: Tensor
    labels: Tensor

    def replacements(self, queried: Tensor) -> dict[int, int]:
        """Class that was asked for -> class that stands in for it, or `NO_PATCH`."""
        differs = self.labels != queried
        return dict(zip(queried[differs].tolist(), self.labels[differs].tolist()))


@dataclass(frozen=True, eq=False)
class ImageCounts:
    """How many patches of a class each image has.

    Attributes:
        ids: of the images, ascending.
        counts: patches of each.
    """

    ids: NDArray[np.int64]
    counts: NDArray[np.int64]

    @classmethod
    def of_patches(cls, image_ids: NDArray[np.int64]) -> ImageCounts:
        """Counted from the image of each patch `[n]`."""
        ids, counts = np.unique(image_ids, return_counts=True)
        return cls(ids, counts.astype(np.int64))

    @property
    def total(self) -> int:
        """Patches of the class."""
        return int(self.counts.sum())

    def of(self, image_ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """The patches of these images `[Q]`; 0 for an image without."""
        if len(self.ids) == 0:
            return np.zeros(len(image_ids), np.int64)
        places = np.searchsorted(self.ids, image_ids).clip(max=len(self.ids) - 1)
        return np.where(self.ids[places] == image_ids, self.counts[places], 0)


@dataclass(frozen=True, eq=False)
class ClassPatches:
    """The patches of one class.

    Attributes:
        rows: `[n]` in the bank.
        image_ids: `[n]`, the photo each is from.
        counts: of the photos.
        vectors: `[n, D]`.
        index: of the vectors.
    """

    rows: NDArray[np.int64]
    image_ids: NDArray[np.int64]
    counts: ImageCounts
    vectors: Tensor
    index: Index


class PatchSearch:
    """Searches a bank; the vectors of a class are read, and indexed, when it is first asked for.

    Args:
        bank: what is searched.
        kind: by which vectors.
        names: of the classes that stand in for one without a patch; None: nothing does.
        exact_limit: patches of a class up to which every one is compared.

    Raises:
        InputError: the bank has no vectors of this kind.
    """

    def __init__(
        self,
        bank: PatchBank,
        kind: VectorKind = "features",
        names: NearestNames | None = None,
        exact_limit: int = EXACT_LIMIT,
    ) -> None:
        source = bank.manifest.source(kind)
        if source is None:
            raise bad_input(f"bank {bank.folder}", "graph vectors (bank build --graph)", "none")
        self._width = source.width
        self.bank = bank
        self.kind: VectorKind = kind
        self.names = names
        self.exact_limit = exact_limit
        self._classes: dict[int, ClassPatches] = {}
        self._image_counts: dict[int, ImageCounts] = {}

    def nearest(
        self, labels: Tensor, vectors: Tensor, image_ids: Sequence[int | None], count: int
    ) -> Candidates:
        """The `count` nearest patches of each of Q queries.

        Args:
            labels: `[Q]` int64 classes; 0: whole photos.
            vectors: `[Q, D]` of the kind of this search.
            image_ids: Q ids of the images that are drawn; None: of no image of the bank.
            count: K, 1 or more.

        Raises:
            InputError: vectors of another width or not finite, or a class that the bank does not
                know.
        """
        self._check(labels, vectors, image_ids, count)
        used = self.used_labels(labels, image_ids)
        rows = torch.full((len(labels), count), NO_PATCH)
        distances = torch.full((len(labels), count), torch.inf)
        for label in used.unique().tolist():
            if label == NO_PATCH:
                continue
            queries = (used == label).nonzero()[:, 0]
            own = [image_ids[query] for query in queries.tolist()]
            patches = self._class(label)
            positions, found = without_own(patches, vectors[queries].float().cpu(), own, count)
            in_bank = torch.from_numpy(patches.rows)[positions.clamp(min=0)]
            rows[queries] = in_bank.masked_fill(positions == NO_PATCH, NO_PATCH)
            distances[queries] = found
        return Candidates(rows, distances, used)

    def used_labels(self, labels: Tensor, image_ids: Sequence[int | None]) -> Tensor:
        """The class whose patches each query gets: `[Q]`; see `Candidates.labels`."""
        used = [self._stand_in(*query) for query in zip(labels.tolist(), image_ids)]
        return torch.tensor(used, dtype=torch.int64)

    def allowed_rows(self, label: int, image_id: int | None) -> NDArray[np.int64]:
        """The patches of a class that are not of an image."""
        rows = self.bank.rows_of_class(label)
        return rows if image_id is None else rows[self.bank.image_ids[rows] != image_id]

    def _stand_in(self, label: int, image_id: int | None) -> int:
        if self._has_patch(label, image_id):
            return label
        others = [] if self.names is None or label == 0 else self.names.order(label)
        usable = (other for other in others if self._has_patch(other, image_id))
        return next(usable, NO_PATCH)

    def _has_patch(self, label: int, image_id: int | None) -> bool:
        """Whether a class has a patch of another image."""
        counts = self._counts(label)
        own = 0 if image_id is None else int(counts.of(np.array([image_id], np.int64))[0])
        return counts.total > own

    def _counts(self, label: int) -> ImageCounts:
        if label not in self._image_counts:
            ids = self.bank.image_ids[self.bank.rows_of_class(label)]
            self._image_counts[label] = ImageCounts.of_patches(ids)
        return self._image_counts[label]

    def _class(self, label: int) -> ClassPatches:
        if label not in self._classes:
            rows = self.bank.rows_of_class(label)
            vectors = self.bank.vectors(rows, self.kind)
            index = build_index(vectors, self.exact_limit)
            ids, counts = self.bank.image_ids[rows], self._counts(label)
            self._classes[label] = ClassPatches(rows, ids, counts, vectors, index)
        return self._classes[label]

    def _check(
        self, labels: Tensor, vectors: Tensor, image_ids: Sequence[int | None], count: int
    ) -> None:
        require(count >= 1, "patches to find", "1 or more", count)
        expected, got = [len(labels), self._width], list(vectors.shape)
        if got != expected or len(image_ids) != len(labels):
            rule = f"vectors of shape {expected} and as many image ids"
            what = f"queries of bank {self.bank.folder}"
            raise bad_input(what, rule, f"{got} and {len(image_ids)}")
        if not bool(vectors.isfinite().all()):
            raise bad_input("vectors of a query", "finite numbers", "others")
        classes = self.bank.vocabulary.num_objects
        if len(labels) and not (int(labels.min()) >= 0 and int(labels.max()) < classes):
            raise bad_input("class of a query", f"0..{classes - 1}", int(labels.max()))


def without_own(
    patches: ClassPatches, queries: Tensor, own: Sequence[int | None], count: int
) -> tuple[Tensor, Tensor]:
    """The nearest positions in a class, `own` images left out; see `neighbours.Index`."""
    excluded, has_image = _as_arrays(own)
    own_counts = patches.counts.of(excluded) * has_image
    most = int(patches.counts.counts.max())  # not of this batch, which no answer depends on
    fetched = min(count + most, len(patches.rows))
    positions, distances = patches.index.search(queries, fetched)
    ids = patches.image_ids[positions.clamp(min=0).numpy()]
    is_own = torch.from_numpy((ids == excluded[:, None]) & has_image[:, None])
    allowed = (positions != NO_PATCH) & ~is_own
    order = (~allowed).int().argsort(dim=1, stable=True)[:, :count]
    positions = positions.masked_fill(~allowed, NO_PATCH).gather(1, order)
    distances = distances.masked_fill(~allowed, torch.inf).gather(1, order)
    missing = (0, count - positions.shape[1])
    positions = torch.nn.functional.pad(positions, missing, value=NO_PATCH)
    distances = torch.nn.functional.pad(distances, missing, value=torch.inf)
    expected = np.minimum(count, len(patches.rows) - own_counts)
    short = torch.from_numpy((positions != NO_PATCH).sum(1).numpy() < expected).nonzero()[:, 0]
    if len(short):  # an approximate index did not find enough
        numbers = short.numpy()
        others = patches.image_ids[None] != excluded[numbers, None]
        mask = torch.from_numpy(others | ~has_image[numbers, None])
        exact = ExactIndex(patches.vectors).search_allowed(queries[short], count, mask)
        positions[short], distances[short] = exact
    return positions, distances


def _as_arrays(own: Sequence[int | None]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The image of each query, 0 without; and whether it has one."""
    has_image = np.array([image_id is not None for image_id in own])
    return np.array([image_id or 0 for image_id in own], np.int64), has_image
