"""The arithmetic of sg2im's preprocessing: from raw tables to padded ones, without loops.

Legend: `I` images of all splits, by place; `K` entries of a raw file; `U` kept objects.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from autoenc_sg.data.sg2im_vg.raw_json import Ints, NamedEntries

Flags = NDArray[np.bool_]
PaddedTable = NDArray[np.int32]


def commonest(entries: NamedEntries, counted: Flags, num_names: int, least: int) -> Ints:
    """Names of at least `least` (and 1) entries, commonest first, else in order of appearance.

    Args:
        entries: a name that an entry repeats counts once.
        counted: `[I]` which images count.
        num_names: ids are less than this.
        least: of a name.

    Returns:
        Name ids.
    """
    owners = entries.owners
    used = counted[entries.image][owners]
    names = entries.names[used]
    pairs = np.unique(owners[used] * max(num_names, 1) + names)
    counts = np.bincount(pairs % max(num_names, 1), minlength=num_names)
    distinct, first = np.unique(names, return_index=True)
    enough = counts[distinct] >= least
    distinct, first = distinct[enough], first[enough]
    return distinct[np.lexsort((first, -counts[distinct]))]


def by_appearance(names: Ints, num_names: int, least: int) -> Ints:
    """Names that come at least `least` times, in order of appearance."""
    counts = np.bincount(names, minlength=num_names)
    distinct, first = np.unique(names, return_index=True)
    enough = counts[distinct] >= least
    return distinct[enough][np.argsort(first[enough])]


def known_ids(chosen: Ints, num_names: int, first: int) -> Ints:
    """For each name its position among the chosen ones, from `first` on, or -1: `[num_names]`."""
    id_of_name = np.full(num_names, -1, dtype=np.int64)
    id_of_name[chosen] = np.arange(len(chosen)) + first
    return id_of_name


def first_known(entries: NamedEntries, id_of_name: Ints) -> Ints:
    """The id of each entry's first name that has one: `[K]`, or -1."""
    values = id_of_name[entries.names]
    places = np.flatnonzero(values >= 0)
    owners, first = np.unique(entries.owners[places], return_index=True)
    labels = np.full(len(entries.ids), -1, dtype=np.int64)
    labels[owners] = values[places[first]]
    return labels


def last_positions(keys: Ints, queries: Ints) -> Ints:
    """The last position of each query in `keys`, or -1."""
    if not len(keys):
        return np.full(queries.shape, -1, dtype=np.int64)
    order = np.argsort(keys, kind="stable")
    at = np.searchsorted(keys[order], queries, side="right") - 1
    is_present = (at >= 0) & (keys[order[at]] == queries)
    return np.where(is_present, order[at], -1)


@dataclass(frozen=True, eq=False)
class Members:
    """The kept objects of all images; an image's objects follow one another in the file's order.

    As in sg2im, kept objects are keyed by id over all images: of two entries with one id, class and
    box of the last kept one are those of both.

    Attributes:
        ids, labels: `[U]`; boxes: `[U, 4]`.
        image: `[M]` place, ascending.
        index: `[M]` row of `ids`.
        rank: `[M]` place in its image.
        counts: `[I]` objects of each image.
    """

    ids: Ints
    labels: Ints
    boxes: Ints
    image: Ints
    index: Ints
    rank: Ints
    counts: Ints

    @classmethod
    def of(cls, objects: NamedEntries, labels: Ints, least: int, num_images: int) -> Members:
        """Those with a label >= 0 and at least `least` pixels of width and height."""
        kept_entries = np.flatnonzero((labels >= 0) & (objects.boxes[:, 2:] >= least).all(1))
        ids = np.unique(objects.ids[kept_entries])
        sources = kept_entries[last_positions(objects.ids[kept_entries], ids)]
        index = last_positions(ids, objects.ids)
        order = np.flatnonzero(index >= 0)
        order = order[np.argsort(objects.image[order], kind="stable")]
        image = objects.image[order]
        counts = np.bincount(image, minlength=num_images)
        rank = np.arange(len(order)) - (counts.cumsum() - counts)[image]
        boxes = objects.boxes[sources]
        return cls(ids, labels[sources], boxes, image, index[order], rank, counts)

    def index_of(self, object_ids: Ints) -> Ints:
        """Rows of `ids`, or -1, of any shape."""
        return last_positions(self.ids, object_ids)

    def rank_of(self, image: Ints, index: Ints) -> Ints:
        """The place in its image (the last, if there are two) of each object, or -1."""
        row = last_positions(self.image * len(self.ids) + self.index, image * len(self.ids) + index)
        return np.where((row >= 0) & (index >= 0), np.append(self.rank, -1)[row], -1)


