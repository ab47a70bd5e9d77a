"""One patch for each object of a graph: the nearest by graph vector, or any of its class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from autoenc_sg.core.scene_graph import SceneGraph
from autoenc_sg.retrieval.canvas import paste_canvas
from autoenc_sg.retrieval.features import GraphVectors, check_source
from autoenc_sg.retrieval.search import NO_PATCH, Candidates, PatchSearch


@dataclass(frozen=True, eq=False)
class Selection:
    """The patches of a graph's N objects, and of the whole.

    Attributes:
        graph: the graph.
        rows: `[N]` in the bank; `NO_PATCH` where there is none.
        labels: `[N]` class of the patches, as `Candidates.labels`.
        canvas: row of a whole photo; `NO_PATCH`: none.
    """

    graph: SceneGraph
    rows: Tensor
    labels: Tensor
    canvas: int = NO_PATCH

    def picture(self, search: PatchSearch, size: tuple[int, int]) -> Tensor:
        """The pasted canvas `[3, H, W]` in [0, 1] of `size` (H, W); see `paste_canvas`."""
        has_patch = self.rows != NO_PATCH
        crops = search.bank.pixels(self.rows[has_patch].tolist())
        height, width = self.graph.image_size
        scale = torch.tensor([width, height, width, height], dtype=torch.float64)
        boxes = self.graph.boxes[has_patch].double() / scale
        background = None if self.canvas == NO_PATCH else search.bank.pixels([self.canvas])[0]
        return paste_canvas(crops, boxes, size, background)


def nearest_selection(
    search: PatchSearch,
    vectors: GraphVectors,
    graph: SceneGraph,
    image_id: int | None = None,
    canvas: bool = False,
) -> Selection:
    """The nearest patch of each object by graph vector; PasteGAN's choice at test.

    Args:
        search: by graph vectors.
        vectors: of the graphs, of the weights that the bank's are of.
        graph: of the bank's vocabulary.
        image_id: the image that it is the graph of, none of whose patches is selected.
        canvas: also select a whole photo.

    Raises:
        InputError: the bank's vectors are of another width or of other weights.
    """
    bank = search.bank
    check_source(vectors.source, bank.manifest.graph, f"bank {bank.folder}")
    objects, image = vectors(graph)
    labels, queries = _with_canvas(graph, canvas), torch.cat([objects, image[: int(canvas)]])
    found = search.nearest(labels, queries, [image_id] * len(labels), 1)
    return _selection(graph, found, canvas)


def random_selection(
    search: PatchSearch,
    graph: SceneGraph,
    generator: torch.Generator,
    image_id: int | None = None,
    canvas: bool = False,
) -> Selection:
    """Any patch of each object's class with equal chances; PasteGAN's mode "random".

    Arguments as in `nearest_selection`; `generator` draws.
    """
    labels = _with_canvas(graph, canvas)
    used = search.used_labels(labels, [image_id] * len(labels))
    rows = [_drawn(search, label, image_id, generator) for label in used.tolist()]
    found = torch.tensor(rows, dtype=torch.int64)[:, None]
    return _selection(graph, Candidates(found, torch.zeros(found.shape), used), canvas)


def replacement_notes(selections: Sequence[Selection], search: PatchSearch) -> list[str]:
    """A line for each class of the graphs that has no patch, by name."""
    replaced: dict[int, int] = {}
    for selection in selections:
        labels = selection.graph.labels.cpu()
        differs = selection.labels != labels
        replaced |= dict(zip(labels[differs].tolist(), selection.labels[differs].tolist()))
    names = search.bank.vocabulary.objects
    return [
        f"class {names[label]!r} has no patch: "
        + ("it is left out" if other == NO_PATCH else f"those of {names[other]!r} are pasted")
        for label, other in sorted(replaced.items())
    ]


def _with_canvas(graph: SceneGraph, canvas: bool) -> Tensor:
    """The objects' classes, and 0 for a whole photo."""
    return torch.cat([graph.labels.cpu(), torch.zeros(int(canvas), dtype=torch.int64)])


def _selection(graph: SceneGraph, found: Candidates, canvas: bool) -> Selection:
    count = len(graph)
    row = int(found.rows[count, 0]) if canvas else NO_PATCH
    return Selection(graph, found.rows[:count, 0], found.labels[:count], row)


def _drawn(
    search: PatchSearch, label: int, image_id: int | None, generator: torch.Generator
) -> int:
    if label == NO_PATCH:
        return NO_PATCH
    rows = search.allowed_rows(label, image_id)
    return int(rows[int(torch.randint(len(rows), (1,), generator=generator))])
