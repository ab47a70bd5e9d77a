"""Visual Genome as sg2im preprocesses it: `train.h5`, `val.h5`, `test.h5` and `vocab.json`.

N images, at most O objects and R relationships each (30 of both), int32, padded with -1:

    image_ids, objects_per_image, relationships_per_image   (N,)
    object_ids, object_names                                (N, O)     names are ids from 1
    object_boxes                                            (N, O, 4)  x, y, w, h in pixels
    relationship_ids, relationship_predicates               (N, R)
    relationship_subjects, relationship_objects             (N, R)     columns of object_names
    attributes_per_object                                   (N, O)
    object_attributes                                       (objects of all images, A)
    image_paths                                             (N,)       such as VG_100K/1.jpg

The files do not hold the images' sizes: they are read from `image_data.json`, else from the images.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from autoenc_sg.core.boxes import ImageSize, clip_to_image, has_area
from autoenc_sg.core.errors import bad_input
from autoenc_sg.core.scene_graph import SceneGraph
from autoenc_sg.core.vocabulary import Vocabulary
from autoenc_sg.data.base.dataset import AnnotatedDataset
from autoenc_sg.data.base.graphs import fit_graph
from autoenc_sg.data.base.json_files import read_json
from autoenc_sg.data.base.samples import Split
from autoenc_sg.data.h5_files import read_arrays
from autoenc_sg.data.images.decode import Pixels
from autoenc_sg.data.images.readable import ReadableFolders
from autoenc_sg.data.images.store import ImageStore, Place, find_images, places_of
from autoenc_sg.data.sg2im_vg.vocabulary import from_sg2im_vocab
from autoenc_sg.data.vg150.files import read_image_data

logger = logging.getLogger(__name__)

VOCAB_NAME, SIZES_NAME = "vocab.json", "image_data.json"
_PER_IMAGE = ("image_ids", "objects_per_image", "relationships_per_image")
_OBJECTS = ("object_names",)
_RELATIONS = ("relationship_subjects", "relationship_predicates", "relationship_objects")


@dataclass(frozen=True, eq=False)
class Sg2imAnnotations:
    """The tables of one file that graphs are made of; shapes as in the module's docstring, int64.

    Attributes:
        image_ids, objects_per_image, relationships_per_image: `[N]`.
        object_names: `[N, O]`.
        object_boxes: `[N, O, 4]`.
        relations: `[N, R, 3]` subject, predicate, object.
        image_paths: N.
    """

    image_ids: Tensor
    objects_per_image: Tensor
    relationships_per_image: Tensor
    object_names: Tensor
    object_boxes: Tensor
    relations: Tensor
    image_paths: tuple[str, ...]


class Sg2imVGSource:
    """One file's images; see `dataset.GraphSource`.

    Boxes are cut at the images' borders (sg2im leaves them as they are), objects outside of their
    image and relations of an object to itself are left out.

    Args:
        data: from `read_sg2im_h5`.
        vocabulary: from `vocab.json`.
        sizes: height and width of the images as annotated, by id; may be incomplete.
        store: for the sizes of the other images.
        max_objects: of a drawn graph, one less than this; 0: all. Objects with relations come
            first, chosen at random if they are too many; others, chosen at random, fill up.
            (sg2im, by an oversight, keeps one more where there are too many with relations.)
    """

    random_key = "graph"

    def __init__(
        self,
        data: Sg2imAnnotations,
        vocabulary: Vocabulary,
        sizes: Mapping[int, ImageSize],
        store: ImageStore,
        max_objects: int = 10,
    ) -> None:
        self.image_ids: tuple[int, ...] = tuple(data.image_ids.tolist())
        self.vocabulary = vocabulary
        self._data = data
        self._sizes = sizes
        self._store = store
        self._room = max_objects - 1

    def annotated(self, row: int) -> SceneGraph:
        """All objects and relations."""
        data = self._data
        objects = int(data.objects_per_image[row])
        relations = int(data.relationships_per_image[row])
        boxes = data.object_boxes[row, :objects].float()
        boxes = torch.cat([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], 1)
        triples = data.relations[row, :relations]
        triples = triples[triples[:, 0] != triples[:, 2]]
        size = self._size(row, boxes)
        clipped = clip_to_image(boxes, size)
        inside = has_area(clipped)
        graph = SceneGraph(data.object_names[row, :objects], clipped, triples, size)
        return graph if inside.all() else graph.select(inside.nonzero()[:, 0])

    def graph(self, row: int, generator: torch.Generator) -> SceneGraph:
        """At most `max_objects - 1` objects."""
        graph = self.annotated(row)
        if self._room < 0:
            return graph
        related = graph.triples[:, [0, 2]].unique()
        others = torch.ones(len(graph), dtype=torch.bool)
        others[related] = False
        rows = _random_subset(related, self._room, generator)
        rest = _random_subset(others.nonzero()[:, 0], self._room - len(rows), generator)
        return graph.select(torch.cat([rows, rest]))

    def graph_on(
        self, row: int, generator: torch.Generator, pixels: Pixels, name: str
    ) -> SceneGraph:
        """In pixels of the image that was read."""
        return fit_graph(self.graph(row, generator), pixels, name)

    def _size(self, row: int, boxes: Tensor) -> ImageSize:
        image_id = self.image_ids[row]
        if image_id in self._sizes:
            return self._sizes[image_id]
        if image_id in self._store:
            return self._store.size(image_id)
        if not len(boxes):
            return 1, 1
        width, height = boxes[:, 2:].max(0).values.ceil().long().clamp(min=1).tolist()
        return height, width


def open_sg2im_vg(
    root: Path,
    split: Split,
    images: Path | None = None,
    max_objects: int = 10,
    flip: bool = False,
    seed: int = 0,
    short_side: int | None = None,
    readable: ReadableFolders | None = None,
) -> AnnotatedDataset:
    """One split.

    Args:
        root: the folder of the files, and of image_data.json if it is at hand. Without that and
            without images, graphs have the smallest image that holds their boxes.
        split: which part.
        images: the folder of `image_paths`, or of images called by their ids (a zip too); None:
            `root/images`, `root`.
        max_objects: see `Sg2imVGSource`.
        flip: train only: mirror half of the samples.
        seed: of the choice of objects and of flipping.
        short_side: larger images are shrunk to it, None: none are.
        readable: the folders to read images from; None: `root` and `images`.

    Raises:
        InputError: a file is missing or damaged.
    """
    path = root / f"{split}.h5"
    vocabulary = from_sg2im_vocab(read_json(root / VOCAB_NAME), root / VOCAB_NAME)
    data = read_sg2im_h5(path, vocabulary)
    ids = data.image_ids.tolist()
    readable = readable or ReadableFolders([root, *([images] if images else [])])
    places = _places(root, images, dict(zip(ids, data.image_paths)), readable)
    store = ImageStore(places, short_side)
    sizes: dict[int, ImageSize] = {}
    if (root / SIZES_NAME).is_file():
        table = read_image_data(root / SIZES_NAME).tolist()
        sizes = {image_id: (height, width) for image_id, height, width in table}
    _log_warnings(path, data, sizes, sum(i not in sizes and i not in store for i in ids))
    source = Sg2imVGSource(data, vocabulary, sizes, store, max_objects)
    return AnnotatedDataset(source, store, split, seed, flip, root)


def _log_warnings(
    path: Path, data: Sg2imAnnotations, sizes: Mapping[int, ImageSize], unknown: int
) -> None:
    """Log what is left out when graphs are read, and how many image sizes are unknown."""
    count = len(data.image_ids)
    if unknown:
        logger.warning("%s: the sizes of %d of %d images are unknown", path, unknown, count)
    used = torch.arange(data.object_names.shape[1]) < data.objects_per_image[:, None]
    image_sizes = [sizes.get(i, (1 << 30, 1 << 30)) for i in data.image_ids.tolist()]
    limits = torch.tensor(image_sizes).reshape(-1, 2).flip(1)[:, None]  # width, height
    low, extent = data.object_boxes[..., :2], data.object_boxes[..., 2:]
    outside = ((low >= limits) | (low + extent <= 0)).any(2) & used
    if outside.any():
        logger.warning(
            "%s: %d boxes outside of their images are left out", path, int(outside.sum())
        )
    used = torch.arange(data.relations.shape[1]) < data.relationships_per_image[:, None]
    alone = (data.relations[..., 0] == data.relations[..., 2]) & used
    if alone.any():
        logger.warning("%s: %d relations of an object to itself are left out", path, alone.sum())


def read_sg2im_h5(path: Path, vocabulary: Vocabulary) -> Sg2imAnnotations:
    """Read and check one file.

    Raises:
        InputError: it is missing or damaged, a table is missing or has another shape, or a name, an
            object's place or a box is out of range.
    """
    tables, paths = _read_tables(path)
    names, boxes = tables["object_names"], tables["object_boxes"]
    relations = torch.stack([tables[name] for name in _RELATIONS], 2)
    counts = tables["objects_per_image"]
    used = _used(path, "objects_per_image", counts, names.shape[1])
    _check(path, "object_names", names, used, 1, vocabulary.num_objects - 1)
    _check(path, "object_boxes", boxes[..., 2:].amin(2), used, 1, None)
    used = _used(
        path, "relationships_per_image", tables["relationships_per_image"], relations.shape[1]
    )
    _check(path, _RELATIONS[1], relations[..., 1], used, 1, vocabulary.num_predicates - 1)
    for column, name in ((0, _RELATIONS[0]), (2, _RELATIONS[2])):
        _check(path, name, relations[..., column], used, 0, counts[:, None] - 1)
    return Sg2imAnnotations(
        tables["image_ids"],
        counts,
        tables["relationships_per_image"],
        names,
        boxes,
        relations,
        paths,
    )


def _read_tables(path: Path) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    names = (*_PER_IMAGE, *_OBJECTS, "object_boxes", *_RELATIONS)
    arrays = read_arrays(path, (*names, "image_paths"), "annotations as sg2im preprocesses them")
    stored = arrays.pop("image_paths")
    try:
        paths = tuple(_text(item) for item in stored.reshape(-1).tolist())
    except UnicodeDecodeError as error:
        raise bad_input(f"{path} 'image_paths'", "UTF-8", error) from None
    count = arrays["image_ids"].size
    for name, array in arrays.items():
        dims = 1 if name in _PER_IMAGE else 3 if name == "object_boxes" else 2
        good = array.ndim == dims and len(array) == count and np.issubdtype(array.dtype, np.integer)
        if not good or (dims == 3 and array.shape[1:] != (arrays["object_names"].shape[1], 4)):
            got = f"{array.dtype} {list(array.shape)}"
            raise bad_input(f"{path} {name!r}", f"whole numbers of {count} images", got)
    widths = {arrays[name].shape[1] for name in _RELATIONS}
    if len(widths) > 1 or len(paths) != count:
        got = f"relations of {sorted(widths)} columns and {len(paths)} paths"
        raise bad_input(path, f"tables of one size and {count} image_paths", got)
    return {name: torch.from_numpy(array.astype(np.int64)) for name, array in arrays.items()}, paths


def _text(item: bytes | str) -> str:
    """h5py 3 returns bytes, older versions strings."""
    return item.decode() if isinstance(item, bytes) else str(item)


def _used(path: Path, name: str, counts: Tensor, width: int) -> Tensor:
    """Which columns are no padding: `[N, width]` bool."""
    wrong = ((counts < 0) | (counts > width)).nonzero()
    if len(wrong):
        row = int(wrong[0])
        raise bad_input(f"{path} {name!r} row {row}", f"0..{width}", int(counts[row]))
    return torch.arange(width) < counts[:, None]


def _check(
    path: Path, name: str, values: Tensor, used: Tensor, low: int, high: int | Tensor | None
) -> None:
    wrong = values < low
    if high is not None:
        wrong |= values > high
    wrong_cells = (wrong & used).nonzero()
    if len(wrong_cells):
        row, column = wrong_cells[0].tolist()
        limit = high if not isinstance(high, Tensor) else int(high[row])
        expected = f">= {low}" if limit is None else f"{low}..{limit}"
        got = int(values[row, column])
        raise bad_input(f"{path} {name!r} row {row}, column {column}", expected, got)


def _random_subset(rows: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """All rows if there are at most `count`, else `count` of them at random, in their order."""
    if len(rows) <= count:
        return rows
    return rows[torch.randperm(len(rows), generator=generator)[: max(count, 0)].sort().values]


def _places(
    root: Path, images: Path | None, names: Mapping[int, str], readable: ReadableFolders
) -> dict[int, Place]:
    """The images' files: at their `image_paths`, else named by their ids."""
    bases = [root / "images", root] if images is None else [images]
    places: dict[int, Place] = {}
    for base in bases:
        places = places_of(readable.image_files(base, names, root)) | places
    if len(places) < len(names):
        for base in bases:
            if images is not None or base.exists():
                listed = find_images(base, images, readable)
                places = {i: listed[i] for i in names if i in listed} | places
    return places
