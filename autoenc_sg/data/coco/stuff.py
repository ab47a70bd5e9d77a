"""COCO with its stuff annotations, by the rules of sg2im's data/coco.py.

1. Objects are the boxes of `instances_*.json` (crowds too), then those of `stuff_*.json`, that
   cover more than 2 % of their image and are not `other`.
2. Images with 3 to 8 objects are kept, of those that have any stuff annotation.
3. Class ids are COCO's category ids; ids without a name are called `__unused_<id>__`.
4. Masks are cropped to the box and resized to 16 x 16 (`masks`).
5. Each object gets one relation to a random other one, in a random direction: `inside` or
   `surrounding`, else by the angle between the masks' centres (`geometric_relations`).

`train2017` is the train split; the first 1024 kept images of `val2017` are validation, the others
the test split. Relations are drawn anew in each epoch of the train split; sg2im draws them anew,
without a seed, everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from pycocotools.coco import COCO
from torch import Tensor

from autoenc_sg.core.boxes import ImageSize
from autoenc_sg.core.errors import bad_input
from autoenc_sg.core.scene_graph import SceneGraph
from autoenc_sg.core.vocabulary import Vocabulary
from autoenc_sg.data.base.dataset import AnnotatedDataset
from autoenc_sg.data.base.graphs import fit_graph
from autoenc_sg.data.base.samples import Split
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
from autoenc_sg.data.coco.masks import mask_centres, masks_over
from autoenc_sg.data.coco.segmentations import Segmentation
from autoenc_sg.data.images.decode import Pixels
from autoenc_sg.data.images.readable import ReadableFolders
from autoenc_sg.data.images.store import ImageStore, places_of

OTHER = "other"
_SG2IM_MASK = 16


@dataclass(frozen=True)
class CocoStuffRules:
    """Which images and objects; the defaults are sg2im's.

    Attributes:
        num_val: validation images, of `val2017`; a third where there are not more than these.
        min_area: objects cover more than this fraction of their image.
        min_objects, max_objects: of an image; images with fewer or more are left out.
        include_other: objects of the class `other` too.
        stuff_only: leave out images without any stuff annotation.
        mask_size: side of the masks; 0: graphs have none.
    """

    num_val: int = 1024
    min_area: float = 0.02
    min_objects: int = 3
    max_objects: int = 8
    include_other: bool = False
    stuff_only: bool = True
    mask_size: int = _SG2IM_MASK


class StuffObjects(NamedTuple):
    """The N objects of an image of H x W pixels.

    Attributes:
        labels: `[N]`.
        unit_boxes: `[N, 4]` xyxy in [0, 1].
        boxes: `[N, 4]` float64 x, y, width, height in pixels, as annotated.
        segmentations: None for an object without one.
        size: (H, W).
    """

    labels: Tensor
    unit_boxes: Tensor
    boxes: Tensor
    segmentations: tuple[Segmentation | None, ...]
    size: ImageSize


class CocoStuffSource:
    """The kept images of a pair of files, in the files' order; see `dataset.GraphSource`."""

    random_key = "graph"

    def __init__(
        self,
        images: dict[int, StuffObjects],
        vocabulary: Vocabulary,
        mask_size: int,
    ) -> None:
        self.image_ids: tuple[int, ...] = tuple(images)
        self.vocabulary = vocabulary
        self._objects = tuple(images.values())
        self._mask_size = mask_size

    def graph(self, row: int, generator: torch.Generator) -> SceneGraph:
        """A graph with one relation for each object, where there are two or more."""
        objects = self._objects[row]
        side = self._mask_size or _SG2IM_MASK
        masks = masks_over(objects.boxes, objects.segmentations, objects.size, side)
        triples = torch.zeros(0, 3, dtype=torch.int64)
        if len(objects.labels) > 1:
            pairs = random_partners(len(objects.labels), generator)
            centres = mask_centres(masks, objects.unit_boxes)
            predicates = geometric_predicates(objects.unit_boxes, centres, pairs)
            triples = torch.stack([pairs[:, 0], predicates, pairs[:, 1]], 1)
        height, width = objects.size
        boxes = objects.unit_boxes * torch.tensor([width, height, width, height])
        return SceneGraph(
            objects.labels,
            boxes,
            triples,
            objects.size,
            masks=masks if self._mask_size else None,
        )

    def graph_on(
        self, row: int, generator: torch.Generator, pixels: Pixels, name: str
    ) -> SceneGraph:
        """In pixels of the image that was read."""
        return fit_graph(self.graph(row, generator), pixels, name)

    def annotated(self, row: int) -> None:
        """Relations are made, not annotated."""
        return


