"""The boxes of Panoptic Scene Graphs (Yang et al., 2022): `psg.json`.

`data` is a list of images with file_name, height, width, image_id, `segments_info` (categories),
`annotations` (bbox and bbox_mode: 0 is x1, y1, x2, y2; 1 is x, y, width, height; category_id) and
`relations` [subject, object, predicate]. All count from 0; categories run through `thing_classes`
and then `stuff_classes`. `test_image_ids` names the test split. Masks are not read.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

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
from autoenc_sg.data.base.samples import Split
from autoenc_sg.data.images.readable import ReadableFolders
from autoenc_sg.data.images.store import ImageStore, places_of


def open_psg(
    annotations: Path,
    images: Path,
    split: Split,
    num_val: int = 0,
    flip: bool = False,
    seed: int = 0,
    short_side: int | None = None,
    readable: ReadableFolders | None = None,
) -> AnnotatedDataset:
    """One split; images without relations are left out, as OpenPSG does.

    Args:
        annotations: `psg.json`.
        images: the folder that holds `train2017` and `val2017`.
        split: which part; validation is the first part of the train split.
        num_val: see `samples.num_validation`.
        flip: train only: mirror half of the samples.
        seed: of the predicate choice and of flipping.
        short_side: larger images are shrunk to it, None: none are.
        readable: the folders to read images from; None: `images`.

    Raises:
        InputError: the file is missing or has another form.
    """
    data = read_json(annotations)
    if not isinstance(data, dict) or not isinstance(data.get("data"), list):
        raise bad_input(annotations, "an object with a list 'data'", type(data).__name__)
    things, stuff, predicates = (
        name_list(data, key, annotations)
        for key in ("thing_classes", "stuff_classes", "predicate_classes")
    )
    vocabulary = Vocabulary.from_names([*things, *stuff], predicates)
    test_ids = data.get("test_image_ids") or []
    if not isinstance(test_ids, list):
        raise bad_input(f"{annotations} 'test_image_ids'", "a list of ids", type(test_ids).__name__)
    held_out = set(map(str, test_ids))
    annotated: list[AnnotatedImage] = []
    names: dict[int, str] = {}
    for number, entry in enumerate(data["data"]):
        where = f"{annotations} entry {number}"
        try:
            if (str(entry["image_id"]) in held_out) != (split == "test") or not entry["relations"]:
                continue
            image = _annotated_image(entry, vocabulary, where)
            names[image.image_id] = str(entry["file_name"])
        except InputError:
            raise
        except MALFORMED_ERRORS as error:
            expected = "annotations with bbox, segments_info with category_id, and relations"
            raise malformed(where, expected, error) from None
        annotated.append(image)
    in_split = annotated if split == "test" else cut_validation(annotated, split, num_val)
    source = InMemorySource(in_split, vocabulary, split)
    readable = readable or ReadableFolders([images])
    places = places_of(readable.image_files(images, names, annotations))
    store = ImageStore(places, short_side)
    return AnnotatedDataset(source, store, split, seed, flip, annotations)


def _annotated_image(entry: dict[str, Any], vocabulary: Vocabulary, where: str) -> AnnotatedImage:
    annotations = entry["annotations"]
    categories = [a["category_id"] for a in entry.get("segments_info") or annotations]
    if len(categories) != len(annotations):
        raise ValueError(f"{len(annotations)} annotations, {len(categories)} segments")
    if not all(0 <= c < vocabulary.num_objects - 1 for c in categories):
        raise ValueError(f"categories {categories}")
    relations = entry["relations"]
    if not all(0 <= p < vocabulary.num_predicates - 1 for _, _, p in relations):
        raise ValueError(f"relations {relations}")
    triples = [(s, p + 1, o) for s, o, p in relations if s != o]
    boxes = [_xyxy(a["bbox"], a.get("bbox_mode", 0)) for a in annotations]
    size = int(entry["height"]), int(entry["width"])
    labels = [c + 1 for c in categories]
    return make_annotated_image(int(entry["image_id"]), labels, boxes, triples, size, where)


def _xyxy(box: Sequence[float], mode: int) -> tuple[float, float, float, float]:
    a, b, c, d = box
    if mode not in (0, 1):
        raise ValueError(f"bbox_mode {mode}")
    return (a, b, c, d) if mode == 0 else (a, b, a + c, b + d)
