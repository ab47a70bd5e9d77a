"""JSON of wrong shape, by the hundred: readers give graphs or one line, and nothing else."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from autoenc_sg.core.errors import InputError
from autoenc_sg.data.inspect.verify import verify
from autoenc_sg.data.open import open_dataset
from autoenc_sg.data.vg150.from_jsonl import convert_lines
from autoenc_sg.data.vg150.from_raw.build import build_vg150
from tests.data.test_open import config
from tests.data.vg150.from_raw.test_build import raw_files
from tests.data.vg150.test_from_jsonl import LINES, write_lines

STRANGE = [
    None, True, -1, 0, 10**30, 0.5, float("nan"), float("inf"), "", "x", "3", [], [1], [[]], {},
    {"a": 1}, [None] * 4, [1e400] * 4, ["a"] * 4, [[0, 0, 0]], [[0, 1, 99]], {"bbox": 1},
]  # fmt: skip
ROUNDS = 70


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where something is in a JSON value, the whole first."""
    yield path
    if isinstance(value, (dict, list)):
        for key, member in value.items() if isinstance(value, dict) else enumerate(value):
            yield from places(member, (*path, key))


def damaged(value: Any, rng: random.Random) -> Any:
    """A copy with one member replaced, removed or doubled."""
    path = rng.choice(list(places(value)))
    if not path:
        return rng.choice(STRANGE)
    other = copy.deepcopy(value)
    holder = other
    for key in path[:-1]:
        holder = holder[key]
    kind = rng.random()
    if kind < 0.2:
        del holder[path[-1]]
    elif kind < 0.3 and isinstance(holder, list):
        holder.append(copy.deepcopy(holder[path[-1]]))
    else:
        holder[path[-1]] = rng.choice(STRANGE)
    return other


def one_line(error: InputError) -> None:
    assert "\n" not in str(error)
    assert ": expected " in str(error)


@pytest.mark.parametrize("kind", ["vg150", "coco", "coco_vg150", "vrd", "psg"])
def test_readers(tmp_path: Path, kind: str) -> None:
    plain = config(tmp_path, kind)
    rng, refused = random.Random(kind), 0
    files = [p for p in sorted(tmp_path.glob("*.json")) if p.name != "scenes.json"]
    for number in range(ROUNDS):
        path = rng.choice(files)
        text = path.read_text()
        path.write_text(json.dumps(damaged(json.loads(text), rng)))
        try:
            for split in ("train", "test"):
                data = open_dataset(plain, split)
                for index in range(len(data)):
                    graph = data.annotated(index)
                    height, width = graph.image_size
                    assert (graph.boxes >= 0).all()
                    assert (graph.boxes[:, [0, 2]] <= width).all()
                    assert (graph.boxes[:, [1, 3]] <= height).all()
        except InputError as error:
            one_line(error)
            refused += 1
        if number % 10 == 0:
            verify(plain, decode=False)
        path.write_text(text)
    assert refused > ROUNDS / 10


def test_raw_files(tmp_path: Path) -> None:
    rng, refused = random.Random("raw"), 0
    names = ("objects.json", "relationships.json", "image_data.json")
    for _ in range(ROUNDS):
        raw = raw_files(tmp_path / "raw")
        path = raw / rng.choice(names)
        path.write_text(json.dumps(damaged(json.loads(path.read_text()), rng)))
        try:
            build_vg150(raw, tmp_path / "out")
        except InputError as error:
            one_line(error)
            refused += 1
    assert refused > ROUNDS / 10


def test_own_lines(tmp_path: Path) -> None:
    rng, refused = random.Random("own"), 0
    for number in range(ROUNDS):
        path = write_lines(tmp_path, damaged(LINES, rng) or [3])
        try:
            convert_lines(path, tmp_path / f"out{number}", link=True)
        except InputError as error:
            one_line(error)
            refused += 1
            assert not (tmp_path / f"out{number}").exists()
    assert refused > ROUNDS / 4
