"""Boxes drawn with labelme: a folder with one JSON file for each photo.

    {"imagePath": "a.jpg", "imageHeight": 40, "imageWidth": 60,
     "shapes": [{"label": "dog", "shape_type": "polygon", "group_id": null,
                 "points": [[10, 20.5], [30, 20], [30, 40]]}]}

Rectangles and polygons are objects, their boxes the least around their points. Shapes of one label
and one `group_id` are one object, as in labelme's own conversion to COCO. Coordinates are pixels of
the upright photo. The embedded copy of the photo (`imageData`) is not read.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from autoenc_sg.core.boxes import ImageSize
from autoenc_sg.core.errors import bad_input
from autoenc_sg.data.base.json_files import read_json
from autoenc_sg.data.base.samples import LONGEST_SIDE
from autoenc_sg.data.images.readable import image_path
from autoenc_sg.data.vg150.from_jsonl import Line

logger = logging.getLogger(__name__)

FEWEST_POINTS = {"rectangle": 2, "polygon": 3}
_SIZES = ("imageHeight", "imageWidth")


def labelme_files(folder: Path) -> list[Path]:
    """The JSON files in a folder, in order of their names; none unless the first has `shapes`."""
    files = sorted(file for file in folder.glob("*.json") if not file.name.startswith("."))
    if not files:
        return []
    try:
        first = read_json(files[0])
    except ValueError:
        return []
    return files if isinstance(first, dict) and "shapes" in first else []


def read_labelme(files: Sequence[Path]) -> list[Line]:
    """The objects of each file; shapes of other types are left out, which one line logs.

    Raises:
        InputError: a file is not labelme's, or a shape has no label or too few points.
    """
    left_out: Counter[str] = Counter()
    lines = [_line(file, left_out) for file in files]
    if left_out:
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(left_out.items()))
        logger.warning("%s: left out, neither rectangle nor polygon: %s", files[0].parent, kinds)
    return lines


def _line(file: Path, left_out: Counter[str]) -> Line:
    data = read_json(file)
    if not isinstance(data, dict) or not isinstance(data.get("shapes"), list):
        raise bad_input(file, "a JSON file of labelme, with a list 'shapes'", "none")
    name = data.get("imagePath")
    if not isinstance(name, str) or not name.strip() or "\0" in name:
        raise bad_input(f"{file} imagePath", "a path", repr(name)[:60])
    boxes: dict[tuple[str, object], list[float]] = {}
    for number, shape in enumerate(data["shapes"]):
        where = f"{file} shapes[{number}]"
        kind = _text(shape, "shape_type", where, default="polygon")
        if kind not in FEWEST_POINTS:
            left_out[kind] += 1
            continue
        group = shape.get("group_id")
        key = (_text(shape, "label", where), number if group is None else f"group {group}")
        points = _points(shape.get("points"), FEWEST_POINTS[kind], f"{where} points")
        boxes[key] = _box([*points, *_corners(boxes.get(key))])
    labels = [label for label, _ in boxes]
    return Line(
        where=str(file),
        image=Path(image_path(file.parent, name)),
        labels=labels,
        boxes=list(boxes.values()),
        triples=[],
        image_size=_size(data, file),
        split=None,
        triple_scores=[],
        captions=[],
    )


def _text(shape: Any, name: str, where: str, default: str | None = None) -> str:
    value = shape.get(name, default) if isinstance(shape, dict) else None
    if not isinstance(value, str) or not value.strip():
        raise bad_input(where, f"an object with a text '{name}'", repr(shape)[:60])
    return value.strip()


def _points(value: Any, fewest: int, where: str) -> list[tuple[float, float]]:
    expected = f"{fewest} points [x, y] or more"
    if not isinstance(value, list) or len(value) < fewest:
        raise bad_input(where, expected, repr(value)[:60])
    for point in value:
        numbers = isinstance(point, list) and len(point) == 2
        if not numbers or not all(type(v) in (int, float) for v in point):
            raise bad_input(where, expected, repr(point)[:60])
        if not all(abs(v) < LONGEST_SIDE for v in point):
            raise bad_input(where, f"coordinates below {LONGEST_SIDE}", repr(point)[:60])
    return [(float(x), float(y)) for x, y in value]


def _corners(box: Sequence[float] | None) -> list[tuple[float, float]]:
    return [] if box is None else [(box[0], box[1]), (box[2], box[3])]


def _box(points: Sequence[tuple[float, float]]) -> list[float]:
    """The least box `[x1, y1, x2, y2]` around the points."""
    columns, rows = zip(*points)
    return [min(columns), min(rows), max(columns), max(rows)]


def _size(data: Mapping[str, Any], file: Path) -> ImageSize | None:
    """(height, width), None if one of them is not stated."""
    sides = [data.get(name) for name in _SIZES]
    if None in sides:
        return None
    if not all(type(side) is int and side > 0 for side in sides):
        raise bad_input(f"{file} {', '.join(_SIZES)}", "pixels", repr(sides)[:60])
    return sides[0], sides[1]  # type: ignore[return-value]
