"""Annotated images whose graphs lie in memory: what most formats are read into."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch

from autoenc_sg.core.boxes import ImageSize, clip_to_image, has_area
from autoenc_sg.core.errors import InputError, bad_input
from autoenc_sg.core.scene_graph import SceneGraph
from autoenc_sg.core.vocabulary import Vocabulary
from autoenc_sg.data.base.augment import flip_half, left_right_swap
from autoenc_sg.data.base.samples import (
    LONGEST_SIDE,
    Sample,
    Split,
    num_validation,
    one_per_pair,
    random_stream,
    resize_graph,
)
from autoenc_sg.data.images.store import ImageStore, available

Box = Sequence[float]


class Record(NamedTuple):
    """An annotated image.

    Attributes:
        image_id: the data set's.
        graph: in pixels of the stated size.
        beyond: how many annotated boxes pass the image's border, by more than a rounded pixel.
    """

    image_id: int
    graph: SceneGraph
    beyond: int = 0


class RecordDataset:
    """One split of records.

    In the train split each access keeps one predicate, drawn at random, of every (subject, object)
    pair; the other splits keep all relations.
    """

    def __init__(
        self,
        records: Sequence[Record],
        vocabulary: Vocabulary,
        store: ImageStore,
        split: Split,
        flip: bool = False,
        seed: int = 0,
        name: object = "data set",
    ) -> None:
        """Keep the records whose images the store has (all, if it has none).

        Args:
            records: of this split; ids differ.
            vocabulary: the names.
            store: the images.
            split: which part it is.
            flip: train only: mirror half of the samples.
            seed: of the predicate choice and of flipping.
            name: what messages call it.
        """
        there = available([record.image_id for record in records], store, f"{name} {split}")
        self._records = [record for record, flag in zip(records, there) if flag]
        self.vocabulary = vocabulary
        self.store = store
        self.split = split
        self.seed = seed
        self.flip = flip and split == "train"
        self._left_right = left_right_swap(vocabulary)
        self.image_ids: tuple[int, ...] = tuple(record.image_id for record in self._records)

    def __len__(self) -> int:
        return len(self._records)

    @property
    def records(self) -> Sequence[Record]:
        """What is read, by index."""
        return self._records

    def annotated(self, index: int) -> SceneGraph:
        """The graph in pixels of the stated size, with every relation of the annotation."""
        return self._records[index].graph

    def graph(self, index: int, epoch: int = 0) -> SceneGraph:
        """The graph in pixels of the stated size; no image is read."""
        graph = self.annotated(index)
        if self.split != "train" or not len(graph.triples):
            return graph
        seed = random_stream("predicates", self.seed, epoch, index).getrandbits(62)
        return replace(graph, triples=one_per_pair(graph.triples, seed))

    def sample(self, index: int, epoch: int = 0) -> Sample:
        """Image and graph, mirrored in half of the (epoch, index) of the train split with `flip`.

        Boxes are scaled where the image is smaller or larger than stated.

        Raises:
            InputError: the image is missing or unreadable, or is not the stated one, scaled.
        """
        found = stated_sample(self.store, self.image_ids[index], self.graph(index, epoch))
        if not self.flip:
            return found
        return flip_half(found, self._left_right, self.seed, epoch, index)

    def __getitem__(self, index: int) -> Sample:
        return self.sample(index)


def cut_validation(records: Sequence[Record], split: Split, num_val: int) -> Sequence[Record]:
    """The first records are validation, the others train (`samples.num_validation`)."""
    cut = num_validation(len(records), num_val)
    return records[:cut] if split == "val" else records[cut:]


def make_graph(
    labels: Sequence[int],
    boxes: Sequence[Box],
    triples: Sequence[Sequence[int]],
    size: ImageSize,
    where: str,
    strict: bool = False,
) -> SceneGraph:
    """A graph of annotations: boxes are clipped to the image, repeated relations kept.

    Args:
        labels: `[N]` ids >= 1.
        boxes: `[N]` xyxy in pixels.
        triples: (subject, predicate, object) rows.
        size: height and width in pixels.
        where: what errors call the image.
        strict: a box without area in the image is an error; else it is left out with its relations
            (published data sets have such boxes).

    Raises:
        InputError: a box is no four numbers or its ends are exchanged, a relation does not join
            two of the objects, or there is no image of that size.
    """
    if not all(1 <= side < LONGEST_SIDE for side in size):
        expected = f"a height and width >= 1 and < {LONGEST_SIDE}"
        raise bad_input(where, expected, f"{size[0]} x {size[1]}")
    try:
        table = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
        relations = torch.tensor(triples, dtype=torch.int64).reshape(-1, 3)
        ids = torch.tensor(labels, dtype=torch.int64)
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise bad_input(where, "boxes of four numbers and relations of three", error) from None
    if len(table) != len(ids):
        raise bad_input(where, "a box for each label", f"{len(table)} boxes, {len(ids)} labels")
    clipped = clip_to_image(table, size)
    inside = has_area(clipped)
    sane = table.isfinite().all(1) & (table[:, 2:] >= table[:, :2]).all(1)
    wrong = ~(sane & inside) if strict else ~sane
    if wrong.any():
        row = int(wrong.nonzero()[0])
        expected = f"x1, y1, x2, y2 with some area within {size[1]} x {size[0]}"
        raise bad_input(f"{where} box {row}", expected, list(boxes[row]))
    ends = relations[:, [0, 2]]
    wrong = ((ends < 0) | (ends >= len(ids))).any(1) | (ends[:, 0] == ends[:, 1])
    if wrong.any():
        row = int(wrong.nonzero()[0])
        got = ends[row].tolist()
        raise bad_input(f"{where} relation {row}", f"two different ones of {len(ids)} objects", got)
    try:
        graph = SceneGraph(ids, clipped, relations, size)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
    return graph if inside.all() else graph.select(inside.nonzero()[:, 0])


def make_record(
    image_id: int,
    labels: Sequence[int],
    boxes: Sequence[Box],
    triples: Sequence[Sequence[int]],
    size: ImageSize,
    where: str,
) -> Record:
    """`make_graph`, with its image."""
    graph = make_graph(labels, boxes, triples, size, where)
    height, width = size
    beyond = sum(min(a, b) < -1 or c > width + 1 or d > height + 1 for a, b, c, d in boxes)
    return Record(image_id, graph, beyond)


def other_form(where: str, expected: str, error: Exception) -> InputError:
    """What to raise for an entry whose reading gave one of `FORM_ERRORS`."""
    return bad_input(where, expected, f"{type(error).__name__} {error}")


FORM_ERRORS = (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError)


def named_list(data: Mapping[str, Any], key: str, where: object) -> list[str]:
    """A list of names of a JSON object.

    Raises:
        InputError: there is none, or it is empty or holds something else.
    """
    names = data.get(key)
    if not isinstance(names, list) or not names or not all(isinstance(n, str) for n in names):
        raise bad_input(f"{where} {key!r}", "a list of names", type(names).__name__)
    return names


def same_aspect(a: ImageSize, b: ImageSize) -> bool:
    """Whether one is the other scaled, to a pixel of rounding in either."""
    return abs(a[0] * b[1] - a[1] * b[0]) <= 2 * max(*a, *b)


def stated_sample(store: ImageStore, image_id: int, graph: SceneGraph) -> Sample:
    """The image with its graph, scaled where the image is smaller or larger than stated.

    Raises:
        InputError: the image is missing or unreadable, or is not the stated one, scaled.
    """
    image, full = store.read(image_id)
    check_aspect(store.name(image_id), full, graph.image_size)
    return Sample(image, resize_graph(graph, (image.shape[1], image.shape[2])), image_id)


def check_aspect(name: str, size: ImageSize, stated: ImageSize) -> None:
    """Scaled copies are fine; a turned or other image would put every box in a wrong place.

    Raises:
        InputError: `size` is not `stated`, scaled.
    """
    if not same_aspect(size, stated):
        expected = f"an image of {stated[1]} x {stated[0]} pixels, or that scaled"
        turned = " (is it turned?)" if same_aspect(size, stated[::-1]) else ""
        raise bad_input(name, expected, f"{size[1]} x {size[0]}{turned}")
