"""Files of scene graphs as JSON: one graph, a list of them, or one a line (`.jsonl`)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from autoenc_sg.core.atomic_files import replacing
from autoenc_sg.core.errors import bad_input
from autoenc_sg.core.graph_json.graphs import graph_from_json, graph_to_json
from autoenc_sg.core.graph_json.values import kind
from autoenc_sg.core.scene_graph import SceneGraph
from autoenc_sg.core.scene_graph_batch import check_graphs
from autoenc_sg.core.vocabulary import Vocabulary


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
        raise bad_input(path, "a graph or a list of graphs", kind(data))
    return [data]


def _decoded(text: str, where: str) -> Any:
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise bad_input(where, "valid JSON in UTF-8", f"an error: {error}") from error


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"the number {name}, which JSON has not")
