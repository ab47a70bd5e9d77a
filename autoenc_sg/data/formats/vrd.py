"""The VRD data set (Lu et al., 2016): relations of file names as JSON.

`annotations_train.json` and `annotations_test.json` are `{"<file name>": [{"predicate": p,
"subject": {"category": c, "bbox": b}, "object": ...}, ...]}` with
`b = [ymin, ymax, xmin, xmax]` in whole pixels; categories and predicates count from 0 through the
names of `objects.json` and `predicates.json`. Objects appear in relations only: equal boxes of
one category are one object.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from autoenc_sg.core.boxes import ImageSize
from autoenc_sg.core.errors import InputError, bad_input
from autoenc_sg.core.vocabulary import Vocabulary
from autoenc_sg.data.base.dataset import AnnotatedDataset
from autoenc_sg.data.base.in_memory import (
    AnnotatedImage,
    InMemorySource,
    cut_validation,
    make_annotated_image,
)
from autoenc_sg.data.base.json_files import MALFORMED_ERRORS, malformed, name_list, read_json
from autoenc_sg.data.base.samples import LONGEST_SIDE, Split
from autoenc_sg.data.images.readable import ReadableFolders
from autoenc_sg.data.images.store import ImageStore, places_of

IMAGE_FOLDERS = ("sg_{split}_images", "{split}_images", "images", "")


def open_vrd(
    root: Path,
    split: Split,
    images: Path | None = None,
    num_val: int = 0,
    flip: bool = False,
    seed: int = 0,
    short_side: int | None = None,
    readable: ReadableFolders | None = None,
) -> AnnotatedDataset:
    """One split; image ids count the annotated files of a split from 1, by name.

    Args:
        root: the folder of the four files.
        split: which part; validation is the first part of the train split.
        images: the folder of the images; None: `sg_<split>_images`, `images` or `root`.
        num_val: see `samples.num_validation`.
        flip: train only: mirror half of the samples.
        seed: of the predicate choice and of flipping.
        short_side: larger images are shrunk to it, None: none are.
        readable: the folders to read images from; None: `root` and `images`.

    Raises:
        InputError: a file is missing or has another form.
    """
    names = [
        name_list({name: read_json(root / name)}, name, root)
        for name in ("objects.json", "predicates.json")
    ]
    part = "test" if split == "test" else "train"
    path = root / f"annotations_{part}.json"
    data = read_json(path)
    if not isinstance(data, dict):
        raise bad_input(path, "an object of file names", type(data).__name__)
    folders = [images] if images else [root / name.format(split=part) for name in IMAGE_FOLDERS]
    folder = next((f for f in folders if f.is_dir()), folders[-1])
    files = dict(enumerate(sorted(data), start=1))
    readable = readable or ReadableFolders([root, folder])
    places = places_of(readable.image_files(folder, files, path))
    store = ImageStore(places, short_side)
    counts = len(names[0]), len(names[1])
    annotated: Sequence[AnnotatedImage] = [*_annotated_images(path, data, files, store, counts)]
    if split != "test":
        annotated = cut_validation(annotated, split, num_val)
    source = InMemorySource(annotated, Vocabulary.from_names(*names), split)
    return AnnotatedDataset(source, store, split, seed, flip, root)


def _annotated_images(
    path: Path,
    data: dict[str, Any],
    files: dict[int, str],
    store: ImageStore,
    counts: tuple[int, int],
) -> Iterator[AnnotatedImage]:
    for image_id, name in files.items():
        where = f"{path} {name}"
        rows: dict[tuple[Any, ...], int] = {}
        triples = []
        try:
            for relation in data[name]:
                ends = [_row(rows, relation[end], counts[0]) for end in ("subject", "object")]
                if not 0 <= relation["predicate"] < counts[1]:
                    raise ValueError(f"predicate {relation['predicate']} of {counts[1]}")
                if ends[0] != ends[1]:
                    triples.append((ends[0], relation["predicate"] + 1, ends[1]))
        except MALFORMED_ERRORS as error:
            expected = "relations of subject, predicate and object, bbox ymin, ymax, xmin, xmax"
            raise malformed(where, expected, error) from None
        if rows:
            labels, boxes = [key[0] + 1 for key in rows], [key[1:] for key in rows]
            size = _size(store, image_id) or _enclosing_size(where, boxes)
            yield make_annotated_image(image_id, labels, boxes, triples, size, where)


def _row(rows: dict[tuple[Any, ...], int], end: dict[str, Any], categories: int) -> int:
    ymin, ymax, xmin, xmax = end["bbox"]
    category = end["category"]
    if not all(isinstance(value, (int, float)) for value in (ymin, ymax, xmin, xmax)):
        raise TypeError(f"bbox {end['bbox']}")
    if not 0 <= category < categories:
        raise ValueError(f"category {category} of {categories}")
    return rows.setdefault((category, xmin, ymin, xmax, ymax), len(rows))


def _size(store: ImageStore, image_id: int) -> ImageSize | None:
    """The image's size; None if the image is missing or unreadable (reported on read)."""
    try:
        return store.size(image_id)
    except InputError:
        return None


def _enclosing_size(where: str, boxes: list[tuple[float, ...]]) -> ImageSize:
    """The smallest image size that holds the boxes, where the image's own is unknown."""
    width, height = max(box[2] for box in boxes), max(box[3] for box in boxes)
    if not 1 <= min(width, height) <= max(width, height) < LONGEST_SIDE:
        raise bad_input(where, "boxes in pixels of an image", f"one up to {width}, {height}")
    return math.ceil(height), math.ceil(width)
