"""Canvases pasted from a bank's patches, for the graphs of a file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from autoenc_sg.core.atomic_files import replacing
from autoenc_sg.core.boxes import ImageSize
from autoenc_sg.core.errors import bad_input
from autoenc_sg.core.graph_json import read_graphs
from autoenc_sg.core.images import save_image
from autoenc_sg.core.scene_graph import SceneGraph
from autoenc_sg.retrieval.features import GraphVectors
from autoenc_sg.retrieval.options import PasteOptions
from autoenc_sg.retrieval.search import NO_PATCH, PatchSearch
from autoenc_sg.retrieval.selection import (
    Selection,
    nearest_selection,
    random_selection,
    replacement_notes,
)
from autoenc_sg.visualization.progress import Reporter

PATCHES = "patches.json"


def paste_graphs(
    graph_file: Path,
    search: PatchSearch,
    vectors: GraphVectors | None,
    out: Path,
    options: PasteOptions,
    reporter: Reporter,
) -> tuple[list[Path], list[str]]:
    """Paste the canvas of every graph of a file; `patches.json` says which patches were taken.

    A file `a.json` with one graph gives `a.png`, with several `a-0000.png`, `a-0001.png`, …

    Args:
        graph_file: graphs of the bank's vocabulary, with boxes.
        search: of the bank; by graph vectors if `vectors` are given.
        vectors: selects the nearest patches; None: any patch of the class.
        out: folder to write to.
        options: how to paste.
        reporter: gets the stage "paste".

    Returns:
        The files, and a line for each class without a patch.

    Raises:
        InputError: bad graphs, another number of image ids than of graphs, or a bank without whole
            photos or of other vectors; nothing is written then.
    """
    graphs = _checked_graphs(graph_file, search, options)
    ids: Sequence[int | None] = options.image_ids or [None] * len(graphs)
    selections = [
        _selected(search, vectors, graph, image_id, options, number)
        for number, (graph, image_id) in enumerate(zip(graphs, ids))
    ]
    paths = []
    with reporter.stage("paste", len(graphs)):
        for number, selection in enumerate(selections):
            suffix = f"-{number:04d}" if len(graphs) > 1 else ""
            paths.append(out / f"{graph_file.stem}{suffix}.png")
            size = _canvas_size(selection.graph.image_size, options.size)
            save_image(paths[-1], selection.picture(search, size))
            reporter.advance()
    paths.append(out / PATCHES)
    content = [_described(selection, search) for selection in selections]
    with replacing(paths[-1]) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return paths, replacement_notes(selections, search)


def _checked_graphs(
    graph_file: Path, search: PatchSearch, options: PasteOptions
) -> list[SceneGraph]:
    graphs = read_graphs(graph_file, search.bank.vocabulary)
    if not graphs:
        raise bad_input(graph_file, "one graph or more", "an empty list")
    for number, graph in enumerate(graphs, start=1):
        if not graph.has_boxes:
            where = f"{graph_file}, graph {number} of {len(graphs)}, boxes"
            raise bad_input(where, "boxes in the file", "none")
    if options.image_ids and len(options.image_ids) != len(graphs):
        expected = f"{len(graphs)}, one for each graph"
        raise bad_input("--image-ids", expected, len(options.image_ids))
    if options.canvas and not search.bank.manifest.canvas_size:
        expected = "whole photos (bank build --canvas-size)"
        raise bad_input(f"bank {search.bank.folder}", expected, "a bank without")
    return graphs


def _selected(
    search: PatchSearch,
    vectors: GraphVectors | None,
    graph: SceneGraph,
    image_id: int | None,
    options: PasteOptions,
    number: int,
) -> Selection:
    if vectors is not None:
        return nearest_selection(search, vectors, graph, image_id, options.canvas)
    generator = torch.Generator().manual_seed(options.seed + number)
    return random_selection(search, graph, generator, image_id, options.canvas)


def _canvas_size(image_size: ImageSize, longer: int) -> ImageSize:
    scale = longer / max(image_size)
    return max(1, round(image_size[0] * scale)), max(1, round(image_size[1] * scale))


def _described(selection: Selection, search: PatchSearch) -> dict[str, Any]:
    """Of each object the row of its patch, the photo it is from, and its class there."""
    bank, names = search.bank, search.bank.vocabulary.objects
    objects = []
    for row, label in zip(selection.rows.tolist(), selection.labels.tolist()):
        taken = row != NO_PATCH
        objects.append(
            {
                "patch": row if taken else None,
                "image_id": int(bank.image_ids[row]) if taken else None,
                "class": names[label] if taken else None,
            }
        )
    canvas = selection.canvas
    photo = None if canvas == NO_PATCH else int(bank.image_ids[canvas])
    return {"objects": objects, "canvas_image_id": photo}
