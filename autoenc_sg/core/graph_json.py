r"""Scene graphs as JSON, a superset of that of sg2im (whose `run_model.py` reads two of the keys).

    {"objects": ["sky", "tree"], "relationships": [[0, "above", 1]],
     "boxes": [[x1, y1, x2, y2], ...], "image_size": [height, width],
     "object_scores": [...], "relationship_scores": [...],
     "masks": [[[...]]], "appearance": [[...]]}

A file holds one such graph, a list of them, or one a line (`.jsonl`). Only `objects` is required; a
key that is null counts as absent, no `relationships` as none, and unknown keys are passed over
(files of sg2im's descendants have some). An object or relation without a score, or an object
without an appearance code, has null for it; scores and codes that a list lacks at its end count as
null, so that objects and relations can be added by hand. A relation of an object to itself is read
as sg2im reads it: an edge like others. Numbers are written with the fewest digits that give the
same float32 back.
"""

from __future__ import annotations

import json
import math
import reprlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
from torch import Tensor

from autoenc_sg.core.atomic_files import replacing
from autoenc_sg.core.boxes import ImageSize
from autoenc_sg.core.errors import InputError, bad_input
from autoenc_sg.core.scene_graph import SceneGraph
from autoenc_sg.core.scene_graph_batch import check_graphs
from autoenc_sg.core.scene_graph_views import translate
from autoenc_sg.core.vocabulary import Vocabulary, nearest

DEFAULT_SIZE: ImageSize = (256, 256)
MAX_SIDE = 100_000
NAMED_WORDS = 10  # unknown ones in an error


def graph_to_json(graph: SceneGraph, vocabulary: Vocabulary) -> dict[str, Any]:
    """The graph as plain lists and names, ready for `json.dumps`; what it returns can be read back.

    A graph of another vocabulary is translated by its names.

    Raises:
        InputError: a name or id is not in the vocabulary, a number is not finite or out of its
            range, a box has no area or lies outside the image.
    """
    graph = translate(graph, vocabulary)
    names, predicates = vocabulary.objects, vocabulary.predicates
    data: dict[str, Any] = {
        "objects": [_name(names, i, "object") for i in graph.labels.tolist()],
        "relationships": [
            [s, _name(predicates, p, "predicate"), o] for s, p, o in graph.triples.tolist()
        ],
        **({"boxes": _plain(graph.boxes)} if graph.has_boxes else {}),
        "image_size": list(graph.image_size),
    }
    for key, values, plain in (
        ("object_scores", graph.object_scores, _plain_scores),
        ("relationship_scores", graph.triple_scores, _plain_scores),
        ("masks", graph.masks, _plain),
        ("appearance", graph.appearance, _plain),
    ):
        if values is not None:
            data[key] = plain(values)
    graph_from_json(data, vocabulary, "graph to write")
    return data


def graph_from_json(
    data: Mapping[str, Any], vocabulary: Vocabulary, where: str = "graph"
) -> SceneGraph:
    """Read one graph; `data` is left as it is.

    Without `boxes` every box is the whole image and `has_boxes` is False; without `image_size` too
    the image is 256 x 256 pixels. Boxes may reach beyond the image, and a graph may have no
    objects. Masks and appearance of a
    graph without objects have no width to be read from and become None.

    Args:
        data: the decoded JSON object.
        vocabulary: the names that are known.
        where: what errors call this graph.

    Raises:
        InputError: one line with `where`, the key, what was expected and what was got.
    """
    if not isinstance(data, Mapping):
        raise bad_input(where, "a graph: an object with 'objects' and 'relationships'", _kind(data))
    _check_words(data, vocabulary, where)
    labels = _labels(data, vocabulary, where)
    triples = _triples(data, vocabulary, len(labels), where)
    size = _image_size(data, where)
    boxes = _boxes(data, len(labels), size, where)
    return SceneGraph(
        torch.tensor(labels, dtype=torch.int64),
        _whole_image(len(labels), size) if boxes is None else boxes,
        torch.tensor(triples, dtype=torch.int64).reshape(-1, 3),
        size,
        _scores(data, "object_scores", len(labels), where),
        _scores(data, "relationship_scores", len(triples), where),
        _masks(data, len(labels), where),
        _appearance(data, len(labels), where),
        vocabulary,
        boxes is not None,
    )


