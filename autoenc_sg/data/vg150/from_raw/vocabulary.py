"""All images of Visual Genome together: the vocabulary, an id for each object, and rows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from autoenc_sg.data.vg150.from_raw.names import read_names
from autoenc_sg.data.vg150.from_raw.per_image import CompactImage

Array = NDArray[Any]


class ChosenNames(NamedTuple):
    """The names of a vocabulary.

    Attributes:
        rows: `[V]` their ids in the name table, in the order of the vocabulary.
        ids: the vocabulary id, from 1, of each name of the table; 0: not chosen.
    """

    rows: Array
    ids: Array


class MergedAnnotations(NamedTuple):
    """All images' objects and relationships, N objects and R relationships.

    Attributes:
        boxes: `[N, 4]` x, y, w, h.
        image_of_box: `[N]`.
        names, name_counts: as in `CompactImage`.
        relations: `[R, 3]` subject row, predicate name, object row; rows of all images.
        image_of_relation: `[R]`.
    """

    boxes: Array
    image_of_box: Array
    names: Array
    name_counts: Array
    relations: Array
    image_of_relation: Array


def concatenated(images: Sequence[CompactImage]) -> MergedAnnotations:
    """The images, one after the other."""
    parts = [CompactImage.empty(), *images]
    boxes, names, name_counts, relations = (
        np.concatenate([getattr(part, name) for part in parts])
        for name in ("boxes", "names", "name_counts", "relations")
    )
    per_image = np.array([len(image.boxes) for image in images], np.int64)
    relations_per_image = np.array([len(image.relations) for image in images], np.int64)
    numbers = np.arange(len(images))
    image_of_relation = np.repeat(numbers, relations_per_image)
    first = (per_image.cumsum() - per_image)[image_of_relation]
    relations[:, [0, 2]] += first.astype(np.int32)[:, None]
    return MergedAnnotations(
        boxes, np.repeat(numbers, per_image), names, name_counts, relations, image_of_relation
    )


def choose_names(names: Sequence[str], counts: Array, most: int, only: Path | None) -> ChosenNames:
    """The `most` commonest names (0: all), in alphabetical order; of equal counts the first ones.

    Args:
        names: the table; entry 0 is not a name.
        counts: of each entry.
        most: how many.
        only: a file of the names to choose from, or None.
    """
    allowed = None if only is None else set(read_names(only))
    candidates = [
        i
        for i, name in enumerate(names)
        if i and counts[i] > 0 and (allowed is None or name in allowed)
    ]
    candidates.sort(key=lambda i: (-counts[i], names[i]))
    chosen = sorted(candidates[: most or None], key=lambda i: names[i])
    ids = np.zeros(len(names), np.int64)
    ids[chosen] = np.arange(1, len(chosen) + 1)
    return ChosenNames(np.array(chosen, dtype=np.int64), ids)


def commonest_of_each(names: Array, name_counts: Array, ids: Array, counts: Array) -> Array:
    """The vocabulary id of each object's commonest name, the first in the alphabet where two are.

    Args:
        names: name ids of all objects, flat.
        name_counts: `[N]`, each at least 1.
        ids: vocabulary id of each name, 0 for none.
        counts: of each name.

    Returns:
        `[N]`; 0 where no name is in the vocabulary.
    """
    if not len(name_counts):
        return np.zeros(0, np.int64)
    size = int(ids.max(initial=0)) + 1
    rank = np.where(ids > 0, counts * size + (size - ids), 0)[names]
    best = np.maximum.reduceat(rank, name_counts.cumsum() - name_counts)
    return np.where(best > 0, size - best % size, 0)
