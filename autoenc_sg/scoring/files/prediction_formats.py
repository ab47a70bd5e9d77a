"""Prediction files of other programs, converted entry by entry.

`sgb`: Scene-Graph-Benchmark's `custom_prediction.json`, `{"<index>": {"bbox", "bbox_labels",
"bbox_scores", "rel_pairs", "rel_all_scores", ...}}`. Its boxes are in pixels of the network's
input, see `resized_size`. `custom_data_info.json` has the names of the images.

`motifs`: the cache of Neural Motifs' `eval_rels.py`, a pickled list of `{"pred_boxes",
"pred_classes", "obj_scores", "pred_rel_inds", "rel_scores"}`, one for each image of its split in
order. Its boxes are in pixels of the image whose longer side is 1024, and its pairs are sorted.

Column 0 of both programs' predicate scores is no relation.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from io import BufferedReader
from pathlib import Path
from typing import Any

import numpy as np

from autoenc_sg.core.errors import InputError, bad_input
from autoenc_sg.scoring.files.entry_reader import Entry, ImageId
from autoenc_sg.scoring.files.json_lines import entries_of
from autoenc_sg.scoring.options import PredictionFormat
from autoenc_sg.weights.safe_pickle import unpickle_arrays

_SGB = {
    "boxes": "bbox",
    "labels": "bbox_labels",
    "scores": "bbox_scores",
    "pairs": "rel_pairs",
    "predicate_scores": "rel_all_scores",
}
_MOTIFS = {
    "boxes": "pred_boxes",
    "labels": "pred_classes",
    "scores": "obj_scores",
    "pairs": "pred_rel_inds",
    "predicate_scores": "rel_scores",
}
_PICKLE_BEGINS = (b"\x80", b"(", b"]")


def open_predictions(
    path: Path,
    kind: PredictionFormat,
    image_ids: Sequence[ImageId],
    allow_pickle: bool = False,
    data_info: Path | None = None,
) -> Iterator[Entry]:
    """The entries of a file of predictions.

    Args:
        path: the file.
        kind: its format; `auto`: by its first bytes.
        image_ids: of the truth, in order: the images of a `motifs` file.
        allow_pickle: whether a pickle may be read.
        data_info: `custom_data_info.json` of an `sgb` file. Ids are then the images' names without
            folder and extension, as numbers if they are decimal; else the indices.

    The file is opened once and read from its beginning to its end: it may be a pipe.

    Raises:
        InputError: the file cannot be read or is of another kind.
    """
    try:
        with path.open("rb") as file:
            kind = _guess(file) if kind == "auto" else kind
            if data_info is not None and kind != "sgb":
                raise bad_input(path, "predictions of sgb beside --data-info", kind)
            if kind == "motifs":
                yield from _motifs_entries(file, path, image_ids, allow_pickle)
            elif kind == "sgb":
                yield from _sgb_entries(file, path, data_info)
            else:
                yield from entries_of(file, path)
    except OSError as error:
        raise bad_input(path, "a file of predictions", error.strerror or error) from error


def resized_size(size: tuple[int, int], short: int, long: int) -> tuple[int, int]:
    """(height, width) of an image resized as Scene-Graph-Benchmark (maskrcnn-benchmark) does it.

    Its shorter side becomes `short` pixels, or fewer so that the longer one stays within `long`.
    """
    least, most = min(size), max(size)
    target = round(long * least / most) if most / least * short > long else short
    if size[1] < size[0]:
        return int(target * size[0] / size[1]), target
    return target, int(target * size[1] / size[0])


def _guess(file: BufferedReader) -> PredictionFormat:
    head = file.peek(64)[:64].lstrip()
    if head.startswith(_PICKLE_BEGINS):
        return "motifs"
    first_key = head[1:].lstrip()[1:].partition(b'"')[0]
    return "sgb" if head.startswith(b"{") and first_key.isdigit() else "jsonl"


def _sgb_entries(file: BufferedReader, path: Path, data_info: Path | None) -> Iterator[Entry]:
    content = _json(file.read(), path, "an object of images by index")
    names = None if data_info is None else _file_names(data_info)
    for index, values in content.items():
        place = f"{path} image {index!r}"
        image_id: ImageId = int(index) if index.isdecimal() else index
        if names is not None:
            if not isinstance(image_id, int) or image_id >= len(names):
                expected = f"an index below {len(names)} ({data_info})"
                yield Entry(place, bad_input(place, expected, index))
                continue
            image_id = names[image_id]
        yield _entry(place, values, image_id, _SGB)


def _file_names(path: Path) -> list[ImageId]:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise bad_input(path, "a JSON file", error.strerror or error) from error
    files = _json(content, path, "an object").get("idx_to_files")
    if not isinstance(files, list) or not all(isinstance(f, str) for f in files):
        raise bad_input(f"{path}: idx_to_files", "a list of file names", type(files).__name__)
    stems = [Path(name).stem for name in files]
    return [int(stem) if stem.isdecimal() else stem for stem in stems]


def _json(content: bytes, path: Path, expected: str) -> dict[str, Any]:
    try:
        value = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise bad_input(path, "a JSON file", error) from error
    if not isinstance(value, dict):
        raise bad_input(path, expected, type(value).__name__)
    return value


def _motifs_entries(
    file: BufferedReader, path: Path, image_ids: Sequence[ImageId], allow_pickle: bool
) -> Iterator[Entry]:
    if not allow_pickle:
        raise InputError(
            f"{path}: expected --allow-pickle for a pickle file, got none: reading a pickle can "
            "run what its author put there; allow it for files whose origin you trust"
        )
    content = unpickle_arrays(file, path)
    if not isinstance(content, list):
        raise bad_input(path, "a list with an entry for each image", type(content).__name__)
    if len(content) != len(image_ids):
        expected = f"{len(image_ids)} entries, one for each image of the truth in its order"
        raise bad_input(path, expected, len(content))
    for number, (values, image_id) in enumerate(zip(content, image_ids)):
        yield _entry(f"{path} entry {number}", values, image_id, _MOTIFS)


def _entry(place: str, values: Any, image_id: ImageId, names: Mapping[str, str]) -> Entry:
    if not isinstance(values, dict):
        return Entry(place, bad_input(place, "an object", type(values).__name__))
    content = {ours: values[theirs] for ours, theirs in names.items() if theirs in values}
    if "predicate_scores" in content:
        content["predicate_scores"] = _without_first(content["predicate_scores"])
    return Entry(place, content | {"image_id": image_id}, names)


def _without_first(rows: Any) -> Any:
    """Rows of scores without column 0; what is no matrix is left for the check that follows."""
    if isinstance(rows, np.ndarray):
        return rows[:, 1:] if rows.ndim == 2 else rows
    if isinstance(rows, list):
        return [row[1:] if isinstance(row, list) else row for row in rows]
    return rows