def read_graphs(path: Path | str, vocabulary: Vocabulary) -> list[SceneGraph]:
    """Read a file with one graph, a list of graphs, or one a line (`.jsonl`).

    Raises:
        InputError: the file cannot be read or is not such JSON; one line that names the file, the
            graph and the key.
    """
    rows = read_json_entries(path)
    return [
        graph_from_json(row, vocabulary, f"{path}, graph {i} of {len(rows)}")
        for i, row in enumerate(rows, start=1)
    ]


def write_graph(path: Path | str, graph: SceneGraph, vocabulary: Vocabulary) -> None:
    """Write a file that holds one graph; atomically. Raises as `graph_to_json`."""
    _write(path, _dump(graph_to_json(graph, vocabulary)))


def write_graphs(path: Path | str, graphs: Sequence[SceneGraph], vocabulary: Vocabulary) -> None:
    """Write a file that holds a list of graphs, or one a line (`.jsonl`); atomically.

    Raises as `graph_to_json`.
    """
    check_graphs(graphs)
    rows = [graph_to_json(graph, vocabulary) for graph in graphs]
    if Path(path).suffix == ".jsonl":
        _write(path, "\n".join(json.dumps(row, ensure_ascii=False) for row in rows))
    else:
        _write(path, "[" + ",\n".join(map(_dump, rows)) + "]")


