"""COCO-format data with the geometric relations that sg2im makes of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import torch
from pycocotools.coco import COCO
from torch import Tensor

from autoenc_sg.core.boxes import ImageSize
from autoenc_sg.core.errors import bad_input
from autoenc_sg.core.scene_graph import SceneGraph
from autoenc_sg.core.vocabulary import Vocabulary
from autoenc_sg.data.base.dataset import AnnotatedDataset
from autoenc_sg.data.base.graphs import check_aspect
from autoenc_sg.data.base.samples import Split, num_validation
from autoenc_sg.data.coco.exports import CocoExport, used_classes
from autoenc_sg.data.coco.files import (
    checked_annotations,
    read_coco,
    take_segmentation,
    unit_box,
)
from autoenc_sg.data.coco.geometric_relations import (
    GEOMETRIC_PREDICATES,
    geometric_predicates,
    random_partners,
)
from autoenc_sg.data.coco.masks import masks_over
from autoenc_sg.data.coco.segmentations import Segmentation, decode_segmentation
from autoenc_sg.data.images.decode import Pixels
from autoenc_sg.data.images.readable import ReadableFolders
from autoenc_sg.data.images.store import ImageStore, places_of

_NUM_TEST = 30


@dataclass(frozen=True)
class CocoRules:
    """Which images make which split, and which annotations make objects.

    Attributes:
        num_val: validation images; 10 % where fewer than 10 times as many are left to train.
        num_test: the test split is cut from this many images, those with the greatest ids; None: 30
            of 60 images or more, else 10 %.
        min_area: least area of a box as a fraction of the image.
        max_objects: objects of an image at most, the largest boxes first.
        stuff: a second COCO file with more boxes of the same images (stuff), or None.
        mask_size: side of the objects' masks (`masks`), ones where there is no segmentation;
            0: graphs have none.
        only_used: leave out classes that no annotation uses.
    """

    num_val: int = 5000
    num_test: int | None = None
    min_area: float = 0.01
    max_objects: int = 20
    stuff: Path | None = None
    mask_size: int = 0
    only_used: bool = False


def open_coco_export(
    export: CocoExport,
    split: Split,
    rules: CocoRules = CocoRules(),
    flip: bool = False,
    seed: int = 0,
    short_side: int | None = None,
    readable: ReadableFolders | None = None,
) -> AnnotatedDataset:
    """One split of an export with a file for each split, see `exports`; arguments as `open_coco`.

    A split without a file has no images, and the rules' `num_val` and `num_test` do not matter.
    """
    path = export.files.get(split, export.files["train"])
    contents = {file: read_coco(file) for file in export.files.values()}
    names = used_classes(list(contents.values()), path)
    vocabulary = Vocabulary.from_names(names, GEOMETRIC_PREDICATES)
    every = _all_objects([path], [contents[path]], vocabulary, rules)
    objects = dict(sorted(every.items())) if split in export.files else {}
    readable = readable or ReadableFolders([path.parent])
    entries = {i: entry["file_name"] for i, entry in contents[path].imgs.items()}
    places = places_of(readable.image_files(path.parent, entries, path))
    source = CocoSource(vocabulary, objects, rules.mask_size)
    return AnnotatedDataset(source, ImageStore(places, short_side), split, seed, flip, path)


def open_coco(
    annotations: Path | str,
    images: Path | str,
    split: Split,
    rules: CocoRules = CocoRules(),
    flip: bool = False,
    seed: int = 0,
    short_side: int | None = None,
    readable: ReadableFolders | None = None,
) -> AnnotatedDataset:
    """One split of a COCO-format data set; images without objects or file are left out.

    Class ids follow the order of the category ids, from 1; categories of one name are one class.
    Crowds are ignored regions (`SceneGraph.ignored`); boxes smaller than `min_area` are skipped (so
    those of no area too).

    Args:
        annotations: a COCO instances file.
        images: the folder of the images.
        split: which part.
        rules: see `CocoRules`.
        flip: train only: mirror half of the samples.
        seed: of the relations and of flipping.
        short_side: larger images are shrunk to it, None: none are.
        readable: the folders to read images from; None: `images` and that of the annotations.

    Raises:
        InputError: a file is missing, is not COCO's format, refers to an unknown image or
            category, or has a box outside its image or a segmentation that is none.
    """
    files = [Path(annotations), *([rules.stuff] if rules.stuff else [])]
    contents = [read_coco(path) for path in files]
    entries = contents[0].imgs
    classes = [c["name"] for coco in contents for _, c in sorted(coco.cats.items())]
    if rules.only_used:
        classes = used_classes(contents, files[0])
    vocabulary = Vocabulary.from_names(dict.fromkeys(classes), GEOMETRIC_PREDICATES)
    objects = _all_objects(files, contents, vocabulary, rules)
    image_ids = _split_ids(files[0], entries, objects, split, rules)
    readable = readable or ReadableFolders([images, files[0].parent])
    names = {i: entry["file_name"] for i, entry in entries.items()}
    places = places_of(readable.image_files(Path(images), names, files[0]))
    source = CocoSource(vocabulary, {i: objects[i] for i in image_ids}, rules.mask_size)
    return AnnotatedDataset(source, ImageStore(places, short_side), split, seed, flip, annotations)


class CocoSource:
    """Graphs whose relations are made, as `dataset.GraphSource`.

    Every object gets one relation, to a random other one and in a random direction
    (`geometric_relations`): other ones in each epoch in the train split, always the same elsewhere.
    The angle is that between mask centroids where there is a segmentation, else box centres.

    Args:
        vocabulary: the names.
        objects: of each image of the split, by image id.
        mask_size: see `CocoRules`.
    """

    random_key = "partners"

    def __init__(
        self,
        vocabulary: Vocabulary,
        objects: Mapping[int, _Objects],
        mask_size: int,
    ) -> None:
        self.vocabulary = vocabulary
        self.image_ids: tuple[int, ...] = tuple(objects)
        self._objects = tuple(objects.values())
        self._mask_size = mask_size

    def graph(self, row: int, generator: torch.Generator) -> SceneGraph:
        """In pixels of the size that the annotations state."""
        return self._graph(row, self._objects[row].size, generator)

    def graph_on(
        self, row: int, generator: torch.Generator, pixels: Pixels, name: str
    ) -> SceneGraph:
        """In pixels of the image that was read."""
        check_aspect(name, pixels.full_size, self._objects[row].size)
        return self._graph(row, (pixels.image.shape[1], pixels.image.shape[2]), generator)

    def annotated(self, row: int) -> None:
        """Relations are made, not annotated."""
        return

    def _graph(self, row: int, size: ImageSize, generator: torch.Generator) -> SceneGraph:
        objects = self._objects[row]
        triples = torch.zeros(0, 3, dtype=torch.int64)
        if len(objects) > 1:
            pairs = random_partners(len(objects), generator)
            predicates = geometric_predicates(objects.unit_boxes, self.centres(row), pairs)
            triples = torch.stack([pairs[:, 0], predicates, pairs[:, 1]], 1)
        height, width = size
        scale = torch.tensor([width, height, width, height])
        crowds = objects.crowds
        if crowds is not None:
            crowds = torch.cat([crowds[:, :1], crowds[:, 1:] * scale], 1)
        boxes, masks = objects.unit_boxes * scale, self._masks(row)
        return SceneGraph(objects.labels, boxes, triples, size, masks=masks, ignored=crowds)

    def _masks(self, row: int) -> Tensor | None:
        """Over the boxes as annotated, at the size that the annotations state."""
        if not self._mask_size:
            return None
        objects = self._objects[row]
        return masks_over(objects.boxes, objects.segmentations, objects.size, self._mask_size)

    def centres(self, row: int) -> Tensor:
        """The mask's centroid, or the box's centre, of each object: `[N, 2]` in [0, 1]."""
        objects = self._objects[row]
        centres = (objects.unit_boxes[:, :2] + objects.unit_boxes[:, 2:]) / 2
        for i, segmentation in enumerate(objects.segmentations):
            centroid = None if segmentation is None else _mask_centroid(segmentation)
            if centroid is not None:
                centres[i] = centroid
        return centres


@dataclass(frozen=True, eq=False)
class _Objects:
    """An image's objects, largest first.

    Attributes:
        labels: `[N]`.
        unit_boxes: `[N, 4]` xyxy in [0, 1].
        boxes: `[N, 4]` float64 x, y, width, height in pixels, as annotated.
        segmentations: N, None for an object without one.
        size: (height, width) as the annotations state it.
        crowds: `[K, 5]` class ids and xyxy in [0, 1] of the crowds, None if there are none.
    """

    labels: Tensor
    unit_boxes: Tensor
    boxes: Tensor
    segmentations: tuple[Segmentation | None, ...]
    size: ImageSize
    crowds: Tensor | None = None

    def __len__(self) -> int:
        return len(self.labels)


class _Object(NamedTuple):
    """One annotation; `unit_box` is xyxy in [0, 1], `area` its area, `box` as annotated."""

    area: float
    label: int
    unit_box: list[float]
    box: list[float]
    segmentation: Segmentation | None


def _all_objects(
    files: Sequence[Path], contents: Sequence[COCO], vocabulary: Vocabulary, rules: CocoRules
) -> dict[int, _Objects]:
    """The objects of each image that has any, by image id."""
    label_of = {name: i for i, name in enumerate(vocabulary.objects)}
    images = contents[0].imgs
    objects: dict[int, list[_Object]] = {image_id: [] for image_id in images}
    crowds: dict[int, list[list[float]]] = {image_id: [] for image_id in images}
    for path, coco in zip(files, contents):
        for annotation in checked_annotations(path, coco, images):
            image = images[annotation["image_id"]]
            unit = unit_box(path, annotation, image)
            area = (unit[2] - unit[0]) * (unit[3] - unit[1])
            label = label_of[coco.cats[annotation["category_id"]]["name"]]
            if annotation["iscrowd"]:
                crowds[annotation["image_id"]].append([label, *unit])
            elif area >= rules.min_area and area > 0:
                segmentation = take_segmentation(path, annotation, image)
                one = _Object(area, label, unit, annotation["bbox"], segmentation)
                objects[annotation["image_id"]].append(one)
    return {
        i: replace(
            _largest(group, rules.max_objects, (images[i]["height"], images[i]["width"])),
            crowds=torch.tensor(crowds[i]) if crowds[i] else None,
        )
        for i, group in objects.items()
        if group
    }


def _largest(objects: Sequence[_Object], count: int, size: ImageSize) -> _Objects:
    largest = sorted(objects, key=lambda one: -one.area)[:count]
    return _Objects(
        torch.tensor([one.label for one in largest]),
        torch.tensor([one.unit_box for one in largest]),
        torch.tensor([one.box for one in largest], dtype=torch.float64),
        tuple(one.segmentation for one in largest),
        size,
    )


def _split_ids(
    path: Path, all_ids: Iterable[int], objects: dict[int, _Objects], split: Split, rules: CocoRules
) -> tuple[int, ...]:
    """Test: the last ids; validation: the first of the others; images without objects left out."""
    ids = sorted(all_ids)
    num_test = _default_num_test(len(ids)) if rules.num_test is None else rules.num_test
    if num_test >= len(ids):
        raise bad_input(f"num_test for {path}", f"fewer than its {len(ids)} images", num_test)
    cut = len(ids) - num_test
    others = [i for i in ids[:cut] if i in objects]
    num_val = num_validation(len(others), rules.num_val)
    test = [i for i in ids[cut:] if i in objects]
    return tuple({"train": others[num_val:], "val": others[:num_val], "test": test}[split])


def _default_num_test(num_images: int) -> int:
    return _NUM_TEST if num_images >= 2 * _NUM_TEST else max(1, num_images // 10)


def _mask_centroid(segmentation: Segmentation) -> Tensor | None:
    """Mean position of the mask's pixels, as fractions of the image: `[2]`; None without any."""
    mask = decode_segmentation(segmentation)
    if not mask.any():
        return None
    columns, rows = (mask.sum(axis, dtype=torch.float32) for axis in (0, 1))
    x, y = (
        ((torch.arange(len(line)) + 0.5) * line).sum() / line.sum() / len(line)
        for line in (columns, rows)
    )
    return torch.stack([x, y])
