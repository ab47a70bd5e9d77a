"""One image of Visual Genome: its raw annotations to small arrays, boxes merged, names as ids."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoenc_sg.core.errors import bad_input
from autoenc_sg.data.base.json_files import MALFORMED_ERRORS, malformed
from autoenc_sg.data.vg150.from_raw.merge_boxes import merge_boxes
from autoenc_sg.data.vg150.from_raw.names import NameTable
from autoenc_sg.data.vg150.from_raw.raw_json import RawImage

Array = NDArray[Any]

_FARTHEST = 1 << 24  # pixels


@dataclass(frozen=True, eq=False)
class CompactImage:
    """An image after merging, K objects and R relationships.

    Attributes:
        boxes: `[K, 4]` int32 x, y, w, h in pixels, x and y from 1 as annotated.
        names: ids of the names of all objects, flat; each object has at least one.
        name_counts: `[K]` how many of them.
        relations: `[R, 3]` int32 subject row, predicate name, object row.
    """

    boxes: Array
    names: Array
    name_counts: Array
    relations: Array

    @classmethod
    def empty(cls) -> CompactImage:
        """An image without annotations."""
        none = np.zeros(0, np.int32)
        return cls(none.reshape(0, 4), none, none, none.reshape(0, 3))


@dataclass
class RawNames:
    """The names read so far, and the count of each predicate."""

    objects: NameTable
    predicates: NameTable
    predicate_counts: Counter[int] = field(default_factory=Counter)


@dataclass
class CompactCounts:
    """Raw annotations and those left out or merged."""

    raw_objects: int = 0
    small_objects: int = 0
    merged_objects: int = 0
    raw_relationships: int = 0
    relationships_without_object: int = 0
    relationships_within_object: int = 0


def compact(
    image: RawImage, least_area: float, names: RawNames, counts: CompactCounts
) -> CompactImage:
    """Rules 1 to 3 of `build`.

    Args:
        image: as decoded.
        least_area: boxes up to this area in square pixels are left out.
        names: new names are added.
        counts: updated.

    Raises:
        InputError: an object or a relationship has another form.
    """
    try:
        objects = [_parsed(o, names.objects) for o in image.objects]
        relations = _relations(image, objects, names)
        boxes = np.array([o[1] for o in objects], dtype=np.float64).reshape(-1, 4)
    except MALFORMED_ERRORS as error:
        expected = "objects with object_id, names, x, y, w, h and relationships of such"
        raise malformed(f"Visual Genome's image {image.image_id}", expected, error) from None
    if not (np.abs(boxes) < _FARTHEST).all():
        raise bad_input(f"Visual Genome's image {image.image_id}", "x, y, w, h in pixels", "others")
    large_rows = np.flatnonzero(boxes[:, 2] * boxes[:, 3] > least_area)
    counts.raw_objects += len(objects)
    counts.small_objects += len(objects) - len(large_rows)
    counts.raw_relationships += len(relations)
    large_boxes = boxes[large_rows].astype(np.int32)
    large_boxes[:, 2:] += large_boxes[:, :2]
    large_objects = [objects[i] for i in large_rows.tolist()]
    rows, merged = merge_boxes(
        large_boxes, np.array([o[2][0] for o in large_objects], dtype=np.int32)
    )
    merged[:, 2:] -= merged[:, :2]
    counts.merged_objects += len(rows) - len(merged)
    row_of = {o[0]: row for o, row in zip(large_objects, rows.tolist())}
    alternatives: list[set[int]] = [set() for _ in range(len(merged))]
    for o, row in zip(large_objects, rows.tolist()):
        alternatives[row].update(o[2])
    return CompactImage(
        merged,
        np.array([name for group in alternatives for name in sorted(group)], dtype=np.int32),
        np.array([len(group) for group in alternatives], dtype=np.int32),
        _between_rows(relations, row_of, counts),
    )


_Parsed = tuple[int, tuple[float, float, float, float], list[int]]


def _parsed(entry: dict[str, Any], names: NameTable) -> _Parsed:
    """Id, x y w h, and ids of the names (at least one)."""
    object_id = entry["object_id"] if "object_id" in entry else entry["id"]
    phrases = entry["names"] if "names" in entry else [entry["name"]]
    name_ids = [names.id(phrase) for phrase in phrases]
    return object_id, (entry["x"], entry["y"], entry["w"], entry["h"]), name_ids or [0]


def _relations(
    image: RawImage, objects: list[_Parsed], names: RawNames
) -> list[tuple[int, int, int]]:
    """Subject id, predicate name, object id; objects not in `objects` yet are added."""
    object_ids = {
        o[0] for o in objects
    }  # not of those added: like the published script, one each time
    relations = []
    for entry in image.relationships:
        ends = []
        for end in (entry["subject"], entry["object"]):
            object_id = end["object_id"] if "object_id" in end else end["id"]
            if object_id not in object_ids:
                objects.append(_parsed(end, names.objects))
            ends.append(object_id)
        predicate = names.predicates.id(entry["predicate"])
        names.predicate_counts[predicate] += 1
        relations.append((ends[0], predicate, ends[1]))
    return relations


def _between_rows(
    relations: list[tuple[int, int, int]], row_of: dict[int, int], counts: CompactCounts
) -> Array:
    rows = [(row_of.get(s, -1), p, row_of.get(o, -1)) for s, p, o in relations]
    table = np.array(rows, dtype=np.int32).reshape(-1, 3)
    has_both = (table[:, [0, 2]] >= 0).all(1)
    within = has_both & (table[:, 0] == table[:, 2])
    counts.relationships_without_object += int((~has_both).sum())
    counts.relationships_within_object += int(within.sum())
    between: Array = table[has_both & ~within]
    return between