def _write(path: Path | str, text: str) -> None:
    with replacing(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def _dump(data: Mapping[str, Any]) -> str:
    """JSON with a line for each key, so that people can read and edit it."""
    lines = (f"  {json.dumps(k)}: {json.dumps(v, ensure_ascii=False)}" for k, v in data.items())
    return "{\n" + ",\n".join(lines) + "\n}"


def read_json_entries(path: Path | str) -> list[Any]:
    """What a file holds: one JSON value, a list of them, or one a line in a `.jsonl` file.

    Raises:
        InputError: the file cannot be read or is not JSON; one line that names the file.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise bad_input(path, "valid JSON in UTF-8", f"an error: {error}") from error
    except (OSError, ValueError) as error:  # ValueError: a name with a null character
        reason = getattr(error, "strerror", None) or error
        raise bad_input(path, "a graph JSON file", reason) from error
    if path.suffix == ".jsonl":
        lines = enumerate(text.split("\n"), 1)  # names may hold other line separators
        return [_decoded(line, f"{path}, line {i}") for i, line in lines if line.strip()]
    data = _decoded(text, str(path))
    if isinstance(data, list):
        return data
    if not isinstance(data, Mapping):
        raise bad_input(path, "a graph or a list of graphs", _kind(data))
    return [data]


def _decoded(text: str, where: str) -> Any:
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise bad_input(where, "valid JSON in UTF-8", f"an error: {error}") from error


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"the number {name}, which JSON has not")


def _name(names: tuple[str, ...], index: int, kind: str) -> str:
    if index >= len(names):
        raise bad_input(f"{kind} id", f"1..{len(names) - 1} of the vocabulary", index)
    return names[index]


def _plain(values: Tensor) -> Any:
    """Nested lists of the shortest decimals that read back as the same float32."""
    exact = values.detach().to("cpu", torch.float32).numpy()
    short = exact.astype(str).astype(np.float64)
    return np.where(short.astype(np.float32) == exact, short, exact.astype(np.float64)).tolist()


def _plain_scores(values: Tensor) -> list[float | None]:
    """As `_plain`, with None for NaN: no score."""
    return [None if math.isnan(value) else value for value in _plain(values)]


def _check_words(data: Mapping[str, Any], vocabulary: Vocabulary, where: str) -> None:
    """Refuse a graph with several unknown words, naming all; other entries are checked later."""
    objects = [name for name in _required(data, "objects", where) if isinstance(name, str)]
    rows = _relationships(data, where)
    predicates = [row[1] for row in rows if _is_list(row) and len(row) == 3]
    unknown: list[str] = []
    for words, vocabulary_names in (
        (objects, vocabulary.objects),
        (predicates, vocabulary.predicates),
    ):
        names = set(vocabulary_names[1:])
        for word in dict.fromkeys(w for w in words if isinstance(w, str) and w not in names):
            near = nearest(word, vocabulary_names) if len(unknown) < NAMED_WORDS else []
            unknown.append(f"{_short(word)} (nearest: {', '.join(near) or 'none'})")
    if len(unknown) > 1:
        more = len(unknown) - NAMED_WORDS
        rest = f" and {more} more" if more > 0 else ""
        raise bad_input(where, "known words", "; ".join(unknown[:NAMED_WORDS]) + rest)


def _labels(data: Mapping[str, Any], vocabulary: Vocabulary, where: str) -> list[int]:
    names = _required(data, "objects", where)
    return [
        _id(vocabulary.object_id, name, f"{where}, objects[{i}]") for i, name in enumerate(names)
    ]


def _triples(
    data: Mapping[str, Any], vocabulary: Vocabulary, count: int, where: str
) -> list[tuple[int, int, int]]:
    triples = []
    for i, row in enumerate(_relationships(data, where)):
        here = f"{where}, relationships[{i}]"
        if not _is_list(row) or len(row) != 3:
            raise bad_input(here, '[subject, "predicate", object]', _short(row))
        subject, predicate, other = row
        for end in (subject, other):
            if not _is_int(end) or not 0 <= end < count:
                raise bad_input(here, f"object indices from 0 to {count - 1}", _short(end))
        triples.append((subject, _id(vocabulary.predicate_id, predicate, here), other))
    return triples


def _relationships(data: Mapping[str, Any], where: str) -> Sequence[Any]:
    """The rows of `relationships`; none where the key is absent or null."""
    if data.get("relationships") is None:
        return []
    return _required(data, "relationships", where)


def _image_size(data: Mapping[str, Any], where: str) -> ImageSize:
    size = data.get("image_size")
    if size is None and data.get("boxes") is None:
        return DEFAULT_SIZE
    if size is None:
        raise bad_input(f"{where}, image_size", "[height, width] beside boxes", "none")
    sane = (
        _is_list(size) and len(size) == 2 and all(_is_int(s) and 1 <= s <= MAX_SIDE for s in size)
    )
    if not sane:
        raise bad_input(f"{where}, image_size", f"[height, width] in 1..{MAX_SIDE}", _short(size))
    return size[0], size[1]


def _whole_image(count: int, size: ImageSize) -> Tensor:
    return torch.tensor([0.0, 0.0, size[1], size[0]]).repeat(count, 1)


def _boxes(data: Mapping[str, Any], count: int, size: ImageSize, where: str) -> Tensor | None:
    boxes = _floats(data, "boxes", (count, 4), where)
    if boxes is None:
        return None
    x1, y1, x2, y2 = boxes.unbind(1)
    for wrong, expected in (
        ((x2 <= x1) | (y2 <= y1), "[x1, y1, x2, y2] with x1 < x2 and y1 < y2"),
        (
            (x1 >= size[1]) | (y1 >= size[0]) | (x2 <= 0) | (y2 <= 0),
            f"a box that meets the image of {size[0]} x {size[1]} (height x width)",
        ),
    ):
        for i in wrong.nonzero().flatten().tolist()[:1]:
            raise bad_input(f"{where}, boxes[{i}]", expected, _short(data["boxes"][i]))
    return boxes


def _masks(data: Mapping[str, Any], count: int, where: str) -> Tensor | None:
    side = _width(data.get("masks"))
    return (
        None
        if _none(data, "masks", count)
        else _fractions(data, "masks", (count, side, side), where)
    )


def _appearance(data: Mapping[str, Any], count: int, where: str) -> Tensor | None:
    """Codes, zeros for null ones."""
    if _none(data, "appearance", count):
        return None
    rows = _filled(data["appearance"], count)
    if _is_list(rows) and any(row is None for row in rows):
        codes = [row for row in rows if row is not None]
        if not codes:
            return None
        zeros = [0.0] * _width(codes)
        rows = [zeros if row is None else row for row in rows]
    return _floats({"appearance": rows}, "appearance", (count, _width(rows)), where)


def _filled(rows: Any, count: int) -> Any:
    """A list with null for what it lacks at its end; anything else as it is."""
    return [*rows, *[None] * (count - len(rows))] if _is_list(rows) else rows


def _none(data: Mapping[str, Any], key: str, count: int) -> bool:
    return data.get(key) is None or (count == 0 and data[key] == [])


def _width(rows: Any) -> int:
    """The length of the first row, which the others must share; 1 where that is to fail a check."""
    return len(rows[0]) if _is_list(rows) and rows and _is_list(rows[0]) and rows[0] else 1


def _scores(data: Mapping[str, Any], key: str, count: int, where: str) -> Tensor | None:
    """Scores `[count]` in [0, 1], NaN for those that are null or that the list lacks at its end."""
    rows = _filled(data.get(key), count)
    if not _is_list(rows) or len(rows) > count:
        return _fractions(data, key, (count,), where)  # absent, or an error
    present = [i for i, value in enumerate(rows) if value is not None]
    if not present and count:
        return None
    for i in present:
        if not _is_finite(rows[i]) or not 0 <= rows[i] <= 1:
            raise bad_input(f"{where}, {key}[{i}]", "a number in 0..1, or null", _short(rows[i]))
    values = [math.nan if value is None else value for value in rows]
    return torch.tensor(values, dtype=torch.float32)


def _fractions(
    data: Mapping[str, Any], key: str, shape: tuple[int, ...], where: str
) -> Tensor | None:
    values = _floats(data, key, shape, where)
    if values is not None and ((values < 0) | (values > 1)).any():
        got = f"{float(values.min()):g}..{float(values.max()):g}"
        raise bad_input(f"{where}, {key}", "numbers in 0..1", got)
    return values


def _floats(data: Mapping[str, Any], key: str, shape: tuple[int, ...], where: str) -> Tensor | None:
    value = data.get(key)
    if value is None:
        return None
    _check_nested(value, shape, f"{where}, {key}")
    return torch.from_numpy(np.array(value, dtype=np.float32).reshape(shape))


def _check_nested(value: Any, shape: tuple[int, ...], where: str) -> None:
    if not shape:
        if not _is_finite(value):
            raise bad_input(where, "a finite number", _short(value))
        return
    if not _is_list(value) or len(value) != shape[0]:
        got = f"a list of {len(value)}" if _is_list(value) else _kind(value)
        raise bad_input(where, f"a list of {shape[0]}", got)
    for i, item in enumerate(value):
        _check_nested(item, shape[1:], f"{where}[{i}]")


def _required(data: Mapping[str, Any], key: str, where: str) -> Sequence[Any]:
    if key not in data:
        raise bad_input(where, f"the key {key!r}", f"the keys {_short(list(data))}")
    value = data[key]
    if not _is_list(value):
        raise bad_input(f"{where}, {key}", "a list", _kind(value))
    return list(value)


def _id(lookup: Callable[[str], int], name: Any, where: str) -> int:
    if not isinstance(name, str):
        raise bad_input(where, "a name", _short(name))
    try:
        return lookup(name)
    except InputError as error:
        raise InputError(" ".join(f"{where}: {error}".split())) from error


def _is_list(value: Any) -> bool:
    return isinstance(value, (list, tuple))


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_finite(value: Any) -> bool:
    """A number that float32 can hold."""
    number = _is_int(value) or isinstance(value, float)
    return number and abs(value) <= torch.finfo(torch.float32).max


def _kind(value: Any) -> str:
    return "null" if value is None else f"{type(value).__name__} {_short(value)}"


def _short(value: Any) -> str:
    text = reprlib.repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
