"""Files to score: truths, own predictions, and the dumps of two other programs."""

from __future__ import annotations

import json
import pickle
import random
from pathlib import Path
from typing import Any

import numpy as np

from autoenc_sg.scoring.files.score_files import score_files
from autoenc_sg.scoring.options import ScoreOptions
from tests.scoring.files.test_prediction_formats import motifs, sgb
from tests.scoring.files.test_score_files import PREDICTION, TRUTH
from tests.support.mutations import mutated_binary, mutated_bytes, mutated_json, mutated_value

OTHER = {**TRUTH, "image_id": 9, "image_size": [60, 80]}
TASKS: tuple[Any, ...] = (("SGGen", "PhrDet"), ("PredCls",), ("SGCls",))


class ScoreFiles:
    """One of the files is damaged; the others are good."""

    def __init__(self, root: Path) -> None:
        self.truth, self.own = root / "t.jsonl", root / "p.jsonl"
        self.sgb, self.info, self.motifs = root / "p.json", root / "i.json", root / "p.pkl"
        self.records = [PREDICTION, {**PREDICTION, "image_id": 9}]

    def turn(self, rng: random.Random) -> None:
        options = ScoreOptions(tasks=rng.choice(TASKS), skip_invalid=rng.random() < 0.3)
        self.truth.write_text("\n".join(map(json.dumps, (TRUTH, OTHER))))
        kind = rng.choice(("truth", "own", "own", "sgb", "info", "motifs"))
        if kind == "truth":
            self.truth.write_bytes(self._lines([TRUTH, OTHER], rng))
            self.own.write_text("\n".join(map(json.dumps, self.records)))
            training = self.truth if rng.random() < 0.3 else None
            options = ScoreOptions(tasks=options.tasks, training=training)
            score_files(self.own, self.truth, options)
        elif kind == "own":
            self.own.write_bytes(self._lines(self.records, rng))
            score_files(self.own, self.truth, options)
        elif kind == "motifs":
            self.motifs.write_bytes(self._pickle(rng))
            allowed = ScoreOptions(tasks=options.tasks, allow_pickle=True)
            score_files(self.motifs, self.truth, allowed)
        else:
            self._write_sgb(kind, rng)
            named = ScoreOptions(tasks=options.tasks, data_info=self.info)
            score_files(self.sgb, self.truth, named if kind == "info" else options)

    def _lines(self, records: list[dict[str, Any]], rng: random.Random) -> bytes:
        rows = [json.dumps(record).encode() for record in records]
        row = rng.randrange(len(rows))
        rows[row] = mutated_json(records[row], rng)
        content = b"\n".join(rows)
        return content if rng.random() < 0.8 else mutated_bytes(content, rng)

    def _write_sgb(self, kind: str, rng: random.Random) -> None:
        dump = {str(record["image_id"]): sgb(record) for record in self.records}
        info = {"idx_to_files": [f"folder/{i}.jpg" for i in range(10)]}
        if kind == "info":
            self.sgb.write_text(json.dumps(dump))
            self.info.write_bytes(mutated_json(info, rng))
        else:
            self.sgb.write_bytes(mutated_json(dump, rng))

    def _pickle(self, rng: random.Random) -> bytes:
        entries: Any = [motifs(record) for record in self.records]
        if rng.random() < 0.5:
            lists = [{k: v.tolist() for k, v in entry.items()} for entry in entries]
            entries = mutated_value(lists, rng)
            if rng.random() < 0.5:
                entries = _arrays(entries)
            return pickle.dumps(entries)
        return mutated_binary(pickle.dumps(entries), rng)


def _arrays(value: Any) -> Any:
    """Lists in dicts as arrays, of objects where nothing else fits."""
    if isinstance(value, dict):
        return {k: _as_array(v) if isinstance(v, list) else v for k, v in value.items()}
    return [_arrays(item) for item in value] if isinstance(value, list) else value


def _as_array(value: list[Any]) -> Any:
    try:
        return np.array(value)
    except (ValueError, OverflowError):
        return np.array(value, dtype=object)
