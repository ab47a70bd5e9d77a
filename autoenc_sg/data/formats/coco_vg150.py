"""VG150 in COCO's format, as RelTR and EGTR use it, and as SGG-Benchmark publishes it.

RelTR:          `train.json`, `val.json`, `test.json` (COCO; categories 1..150) and `rel.json`:
                `{"train": {"<image id>": [[s, o, p], ...]}, ..., "rel_categories": [51 names]}`;
                s and o count the image's annotations in order of the file, p the rel_categories,
                whose first one is the background.
SGG-Benchmark:  `train|val|test/_annotations.coco.json` (`valid` too), images beside it, with
                `rel_categories` and `rel_annotations`: subject_id and object_id are ids of
                annotations of the whole file, predicate_id that of a rel_category.

Images without relations are in both, and are left out with `filter_empty`; without it the test
split is not the one of Neural Motifs and its successors.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from autoenc_sg.core.errors import bad_input
from autoenc_sg.core.vocabulary import BACKGROUND, Vocabulary
from autoenc_sg.data.base.dataset import AnnotatedDataset
from autoenc_sg.data.base.in_memory import AnnotatedImage, InMemorySource, make_annotated_image
from autoenc_sg.data.base.json_files import MALFORMED_ERRORS, malformed, name_list, read_json
from autoenc_sg.data.base.samples import Split
from autoenc_sg.data.coco.files import read_coco
from autoenc_sg.data.images.readable import ReadableFolders
from autoenc_sg.data.images.store import ImageStore, places_of

_BENCHMARK_NAME = "_annotations.coco.json"
_NO_PREDICATES = {BACKGROUND, "background", "__no_relation__", "no relation"}


class _Content(NamedTuple):
    """A split's COCO content, with relations (subject, predicate key, object) as annotation ids."""

    path: Path
    folder: Path
    coco: Any
    relations: Mapping[int, Sequence[tuple[int, int, int]]]
    predicates: Mapping[int, str]


def open_coco_vg150(
    root: Path,
    split: Split,
    images: Path | None = None,
    filter_empty: bool = True,
    flip: bool = False,
    seed: int = 0,
    short_side: int | None = None,
    readable: ReadableFolders | None = None,
) -> AnnotatedDataset:
    """One split of either layout.

    Args:
        root: the folder of `rel.json`, or of `train/_annotations.coco.json`.
        split: which part.
        images: the folder of the images; None: `root`'s VG_100K or itself (RelTR), or where the
            annotations are (SGG-Benchmark).
        filter_empty: leave out images without relations.
        flip: train only: mirror half of the samples.
        seed: of the predicate choice and of flipping.
        short_side: larger images are shrunk to it, None: none are.
        readable: the folders to read images from; None: `root` and `images`.

    Raises:
        InputError: a file is missing or has another form; or another split has other categories
            than the train split.
    """
    content = _read(root, split, images)
    names = _names(content)
    train = content if split == "train" else _read(root, "train", images)
    if _names(train) != names:
        raise bad_input(content.path, f"the categories of {train.path}", "others")
    vocabulary = Vocabulary.from_names(*(group.values() for group in names))
    annotated = [
        image
        for image in _annotated_images(content)
        if len(image.graph) and (len(image.graph.triples) or not filter_empty)
    ]
    source = InMemorySource(annotated, vocabulary, split)
    readable = readable or ReadableFolders([root, *([images] if images else [])])
    files = {i: c["file_name"] for i, c in content.coco.imgs.items()}
    places = places_of(readable.image_files(content.folder, files, content.path))
    store = ImageStore(places, short_side)
    return AnnotatedDataset(source, store, split, seed, flip, root)


def _read(root: Path, split: Split, images: Path | None) -> _Content:
    if (root / "rel.json").is_file():
        return _read_reltr(root, split, images)
    folders = [root / split, *([root / "valid"] if split == "val" else [])]
    path = next((f / _BENCHMARK_NAME for f in folders if (f / _BENCHMARK_NAME).is_file()), None)
    if path is None:
        got = f"neither in {root}"
        raise bad_input(root, f"rel.json or {split}/{_BENCHMARK_NAME}", got)
    return _read_benchmark(path, images)


