"""Checks of a data set through its reader, split by split.

A reader stops at the first malformed annotation, so only one of those is found at a time.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from autoenc_sg.config.data import DataConfig
from autoenc_sg.core.boxes import ImageSize
from autoenc_sg.core.errors import InputError
from autoenc_sg.core.scene_graph import SceneGraph
from autoenc_sg.data.base.dataset import AnnotatedDataset
from autoenc_sg.data.base.in_memory import InMemorySource
from autoenc_sg.data.base.samples import Split
from autoenc_sg.data.coco.files import read_coco
from autoenc_sg.data.images.store import ImageStore, Place
from autoenc_sg.data.inspect.findings import Finding, findings_of, merged
from autoenc_sg.data.inspect.verify_images import ExpectedImage, image_findings
from autoenc_sg.data.open import coco_files, open_dataset
from autoenc_sg.visualization.progress import Reporter
from autoenc_sg.visualization.tables import Cell, Table

SPLITS: tuple[Split, ...] = ("train", "val", "test")
# VG150 in COCO's format as SGG-Benchmark publishes it; images without relations are among them.
BENCHMARK_IMAGES: dict[Split, int] = {"train": 73_538, "val": 4_844, "test": 27_032}
_COLUMNS = ("split", "images", "objects", "relations", "published images")
_LEAVE_OUT = "nothing: training and evaluation leave them out; or get the rest of the images"


class _Photo(NamedTuple):
    """An annotated image of a split; other splits may use the same ids for other images."""

    split: Split
    place: Place
    size: ImageSize


def verify_splits(
    config: DataConfig, decode: bool, reporter: Reporter | None
) -> tuple[Table, list[Finding]]:
    """Counts by split, and all that is wrong; see `verify.verify`."""
    findings: list[Finding] = []
    rows: list[list[Cell]] = []
    photos: list[_Photo] = []
    errors: dict[str, None] = {}  # splits of one file have the same
    for split in SPLITS:
        try:
            dataset = open_dataset(config, split)
        except InputError as error:
            errors[str(error)] = None
            continue
        graphs = [dataset.annotated(index) for index in range(len(dataset))]
        findings += _graph_findings(dataset, graphs, split)
        counts = len(graphs), sum(map(len, graphs)), sum(len(g.triples) for g in graphs)
        rows.append([split, *counts, _published(config, split)])
        photos += _photos(dataset, graphs, split)
    remedy = "correct what the line names, or get the file again"
    findings += findings_of("error", "damaged annotations", errors, remedy)
    if config.format == "coco":
        for path in coco_files(config):
            findings += _coco_bounds(path)
    if photos:
        findings += _photo_findings(photos, decode, reporter)
    return Table("Annotated", _COLUMNS, rows), merged(findings)


def _published(config: DataConfig, split: Split) -> int | None:
    benchmark = config.format == "coco_vg150" and not (Path(config.root) / "rel.json").is_file()
    return BENCHMARK_IMAGES[split] if benchmark else None


def _photos(
    dataset: AnnotatedDataset, graphs: Sequence[SceneGraph], split: Split
) -> Iterator[_Photo]:
    for image_id, graph in zip(dataset.image_ids, graphs):
        place = dataset.store.places.get(image_id)
        if place is not None:
            yield _Photo(split, place, graph.image_size)


def _photo_findings(
    photos: Sequence[_Photo], decode: bool, reporter: Reporter | None
) -> Iterator[Finding]:
    splits: dict[Place, set[Split]] = defaultdict(set)
    for photo in photos:
        splits[photo.place].add(photo.split)
    shared = (place for place, names in splits.items() if len(names) > 1)
    yield from findings_of("error", "images in several splits", shared, "leave each in one split")
    distinct = {photo.place: photo for photo in photos}.values()
    annotated = [ExpectedImage(i, photo.split, photo.size) for i, photo in enumerate(distinct)]
    store = ImageStore({i: photo.place for i, photo in enumerate(distinct)})
    yield from image_findings(annotated, store, decode, reporter, other_shapes="error")


def _graph_findings(
    dataset: AnnotatedDataset, graphs: Sequence[SceneGraph], split: Split
) -> Iterator[Finding]:
    boxes, relations, beyond = [], [], []
    for index, (image_id, graph) in enumerate(zip(dataset.image_ids, graphs)):
        name = dataset.store.name(image_id)
        if _repeats(zip(graph.labels.tolist(), map(tuple, graph.boxes.tolist()))):
            boxes.append(name)
        if not isinstance(dataset.source, InMemorySource):  # other sources make their relations
            continue
        if _repeats(map(tuple, graph.triples.tolist())):
            relations.append(name)
        if dataset.source.images[dataset.rows[index]].boxes_beyond:
            beyond.append(name)
    yield from findings_of(
        "warning", "boxes twice", boxes, "leave one: the object is annotated twice"
    )
    remedy = "nothing, if few: recall counts each of them"
    yield from findings_of("note", "relations twice", relations, remedy)
    yield from _out_of_bounds(beyond)
    store = dataset.store
    absent = (f"{split} image {i}" for i in sorted(store.missing_ids))
    yield from findings_of("warning", "absent images", absent, _LEAVE_OUT)
    without = [] if store.places or not len(dataset) else [f"{split}: {len(dataset)} annotated"]
    remedy = "put them where docs/data.md says, or name their folder: --images"
    yield from findings_of("error", "no images at all", without, remedy)
    empty = [] if len(dataset) else [split]
    remedy = "there has to be an image with objects in it"
    yield from findings_of("warning" if split == "val" else "error", "empty split", empty, remedy)


def _out_of_bounds(places: Iterable[str]) -> Iterator[Finding]:
    remedy = "they are cut at the border, or left out; are the stated sizes of the images right?"
    yield from findings_of("warning", "boxes out of bounds", places, remedy)


def _repeats(rows: Iterable[object]) -> bool:
    every = list(rows)
    return len(set(every)) < len(every)


def _coco_bounds(path: Path) -> Iterator[Finding]:
    try:
        coco = read_coco(path)
        yield from _out_of_bounds(
            f"{path} annotation {a['id']}"
            for a in coco.dataset["annotations"]
            if _beyond(a["bbox"], coco.imgs[a["image_id"]])
        )
    except (InputError, KeyError, TypeError, ValueError):  # the reader reports these
        return


def _beyond(box: Sequence[float], image: dict[str, float]) -> bool:
    x, y, width, height = box
    return min(x, y) < -1 or x + width > image["width"] + 1 or y + height > image["height"] + 1
