"""COCO-format data with the geometric relations that sg2im makes of it."""

from __future__ import annotations

import contextlib
import io
import math
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pycocotools import mask as mask_codec
from pycocotools.coco import COCO
from torch import Tensor

from autoenc_sg.core.boxes import ImageSize
from autoenc_sg.core.errors import InputError, bad_input
from autoenc_sg.core.scene_graph import SceneGraph
from autoenc_sg.core.vocabulary import Vocabulary
from autoenc_sg.data.base.augment import flip_half, left_right_swap
from autoenc_sg.data.base.in_memory import check_aspect
from autoenc_sg.data.base.samples import (
    LONGEST_SIDE,
    Sample,
    Split,
    num_validation,
    random_stream,
    read_json,
)
from autoenc_sg.data.coco.geometric_relations import (
    GEOMETRIC_PREDICATES,
    geometric_predicates,
    random_partners,
)
from autoenc_sg.data.coco.masks import masks_over, read_segmentation
from autoenc_sg.data.images.store import ImageStore, Place


@dataclass(frozen=True)
class CocoRules:
    """Which images make which split, and which annotations make objects.

    Attributes:
        num_val: validation images; 10 % where fewer than 10 times as many are left to train.
        num_test: the test split is cut from this many images, those with the greatest ids.
        min_area: least area of a box as a fraction of the image.
        max_objects: objects of an image at most, the largest boxes first.
        stuff: a second COCO file with more boxes of the same images (stuff), or None.
        mask_size: side of the objects' masks (`object_masks`), ones where there is no segmentation;
            0: graphs have none.
    """

    num_val: int = 5000
    num_test: int = 30
    min_area: float = 0.01
    max_objects: int = 20
    stuff: Path | None = None
    mask_size: int = 0


class CocoDataset:
    """One split of a COCO-format data set; images without objects are left out.

    Class ids follow the order of the category ids, from 1; categories of one name are one class.
    Crowds are skipped, and boxes smaller than `min_area` (so those of no area too).

    Every object gets one relation, to a random other object and in a random direction
    (`geometric_relations`): other ones in each epoch in the train split, always the same elsewhere.
    The angle is that between mask centroids where there is a segmentation, else box centres.
    """

    def __init__(
        self,
        annotations: Path | str,
        images: Path | str,
        split: Split,
        rules: CocoRules = CocoRules(),
        flip: bool = False,
        seed: int = 0,
        short_side: int | None = None,
    ) -> None:
        """Read and check all annotations; images are read when asked for.

        Args:
            annotations: a COCO instances file.
            images: the folder of the images.
            split: which part.
            rules: see `CocoRules`.
            flip: train only: mirror half of the samples.
            seed: of the relations and of flipping.
            short_side: larger images are shrunk to it, None: none are.

        Raises:
            InputError: a file is missing, is not COCO's format, refers to an unknown image or
                category, or has a box outside its image.
        """
        self.split = split
        self.seed = seed
        self.flip = flip and split == "train"
        files = [Path(annotations), *([rules.stuff] if rules.stuff else [])]
        self._sources = [read_coco(path) for path in files]
        names = [c["name"] for coco in self._sources for _, c in sorted(coco.cats.items())]
        self.vocabulary = Vocabulary.from_names(dict.fromkeys(names), GEOMETRIC_PREDICATES)
        self._left_right = left_right_swap(self.vocabulary)
        self._mask_size = rules.mask_size
        self._objects = _all_objects(files, self._sources, self.vocabulary, rules)
        places = {
            i: Place(str(Path(images) / str(entry["file_name"])))
            for i, entry in self._sources[0].imgs.items()
        }
        self.store = ImageStore(places, short_side)
        self.image_ids: tuple[int, ...] = _split_ids(
            files[0], self._sources[0].imgs, self._objects, split, rules
        )

    def __len__(self) -> int:
        return len(self.image_ids)

    def graph(self, index: int, epoch: int = 0) -> SceneGraph:
        """The graph in pixels of the size that the annotations state; no image is read."""
        entry = self._sources[0].imgs[self.image_ids[index]]
        return self._graph((int(entry["height"]), int(entry["width"])), index, epoch)

    def annotated(self, index: int) -> SceneGraph:
        """The same as `graph`: relations are not annotated but made."""
        return self.graph(index)

    def sample(self, index: int, epoch: int = 0) -> Sample:
        """Image and graph, mirrored in half of the (epoch, index) of the train split with `flip`.

        Boxes are scaled where the image has another size than the annotations state.

        Raises:
            InputError: the image is missing or unreadable, or is not the stated one, scaled.
        """
        image_id = self.image_ids[index]
        image, full = self.store.read(image_id)
        entry = self._sources[0].imgs[image_id]
        check_aspect(self.store.name(image_id), full, (int(entry["height"]), int(entry["width"])))
        size = (image.shape[1], image.shape[2])
        found = Sample(image, self._graph(size, index, epoch), image_id)
        if not self.flip:
            return found
        return flip_half(found, self._left_right, self.seed, epoch, index)

    def __getitem__(self, index: int) -> Sample:
        return self.sample(index)

    def _graph(self, size: ImageSize, index: int, epoch: int) -> SceneGraph:
        objects = self._objects[self.image_ids[index]]
        triples = torch.zeros(0, 3, dtype=torch.int64)
        if len(objects) > 1:
            key = random_stream("partners", self.seed, epoch if self.split == "train" else 0, index)
            generator = torch.Generator().manual_seed(key.getrandbits(62))
            pairs = random_partners(len(objects), generator)
            predicates = geometric_predicates(objects.unit_boxes, self._centres(objects), pairs)
            triples = torch.stack([pairs[:, 0], predicates, pairs[:, 1]], 1)
        height, width = size
        boxes = objects.unit_boxes * torch.tensor([width, height, width, height])
        return SceneGraph(objects.labels, boxes, triples, size, masks=self._masks(index, objects))

    def _masks(self, index: int, objects: _Objects) -> Tensor | None:
        """Over the boxes as annotated, at the size that the annotations state."""
        if not self._mask_size:
            return None
        entry = self._sources[0].imgs[self.image_ids[index]]
        shapes = [
            read_segmentation(a.get("segmentation"), f"annotation {a['id']} 'segmentation'")
            for _, a in objects.annotations
        ]
        boxes = torch.tensor([a["bbox"] for _, a in objects.annotations], dtype=torch.float64)
        return masks_over(boxes, shapes, (entry["height"], entry["width"]), self._mask_size)

    def _centres(self, objects: _Objects) -> Tensor:
        centres = (objects.unit_boxes[:, :2] + objects.unit_boxes[:, 2:]) / 2
        for row, (source, annotation) in enumerate(objects.annotations):
            centroid = _mask_centroid(self._sources[source], annotation)
            if centroid is not None:
                centres[row] = centroid
        return centres


