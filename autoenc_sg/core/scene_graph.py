"""The scene graph of one image: what `parse` returns, `render` draws and users edit.

Legend, here and in every docstring: `B` images, `N` objects of all images, `M` pairs or triples of
all images, `C` object classes and `P` predicates (both with the reserved 0), `D` features, `H W`
pixels. Boxes are `xyxy`; `SceneGraph` holds them in pixels of its image, the generator wants them
in [0, 1].
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import torch
from torch import Tensor

from autoenc_sg.core.boxes import ImageSize, box_like, check_boxes, checked_size
from autoenc_sg.core.errors import bad_input, is_fraction, whole_number
from autoenc_sg.core.structures import (
    check_ids,
    check_range,
    check_shape,
    check_square,
    check_tensors,
    take_rows,
    to_device,
)
from autoenc_sg.core.vocabulary import Vocabulary

if TYPE_CHECKING:
    import networkx as nx
    import pandas as pd


class Relation(NamedTuple):
    """A relation by name, as JSON files have it: `[0, "on", 1]`."""

    subject: int
    predicate: str
    object: int


@dataclass(frozen=True, eq=False, repr=False)
class SceneGraph:
    """The graph of one image: objects with boxes, and triples between them.

    With a vocabulary it prints, edits and saves by name. Edits return new graphs; an object or
    relation that is added without a score has NaN for it.

    Example:
        >>> graph = SceneGraph.empty((480, 640), vocabulary)
        >>> graph = graph.add("dog", (10, 200, 210, 420)).add("grass", (0, 300, 640, 480))
        >>> print(graph.relate(0, "on", 1))
        scene graph of a 640 x 480 image (width x height): 2 objects, 1 relation
          0 dog    (10, 200, 210, 420)
          1 grass  (0, 300, 640, 480)
          dog on grass

    Attributes:
        labels: `[N]` int64, object class ids >= 1.
        boxes: `[N, 4]` float, xyxy in pixels of the image, finite, x1 <= x2 and y1 <= y2.
        triples: `[M, 3]` int64, (subject, predicate, object): object rows and a predicate id >= 1.
        image_size: (height, width) in pixels.
        object_scores: `[N]` in [0, 1], NaN for an object without one, or None.
        triple_scores: `[M]` in [0, 1], NaN for a triple without one, or None.
        masks: `[N, S, S]` soft masks in [0, 1] over each object's box, or None.
        appearance: `[N, A]` appearance codes, a row of zeros where an object has none, or None.
        vocabulary: the names behind the ids, or None.
        has_boxes: the boxes say where the objects are. If not, each is the whole image, and
            `render` draws boxes that the generator predicts.
        background: `[G G, A]` codes of what lies outside all boxes, of a G x G grid row by row, a
            row of zeros where a part has none, or None.
        ignored: `[K, 5]` regions with more objects than are annotated (crowds): class id and box,
            or None. Detections there are neither right nor wrong, in training and evaluation.

    Raises:
        InputError: a shape, a type, an index or a box is not as stated above, or an id lies outside
            the vocabulary.
    """

    labels: Tensor
    boxes: Tensor
    triples: Tensor
    image_size: ImageSize
    object_scores: Tensor | None = None
    triple_scores: Tensor | None = None
    masks: Tensor | None = None
    appearance: Tensor | None = None
    vocabulary: Vocabulary | None = None
    has_boxes: bool = True
    background: Tensor | None = None
    ignored: Tensor | None = None

    def __post_init__(self) -> None:
        check_tensors(self, ("labels", "boxes", "triples"))
        optional = ("object_scores", "triple_scores", "masks", "appearance")
        check_tensors(self, (*optional, "background", "ignored"), floats=True)
        if not isinstance(self.vocabulary, (Vocabulary, type(None))):
            raise bad_input("vocabulary", "a Vocabulary", type(self.vocabulary).__name__)
        object.__setattr__(self, "image_size", checked_size(self.image_size))
        n, m = self.labels.shape[:1].numel(), self.triples.shape[:1].numel()
        check_shape("labels", self.labels, (n,))
        check_shape("boxes", self.boxes, (n, 4))
        check_shape("triples", self.triples, (m, 3))
        check_shape("object_scores", self.object_scores, (n,))
        check_shape("triple_scores", self.triple_scores, (m,))
        check_shape("masks", self.masks, (n, None, None))
        check_shape("appearance", self.appearance, (n, None))
        check_shape("background", self.background, (None, None))
        check_square("background", self.background)
        check_shape("ignored", self.ignored, (None, 5))
        check_ids("labels", self.labels)
        check_ids("triples", self.triples)
        check_boxes(self.boxes)
        self._check_ranges()

    def _check_ranges(self) -> None:
        last_class = last_predicate = None
        if self.vocabulary is not None:
            last_class = self.vocabulary.num_objects - 1
            last_predicate = self.vocabulary.num_predicates - 1
        check_range("labels", self.labels, 1, last_class)
        check_range("triples' objects", self.triples[:, [0, 2]], 0, len(self) - 1)
        check_range("triples' predicates", self.triples[:, 1], 1, last_predicate)

    def __len__(self) -> int:
        return len(self.labels)

    @classmethod
    def empty(cls, image_size: ImageSize, vocabulary: Vocabulary | None = None) -> SceneGraph:
        """A graph without objects."""
        return cls(
            torch.zeros(0, dtype=torch.int64),
            torch.zeros(0, 4),
            torch.zeros(0, 3, dtype=torch.int64),
            image_size,
            vocabulary=vocabulary,
        )

    def to(self, device: torch.device | str) -> SceneGraph:
        """The same graph on another device."""
        return to_device(self, device)

    def select(self, objects: Tensor) -> SceneGraph:
        """The subgraph of the object rows `[n]`, in that order, with the triples among them.

        Raises:
            InputError: the rows are not int64, one is outside the graph or comes twice.
        """
        self._check_rows(objects)
        position = self.labels.new_full((len(self),), -1)
        position[objects] = torch.arange(len(objects), device=position.device)
        ends = position[self.triples[:, [0, 2]]]
        among = (ends >= 0).all(1)
        triples = torch.stack([ends[among, 0], self.triples[among, 1], ends[among, 1]], 1)
        return replace(
            self,
            labels=self.labels[objects],
            boxes=self.boxes[objects],
            triples=triples,
            object_scores=take_rows(self.object_scores, objects),
            triple_scores=take_rows(self.triple_scores, among),
            masks=take_rows(self.masks, objects),
            appearance=take_rows(self.appearance, objects),
        )

    # Names ----------------------------------------------------------------------------------------

    @property
    def objects(self) -> tuple[str, ...]:
        """The class name of each object; `class 3` without a vocabulary."""
        return tuple(name_of(self.vocabulary, "objects", i) for i in self.labels.tolist())

    @property
    def relations(self) -> tuple[Relation, ...]:
        """The triples with the predicates' names; `predicate 3` without a vocabulary."""
        rows = self.triples.tolist()
        return tuple(Relation(s, name_of(self.vocabulary, "predicates", p), o) for s, p, o in rows)

    def __repr__(self) -> str:
        height, width = self.image_size
        return f"SceneGraph({len(self)} objects, {len(self.triples)} relations, {width} x {height})"

    def __str__(self) -> str:
        from autoenc_sg.core.scene_graph_views import as_text

        return as_text(self)

    def with_vocabulary(self, vocabulary: Vocabulary) -> SceneGraph:
        """The same ids with the names of `vocabulary`."""
        return replace(self, vocabulary=vocabulary)

    # Views ----------------------------------------------------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        """Plain lists and names, ready for `json.dumps`; see `core.graph_json`."""
        from autoenc_sg.core.graph_json import graph_to_json

        return graph_to_json(self, self.words())

    def to_networkx(self) -> nx.MultiDiGraph:
        """A node an object (`name`, `label`, `box`, `score`), an edge a relation.

        Edges have the predicate's name as their key, and `predicate`, `label` and `score`.
        """
        from autoenc_sg.core.scene_graph_views import as_networkx

        return as_networkx(self)

    def to_dataframe(self) -> pd.DataFrame:
        """A row a relation: names, object rows, scores and boxes of both ends; wants pandas."""
        from autoenc_sg.core.scene_graph_views import as_dataframe

        return as_dataframe(self)

    # Edits ----------------------------------------------------------------------------------------

    def add(
        self,
        name: str | int,
        box: Sequence[float] | Tensor | None = None,
        score: float | None = None,
    ) -> SceneGraph:
        """The graph with one more object, its last.

        Args:
            name: its class, by name or id.
            box: xyxy in pixels of the image; None, if the other objects have none either, where the
                generator is to place the objects.
            score: in [0, 1], or None: unknown.

        Its mask, where the graph has masks, is the whole box; its appearance code, where the graph
        has codes, is zeros: none.
        """
        label = torch.tensor([self._object_id(name)], device=self.labels.device)
        if len(self) and self.has_boxes != (box is not None):
            has, got = ("a box", "none") if self.has_boxes else ("none", "a box")
            raise bad_input("box", f"{has}, as the other objects have", got)
        height, width = self.image_size
        new = box_like((0, 0, width, height) if box is None else box, self.boxes)
        return replace(
            self,
            has_boxes=box is not None,
            labels=torch.cat([self.labels, label]),
            boxes=torch.cat([self.boxes, new[None]]),
            object_scores=_append_score(self.object_scores, len(self), score, self.boxes),
            masks=_append_row(self.masks, 1.0),
            appearance=_append_row(self.appearance, 0.0),
        )

    def relate(
        self, subject: int, predicate: str | int, object_: int, score: float | None = None
    ) -> SceneGraph:
        """The graph with one more relation, its last: `graph.relate(0, "on", 1)`.

        Raises:
            InputError: no such object or predicate, or the graph has that relation already.
        """
        ends = [self._row(subject), self._row(object_)]
        triple = self.triples.new_tensor([[ends[0], self._predicate_id(predicate), ends[1]]])
        if bool((self.triples == triple).all(1).any()):
            raise bad_input("relation", "one that the graph has not yet", self._sentence(triple))
        return replace(
            self,
            triples=torch.cat([self.triples, triple]),
            triple_scores=_append_score(self.triple_scores, len(self.triples), score, self.boxes),
        )

    def remove(self, index: int) -> SceneGraph:
        """The graph without an object and its relations; later objects move up by one."""
        rows = torch.arange(len(self), device=self.labels.device)
        return self.select(rows[rows != self._row(index)])

    def remove_relation(self, index: int) -> SceneGraph:
        """The graph without a relation, by its place in `relations`."""
        rows = torch.arange(len(self.triples), device=self.triples.device)
        kept_rows = rows[rows != self._relation_row(index)]
        scores = take_rows(self.triple_scores, kept_rows)
        return replace(self, triples=self.triples[kept_rows], triple_scores=scores)

    def relabel(self, index: int, name: str | int) -> SceneGraph:
        """The graph in which an object is of another class; its score is unknown."""
        labels = self.labels.clone()
        labels[self._row(index)] = self._object_id(name)
        return replace(self, labels=labels, object_scores=_forget(self.object_scores, index))

    def move(self, index: int, box: Sequence[float] | Tensor) -> SceneGraph:
        """The graph in which an object has another box.

        Raises:
            InputError: no such object, no such box, or the graph has no boxes.
        """
        if not self.has_boxes and len(self):
            raise bad_input(
                "move", "a graph with boxes", "one whose boxes the generator is to place"
            )
        boxes = self.boxes.clone()
        boxes[self._row(index)] = box_like(box, self.boxes)
        return replace(self, boxes=boxes)

    def replace_predicate(self, index: int, predicate: str | int) -> SceneGraph:
        """The graph in which a relation (its place in `relations`) has another predicate.

        Raises:
            InputError: no such relation or predicate, or another relation is that one already.
        """
        triples, row = self.triples.clone(), self._relation_row(index)
        triples[row, 1] = self._predicate_id(predicate)
        same = (self.triples == triples[row]).all(1)
        same[row] = False
        if bool(same.any()):
            raise bad_input(
                "relation", "one that the graph has not yet", self._sentence(triples[row])
            )
        return replace(self, triples=triples, triple_scores=_forget(self.triple_scores, index))

    def words(self) -> Vocabulary:
        """The vocabulary.

        Raises:
            InputError: the graph has none.
        """
        if self.vocabulary is None:
            raise bad_input("names", "a graph with a vocabulary (with_vocabulary)", "one without")
        return self.vocabulary

    def _object_id(self, name: str | int) -> int:
        return (
            self.words().object_id(name)
            if isinstance(name, str)
            else whole_number(name, "class id")
        )

    def _predicate_id(self, name: str | int) -> int:
        if isinstance(name, str):
            return self.words().predicate_id(name)
        return whole_number(name, "predicate id")

    def _check_rows(self, objects: Tensor) -> None:
        if not isinstance(objects, Tensor) or objects.dtype != torch.int64 or objects.ndim != 1:
            got = (
                f"{objects.dtype} {list(objects.shape)}" if isinstance(objects, Tensor) else objects
            )
            raise bad_input("object rows", "int64 [n]", got)
        check_range("object rows", objects, 0, len(self) - 1)
        if len(objects.unique()) < len(objects):
            raise bad_input("object rows", "each row once", objects.tolist())

    def _row(self, index: int) -> int:
        return _checked_row("object", index, len(self))

    def _relation_row(self, index: int) -> int:
        return _checked_row("relation", index, len(self.triples))

    def _sentence(self, triple: Tensor) -> str:
        s, p, o = triple.flatten().tolist()
        return f"{s} {name_of(self.vocabulary, 'predicates', p)} {o}"


