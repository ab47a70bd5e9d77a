"""Anybody's predictions and true graphs as JSON Lines, one image a line, and what is wrong in them.

Truth:       {"image_id", "boxes": [[x1, y1, x2, y2]...], "labels", "triples": [[s, p, o]...]}
Prediction:  {"image_id", "boxes", "labels", "scores", "pairs": [[s, o]...],
              "predicate_scores": [[p_1 ... p_P]...]}

Labels and predicates count from 1 as in VG150, `s` and `o` are rows of `boxes` counted from 0, and
`predicate_scores` have no column for no relation. A truth may state its `image_size`, [height,
width]; a prediction the `relatedness` of its pairs. Other keys are not looked at.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from autoenc_sg.core.atomic_files import replacing
from autoenc_sg.core.errors import InputError, bad_input
from autoenc_sg.core.scene_graph import SceneGraph
from autoenc_sg.core.structures import GraphPrediction
from autoenc_sg.data.base.samples import GraphDataset
from autoenc_sg.eval import Task

ImageId = int | str
Array = npt.NDArray[Any]
_ANY = -1  # a matrix with any number of columns
_MOST = 2**21  # ids stay below
_INT64_MAX = np.iinfo(np.int64).max
_LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class Entry:
    """One image of a file, not yet looked at.

    Attributes:
        place: where it stands, for messages.
        content: a line of JSON, or what it would hold, or what is wrong with it.
        names: what the file calls our keys, where that is something else.
    """

    place: str
    content: bytes | Mapping[str, Any] | InputError
    names: Mapping[str, str] = field(default_factory=dict)


class Truth(NamedTuple):
    """A true graph, where it stands, and whether its image's size was stated."""

    graph: SceneGraph
    place: str
    sized: bool


