"""Scene graphs: the graph of one image, and batches of them.

Legend, here and in every docstring: `B` images, `N` objects of all images, `M` pairs or triples of
all images, `C` object classes and `P` predicates (both with the reserved 0), `D` features, `H W`
pixels. Boxes are `xyxy`; `SceneGraph` holds them in pixels of its image, the generator wants them
in [0, 1]. A batch of graphs is one disconnected graph with an image index: no padding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from autoenc_sg.core.errors import bad_input
from autoenc_sg.core.structures import ImageSize, to_device, to_unit_boxes


@dataclass(frozen=True, eq=False)
class SceneGraph:
    """The graph of one image: objects with boxes, and triples between them.

    Attributes:
        labels: `[N]` int64, object class ids >= 1.
        boxes: `[N, 4]` float, xyxy in pixels of the image, finite, x1 <= x2 and y1 <= y2.
        triples: `[M, 3]` int64, (subject, predicate, object): object rows and a predicate id >= 1.
        image_size: (height, width) in pixels.
        object_scores: `[N]` in [0, 1], or None.
        triple_scores: `[M]` in [0, 1], or None.
        masks: `[N, S, S]` soft masks in [0, 1] over each object's box, or None.
        appearance: `[N, A]` appearance codes, a row of zeros where an object has none, or None.

    Raises:
        InputError: a shape, a type, an index or a box is not as stated above.
    """

    labels: Tensor
    boxes: Tensor
    triples: Tensor
    image_size: ImageSize
    object_scores: Tensor | None = None
    triple_scores: Tensor | None = None
    masks: Tensor | None = None
    appearance: Tensor | None = None

    def __post_init__(self) -> None:
        n, m = self.labels.shape[:1].numel(), self.triples.shape[:1].numel()
        _check_shape("labels", self.labels, (n,))
        _check_shape("boxes", self.boxes, (n, 4))
        _check_shape("triples", self.triples, (m, 3))
        _check_shape("object_scores", self.object_scores, (n,))
        _check_shape("triple_scores", self.triple_scores, (m,))
        _check_shape("masks", self.masks, (n, None, None))
        _check_shape("appearance", self.appearance, (n, None))
        _check_ids("labels", self.labels)
        _check_ids("triples", self.triples)
        _check_boxes(self.boxes)
        _check_range("labels", self.labels, 1, None)
        _check_range("triples' objects", self.triples[:, [0, 2]], 0, n - 1)
        _check_range("triples' predicates", self.triples[:, 1], 1, None)

    def __len__(self) -> int:
        return len(self.labels)

    @classmethod
    def empty(cls, image_size: ImageSize) -> SceneGraph:
        """A graph without objects."""
        return cls(
            torch.zeros(0, dtype=torch.int64),
            torch.zeros(0, 4),
            torch.zeros(0, 3, dtype=torch.int64),
            image_size,
        )

    def to(self, device: torch.device | str) -> SceneGraph:
        """The same graph on another device."""
        return to_device(self, device)

    def select(self, objects: Tensor) -> SceneGraph:
        """The subgraph of the object rows `[n]`, in that order, with the triples among them."""
        position = self.labels.new_full((len(self),), -1)
        position[objects] = torch.arange(len(objects), device=position.device)
        ends = position[self.triples[:, [0, 2]]]
        kept = (ends >= 0).all(1)
        triples = torch.stack([ends[kept, 0], self.triples[kept, 1], ends[kept, 1]], 1)
        return SceneGraph(
            self.labels[objects],
            self.boxes[objects],
            triples,
            self.image_size,
            _take(self.object_scores, objects),
            _take(self.triple_scores, kept),
            _take(self.masks, objects),
            _take(self.appearance, objects),
        )


@dataclass(frozen=True, eq=False)
class SceneGraphBatch:
    """Graphs of B images as one disconnected graph; `collate` and `split` invert each other.

    Attributes:
        labels, boxes, object_scores, triple_scores, masks, appearance: those of the `SceneGraph`s,
            concatenated.
        triples: `[M, 3]`, object rows counted over the whole batch.
        image_index: `[N]` int64, the image of each object, ascending.
        image_sizes: (height, width) of each image; its length is B.
    """

    labels: Tensor
    boxes: Tensor
    triples: Tensor
    image_index: Tensor
    image_sizes: tuple[ImageSize, ...]
    object_scores: Tensor | None = None
    triple_scores: Tensor | None = None
    masks: Tensor | None = None
    appearance: Tensor | None = None

    def __len__(self) -> int:
        return len(self.image_sizes)

    @property
    def num_images(self) -> int:
        """B."""
        return len(self.image_sizes)

    @property
    def triple_image_index(self) -> Tensor:
        """The image of each triple: `[M]`."""
        return self.image_index[self.triples[:, 0]]

    def unit_boxes(self) -> Tensor:
        """The boxes as fractions of their images: `[N, 4]`."""
        return to_unit_boxes(self.boxes, self.image_sizes, self.image_index)

    def to(self, device: torch.device | str) -> SceneGraphBatch:
        """The same batch on another device."""
        return to_device(self, device)

    @classmethod
    def collate(cls, graphs: Sequence[SceneGraph]) -> SceneGraphBatch:
        """One batch of at least one graph; an optional field is kept if all graphs have it.

        Appearance is kept if any has it: objects of graphs without have codes of zeros.

        Raises:
            InputError: there is no graph, or their codes differ in width.
        """
        if not graphs:
            raise bad_input("graphs of a batch", "one or more", "none")
        counts = torch.tensor([len(g) for g in graphs])
        starts = counts.cumsum(0) - counts
        shift = torch.tensor([1, 0, 1])
        device = graphs[0].labels.device
        triples = [g.triples + (s * shift).to(device) for g, s in zip(graphs, starts)]
        return cls(
            torch.cat([g.labels for g in graphs]),
            torch.cat([g.boxes for g in graphs]),
            torch.cat(triples),
            torch.repeat_interleave(torch.arange(len(graphs)), counts).to(device),
            tuple(g.image_size for g in graphs),
            _join([g.object_scores for g in graphs]),
            _join([g.triple_scores for g in graphs]),
            _join([g.masks for g in graphs]),
            _join_codes([g.appearance for g in graphs], counts.tolist()),
        )

    def split(self) -> list[SceneGraph]:
        """The graphs of the single images."""
        counts = torch.bincount(self.image_index, minlength=len(self)).tolist()
        owner = self.triple_image_index
        graphs, start = [], 0
        for i, count in enumerate(counts):
            objects = slice(start, start + count)
            own = owner == i
            triples = self.triples[own] - self.triples.new_tensor([start, 0, start])
            graphs.append(
                SceneGraph(
                    self.labels[objects],
                    self.boxes[objects],
                    triples,
                    self.image_sizes[i],
                    _take(self.object_scores, objects),
                    _take(self.triple_scores, own),
                    _take(self.masks, objects),
                    _take(self.appearance, objects),
                )
            )
            start += count
        return graphs


def _take(values: Tensor | None, rows: Tensor | slice) -> Tensor | None:
    return None if values is None else values[rows]


def _join(parts: list[Tensor | None]) -> Tensor | None:
    present = [part for part in parts if part is not None]
    return torch.cat(present) if len(present) == len(parts) else None


def _join_codes(parts: list[Tensor | None], counts: list[int]) -> Tensor | None:
    """Appearance codes of graphs of these sizes, zeros where a graph has none."""
    present = [part for part in parts if part is not None]
    if not present:
        return None
    widths = {part.shape[1] for part in present}
    if len(widths) > 1:
        raise bad_input("appearance codes of a batch", "one width", sorted(widths))
    like, width = present[0], widths.pop()
    return torch.cat([like.new_zeros(n, width) if p is None else p for p, n in zip(parts, counts)])


def _check_shape(name: str, value: Tensor | None, shape: tuple[int | None, ...]) -> None:
    if value is None:
        return
    same = value.ndim == len(shape) and all(e in (None, g) for e, g in zip(shape, value.shape))
    if not same:
        wanted = [("any" if size is None else size) for size in shape]
        raise bad_input(name, f"shape {wanted}", list(value.shape))


def _check_ids(name: str, value: Tensor) -> None:
    if value.dtype != torch.int64:
        raise bad_input(name, "int64", value.dtype)


def _check_boxes(boxes: Tensor) -> None:
    if not boxes.is_floating_point():
        raise bad_input("boxes", "floating-point pixels", boxes.dtype)
    ordered = (boxes[:, :2] <= boxes[:, 2:]).all(1) & boxes.isfinite().all(1)  # NaN compares false
    if not bool(ordered.all()):
        wrong = boxes[~ordered][0].tolist()
        raise bad_input("boxes", "finite (x1, y1, x2, y2), x1 <= x2 and y1 <= y2", wrong)


def _check_range(name: str, value: Tensor, low: int, high: int | None) -> None:
    if value.numel() == 0:
        return
    least, most = int(value.min()), int(value.max())
    if least < low or (high is not None and most > high):
        wanted = f">= {low}" if high is None else f"{low}..{high}"
        raise bad_input(name, wanted, f"{least}..{most}")
