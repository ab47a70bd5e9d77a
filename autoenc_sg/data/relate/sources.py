"""The images to relate: own JSON Lines, labelme's, a COCO file, or VG150 files, with photos."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import h5py
import torch

from autoenc_sg.core.boxes import clip_to_image
from autoenc_sg.core.errors import bad_input, is_fraction
from autoenc_sg.core.images import save_image
from autoenc_sg.core.scene_graph import SceneGraph
from autoenc_sg.core.vocabulary import Vocabulary
from autoenc_sg.data.base.graphs import make_graph
from autoenc_sg.data.coco.files import checked_annotations, read_coco, unit_box
from autoenc_sg.data.h5_files import read_arrays
from autoenc_sg.data.images.readable import ReadableFolders
from autoenc_sg.data.images.store import ImageStore, find_images, places_of
from autoenc_sg.data.relate.labelme import labelme_files, read_labelme
from autoenc_sg.data.vg150.files import (
    BOX_SCALE,
    PSEUDO,
    SCORES,
    TEST,
    TRAIN,
    file_paths,
    read_annotations,
)
from autoenc_sg.data.vg150.from_jsonl import (
    Line,
    copy_photo,
    line_graph,
    log_outside,
    own_names,
    read_lines,
    splits_of,
    store_photo,
)
from autoenc_sg.data.vg150.writing import (
    inclusive_ranges,
    pseudo_tables,
    vocabulary_dicts,
    write_annotations,
    write_tables,
)

_FORMATS = "VG150 files, instances.json (COCO), labelme's, or JSON Lines (.jsonl; docs/own_data.md)"


class BoxesSource(Protocol):
    """Images with boxes and perhaps relations of humans, in order."""

    @property
    def vocabulary(self) -> Vocabulary:
        """The names; there may be no predicate."""

    @property
    def image_ids(self) -> Sequence[int]:
        """The id of each image."""

    @property
    def splits(self) -> Sequence[int]:
        """`TRAIN` or `TEST` of each image."""

    @property
    def captions(self) -> Sequence[Sequence[str]]:
        """Sentences about each image."""

    def graph(self, place: int, target: Path, link: bool) -> SceneGraph:
        """The graph of an image with its human relations; its photo goes to `target`.

        Args:
            place: 0..n - 1.
            target: path of the photo without a suffix.
            link: link photos instead of copying them, where the file system can.

        Raises:
            InputError: the annotation or the photo cannot be read.
        """

    def write(self, folder: Path, graphs: Sequence[SceneGraph], vocabulary: Vocabulary) -> None:
        """Write the annotation files of all graphs."""


def open_boxes(path: Path, images: Path | None = None, train_fraction: float = 0.7) -> BoxesSource:
    """The images of a JSON Lines file, of a COCO file, or of a folder.

    A folder has VG150 files, COCO's `instances.json`, or a JSON file of labelme for each photo.

    Args:
        path: the file or folder.
        images: folder of COCO's photos (None: `images` beside the file, else the file's folder), or
            folder, zip or h5 of those of VG150; not used of JSON Lines.
        train_fraction: the first part of the images is the train split, where none is stated; COCO
            images are in order of their ids.

    Raises:
        InputError: nothing is there that can be read.
    """
    if not is_fraction(train_fraction):
        raise bad_input("train_fraction", "0..1", train_fraction)
    if path.is_dir() and file_paths(path)[0].is_file():
        return VG150Boxes(path, images)
    file = path / "instances.json" if path.is_dir() else path
    if path.is_dir() and not file.is_file() and (files := labelme_files(path)):
        return LineBoxes(path, read_labelme(files), train_fraction)
    if not file.is_file():
        raise bad_input(path, _FORMATS, "nothing of these there")
    if file.suffix == ".json":
        return CocoBoxes(file, images, train_fraction)
    return LineBoxes(file.parent, read_lines(file), train_fraction)


class LineBoxes:
    """Lines of docs/own_data.md, as `BoxesSource`; their pseudo-relations are left out.

    Args:
        folder: of the file or files.
        lines: one or more.
        train_fraction: as in `open_boxes`.
    """

    def __init__(self, folder: Path, lines: Sequence[Line], train_fraction: float) -> None:
        self._lines = [_human_line(line) for line in lines]
        log_outside(folder, self._lines)
        self.vocabulary = own_names(self._lines, need_predicates=False)
        self.image_ids = range(1, len(self._lines) + 1)
        self.splits = splits_of(self._lines, train_fraction)
        self.captions = [line.captions for line in self._lines]

    def graph(self, place: int, target: Path, link: bool) -> SceneGraph:
        """See `BoxesSource`."""
        line = self._lines[place]
        return line_graph(line, self.vocabulary, store_photo(line, target, link))

    def write(self, folder: Path, graphs: Sequence[SceneGraph], vocabulary: Vocabulary) -> None:
        """See `BoxesSource`."""
        write_annotations(folder, graphs, self.image_ids, self.splits, vocabulary)


def _human_line(line: Line) -> Line:
    """The line without its pseudo-relations."""
    rows = [t for t, score in zip(line.triples, line.triple_scores) if score is None]
    return replace(line, triples=rows, triple_scores=[None] * len(rows))


class CocoBoxes:
    """A COCO instances file, as `BoxesSource`: boxes with some area, crowds as ignored regions.

    Args:
        path: the file.
        images: folder of the photos, see `open_boxes`.
        train_fraction: as in `open_boxes`.
    """

    def __init__(self, path: Path, images: Path | None, train_fraction: float) -> None:
        coco = read_coco(path)
        names = [category["name"] for _, category in sorted(coco.cats.items())]
        self.vocabulary = Vocabulary.from_names(dict.fromkeys(names), [])
        self._path, self._images = path, dict(sorted(coco.imgs.items()))
        self.image_ids = list(self._images)
        cut = int(len(self.image_ids) * train_fraction)
        self.splits = [TRAIN] * cut + [TEST] * (len(self.image_ids) - cut)
        self.captions: list[list[str]] = [[] for _ in self.image_ids]
        self._objects: dict[int, list[tuple[int, list[float]]]] = {i: [] for i in self.image_ids}
        self._crowds: dict[int, list[list[float]]] = {i: [] for i in self.image_ids}
        for annotation in checked_annotations(path, coco, coco.imgs):
            unit = unit_box(path, annotation, coco.imgs[annotation["image_id"]])
            label = self.vocabulary.object_id(coco.cats[annotation["category_id"]]["name"])
            if annotation["iscrowd"]:
                self._crowds[annotation["image_id"]].append([label, *unit])
            else:
                self._objects[annotation["image_id"]].append((label, unit))
        default = path.parent / "images"
        folder = images or (default if default.is_dir() else path.parent)
        file_names = {i: image["file_name"] for i, image in self._images.items()}
        readable = ReadableFolders([folder, path.parent])
        self._store = ImageStore(places_of(readable.image_files(folder, file_names, path)))

    def graph(self, place: int, target: Path, link: bool) -> SceneGraph:
        """See `BoxesSource`."""
        image_id = self.image_ids[place]
        _store_as_is(self._store, image_id, target, link)
        size = (self._images[image_id]["height"], self._images[image_id]["width"])
        scale = (size[1], size[0], size[1], size[0])
        objects = self._objects[image_id]
        boxes = [[value * side for value, side in zip(unit, scale)] for _, unit in objects]
        labels = [label for label, _ in objects]
        graph = make_graph(labels, boxes, [], size, f"{self._path} image {image_id}")
        crowds = self._crowds[image_id]
        if not crowds:
            return graph
        return replace(graph, ignored=torch.tensor(crowds) * torch.tensor([1, *scale]))

    def write(self, folder: Path, graphs: Sequence[SceneGraph], vocabulary: Vocabulary) -> None:
        """See `BoxesSource`."""
        write_annotations(folder, graphs, self.image_ids, self.splits, vocabulary)


class VG150Boxes:
    """VG150 files, as `BoxesSource`; boxes and labels are written as they are stored.

    Args:
        root: their folder.
        images: the photos, see `open_boxes`.
    """

    def __init__(self, root: Path, images: Path | None) -> None:
        self._root, self._data = root, read_annotations(root)
        self.vocabulary = self._data.vocabulary
        self.image_ids = self._data.image_ids.tolist()
        self.splits = self._data.split.tolist()
        self.captions: list[list[str]] = [[] for _ in self.image_ids]
        self._store = ImageStore(find_images(root, images))

    def graph(self, place: int, target: Path, link: bool) -> SceneGraph:
        """See `BoxesSource`; boxes outside of the image have no area."""
        _store_as_is(self._store, self.image_ids[place], target, link)
        data, size = self._data, self._data.image_size(place)
        first, end = data.box_ranges[place].tolist()
        rows = slice(*data.rel_ranges[place].tolist())
        human = ~data.is_pseudo[rows]
        ends = data.relationships[rows][human] - first
        triples = torch.stack([ends[:, 0], data.predicates[rows][human], ends[:, 1]], 1)
        boxes = clip_to_image(data.raw_boxes[first:end] * (max(size) / BOX_SCALE), size)
        return SceneGraph(data.labels[first:end], boxes, triples, size)

    def write(self, folder: Path, graphs: Sequence[SceneGraph], vocabulary: Vocabulary) -> None:
        """See `BoxesSource`."""
        path, _ = file_paths(self._root)
        with h5py.File(path, "r") as file:
            names = [name for name in file if name not in (PSEUDO, SCORES)]
        tables = read_arrays(path, names, "the annotations of VG150")
        first = self._data.box_ranges[:, 0].tolist()
        shift = torch.tensor([1, 0, 1])
        triples = torch.cat([g.triples + start * shift for g, start in zip(graphs, first)])
        tables |= pseudo_tables(graphs) | {
            "predicates": triples[:, 1:2].numpy(),
            "relationships": triples[:, [0, 2]].int().numpy(),
            **inclusive_ranges("rel", torch.tensor([len(g.triples) for g in graphs]).numpy()),
        }
        objects, predicates = Counter(self._data.labels.tolist()), Counter(triples[:, 1].tolist())
        dicts = vocabulary_dicts(
            vocabulary,
            [objects[i] for i in range(1, vocabulary.num_objects)],
            [predicates[i] for i in range(1, vocabulary.num_predicates)],
        )
        sizes = torch.cat([self._data.image_ids[:, None], self._data.sizes], 1).numpy()
        write_tables(folder, tables, dicts, sizes)


def _store_as_is(store: ImageStore, image_id: int, target: Path, link: bool) -> None:
    """Put a photo to `target` in its stored orientation; nothing if there is no file."""
    place = store.places.get(image_id)
    if place is None:
        return
    path = Path(place.member)
    if place.container is None and path.suffix.lower() in (".jpg", ".jpeg", ".png"):
        copy_photo(path, target.with_suffix(path.suffix.lower()), link)
    else:
        save_image(target.with_suffix(".png"), store.read(image_id).image)
