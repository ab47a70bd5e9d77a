"""Reads and checks the entry of one image in a file of predictions or true graphs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from autoenc_sg.core.errors import InputError, bad_input
from autoenc_sg.core.scene_graph import SceneGraph
from autoenc_sg.core.structures import GraphPrediction
from autoenc_sg.eval import Task
from autoenc_sg.scoring.files.arrays import (
    ANY,
    Array,
    as_array,
    first_wrong_row,
    fits,
    is_list,
    may_hold_booleans,
    short,
)

ImageId = int | str
_MAX_IDS = 2**21  # ids are smaller
_MAX_FLOAT = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class Entry:
    """The entry of one image in a file, not yet checked.

    Attributes:
        place: file and line, for messages.
        content: a line of JSON, or its parsed values, or the error of an entry that has none.
        names: our key -> the key in the file, where they differ.
    """

    place: str
    content: bytes | Mapping[str, Any] | InputError
    names: Mapping[str, str] = field(default_factory=dict)


class TrueGraph(NamedTuple):
    """A true graph, its file and line, and whether its image's size is stated."""

    graph: SceneGraph
    place: str
    sized: bool


class EntryReader:
    """Reads an entry key by key; each error names the place and the key.

    Raises:
        InputError: the content is not a JSON object.
    """

    def __init__(self, entry: Entry) -> None:
        self.place, self.names = entry.place, entry.names
        self.values = _object(entry)
        self.may_hold_booleans = may_hold_booleans(entry.content)

    def name(self, key: str, row: int | None = None) -> str:
        """A key, and a row of its value, as messages name it."""
        return f"{self.place}: {self.names.get(key, key)}" + ("" if row is None else f" {row}")

    def image_id(self) -> ImageId:
        """The id: a whole number or a text."""
        value = self._value("image_id")
        if isinstance(value, bool) or not isinstance(value, (int, str)):
            raise bad_input(self.name("image_id"), "a whole number or a text", short(value))
        return value

    def truth(self) -> TrueGraph:
        """The true graph."""
        boxes = self.boxes()
        labels = self.labels()
        self._same_length("labels", len(labels), len(boxes), "box")
        triples = self.triples(len(boxes))
        size = self._image_size()
        graph = SceneGraph(labels, boxes, triples, size or _smallest_size(boxes))
        return TrueGraph(graph, self.place, size is not None)

    def prediction(self, truth: SceneGraph, tasks: Sequence[Task]) -> GraphPrediction:
        """The prediction; what all tasks take from the truth (boxes, labels) may be missing."""
        needed = set().union(*(_NEEDED[task] for task in tasks))
        boxes = self.boxes() if self._has("boxes", needed) else truth.boxes.double()
        labels = self.labels() if self._has("labels", needed) else truth.labels
        scores = torch.ones(len(labels), dtype=torch.float64)
        if self._has("scores", needed):
            scores = self._scores()
        self._same_length("labels", len(labels), len(boxes), "box")
        self._same_length("scores", len(scores), len(boxes), "box")
        true_box_tasks = [task for task in tasks if "boxes" not in _NEEDED[task]]
        if true_box_tasks and len(boxes) != len(truth):
            expected = f"{len(truth)} objects, those of the truth ({true_box_tasks[0]})"
            raise bad_input(self.name("boxes"), expected, len(boxes))
        pairs = self._pairs(len(boxes))
        predicates = self._predicate_scores()
        self._same_length("predicate_scores", len(predicates), len(pairs), "pair")
        related = self._relatedness(len(pairs))
        return GraphPrediction(boxes, labels, scores, pairs, predicates, related)

    def boxes(self) -> Tensor:
        """Boxes `[N, 4]` float64."""
        array = self._finite("boxes", 4, "(x1, y1, x2, y2)")
        wrong = (array[:, :2] > array[:, 2:]).any(1)
        if wrong.any():
            row = int(wrong.argmax())
            expected = "(x1, y1, x2, y2), x1 <= x2 and y1 <= y2"
            raise bad_input(self.name("boxes", row), expected, array[row].tolist())
        return torch.from_numpy(array)

    def labels(self) -> Tensor:
        """Labels `[N]` int64."""
        labels = self._whole("labels", None)
        self._check(
            "labels", (labels < 1) | (labels >= _MAX_IDS), labels, f"an id in 1..{_MAX_IDS - 1}"
        )
        return torch.from_numpy(labels)

    def triples(self, objects: int) -> Tensor:
        """Triples `[M, 3]` int64 between so many objects."""
        triples = self._whole("triples", 3)
        ends, predicates = triples[:, [0, 2]], triples[:, 1]
        outside = ((ends < 0) | (ends >= objects)).any(1)
        self._check("triples", outside, triples, f"object rows below {objects}")
        wrong = (predicates < 1) | (predicates >= _MAX_IDS)
        self._check("triples", wrong, triples, f"a predicate id in 1..{_MAX_IDS - 1}")
        return torch.from_numpy(triples)

    def _pairs(self, objects: int) -> Tensor:
        pairs = self._whole("pairs", 2)
        outside = ((pairs < 0) | (pairs >= objects)).any(1)
        self._check("pairs", outside, pairs, f"object rows below {objects}")
        return torch.from_numpy(pairs)

    def _predicate_scores(self) -> Tensor:
        expected = "numbers, as many as in the first row"
        scores = self._finite("predicate_scores", ANY, expected)
        if scores.shape[1] == 0 and len(scores):
            raise bad_input(self.name("predicate_scores", 0), "a score of each predicate", "[]")
        return torch.from_numpy(scores)

    def _scores(self) -> Tensor:
        scores = self._finite("scores", None, "a number")
        self._check("scores", scores < 0, scores, "a number >= 0")
        return torch.from_numpy(scores)

    def _relatedness(self, pairs: int) -> Tensor | None:
        if "relatedness" not in self.values:
            return None
        related = self._finite("relatedness", None, "a number")
        self._same_length("relatedness", len(related), pairs, "pair")
        return torch.from_numpy(related)

    def _image_size(self) -> tuple[int, int] | None:
        if self.values.get("image_size") is None:
            return None
        size = self._whole("image_size", None).tolist()
        if len(size) != 2 or min(size) < 1:
            raise bad_input(self.name("image_size"), "[height, width] in pixels", short(size))
        return size[0], size[1]

    def _has(self, key: str, needed: set[str]) -> bool:
        return key in needed or key in self.values

    def _value(self, key: str) -> Any:
        if key not in self.values:
            raise bad_input(self.name(key), "this key", "none; keys: " + ", ".join(self.values))
        return self.values[key]

    def _array(self, key: str, width: int | None, kinds: str, expected: str) -> Array:
        """The value as an array `[N]` or `[N, width]` of some NumPy kinds."""
        value = self._value(key)
        if not is_list(value):
            raise bad_input(self.name(key), "a list", short(value))
        if len(value) == 0:
            return np.zeros(0 if width is None else (0, max(width, 0)))
        array = as_array(value, self.may_hold_booleans)
        if array is not None and fits(array, value, width, kinds, 1):
            return array
        row = first_wrong_row(value, width, kinds)
        raise bad_input(self.name(key, row), expected, short(value[row]))

    def _finite(self, key: str, width: int | None, expected: str) -> npt.NDArray[np.float64]:
        array = self._array(key, width, "iuf", expected).astype(np.float64)
        valid = np.abs(array) <= _MAX_FLOAT  # False for NaN
        rows = valid.all(tuple(range(1, array.ndim)))
        if not rows.all():
            row = int(rows.argmin())
            got = array[row][~valid[row]].flat[0]
            raise bad_input(self.name(key, row), f"finite numbers of at most {_MAX_FLOAT:.2g}", got)
        return array

    def _whole(self, key: str, width: int | None) -> npt.NDArray[np.int64]:
        kind = "a whole number" if width is None else f"{width} whole numbers"
        return self._array(key, width, "iu", kind).astype(np.int64)

    def _check(self, key: str, wrong: Any, values: Array, expected: str) -> None:
        """Raise InputError for the first row that is wrong."""
        if wrong.any():
            row = int(wrong.argmax())
            raise bad_input(self.name(key, row), expected, values[row].tolist())

    def _same_length(self, key: str, got: int, expected: int, each: str) -> None:
        if got != expected:
            raise bad_input(self.name(key), f"{expected}, one for each {each}", got)


_NEEDED: Mapping[Task, frozenset[str]] = {
    "PredCls": frozenset(),
    "SGCls": frozenset({"labels", "scores"}),
    "SGGen": frozenset({"boxes", "labels", "scores"}),
    "PhrDet": frozenset({"boxes", "labels", "scores"}),
}


def _object(entry: Entry) -> Mapping[str, Any]:
    if isinstance(entry.content, InputError):
        raise entry.content
    if not isinstance(entry.content, bytes):
        return entry.content
    try:
        value = json.loads(entry.content)
    except (ValueError, RecursionError) as error:
        text = entry.content.strip()[:40].decode("utf-8", "replace")
        raise bad_input(entry.place, "a JSON object", f"{text!r}... ({error})") from error
    if not isinstance(value, dict):
        raise bad_input(entry.place, "a JSON object", short(value))
    return value


def _smallest_size(boxes: Tensor) -> tuple[int, int]:
    """The smallest (height, width) that contains all boxes, for a truth without image_size."""
    width, height = boxes[:, 2:].amax(0).ceil().int().tolist() if len(boxes) else (1, 1)
    return max(height, 1), max(width, 1)