@dataclass(frozen=True, eq=False)
class Relations:
    """R relationships between kept objects of one image, by image in the file's order.

    Attributes:
        image: `[R]` place, ascending.
        values: `[R, 4]` relationship id, subject's rank, predicate, object's rank.
        counts: `[I]` of each image.
    """

    image: Ints
    values: Ints
    counts: Ints

    @classmethod
    def of(cls, image: Ints, values: Ints, num_images: int) -> Relations:
        """Those whose ranks and predicate are all >= 0."""
        kept_rows = np.flatnonzero((values[:, 1:] >= 0).all(1))
        kept_rows = kept_rows[np.argsort(image[kept_rows], kind="stable")]
        return cls(
            image[kept_rows], values[kept_rows], np.bincount(image[kept_rows], minlength=num_images)
        )


def object_tables(members: Members, images: Ints, width: int) -> dict[str, PaddedTable]:
    """The object tables of some images (places, ascending)."""
    rows, in_images = _rows(members.image, images, len(members.counts))
    counts, index = members.counts[images], members.index[in_images]
    return {
        "objects_per_image": counts.astype(np.int32),
        "object_ids": _padded(members.ids[index], rows, counts, width),
        "object_names": _padded(members.labels[index], rows, counts, width),
        "object_boxes": _padded(members.boxes[index], rows, counts, width),
    }


def relation_tables(relations: Relations, images: Ints, width: int) -> dict[str, PaddedTable]:
    """The relationship tables of some images (places, ascending)."""
    rows, in_images = _rows(relations.image, images, len(relations.counts))
    counts = relations.counts[images]
    names = ("ids", "subjects", "predicates", "objects")
    return {
        "relationships_per_image": counts.astype(np.int32),
        **{
            f"relationship_{name}": _padded(
                relations.values[in_images, column], rows, counts, width
            )
            for column, name in enumerate(names)
        },
    }


def attribute_tables(
    members: Members,
    attributes: NamedEntries,
    id_of_name: Ints,
    images: Ints,
    widths: tuple[int, int],
) -> dict[str, PaddedTable]:
    """The attribute tables of the objects of some images (places, ascending).

    Args:
        members: the objects.
        attributes: of two entries for an object of an image the last counts.
        id_of_name: ids of the attributes' names, or -1.
        images: places.
        widths: columns for objects, and for the attributes of an object.
    """
    rows, in_images = _rows(members.image, images, len(members.counts))
    base = len(members.ids)
    keys = attributes.image * base + members.index_of(attributes.ids)
    keys[members.index_of(attributes.ids) < 0] = -1
    entry = last_positions(keys, members.image[in_images] * base + members.index[in_images])
    values = id_of_name[attributes.names]
    owners, values = attributes.owners[values >= 0], values[values >= 0]
    per_entry = np.bincount(owners, minlength=len(attributes.ids) + 1)  # the last one is for -1
    starts = per_entry.cumsum() - per_entry
    counts = np.minimum(per_entry[entry], widths[1])
    flat = np.repeat(np.arange(len(in_images)), counts)
    columns = np.arange(len(flat)) - (counts.cumsum() - counts)[flat]
    table = np.full((len(in_images), widths[1]), -1, dtype=np.int32)
    table[flat, columns] = values[starts[entry][flat] + columns]
    per_object = _padded(counts, rows, members.counts[images], widths[0])
    return {"attributes_per_object": per_object, "object_attributes": table}


def _rows(image: Ints, images: Ints, num_images: int) -> tuple[Ints, Ints]:
    """Which values are of the chosen images: each one's row among the images, and its own place."""
    row_of = np.full(num_images, -1, dtype=np.int64)
    row_of[images] = np.arange(len(images))
    in_images = np.flatnonzero(row_of[image] >= 0)
    return row_of[image[in_images]], in_images


def _padded(values: Ints, rows: Ints, counts: Ints, width: int) -> PaddedTable:
    """Values `[K, ...]` in their rows `[K]`, which ascend, from the left; then -1.

    Args:
        values: what to place.
        rows: the row of each.
        counts: `[N]` values of each row, at most `width`.
        width: columns.

    Returns:
        `[N, width, ...]`.
    """
    table = np.full((len(counts), width, *values.shape[1:]), -1, dtype=np.int32)
    table[rows, np.arange(len(rows)) - (counts.cumsum() - counts)[rows]] = values
    return table
