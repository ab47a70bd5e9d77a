"""Visual Genome as VG150, and whatever is written in its files (the drawn scenes too)."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from autoenc_sg.core.boxes import ImageSize, clip_to_image, has_area
from autoenc_sg.core.scene_graph import SceneGraph
from autoenc_sg.core.vocabulary import Vocabulary
from autoenc_sg.data.base.augment import flip_half, left_right_swap
from autoenc_sg.data.base.in_memory import check_aspect, same_aspect
from autoenc_sg.data.base.samples import (
    Sample,
    Split,
    num_validation,
    one_per_pair,
    random_stream,
    resize_graph,
)
from autoenc_sg.data.images.store import ImageStore, available, find_images
from autoenc_sg.data.vg150.files import (
    BOX_SCALE,
    TEST,
    TRAIN,
    VG150Annotations,
    read_annotations,
)

_SLACK = 0.02  # of the long side: by how much boxes of a right size pass the image's border


class VG150Dataset:
    """One split of the VG150 files in a folder, filtered as Neural Motifs and its successors do.

    In every split, images without boxes are left out. Validation is the first part of the remaining
    train images. In the train split each access keeps one predicate, drawn at random, of every
    (subject, object) pair; the other splits keep all relations, duplicates too.

    Boxes are stored with a long side of 1024 and decoded by `vg150_files.decode_boxes`.
    """

    def __init__(
        self,
        root: Path | str,
        split: Split,
        num_val: int = 5000,
        filter_empty_relations: bool = True,
        filter_overlap: bool = False,
        flip: bool = False,
        seed: int = 0,
        store: ImageStore | None = None,
    ) -> None:
        """Read all annotations into memory; images are read when asked for.

        Args:
            root: the folder of the files.
            split: which part.
            num_val: validation images; 10 % where fewer than 10 times as many are left to train.
            filter_empty_relations: leave out images without relations, in every split.
            filter_overlap: train only: leave out relations whose boxes do not overlap (IoU > 0 with
                the + 1 pixel convention), then images without relations.
            flip: train only: mirror half of the samples.
            seed: of the predicate choice and of flipping.
            store: the images; None: as `find_images(root)` finds them. Images that it has not are
                left out, after the splits are cut; if it has none, nothing is.

        Raises:
            InputError: see `vg150_files.read_annotations`.
        """
        self.root = Path(root)
        self.split = split
        self.seed = seed
        self.flip = flip and split == "train"
        self._data = read_annotations(self.root)
        self._left_right = left_right_swap(self._data.vocabulary)
        rows, self._kept = split_rows(
            self._data, split, num_val, filter_empty_relations, filter_overlap
        )
        self.store = store or ImageStore(find_images(self.root))
        ids = self._data.image_ids[rows]
        there = torch.tensor(
            available(ids.tolist(), self.store, f"{root} {split}"), dtype=torch.bool
        )
        self._rows: list[int] = rows[there].tolist()
        self.image_ids: tuple[int, ...] = tuple(ids[there].tolist())

    @property
    def vocabulary(self) -> Vocabulary:
        """The names of the dicts file."""
        return self._data.vocabulary

    def __len__(self) -> int:
        return len(self._rows)

    def graph(self, index: int, epoch: int = 0) -> SceneGraph:
        """The graph in pixels of the size that image_data.json states; no image is read."""
        row = self._rows[index]
        return self._graph(row, self._data.image_size(row), self._choice(index, epoch))

    def annotated(self, index: int) -> SceneGraph:
        """`graph` with every relation of the files (after `filter_overlap`)."""
        row = self._rows[index]
        return self._graph(row, self._data.image_size(row))

    def sample(self, index: int, epoch: int = 0) -> Sample:
        """Image and graph, mirrored in half of the (epoch, index) of the train split with `flip`.

        Boxes outside of the image (where it is smaller than image_data.json says) are left out.

        Raises:
            InputError: the image is missing or unreadable; or it is turned, or so much smaller than
                image_data.json says that boxes do not fit.
        """
        row, image_id = self._rows[index], self.image_ids[index]
        image, full_size = self.store.read(image_id)
        self._check_size(row, full_size, image_id)
        graph = self._graph(row, full_size, self._choice(index, epoch))
        found = Sample(image, resize_graph(graph, (image.shape[1], image.shape[2])), image_id)
        if not self.flip:
            return found
        return flip_half(found, self._left_right, self.seed, epoch, index)

    def __getitem__(self, index: int) -> Sample:
        return self.sample(index)

    def _graph(self, row: int, size: ImageSize, choice: int | None = None) -> SceneGraph:
        """With a `choice`, one predicate of each pair."""
        data = self._data
        first, end = data.box_ranges[row].tolist()
        rel_first, rel_end = data.rel_ranges[row].tolist()
        kept = self._kept[rel_first:rel_end]
        ends = data.relationships[rel_first:rel_end][kept] - first
        predicates = data.predicates[rel_first:rel_end][kept]
        triples = torch.stack([ends[:, 0], predicates, ends[:, 1]], 1)
        boxes = clip_to_image(data.raw_boxes[first:end] * (max(size) / BOX_SCALE), size)
        inside = has_area(boxes)
        if choice is not None:
            triples = one_per_pair(triples, choice)
        graph = SceneGraph(data.labels[first:end], boxes, triples, size)
        return graph if inside.all() else graph.select(inside.nonzero()[:, 0])

    def _check_size(self, row: int, size: ImageSize, image_id: int) -> None:
        """Some sizes in image_data.json are wrong: others than stated pass while the boxes fit."""
        stated = self._data.image_size(row)
        if same_aspect(size, stated):
            return
        height, width = size
        scaled = self._data.raw_boxes[slice(*self._data.box_ranges[row].tolist())] * max(size)
        room = BOX_SCALE * torch.tensor([width, height]) + _SLACK * BOX_SCALE * max(size)
        if same_aspect(size, stated[::-1]) or (scaled[:, 2:] > room).any():
            check_aspect(self.store.name(image_id), size, stated)

    def _choice(self, index: int, epoch: int) -> int | None:
        if self.split != "train":
            return None
        return random_stream("predicates", self.seed, epoch, index).getrandbits(62)


def split_rows(
    data: VG150Annotations,
    split: Split,
    num_val: int = 5000,
    filter_empty: bool = True,
    filter_overlap: bool = False,
) -> tuple[Tensor, Tensor]:
    """The images of a split after filtering, and which relations are kept; see `VG150Dataset`.

    Returns:
        Rows of images `[n]`, and `[R]` bool.
    """
    rows = _unfiltered_rows(data, split, num_val, filter_empty)
    if not filter_overlap or split != "train":
        return rows, torch.ones(len(data.predicates), dtype=torch.bool)
    kept = _overlapping(data.raw_boxes, data.relationships)
    return rows[_any_in(kept, data.rel_ranges[rows])], kept


def _unfiltered_rows(
    data: VG150Annotations, split: Split, num_val: int, filter_empty: bool
) -> Tensor:
    wanted = data.split == (TEST if split == "test" else TRAIN)
    wanted &= data.box_ranges[:, 1] > data.box_ranges[:, 0]
    if filter_empty:
        wanted &= data.rel_ranges[:, 1] > data.rel_ranges[:, 0]
    rows = wanted.nonzero()[:, 0]
    if split == "test":
        return rows
    cut = num_validation(len(rows), num_val)
    return rows[:cut] if split == "val" else rows[cut:]


def _overlapping(boxes: Tensor, relations: Tensor) -> Tensor:
    """Whether the two boxes of each relation overlap: `[R]` bool; pixels are inclusive (+ 1)."""
    subjects, objects = boxes[relations[:, 0]], boxes[relations[:, 1]]
    low = torch.maximum(subjects[:, :2], objects[:, :2])
    high = torch.minimum(subjects[:, 2:], objects[:, 2:])
    return (high - low + 1 > 0).all(1)


def _any_in(flags: Tensor, ranges: Tensor) -> Tensor:
    """Whether any flag `[R]` is set in each range of rows `[N, 2]`: `[N]` bool."""
    counts = torch.cat([torch.zeros(1, dtype=torch.int64), flags.long().cumsum(0)])
    return counts[ranges[:, 1]] > counts[ranges[:, 0]]