def json_lines(path: Path) -> Iterator[Entry]:
    """The lines of a file; empty ones are passed over.

    Raises:
        InputError: the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            yield from entries_of(file, path)
    except OSError as error:
        raise bad_input(path, "a file of JSON Lines", error.strerror or error) from error


def entries_of(lines: Iterable[bytes], path: Path) -> Iterator[Entry]:
    """The lines of an open file, called `path` in messages; empty ones are passed over."""
    for number, line in enumerate(lines, start=1):
        if line.strip():
            yield Entry(f"{path} line {number}", line)


def read_truths(path: Path) -> dict[ImageId, Truth]:
    """All true graphs of a file by image id, in its order.

    Raises:
        InputError: a line is not a true graph, an id stands twice, or there is none.
    """
    truths: dict[ImageId, Truth] = {}
    for entry in json_lines(path):
        record = Record(entry)
        image_id = record.image_id()
        if image_id in truths:
            raise repeated(record, image_id, truths[image_id].place)
        truths[image_id] = record.truth()
    if not truths:
        raise bad_input(path, "one true graph or more", "no line")
    return truths


def write_truths(path: Path, dataset: GraphDataset, long_side: int | None = None) -> int:
    """Write the true graphs of a data set, every relation; whole or not at all.

    Args:
        path: the file.
        dataset: images are not read.
        long_side: pixels of the images' longer side that the boxes are in (Motifs: 1024); None: as
            the data set states the images.

    Returns:
        How many images.
    """
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        for index, image_id in enumerate(dataset.image_ids):
            graph = dataset.annotated(index)
            if long_side is not None:
                scale = long_side / max(graph.image_size)
                height, width = (round(side * scale) for side in graph.image_size)
                graph = replace(graph, boxes=graph.boxes * scale, image_size=(height, width))
            values = {
                name: getattr(graph, name).tolist() for name in ("boxes", "labels", "triples")
            }
            line = {"image_id": image_id, "image_size": list(graph.image_size)} | values
            file.write(json.dumps(line) + "\n")
    return len(dataset.image_ids)


def repeated(record: Record, image_id: ImageId, first: str) -> InputError:
    """The error of an image id that stands in two places of a file."""
    return bad_input(record.name("image_id"), "each image once", f"{image_id!r} as on {first}")


def training_triples(path: Path) -> tuple[Tensor, Tensor]:
    """What a file of training graphs (labels and triples suffice) says of the triples.

    Returns:
        The different label triples `[S, 3]`, and how many triples have each predicate: `[P]`.

    Raises:
        InputError: a line is otherwise, or there is none.
    """
    seen: dict[tuple[int, int, int], None] = {}
    counts: dict[int, int] = {}
    entry = None
    for entry in json_lines(path):
        record = Record(entry)
        labels = record.labels().tolist()
        for s, p, o in record.triples(len(labels)).tolist():
            seen[labels[s], p, labels[o]] = None
            counts[p] = counts.get(p, 0) + 1
    total = torch.zeros(max(counts, default=0) + 1, dtype=torch.int64)
    if entry is None:
        raise bad_input(path, "one training graph or more", "no line")
    for predicate, count in counts.items():
        total[predicate] = count
    return torch.tensor(list(seen), dtype=torch.int64).reshape(-1, 3), total


class Record:
    """An entry of a file, read key by key; every fault names the place and the key.

    Raises:
        InputError: the content is not a JSON object.
    """

    def __init__(self, entry: Entry) -> None:
        self.place, self.names = entry.place, entry.names
        self.values = _object(entry)
        self.may_hold_booleans = _may_hold_booleans(entry.content)

    def name(self, key: str, row: int | None = None) -> str:
        """What messages call a value."""
        return f"{self.place}: {self.names.get(key, key)}" + ("" if row is None else f" {row}")

    def image_id(self) -> ImageId:
        """The id: a whole number or a text."""
        value = self._value("image_id")
        if isinstance(value, bool) or not isinstance(value, (int, str)):
            raise bad_input(self.name("image_id"), "a whole number or a text", _short(value))
        return value

    def truth(self) -> Truth:
        """The true graph."""
        boxes = self.boxes()
        labels = self.labels()
        self._same_length("labels", len(labels), len(boxes), "box")
        triples = self.triples(len(boxes))
        size = self._image_size()
        graph = SceneGraph(labels, boxes, triples, size or _least_size(boxes))
        return Truth(graph, self.place, size is not None)

    def prediction(self, truth: SceneGraph, tasks: Sequence[Task]) -> GraphPrediction:
        """The prediction; boxes and labels that all the tasks give may be left out."""
        needed = set().union(*(_NEEDED[task] for task in tasks))
        boxes = self.boxes() if self._has("boxes", needed) else truth.boxes.double()
        labels = self.labels() if self._has("labels", needed) else truth.labels
        scores = torch.ones(len(labels), dtype=torch.float64)
        if self._has("scores", needed):
            scores = self._scores()
        self._same_length("labels", len(labels), len(boxes), "box")
        self._same_length("scores", len(scores), len(boxes), "box")
        given = [task for task in tasks if "boxes" not in _NEEDED[task]]
        if given and len(boxes) != len(truth):
            wanted = f"{len(truth)} objects, those of the truth ({given[0]})"
            raise bad_input(self.name("boxes"), wanted, len(boxes))
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
            wanted = "(x1, y1, x2, y2), x1 <= x2 and y1 <= y2"
            raise bad_input(self.name("boxes", row), wanted, array[row].tolist())
        return torch.from_numpy(array)

    def labels(self) -> Tensor:
        """Labels `[N]` int64."""
        labels = self._whole("labels", None)
        self._check("labels", (labels < 1) | (labels >= _MOST), labels, f"an id in 1..{_MOST - 1}")
        return torch.from_numpy(labels)

    def triples(self, objects: int) -> Tensor:
        """Triples `[M, 3]` int64 between so many objects."""
        triples = self._whole("triples", 3)
        ends, predicates = triples[:, [0, 2]], triples[:, 1]
        outside = ((ends < 0) | (ends >= objects)).any(1)
        self._check("triples", outside, triples, f"object rows below {objects}")
        wrong = (predicates < 1) | (predicates >= _MOST)
        self._check("triples", wrong, triples, f"a predicate id in 1..{_MOST - 1}")
        return torch.from_numpy(triples)

    def _pairs(self, objects: int) -> Tensor:
        pairs = self._whole("pairs", 2)
        outside = ((pairs < 0) | (pairs >= objects)).any(1)
        self._check("pairs", outside, pairs, f"object rows below {objects}")
        return torch.from_numpy(pairs)

    def _predicate_scores(self) -> Tensor:
        wanted = "numbers, as many as in the first row"
        scores = self._finite("predicate_scores", _ANY, wanted)
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
            raise bad_input(self.name("image_size"), "[height, width] in pixels", _short(size))
        return size[0], size[1]

    def _has(self, key: str, needed: set[str]) -> bool:
        return key in needed or key in self.values

    def _value(self, key: str) -> Any:
        if key not in self.values:
            raise bad_input(self.name(key), "this key", "none; keys: " + ", ".join(self.values))
        return self.values[key]

    def _array(self, key: str, width: int | None, kinds: str, wanted: str) -> Array:
        """The value as an array `[N]` or `[N, width]` of some NumPy kinds."""
        value = self._value(key)
        if not _is_list(value):
            raise bad_input(self.name(key), "a list", _short(value))
        if len(value) == 0:
            return np.zeros(0 if width is None else (0, max(width, 0)))
        array = _as_array(value, self.may_hold_booleans)
        if array is not None and _fits(array, value, width, kinds, 1):
            return array
        row = _odd_row(value, width, kinds)
        raise bad_input(self.name(key, row), wanted, _short(value[row]))

    def _finite(self, key: str, width: int | None, wanted: str) -> npt.NDArray[np.float64]:
        array = self._array(key, width, "iuf", wanted).astype(np.float64)
        sound = np.abs(array) <= _LARGEST  # False for NaN
        rows = sound.all(tuple(range(1, array.ndim)))
        if not rows.all():
            row = int(rows.argmin())
            got = array[row][~sound[row]].flat[0]
            raise bad_input(self.name(key, row), f"finite numbers of at most {_LARGEST:.2g}", got)
        return array

    def _whole(self, key: str, width: int | None) -> npt.NDArray[np.int64]:
        kind = "a whole number" if width is None else f"{width} whole numbers"
        return self._array(key, width, "iu", kind).astype(np.int64)

    def _check(self, key: str, wrong: Any, values: Array, wanted: str) -> None:
        """Refuse the first row that is wrong."""
        if wrong.any():
            row = int(wrong.argmax())
            raise bad_input(self.name(key, row), wanted, values[row].tolist())

    def _same_length(self, key: str, got: int, wanted: int, each: str) -> None:
        if got != wanted:
            raise bad_input(self.name(key), f"{wanted}, one for each {each}", got)


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
        raise bad_input(entry.place, "a JSON object", _short(value))
    return value


def _may_hold_booleans(content: object) -> bool:
    """False only if there are none; a quick look, for lines are long and booleans rare."""
    return not isinstance(content, bytes) or b"true" in content or b"false" in content


def _is_list(value: object) -> bool:
    return isinstance(value, list) or (isinstance(value, np.ndarray) and value.ndim > 0)


def _as_array(value: Any, may_hold_booleans: bool) -> Array | None:
    """None for lists of different lengths and for booleans, which NumPy takes for 0 and 1."""
    if may_hold_booleans and _holds_booleans(value, 2):
        return None
    try:
        return np.asarray(value)
    except (ValueError, OverflowError):
        return None


def _holds_booleans(value: object, depth: int) -> bool:
    if isinstance(value, list):
        return depth > 0 and any(_holds_booleans(item, depth - 1) for item in value)
    return isinstance(value, bool)


def _fits(
    array: Array, rows: Sequence[Any] | Array, width: int | None, kinds: str, skip: int
) -> bool:
    """Whether all but the first `skip` axes of an array are a row's, and its numbers of a kind."""
    if width is None:
        shape: tuple[int, ...] = ()
    else:
        first = len(rows[0]) if _is_list(rows[0]) else 0
        shape = (first if width == _ANY else width,)
    if array.dtype.kind == "u" and "f" not in kinds and array.max(initial=0) > _INT64_MAX:
        return False  # int64 would make it negative
    return array.dtype.kind in kinds and array.shape[skip:] == shape


def _odd_row(rows: Sequence[Any] | Array, width: int | None, kinds: str) -> int:
    """The first row that is not as it should be."""
    for i, row in enumerate(rows):
        array = _as_array(row, True)
        if array is None or not _fits(array, rows, width, kinds, 0):
            return i
    return 0


def _least_size(boxes: Tensor) -> tuple[int, int]:
    """(height, width) that holds all boxes, for a truth that does not state it."""
    width, height = boxes[:, 2:].amax(0).ceil().int().tolist() if len(boxes) else (1, 1)
    return max(height, 1), max(width, 1)


def _short(value: object) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 60 else text[:57] + "..."
