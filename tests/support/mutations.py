"""Damaged copies of valid inputs, drawn from a seeded generator."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from typing import Any

STRANGE: list[Any] = [
    None, True, -1, 0, 10**30, 0.5, float("nan"), float("inf"), "", "x", "3", [], [1], [[]], {},
    {"a": 1}, [None] * 4, [1e400] * 4, ["a"] * 4, [[0, 0, 0]], [[0, 1, 99]], {"bbox": 1},
]  # fmt: skip
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
KEYS = ("\x1b", "iscrowd", "segmentation", "bbox", "split", "masks", "image_size")


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where something is in a JSON value, the whole first."""
    yield path
    if isinstance(value, (dict, list)):
        for key, member in value.items() if isinstance(value, dict) else enumerate(value):
            yield from places(member, (*path, key))


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
            holder[rng.choice(KEYS)] = holder.pop(path[-1])
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


def mutated_binary(data: bytes, rng: random.Random, header: int = 200) -> bytes:
    """As `mutated_bytes`, more often in the first bytes; or four bytes become a large number."""
    place = rng.randrange(max(1, min(header, len(data) - 4)))
    kind = rng.random()
    if kind < 0.3:
        return mutated_bytes(data, rng)
    if kind < 0.5:
        number = rng.choice((0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 1 << 16, 30_000))
        order = rng.choice(("big", "little"))
        return data[:place] + number.to_bytes(4, order) + data[place + 4 :]
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 5, 30))):
        spot = rng.randrange(len(data)) if rng.random() < 0.5 else place
        changed[spot] = rng.choice((0, 255, changed[spot] ^ 1 << rng.randrange(8)))
    return bytes(changed)


def mutated_json(value: Any, rng: random.Random) -> bytes:
    """A JSON file's content, mutated by its values or by its bytes."""
    if rng.random() < 0.7:
        return json.dumps(mutated_value(value, rng)).encode()
    return mutated_bytes(json.dumps(value).encode(), rng)
