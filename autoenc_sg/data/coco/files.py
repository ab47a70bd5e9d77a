"""Reading and checking files in COCO's format."""

from __future__ import annotations

import contextlib
import io
import math
from collections.abc import Callable, Container, Iterator, Sequence
from pathlib import Path
from typing import Any

from pycocotools.coco import COCO

from autoenc_sg.core.errors import bad_input
from autoenc_sg.data.base.json_files import read_json
from autoenc_sg.data.base.samples import LONGEST_SIDE

_FIELDS = {
    "images": ("id", "file_name", "height", "width"),
    "annotations": ("id", "image_id", "category_id", "bbox"),
    "categories": ("id", "name"),
}
_ID = ("a whole number", lambda v: isinstance(v, int))
_TEXT = ("text", lambda v: isinstance(v, str))
_SIDE = ("pixels", lambda v: isinstance(v, (int, float)) and 1 <= v < LONGEST_SIDE)
_KINDS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    **dict.fromkeys(("id", "image_id", "category_id"), _ID),
    **dict.fromkeys(("file_name", "name"), _TEXT),
    **dict.fromkeys(("height", "width"), _SIDE),
    "bbox": ("x, y, width, height", lambda v: isinstance(v, list)),
}


def _is_field(entry: Any, name: str) -> bool:
    return isinstance(entry, dict) and name in entry and _KINDS[name][1](entry[name])


def _first_repeated(ids: Sequence[int]) -> str:
    return f"{next(i for place, i in enumerate(ids) if i in ids[:place])} twice"


def read_coco(path: Path) -> COCO:
    """A COCO instances file, checked.

    Raises:
        InputError: the file is missing, an entry lacks a field of COCO's format, or an image
            or category id is repeated.
    """
    data = read_json(path)
    if not isinstance(data, dict):
        raise bad_input(path, "COCO's format, an object", type(data).__name__)
    for key, fields in _FIELDS.items():
        if not isinstance(data.get(key), list):
            raise bad_input(path, f"COCO's format with a list {key!r}", f"only {sorted(data)}")
        for place, entry in enumerate(data[key]):
            bad = [f for f in fields if not _is_field(entry, f)]
            if bad:
                expected = f"a field {bad[0]!r} ({_KINDS[bad[0]][0]})"
                raise bad_input(f"{path} {key!r} entry {place}", expected, entry)
    for key in ("images", "categories"):
        ids = [entry["id"] for entry in data[key]]
        if len(set(ids)) < len(ids):
            raise bad_input(f"{path} {key!r}", "each id once", _first_repeated(ids))
    coco = COCO()
    coco.dataset = data
    with contextlib.redirect_stdout(io.StringIO()):  # it prints its progress
        coco.createIndex()
    return coco


def checked_annotations(path: Path, coco: COCO, images: Container[int]) -> Iterator[dict[str, Any]]:
    """The annotations, each of one of the `images` and of a category of its own file.

    Raises:
        InputError: an annotation is not.
    """
    for annotation in coco.dataset["annotations"]:
        what = f"{path} annotation {annotation['id']}"
        if annotation["image_id"] not in images:
            raise bad_input(what, "an image id of the file", annotation["image_id"])
        if annotation["category_id"] not in coco.cats:
            raise bad_input(what, "a category id of the file", annotation["category_id"])
        yield annotation


def unit_box(path: Path, annotation: dict[str, Any], image: dict[str, Any]) -> list[float]:
    """An annotation's box as fractions of its image, xyxy, clipped to [0, 1].

    Raises:
        InputError: it is no four numbers, or is not at least partly in the image.
    """
    what = f"{path} annotation {annotation['id']} 'bbox'"
    try:
        x, y, width, height = (float(value) for value in annotation["bbox"])
        image_width, image_height = float(image["width"]), float(image["height"])
    except (TypeError, ValueError):
        raise bad_input(what, "four numbers x, y, width, height", annotation["bbox"]) from None
    finite = all(map(math.isfinite, (x, y, width, height))) and min(image_width, image_height) > 0
    overlaps = finite and x < image_width and y < image_height and x + width >= 0 <= y + height
    if not overlaps or width < 0 or height < 0:
        expected = f"x, y, width, height within {image_width:g} x {image_height:g}"
        raise bad_input(what, expected, annotation["bbox"])
    corners = (x / image_width, y / image_height)
    ends = ((x + width) / image_width, (y + height) / image_height)
    return [min(1.0, max(0.0, value)) for value in (*corners, *ends)]
