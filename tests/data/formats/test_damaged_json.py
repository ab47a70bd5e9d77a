"""JSON of wrong shape, by the hundred: readers give graphs or one line, and nothing else."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from autoenc_sg.core.errors import InputError
from autoenc_sg.data.inspect.verify import verify
from autoenc_sg.data.open import open_dataset
from autoenc_sg.data.vg150.from_jsonl import convert_lines
from autoenc_sg.data.vg150.from_raw.build import build_vg150
from tests.data.test_open import config
from tests.data.vg150.from_raw.test_build import raw_files
from tests.data.vg150.test_from_jsonl import LINES, write_lines
from tests.support.mutations import mutated_value

ROUNDS = 70


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
        path.write_text(json.dumps(mutated_value(json.loads(text), rng)))
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
        path.write_text(json.dumps(mutated_value(json.loads(path.read_text()), rng)))
        try:
            build_vg150(raw, tmp_path / "out")
        except InputError as error:
            one_line(error)
            refused += 1
    assert refused > ROUNDS / 10


def test_own_lines(tmp_path: Path) -> None:
    rng, refused = random.Random("own"), 0
    for number in range(ROUNDS):
        path = write_lines(tmp_path, mutated_value(LINES, rng) or [3])
        try:
            convert_lines(path, tmp_path / f"out{number}", link=True)
        except InputError as error:
            one_line(error)
            refused += 1
            assert not (tmp_path / f"out{number}").exists()
    assert refused > ROUNDS / 4
