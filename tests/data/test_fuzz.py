"""Mutated COCO files and own JSON Lines: every outcome is success or one short printable line."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from autoenc_sg.config.data import DataConfig
from autoenc_sg.core.errors import InputError
from autoenc_sg.data.inspect.verify import verify
from autoenc_sg.data.open import open_dataset
from autoenc_sg.data.vg150.from_jsonl import convert_lines
from tests.cases.test_coco_numbers import coco
from tests.data.test_damaged_json import STRANGE, places
from tests.data.test_open import SPLITS
from tests.data.vg150.test_from_jsonl import LINES, write_lines
from tests.support.sg2im_data import write_coco_stuff

HOSTILE: list[Any] = [
    *STRANGE,
    *(-1e308, 1e308, -0.0, 2**31, 2**53, 2**63, 2**64, -(2**63), 10**400, 16777215, 1e-320, 96.0),
    *("0", "\x1b[2J\x07", "\ud800", "\0", "é" * 3000, "../../../etc/passwd", "a\\b", " ", "\u202e"),
    *(
        [[]] * 3,
        [[[[[]]]]],
        {"size": [72, 96], "counts": "zz"},
        {"size": [1e9, 1e9], "counts": [1]},
    ),
    *([[0, 0, 1e300, 0, 0, 1e300]], [[1, 2, 3, 4]], [[5, 5, float("nan"), 9, 9, 9]]),
    *({"size": [72, 96], "counts": [6912]}, {"size": [2**20, 2**20], "counts": [2**40]}),
]


def mutated_value(value: Any, rng: random.Random) -> Any:
    """A copy with one to three members replaced, removed, doubled or exchanged."""
    value = copy.deepcopy(value)
    for _ in range(rng.choice((1, 1, 2, 3))):
        every = [path for path in places(value) if path]
        if not every:
            return rng.choice(HOSTILE)
        path = rng.choice(every)
        holder = value
        for key in path[:-1]:
            holder = holder[key]
        kind = rng.random()
        if kind < 0.15:
            del holder[path[-1]]
        elif kind < 0.25 and isinstance(holder, list):
            holder.insert(0, copy.deepcopy(holder[path[-1]]))
        elif kind < 0.35 and isinstance(holder, dict):
            holder[rng.choice(["\x1b", "iscrowd", "segmentation", "bbox", "split"])] = holder.pop(
                path[-1]
            )
        else:
            holder[path[-1]] = copy.deepcopy(rng.choice(HOSTILE))
    return value


def mutated_bytes(data: bytes, rng: random.Random) -> bytes:
    """A copy with a byte changed, a piece removed or doubled, or cut off."""
    start = rng.randrange(len(data))
    end = min(len(data), start + rng.choice((1, 1, 3, 20, 200)))
    kind = rng.randrange(5)
    if kind == 0:
        return data[:start] + bytes([rng.randrange(256)]) + data[start + 1 :]
    if kind == 1:
        return data[:start] + data[end:]
    if kind == 2:
        return data[:end] + data[start:]
    if kind == 3:
        return data[:start]
    return data[:start] + b"[" * rng.choice((1, 3000)) + data[start:]


def mutated_json(value: Any, rng: random.Random) -> bytes:
    """A JSON file's content, mutated by its values or by its bytes."""
    if rng.random() < 0.7:
        return json.dumps(mutated_value(value, rng)).encode()
    return mutated_bytes(json.dumps(value).encode(), rng)


def refused(action: Callable[[], object]) -> bool:
    """Whether the action raises an InputError, which is one short printable line."""
    try:
        action()
    except InputError as error:
        message = str(error)
        assert 0 < len(message) <= 1000
        assert message.isprintable()  # no line breaks, no control characters
        return True
    return False


def read_all(config: DataConfig) -> None:
    """Every graph of every split, with its masks, and an image."""
    for split in SPLITS:
        data = open_dataset(config, split)
        for index in range(len(data)):
            graph = data.graph(index)
            assert graph.boxes.isfinite().all()
            assert graph.masks is None or graph.masks.shape[1:] == (8, 8)
            data.annotated(index)
        if len(data):
            _ = data[0].image


def fuzz_coco(root: Path, number: int) -> None:
    config = coco(root)
    path, rng, count = root / "instances.json", random.Random("coco"), 0
    value = json.loads(path.read_text())
    value["annotations"][0]["segmentation"] = {"size": [72, 96], "counts": [500, 1000, 5412]}
    for turn in range(number):
        path.write_bytes(mutated_json(value, rng))
        count += refused(lambda: read_all(config))
        if turn % 20 == 0:
            assert not refused(lambda: verify(config, decode=False))
    assert number / 4 < count < number


def fuzz_coco_stuff(root: Path, number: int) -> None:
    write_coco_stuff(root, count=2)
    config = DataConfig("coco_stuff", str(root), mask_size=8)
    paths, rng, count = sorted((root / "annotations").iterdir()), random.Random("stuff"), 0
    for turn in range(number):
        path = rng.choice(paths)
        text = path.read_bytes()
        path.write_bytes(mutated_json(json.loads(text), rng))
        count += refused(lambda: read_all(config))
        if turn % 20 == 0:
            assert not refused(lambda: verify(config, decode=False))
        path.write_bytes(text)
    assert number / 4 < count < number


def fuzz_own_lines(root: Path, number: int) -> None:
    path, rng, count = write_lines(root, LINES), random.Random("lines"), 0
    for turn in range(number):
        rows = [json.dumps(line).encode() for line in LINES]
        row = rng.randrange(len(rows))
        rows[row] = mutated_json(LINES[row], rng)
        content = b"\n".join(rows)
        path.write_bytes(content if rng.random() < 0.9 else mutated_bytes(content, rng))
        out = root / f"out{turn}"
        is_refused = refused(lambda: convert_lines(path, out, link=True))  # noqa: B023
        assert is_refused != out.exists()  # whole or not at all
        count += is_refused
    assert number / 4 < count < number


FUZZERS = [fuzz_coco, fuzz_coco_stuff, fuzz_own_lines]


@pytest.mark.parametrize("fuzz", FUZZERS)
def test_200_files(tmp_path: Path, fuzz: Callable[[Path, int], None]) -> None:
    fuzz(tmp_path, 200)


@pytest.mark.slow
@pytest.mark.parametrize("fuzz", FUZZERS)
def test_5000_files(tmp_path: Path, fuzz: Callable[[Path, int], None]) -> None:
    fuzz(tmp_path, 5000)
