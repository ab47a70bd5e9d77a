"""Data in the VG150 files: Visual Genome, drawn scenes, users' own photos."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from autoenc_sg.core.boxes import ImageSize, clip_to_image, has_area
from autoenc_sg.core.errors import bad_input
from autoenc_sg.core.scene_graph import SceneGraph
from autoenc_sg.core.structures import take_rows
from autoenc_sg.core.vocabulary import Vocabulary
from autoenc_sg.data.base.dataset import AnnotatedDataset
from autoenc_sg.data.base.graphs import check_aspect, one_row_per_pair, resize_graph, same_aspect
from autoenc_sg.data.base.samples import GraphDataset, Split, num_validation
from autoenc_sg.data.images.decode import Pixels
from autoenc_sg.data.images.store import ImageStore, find_images
from autoenc_sg.data.vg150.files import (
    BOX_SCALE,
    TEST,
    TRAIN,
    VG150Annotations,
    read_annotations,
)
from autoenc_sg.data.vg150.ignored import regions_of_image

_SLACK = 0.02  # of the long side: by how much boxes of a right size pass the image's border


def open_vg150(
    root: Path | str | VG150Annotations,
    split: Split,
    num_val: int = 5000,
    filter_empty_relations: bool = True,
    filter_overlap: bool = False,
    flip: bool = False,
    seed: int = 0,
    store: ImageStore | None = None,
) -> AnnotatedDataset:
    """One split of the VG150 files in a folder, filtered as Neural Motifs and its successors do.

    In every split, images without boxes are left out. Validation is the first part of the remaining
    train images. Pseudo-relations (`files`) are in the graphs of the train split alone.

    Args:
        root: the folder of the files, or what was read from it (see `use_pseudo_relations`).
        split: which part.
        num_val: validation images; 10 % where fewer than 10 times as many are left to train.
        filter_empty_relations: leave out images without relations, in every split; of validation
            and test those without human ones.
        filter_overlap: train only: leave out relations whose boxes do not overlap (IoU > 0 with
            the + 1 pixel convention), then images without relations.
        flip: train only: mirror half of the samples.
        seed: of the predicate choice and of flipping.
        store: the images; None: as `find_images` finds them there. Images that are not in it
            are left out after the splits are cut, unless it is empty.

    Raises:
        InputError: see `files.read_annotations`.
    """
    data = root if isinstance(root, VG150Annotations) else read_annotations(Path(root))
    rows, kept_relations = split_rows(data, split, num_val, filter_empty_relations, filter_overlap)
    if store is None:
        store = ImageStore(find_images(data.root))
    source = VG150Source(data, rows, kept_relations, split)
    return AnnotatedDataset(source, store, split, seed, flip, data.root)


class VG150Source:
    """The graphs of some images of the files, as `dataset.GraphSource`.

    In the train split each access keeps one predicate, drawn at random, of every (subject, object)
    pair; the other splits keep all relations, duplicates too. Where the files have
    pseudo-relations, graphs of the train split have `triple_scores`, NaN for relations of humans.

    Args:
        data: all annotations.
        rows: `[n]` rows of the images in `data`.
        kept_relations: `[R]` bool, which relations of `data` are kept.
        split: which part it is.
    """

    random_key = "predicates"

    def __init__(
        self, data: VG150Annotations, rows: Tensor, kept_relations: Tensor, split: Split
    ) -> None:
        self.vocabulary: Vocabulary = data.vocabulary
        self.image_ids: tuple[int, ...] = tuple(data.image_ids[rows].tolist())
        self.root = data.root
        self._data = data
        self._rows: list[int] = rows.tolist()
        self._kept_relations = kept_relations
        self._is_train = split == "train"

    @property
    def only_pseudo(self) -> bool:
        """Whether the data set has pseudo-relations, and no image here has one of humans."""
        human = ~self._data.is_pseudo
        has_human = _any_in(human, self._data.rel_ranges[torch.tensor(self._rows).long()])
        return not human.all() and not has_human.any()

    def graph(self, row: int, generator: torch.Generator) -> SceneGraph:
        """In pixels of the size that image_data.json states."""
        return self._graph(row, self._data.image_size(self._rows[row]), generator)

    def graph_on(
        self, row: int, generator: torch.Generator, pixels: Pixels, name: str
    ) -> SceneGraph:
        """In pixels of the image that was read, without the boxes outside of it.

        Some sizes in image_data.json are wrong: images of another shape pass while the boxes fit.

        Raises:
            InputError: the image is turned, or is so much smaller than image_data.json says that
                boxes do not fit.
        """
        self._check_size(row, pixels.full_size, name)
        graph = self._graph(row, pixels.full_size, generator)
        return resize_graph(graph, (pixels.image.shape[1], pixels.image.shape[2]))

    def annotated(self, row: int) -> SceneGraph:
        """With every relation of humans in the files (after `filter_overlap`)."""
        return self._graph(row, self._data.image_size(self._rows[row]), None)

    def _graph(self, row: int, size: ImageSize, generator: torch.Generator | None) -> SceneGraph:
        """In pixels of an image of `size`; with all of humans if there is no generator."""
        data = self._data
        first, end = data.box_ranges[self._rows[row]].tolist()
        first_relation, end_relation = data.rel_ranges[self._rows[row]].tolist()
        is_kept = self._kept_relations[first_relation:end_relation]
        if generator is None:
            is_kept = is_kept & ~data.is_pseudo[first_relation:end_relation]
        ends = data.relationships[first_relation:end_relation][is_kept] - first
        predicates = data.predicates[first_relation:end_relation][is_kept]
        triples = torch.stack([ends[:, 0], predicates, ends[:, 1]], 1)
        scores = None
        if data.relation_scores is not None and self._is_train and generator is not None:
            scores = data.relation_scores[first_relation:end_relation][is_kept]
        if self._is_train and generator is not None:
            chosen = one_row_per_pair(triples, generator)
            triples, scores = triples[chosen], take_rows(scores, chosen)
        boxes = clip_to_image(data.raw_boxes[first:end] * (max(size) / BOX_SCALE), size)
        inside = has_area(boxes)
        labels, image = data.labels[first:end], self._rows[row]
        ignored = regions_of_image(data.ignored, image, size, BOX_SCALE)
        graph = SceneGraph(labels, boxes, triples, size, triple_scores=scores, ignored=ignored)
        return graph if inside.all() else graph.select(inside.nonzero()[:, 0])

    def _check_size(self, row: int, size: ImageSize, name: str) -> None:
        stated = self._data.image_size(self._rows[row])
        if same_aspect(size, stated):
            return
        height, width = size
        first, end = self._data.box_ranges[self._rows[row]].tolist()
        scaled = self._data.raw_boxes[first:end] * max(size)
        limits = BOX_SCALE * torch.tensor([width, height]) + _SLACK * BOX_SCALE * max(size)
        if same_aspect(size, stated[::-1]) or (scaled[:, 2:] > limits).any():
            check_aspect(name, size, stated)


def check_human_relations(dataset: GraphDataset) -> None:
    """Check that there is something to measure recall against.

    Raises:
        InputError: the data set has pseudo-relations, and this split none of humans.
    """
    source = getattr(dataset, "source", None)
    if isinstance(source, VG150Source) and source.only_pseudo:
        what = f"{source.root} {getattr(dataset, 'split', '')}"
        expected = "relations of humans, which alone are scored against"
        hint = "annotate some of its images ('triples' in docs/own_data.md)"
        raise bad_input(what, expected, f"pseudo-relations alone: {hint}")


def split_rows(
    data: VG150Annotations,
    split: Split,
    num_val: int = 5000,
    filter_empty: bool = True,
    filter_overlap: bool = False,
) -> tuple[Tensor, Tensor]:
    """The images of a split after filtering, and which relations are kept; see `open_vg150`.

    Returns:
        Rows of images `[n]`, and `[R]` bool.
    """
    used = ~data.is_pseudo if split != "train" else torch.ones_like(data.is_pseudo)
    rows = _unfiltered_rows(data, split, num_val, filter_empty)
    if not filter_overlap or split != "train":
        return rows, used
    overlapping = _overlapping(data.raw_boxes, data.relationships)
    return rows[_any_in(overlapping, data.rel_ranges[rows])], overlapping


def _unfiltered_rows(
    data: VG150Annotations, split: Split, num_val: int, filter_empty: bool
) -> Tensor:
    in_split = data.split == (TEST if split == "test" else TRAIN)
    in_split &= data.box_ranges[:, 1] > data.box_ranges[:, 0]
    has_human = _any_in(~data.is_pseudo, data.rel_ranges)
    if filter_empty:
        has_any = data.rel_ranges[:, 1] > data.rel_ranges[:, 0]
        in_split &= has_human if split == "test" else has_any
    rows = in_split.nonzero()[:, 0]
    if split == "test":
        return rows
    cut = num_validation(len(rows), num_val)
    if split == "train":
        return rows[cut:]
    return rows[:cut][has_human[rows[:cut]]] if filter_empty else rows[:cut]


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
