"""COCO's files, COCO-Stuff's, and own JSON Lines."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

from autoenc_sg.config.data import DataConfig
from autoenc_sg.data.inspect.verify import verify
from autoenc_sg.data.open import open_dataset
from autoenc_sg.data.vg150.from_jsonl import convert_lines
from tests.cases.test_coco_numbers import coco
from tests.data.test_open import SPLITS
from tests.data.vg150.test_from_jsonl import LINES, write_lines
from tests.support.files.sg2im_data import write_coco_stuff
from tests.support.mutations import mutated_bytes, mutated_json


def read_all(config: DataConfig) -> None:
    """Every graph of every split, and an image."""
    for split in SPLITS:
        data = open_dataset(config, split)
        for index in range(len(data)):
            graph = data.graph(index)
            assert graph.boxes.isfinite().all()
            assert graph.masks is None or graph.masks.shape[1:] == (8, 8)
            data.annotated(index)
        if len(data):
            _ = data[0].image


class CocoFiles:
    """`instances.json`, with polygons and a run-length mask."""

    def __init__(self, root: Path) -> None:
        self.config, self.path = coco(root), root / "instances.json"
        self.value = json.loads(self.path.read_text())
        run_lengths = {"size": [72, 96], "counts": [500, 1000, 5412]}
        self.value["annotations"][0]["segmentation"] = run_lengths

    def turn(self, rng: random.Random) -> None:
        self.path.write_bytes(mutated_json(self.value, rng))
        if rng.random() < 0.05:
            verify(self.config, decode=False)  # reports, and raises nothing
        read_all(self.config)


class CocoStuffFiles:
    """One of the four files of COCO-Stuff."""

    def __init__(self, root: Path) -> None:
        write_coco_stuff(root, count=2)
        self.config = DataConfig("coco_stuff", str(root), mask_size=8)
        self.paths = sorted((root / "annotations").iterdir())

    def turn(self, rng: random.Random) -> None:
        path = rng.choice(self.paths)
        text = path.read_bytes()
        path.write_bytes(mutated_json(json.loads(text), rng))
        try:
            if rng.random() < 0.05:
                verify(self.config, decode=False)
            read_all(self.config)
        finally:
            path.write_bytes(text)


class OwnLines:
    """JSON Lines of own photos; what is refused leaves nothing behind."""

    def __init__(self, root: Path) -> None:
        self.root, self.path = root, write_lines(root, LINES)

    def turn(self, rng: random.Random) -> None:
        rows = [json.dumps(line).encode() for line in LINES]
        row = rng.randrange(len(rows))
        rows[row] = mutated_json(LINES[row], rng)
        content = b"\n".join(rows)
        self.path.write_bytes(content if rng.random() < 0.9 else mutated_bytes(content, rng))
        out, is_accepted = self.root / "out", False
        try:
            convert_lines(self.path, out, link=True)
            is_accepted = True
        finally:
            assert out.exists() == is_accepted  # whole or not at all
            shutil.rmtree(out, ignore_errors=True)
