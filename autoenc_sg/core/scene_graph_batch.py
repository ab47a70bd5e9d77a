"""Graphs of several images as one disconnected graph with an image index: no padding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from autoenc_sg.core.boxes import ImageSize, to_unit_boxes
from autoenc_sg.core.errors import bad_input
from autoenc_sg.core.scene_graph import SceneGraph
from autoenc_sg.core.structures import take_rows, to_device
from autoenc_sg.core.vocabulary import Vocabulary


@dataclass(frozen=True, eq=False)
class SceneGraphBatch:
    """Graphs of B images as one disconnected graph; `collate` and `split` invert each other.

    Attributes:
        labels, boxes, object_scores, triple_scores, masks, appearance: those of the `SceneGraph`s,
            concatenated.
        triples: `[M, 3]`, object rows counted over the whole batch.
        image_index: `[N]` int64, the image of each object, ascending.
        image_sizes: (height, width) of each image; its length is B.
        vocabulary: that of all the graphs, None if they have none or different ones.
        background: `[B, G G, A]` codes of what lies outside an image's boxes, or None.
        ignored: `[K, 6]` regions with more objects than are annotated: image, class id and box; or
            None if no graph has some.
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
    vocabulary: Vocabulary | None = None
    background: Tensor | None = None
    ignored: Tensor | None = None

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

        Of the fields of objects those without objects do not count, of the scores of triples those
        without triples.

        Codes of objects and of the background are kept if any graph has them; the others get zeros.

        Raises:
            InputError: there is no graph, or their codes or masks differ in size.
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
            _join([g.object_scores for g in graphs], [len(g) for g in graphs]),
            _join([g.triple_scores for g in graphs], [len(g.triples) for g in graphs]),
            _join_masks([g.masks for g in graphs], [len(g) for g in graphs]),
            _join_codes([g.appearance for g in graphs], counts.tolist()),
            _common([g.vocabulary for g in graphs]),
            _stack_codes([g.background for g in graphs]),
            _join_ignored([g.ignored for g in graphs]),
        )

    def split(self) -> list[SceneGraph]:
        """The graphs of the single images."""
        counts = torch.bincount(self.image_index, minlength=len(self)).tolist()
        owner = self.triple_image_index
        graphs, start = [], 0
        for i, count in enumerate(counts):
            objects = slice(start, start + count)
            in_image = owner == i
            triples = self.triples[in_image] - self.triples.new_tensor([start, 0, start])
            graphs.append(
                SceneGraph(
                    self.labels[objects],
                    self.boxes[objects],
                    triples,
                    self.image_sizes[i],
                    take_rows(self.object_scores, objects),
                    take_rows(self.triple_scores, in_image),
                    take_rows(self.masks, objects),
                    take_rows(self.appearance, objects),
                    self.vocabulary,
                    background=None if self.background is None else self.background[i],
                    ignored=_of_image(self.ignored, i),
                )
            )
            start += count
        return graphs


def check_graphs(graphs: object) -> None:
    """Raise InputError unless `graphs` is a list or another sequence of graphs."""
    if not isinstance(graphs, Sequence):
        raise bad_input("graphs", "a list of SceneGraphs", type(graphs).__name__)
    for i, graph in enumerate(graphs):
        if not isinstance(graph, SceneGraph):
            raise bad_input(f"graphs[{i}]", "a SceneGraph", type(graph).__name__)


def _join(parts: list[Tensor | None], counts: list[int]) -> Tensor | None:
    """The rows of all graphs, None if one lacks its `counts` rows, or if none has the field."""
    present = [part for part in parts if part is not None]
    is_missing = any(part is None and count > 0 for part, count in zip(parts, counts))
    return None if is_missing or not present else torch.cat(present)


def _join_masks(parts: list[Tensor | None], counts: list[int]) -> Tensor | None:
    sizes = {tuple(part.shape[1:]) for part in parts if part is not None}
    is_complete = not any(part is None and count > 0 for part, count in zip(parts, counts))
    if is_complete and len(sizes) > 1:
        raise bad_input("masks of a batch", "one size", sorted(sizes))
    return _join(parts, counts)


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


def _stack_codes(parts: list[Tensor | None]) -> Tensor | None:
    """Background codes `[B, G G, A]`, zeros where a graph has none."""
    present = [part for part in parts if part is not None]
    if not present:
        return None
    shapes = {tuple(part.shape) for part in present}
    if len(shapes) > 1:
        raise bad_input("background codes of a batch", "one shape", sorted(shapes))
    return torch.stack([torch.zeros_like(present[0]) if p is None else p for p in parts])


def _join_ignored(parts: list[Tensor | None]) -> Tensor | None:
    """The regions `[K, 5]` of each graph with the graph's place in front: `[K, 6]`."""
    rows = [
        torch.cat([part.new_full((len(part), 1), i), part], 1)
        for i, part in enumerate(parts)
        if part is not None
    ]
    return torch.cat(rows) if rows else None


def _of_image(ignored: Tensor | None, image: int) -> Tensor | None:
    """An image's regions `[k, 5]`, None if it has none."""
    if ignored is None or not bool((ignored[:, 0] == image).any()):
        return None
    return ignored[ignored[:, 0] == image, 1:]


def _common(vocabularies: list[Vocabulary | None]) -> Vocabulary | None:
    first = vocabularies[0]
    same = all(other is first or other == first for other in vocabularies)
    return first if same else None