def name_of(vocabulary: Vocabulary | None, kind: Literal["objects", "predicates"], i: int) -> str:
    """The name behind an id, or `class 3` or `predicate 3` without a vocabulary."""
    if vocabulary is not None:
        return getattr(vocabulary, kind)[i]  # type: ignore[no-any-return]
    return f"{'class' if kind == 'objects' else 'predicate'} {i}"


def _checked_row(kind: str, value: object, count: int) -> int:
    row = whole_number(value, f"{kind} row", "a whole number")
    if not 0 <= row < count:
        raise bad_input(f"{kind} row", f"0..{count - 1}" if count else f"a graph with {kind}s", row)
    return row


def _append_score(
    scores: Tensor | None, count: int, score: float | None, like: Tensor
) -> Tensor | None:
    """The scores and one more; None while there are none at all."""
    if scores is None and score is None:
        return None
    if score is not None and not is_fraction(score):
        raise bad_input("score", "a number in 0..1", repr(score))
    before = like.new_full((count,), math.nan) if scores is None else scores
    return torch.cat([before, before.new_tensor([math.nan if score is None else score])])


def _append_row(values: Tensor | None, fill: float) -> Tensor | None:
    if values is None:
        return None
    return torch.cat([values, values.new_full((1, *values.shape[1:]), fill)])


def _forget(scores: Tensor | None, row: int) -> Tensor | None:
    if scores is None:
        return None
    scores = scores.clone()
    scores[row] = math.nan
    return scores
