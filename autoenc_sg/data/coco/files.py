"""Reading and checking files in COCO's format."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Container, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pycocotools.coco import COCO

from autoenc_sg.core.errors import bad_input
from autoenc_sg.data.base.json_files import read_json
from autoenc_sg.data.base.samples import LONGEST_SIDE
from autoenc_sg.data.coco.segmentations import Segmentation, read_segmentation

_FIELDS = {
    "images": ("id", "file_name", "height", "width"),
    "annotations": ("id", "image_id", "category_id", "bbox"),
    "categories": ("id", "name"),
}


class _Kind(NamedTuple):
    """What a field has to be, and its value as it is used, or None if it is something else."""

    expected: str
    convert: Callable[[Any], Any]


def _whole(value: Any) -> int | None:
    """A whole number of 63 bits; exporters that go through pandas write 96.0."""
    if type(value) not in (int, float) or not abs(value) < 1 << 63 or value != int(value):
        return None
    return int(value)


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _name(value: Any) -> str | None:
    return value.strip() if isinstance(value, str) else None


def _side(value: Any) -> int | None:
    pixels = _whole(value)
    return pixels if pixels is not None and 1 <= pixels < LONGEST_SIDE else None


def _list(value: Any) -> list[Any] | None:
    return value if isinstance(value, list) else None


_ID = _Kind("a whole number", _whole)
_SIDE = _Kind("pixels", _side)
_KINDS: dict[str, _Kind] = {
    **dict.fromkeys(("id", "image_id", "category_id"), _ID),
    "file_name": _Kind("text", _text),
    "name": _Kind("text", _name),
    **dict.fromkeys(("height", "width"), _SIDE),
    "bbox": _Kind("x, y, width, height", _list),
}


def _convert_fields(entry: Any, names: Sequence[str], where: str) -> None:
    """Replace the fields of an entry by their values as they are used."""
    for name in names:
        expected, convert = _KINDS[name]
        value = entry.get(name) if isinstance(entry, dict) else None
        converted = convert(value)
        if converted is None:
            is_there = isinstance(entry, dict) and name in entry
            kind = "the text " if isinstance(value, str) else ""
            got = f"{kind}{value!r} in {entry}" if is_there else entry
            raise bad_input(where, f"a field {name!r} ({expected})", got)
        entry[name] = converted


def _convert_annotation(annotation: dict[str, Any], where: str) -> None:
    """`bbox` to four floats, `iscrowd` (absent: 0) to 0 or 1."""
    box, crowd = annotation["bbox"], annotation.get("iscrowd")
    numbers = len(box) == 4 and set(map(type, box)) <= {int, float}
    if not numbers or not all(abs(value) < LONGEST_SIDE for value in box):
        expected = "x, y, width, height" if numbers else "four numbers x, y, width, height"
        raise bad_input(f"{where} 'bbox'", expected, str(box)[:200])
    if crowd is not None and (isinstance(crowd, str) or crowd not in (0, 1)):
        raise bad_input(f"{where} 'iscrowd'", "0 or 1", repr(crowd)[:60])
    annotation["bbox"] = [float(value) for value in box]
    annotation["iscrowd"] = int(crowd or 0)


def _first_repeated(ids: Sequence[int]) -> str:
    return f"{next(i for place, i in enumerate(ids) if i in ids[:place])} twice"


def read_coco(path: Path) -> COCO:
    """A COCO instances file, checked and converted.

    Ids and sizes are whole numbers (written as 96.0, too), boxes four finite floats, `iscrowd` 0 or
    1; segmentations are as in the file (`segmentations.read_segmentation`).

    Raises:
        InputError: the file is missing, an entry lacks a field of COCO's format or has it as
            something else (numbers as text), or an image or category id is repeated.
    """
    data = read_json(path)
    if not isinstance(data, dict):
        raise bad_input(path, "COCO's format, an object", type(data).__name__)
    for key, fields in _FIELDS.items():
        if not isinstance(data.get(key), list):
            raise bad_input(path, f"COCO's format with a list {key!r}", f"only {sorted(data)}")
        for place, entry in enumerate(data[key]):
            _convert_fields(entry, fields, f"{path} {key!r} entry {place}")
    for annotation in data["annotations"]:
        _convert_annotation(annotation, f"{path} annotation {annotation['id']}")
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
        InputError: it is not at least partly in the image.
    """
    x, y, width, height = annotation["bbox"]
    image_width, image_height = image["width"], image["height"]
    overlaps = x < image_width and y < image_height and x + width >= 0 <= y + height
    if not overlaps or width < 0 or height < 0:
        what = f"{path} annotation {annotation['id']} 'bbox'"
        expected = f"x, y, width, height within {image_width} x {image_height}"
        got = ", ".join(f"{value:g}" for value in annotation["bbox"])
        raise bad_input(what, expected, f"[{got}]")
    corners = (x / image_width, y / image_height)
    ends = ((x + width) / image_width, (y + height) / image_height)
    return [min(1.0, max(0.0, value)) for value in (*corners, *ends)]


def take_segmentation(
    path: Path, annotation: dict[str, Any], image: dict[str, Any]
) -> Segmentation | None:
    """An annotation's segmentation, or None; the raw one is dropped, to save memory.

    Raises:
        InputError: see `read_segmentation`.
    """
    where = f"{path} annotation {annotation['id']} 'segmentation'"
    size = (image["height"], image["width"])
    return read_segmentation(annotation.pop("segmentation", None), size, where)