@dataclass(frozen=True, eq=False)
class _Objects:
    """An image's objects, largest first: `[N]`, `[N, 4]` in [0, 1], (file number, annotation)."""

    labels: Tensor
    unit_boxes: Tensor
    annotations: tuple[tuple[int, dict[str, Any]], ...]

    def __len__(self) -> int:
        return len(self.labels)


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
        InputError: the file is missing, an entry has not the fields of COCO's format, or an image
            or category comes twice.
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
    with contextlib.redirect_stdout(io.StringIO()):  # it tells of its progress
        coco.createIndex()
    return coco


def _all_objects(
    files: Sequence[Path], sources: Sequence[COCO], vocabulary: Vocabulary, rules: CocoRules
) -> dict[int, _Objects]:
    label_of = {name: i for i, name in enumerate(vocabulary.objects)}
    found: dict[int, list[tuple[float, int, list[float], tuple[int, dict[str, Any]]]]] = {
        image_id: [] for image_id in sources[0].imgs
    }
    for number, (path, coco) in enumerate(zip(files, sources)):
        for annotation in checked(path, coco, sources[0].imgs):
            if annotation.get("iscrowd", 0):
                continue
            image = sources[0].imgs[annotation["image_id"]]
            box = unit_box(path, annotation, image)
            area = (box[2] - box[0]) * (box[3] - box[1])
            if area >= rules.min_area and area > 0:
                label = label_of[coco.cats[annotation["category_id"]]["name"]]
                found[image["id"]].append((area, label, box, (number, annotation)))
    return {
        image_id: _largest(items, rules.max_objects) for image_id, items in found.items() if items
    }


def _largest(
    items: list[tuple[float, int, list[float], tuple[int, dict[str, Any]]]], most: int
) -> _Objects:
    kept = sorted(items, key=lambda item: -item[0])[:most]
    _, labels, boxes, annotations = zip(*kept)
    return _Objects(torch.tensor(labels), torch.tensor(boxes), annotations)


def checked(path: Path, coco: COCO, images: Container[int]) -> Iterator[dict[str, Any]]:
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


def _split_ids(
    path: Path, all_ids: Iterable[int], objects: dict[int, _Objects], split: Split, rules: CocoRules
) -> tuple[int, ...]:
    """Test: the last ids; validation: the first others; then images without objects go."""
    ids = sorted(all_ids)
    if rules.num_test >= len(ids):
        raise bad_input(f"num_test for {path}", f"fewer than its {len(ids)} images", rules.num_test)
    cut = len(ids) - rules.num_test
    others = [i for i in ids[:cut] if i in objects]
    num_val = num_validation(len(others), rules.num_val)
    test = [i for i in ids[cut:] if i in objects]
    return tuple({"train": others[num_val:], "val": others[:num_val], "test": test}[split])


def _mask_centroid(coco: COCO, annotation: dict[str, Any]) -> Tensor | None:
    """Mean position of the mask's pixels, as fractions of the image: `[2]`; None without a mask."""
    if not annotation.get("segmentation"):
        return None
    try:
        mask = torch.from_numpy(mask_codec.decode(coco.annToRLE(annotation)))
    except Exception as error:  # the codec raises plain Exception
        raise InputError(
            f"annotation {annotation['id']} 'segmentation': expected polygons or RLE, got {error}"
        ) from None
    if not mask.any():
        return None
    columns, rows = (mask.sum(axis, dtype=torch.float32) for axis in (0, 1))
    x, y = (
        ((torch.arange(len(line)) + 0.5) * line).sum() / line.sum() / len(line)
        for line in (columns, rows)
    )
    return torch.stack([x, y])