def _read_reltr(root: Path, split: Split, images: Path | None) -> _Content:
    path = root / "rel.json"
    data = read_json(path)
    if not isinstance(data, dict) or not isinstance(data.get(split), dict):
        raise bad_input(path, f"an object with {split!r}", type(data).__name__)
    coco = read_coco(root / f"{split}.json")
    by_image: dict[int, list[int]] = defaultdict(list)
    for annotation in coco.dataset["annotations"]:
        by_image[annotation["image_id"]].append(annotation["id"])
    relations: dict[int, list[tuple[int, int, int]]] = {}
    for key, rows in data[split].items():
        try:
            ids = by_image[int(key)]
            if any(min(s, o) < 0 for s, o, _ in rows):
                raise IndexError("an object before the first")
            relations[int(key)] = [(ids[s], p, ids[o]) for s, o, p in rows]
        except MALFORMED_ERRORS as error:
            expected = "[subject, object, predicate] of its annotations"
            raise malformed(f"{path} {split} image {key}", expected, error) from None
    names = name_list(data, "rel_categories", path)
    predicates = {i: name for i, name in enumerate(names) if name not in _NO_PREDICATES}
    default = root / "VG_100K" if (root / "VG_100K").is_dir() else root
    return _Content(root / f"{split}.json", images or default, coco, relations, predicates)


def _read_benchmark(path: Path, images: Path | None) -> _Content:
    coco = read_coco(path)
    relations: dict[int, list[tuple[int, int, int]]] = defaultdict(list)
    if len(coco.anns) < len(coco.dataset["annotations"]):
        raise bad_input(f"{path} 'annotations'", "each id once", "an id twice")
    try:
        predicates = {
            int(c["id"]): str(c["name"])
            for c in coco.dataset["rel_categories"]
            if c["name"] not in _NO_PREDICATES
        }
        for row in coco.dataset["rel_annotations"]:
            image_id = coco.anns[row["subject_id"]]["image_id"]
            triple = (row["subject_id"], row["predicate_id"], row["object_id"])
            relations[image_id].append(triple)
    except MALFORMED_ERRORS as error:
        expected = "rel_categories, and rel_annotations of ids of annotations"
        raise malformed(str(path), expected, error) from None
    return _Content(path, images or path.parent, coco, relations, predicates)


def _names(content: _Content) -> tuple[dict[int, str], dict[int, str]]:
    objects = {i: str(c["name"]) for i, c in sorted(content.coco.cats.items())}
    background = {i for i, name in objects.items() if name in _NO_PREDICATES}
    used = {a["category_id"] for a in content.coco.dataset["annotations"]}
    for i in background - used:
        del objects[i]
    return objects, dict(sorted(content.predicates.items()))


def _annotated_images(content: _Content) -> Iterator[AnnotatedImage]:
    objects, predicates = _names(content)
    label_of = {key: i for i, key in enumerate(objects, start=1)}
    predicate_of = {key: i for i, key in enumerate(predicates, start=1)}
    for image_id, image in content.coco.imgs.items():
        where = f"{content.path} image {image_id}"
        annotations = content.coco.imgToAnns[image_id]
        row_of = {a["id"]: row for row, a in enumerate(annotations)}
        if len(row_of) < len(annotations):
            raise bad_input(where, "each annotation id once", "an id twice")
        try:
            labels = [label_of[a["category_id"]] for a in annotations]
            boxes = [(x, y, x + w, y + h) for x, y, w, h in (a["bbox"] for a in annotations)]
            triples = [
                (row_of[s], predicate_of[p], row_of[o])
                for s, p, o in content.relations.get(image_id, ())
                if s != o
            ]
            size = int(image["height"]), int(image["width"])
        except MALFORMED_ERRORS as error:
            expected = "annotations and relations of known ids, bbox x, y, width, height"
            raise malformed(where, expected, error) from None
        yield make_annotated_image(image_id, labels, boxes, triples, size, where)