def open_coco_stuff(
    root: Path,
    split: Split,
    images: Path | None = None,
    rules: CocoStuffRules = CocoStuffRules(),
    flip: bool = False,
    seed: int = 0,
    short_side: int | None = None,
    readable: ReadableFolders | None = None,
) -> AnnotatedDataset:
    """One split.

    Args:
        root: the folder of `annotations/instances_train2017.json`, `stuff_train2017.json` and the
            same of `val2017`.
        split: which part.
        images: the folder that holds `train2017` and `val2017`; None: `root/images` or `root`.
        rules: see `CocoStuffRules`.
        flip: train only: mirror half of the samples, masks with them.
        seed: of the relations and of flipping.
        short_side: larger images are shrunk to it, None: none are.
        readable: the folders to read images from; None: `root` and `images`.

    Raises:
        InputError: a file is missing or has another form, or no image is left.
    """
    part = "train2017" if split == "train" else "val2017"
    objects, vocabulary, names = read_part(root / "annotations", part, rules)
    if not objects:
        few = f"{rules.min_objects} to {rules.max_objects} objects"
        raise bad_input(f"{root} {part}", f"images with {few} and stuff", "none")
    ids = list(objects)
    if split != "train":
        cut = rules.num_val if rules.num_val < len(ids) else len(ids) // 3
        ids = ids[:cut] if split == "val" else ids[cut:]
    folder = _image_folder(root, images, part)
    readable = readable or ReadableFolders([root, *([images] if images else [])])
    places = places_of(readable.image_files(folder, {i: names[i] for i in ids}, f"{root} {part}"))
    source = CocoStuffSource({i: objects[i] for i in ids}, vocabulary, rules.mask_size)
    return AnnotatedDataset(source, ImageStore(places, short_side), split, seed, flip, root)


def read_part(
    folder: Path, part: str, rules: CocoStuffRules
) -> tuple[dict[int, StuffObjects], Vocabulary, dict[int, str]]:
    """The kept images of `instances_<part>.json` and `stuff_<part>.json`.

    One file is in memory at a time.

    Returns:
        Objects by image id in the order of the instances file, the vocabulary, and the images' file
        names.
    """
    instances, stuff = (folder / f"{kind}_{part}.json" for kind in ("instances", "stuff"))
    coco = read_coco(instances)
    images, names = coco.imgs, _names(instances, coco, {})
    objects: dict[int, list[_Object]] = {image_id: [] for image_id in images}
    _add_objects(objects, instances, coco, images, rules)
    coco = read_coco(stuff)
    names = _names(stuff, coco, names)
    _add_objects(objects, stuff, coco, images, rules)
    with_stuff = {annotation["image_id"] for annotation in coco.dataset["annotations"]}
    kept_objects = {
        image_id: _joined(objects[image_id], entry)
        for image_id, entry in images.items()
        if rules.min_objects <= len(objects[image_id]) <= rules.max_objects
        and (image_id in with_stuff or not rules.stuff_only)
    }
    filled = [names.get(i, f"__unused_{i}__") for i in range(1, 1 + max(names, default=0))]
    vocabulary = Vocabulary.from_names(filled, GEOMETRIC_PREDICATES)
    return kept_objects, vocabulary, {i: str(images[i]["file_name"]) for i in kept_objects}


class _Object(NamedTuple):
    label: int
    unit_box: list[float]
    box: list[float]
    segmentation: Segmentation | None


def _add_objects(
    objects: Mapping[int, list[_Object]],
    path: Path,
    coco: COCO,
    images: Mapping[int, dict[str, Any]],
    rules: CocoStuffRules,
) -> None:
    for annotation in checked_annotations(path, coco, images):
        image_id, category = annotation["image_id"], coco.cats[annotation["category_id"]]
        unit = unit_box(path, annotation, images[image_id])
        if category["name"] == OTHER and not rules.include_other:
            continue
        if _covers(annotation["bbox"], images[image_id]) <= rules.min_area:
            continue
        shape = take_segmentation(path, annotation, images[image_id])
        objects[image_id].append(_Object(category["id"], unit, annotation["bbox"], shape))


def _covers(box: Sequence[float], image: Mapping[str, Any]) -> float:
    return float((box[2] * box[3]) / (image["width"] * image["height"]))


def _joined(objects: Sequence[_Object], image: Mapping[str, Any]) -> StuffObjects:
    return StuffObjects(
        torch.tensor([o.label for o in objects], dtype=torch.int64),
        torch.tensor([o.unit_box for o in objects], dtype=torch.float32).reshape(-1, 4),
        torch.tensor([o.box for o in objects], dtype=torch.float64).reshape(-1, 4),
        tuple(o.segmentation for o in objects),
        (image["height"], image["width"]),
    )


_MAX_CATEGORY = 10_000


def _names(path: Path, coco: COCO, names_so_far: Mapping[int, str]) -> dict[int, str]:
    """The names so far by category id, and those of this file."""
    names = dict(names_so_far)
    for category_id, category in coco.cats.items():
        same = names.setdefault(category_id, category["name"]) == category["name"]
        if not (same and 1 <= category_id <= _MAX_CATEGORY):  # each id up to the largest has a name
            expected = f"categories with ids in 1..{_MAX_CATEGORY} that no other category has"
            raise bad_input(path, expected, f"{category_id} {category['name']!r}")
    return names


def _image_folder(root: Path, images: Path | None, part: str) -> Path:
    if images is not None:
        return images / part
    return next((f for f in (root / "images" / part, root / part) if f.is_dir()), root / part)
