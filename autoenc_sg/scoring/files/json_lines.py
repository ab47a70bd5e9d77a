"""Predictions and true graphs of any program as JSON Lines, one image a line, and their checks.

Truth:       {"image_id", "boxes": [[x1, y1, x2, y2]...], "labels", "triples": [[s, p, o]...]}
Prediction:  {"image_id", "boxes", "labels", "scores", "pairs": [[s, o]...],
              "predicate_scores": [[p_1 ... p_P]...]}

Labels and predicates count from 1 as in VG150, `s` and `o` are rows of `boxes` counted from 0, and
`predicate_scores` have no column for "no relation". A truth may state its `image_size`, [height,
width]; a prediction the `relatedness` of its pairs. Other keys are ignored.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from autoenc_sg.core.atomic_files import replacing
from autoenc_sg.core.errors import InputError, bad_input
from autoenc_sg.data.base.samples import GraphDataset
from autoenc_sg.scoring.files.entry_reader import Entry, EntryReader, ImageId, TrueGraph


def json_lines(path: Path) -> Iterator[Entry]:
    """The lines of a file; empty ones are skipped.

    Raises:
        InputError: the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            yield from entries_of(file, path)
    except OSError as error:
        raise bad_input(path, "a file of JSON Lines", error.strerror or error) from error


def entries_of(lines: Iterable[bytes], path: Path) -> Iterator[Entry]:
    """The lines of an open file, called `path` in messages; empty ones are skipped."""
    for number, line in enumerate(lines, start=1):
        if line.strip():
            yield Entry(f"{path} line {number}", line)


def read_truths(path: Path) -> dict[ImageId, TrueGraph]:
    """All true graphs of a file by image id, in its order.

    Raises:
        InputError: a line is not a true graph, an id occurs twice, or the file is empty.
    """
    truths: dict[ImageId, TrueGraph] = {}
    for entry in json_lines(path):
        reader = EntryReader(entry)
        image_id = reader.image_id()
        if image_id in truths:
            raise repeated_id_error(reader, image_id, truths[image_id].place)
        truths[image_id] = reader.truth()
    if not truths:
        raise bad_input(path, "one true graph or more", "no line")
    return truths


def write_truths(path: Path, dataset: GraphDataset, long_side: int | None = None) -> int:
    """Write the true graphs of a data set with all their relations, atomically.

    Args:
        path: the file.
        dataset: its images are not read.
        long_side: boxes are scaled to images whose longer side is this, in pixels (Motifs: 1024);
            None: not scaled.

    Returns:
        The number of images.
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


def repeated_id_error(reader: EntryReader, image_id: ImageId, first: str) -> InputError:
    """The error of an image id that occurs twice in a file."""
    return bad_input(reader.name("image_id"), "each image once", f"{image_id!r} as on {first}")


def training_triples(path: Path) -> tuple[Tensor, Tensor]:
    """The triples of a file of training graphs; `labels` and `triples` suffice.

    Returns:
        The distinct label triples `[S, 3]`, and the number of triples of each predicate `[P]`.

    Raises:
        InputError: a line is no such graph, or the file is empty.
    """
    distinct: dict[tuple[int, int, int], None] = {}
    counts: dict[int, int] = {}
    entry = None
    for entry in json_lines(path):
        reader = EntryReader(entry)
        labels = reader.labels().tolist()
        for s, p, o in reader.triples(len(labels)).tolist():
            distinct[labels[s], p, labels[o]] = None
            counts[p] = counts.get(p, 0) + 1
    total = torch.zeros(max(counts, default=0) + 1, dtype=torch.int64)
    if entry is None:
        raise bad_input(path, "one training graph or more", "no line")
    for predicate, count in counts.items():
        total[predicate] = count
    return torch.tensor(list(distinct), dtype=torch.int64).reshape(-1, 3), total
