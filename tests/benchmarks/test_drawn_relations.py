"""Generators with and without relations, trained from one detector, and their figures."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from autoenc_sg.training.loop import train
from autoenc_sg.weights.checkpoint import read_checkpoint
from benchmarks.generator.drawn_relations import main, table_of
from tests.support.tiny import tiny_config


@pytest.mark.slow
def test_rows_are_trained_from_one_detector_and_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tiny_config(tmp_path, "--detector_training.steps", "1")
    base = read_checkpoint(train(config, ("detector",)))
    rows = ["objects-only", "all"]
    out = str(tmp_path / "rows")
    run = ["--out", out, "--config", str(tmp_path / "tiny.yaml"), "--steps", "1"]
    data = ["--data", str(tmp_path / "scenes"), "--rows", *rows]
    main(["train", str(tmp_path / "run"), *run, *data, "--reconstruction.batch_size", "2"])
    checkpoints = [read_checkpoint(tmp_path / "rows" / row) for row in rows]
    assert [c.config.generator.relation_layout for c in checkpoints] == [False, True]
    for checkpoint in checkpoints:
        assert (checkpoint.phase, checkpoint.step) == ("reconstruction", 1)
        assert checkpoint.config.reconstruction.batch_size == 2
        for name, value in base.model.items():
            if name.startswith("detector."):
                assert torch.equal(checkpoint.model[name], value)
    measure = ["measure", "--out", out, "--split", "test", "--limit", "2"]
    main([*measure, "--classifier-steps", "1"])
    table = capsys.readouterr().out
    assert "objects-only" in table
    path = tmp_path / "rows" / "all" / "figures-test.json"
    figures = json.loads(path.read_text())
    assert figures["steps"] == 1
    assert 0 < figures["L1"] < 1
    assert 0 <= figures["signs, redrawn"]["pixel"]["mean"] <= 1
    path.write_text(json.dumps(figures | {"L1": 0.1234}))  # is not measured again
    main(measure)
    assert "0.1234" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="2"):
        main([*measure, "--reconstruction.lr", "1"])


def test_the_table_shows_relations_with_a_cue() -> None:
    shares = {"pixel": {"all": 0.1, "cues": 0.625}, "features": {"all": 0.1}}
    plain = {"predicate, photos": 0.75, "predicate": 0.5, "predicate, shuffled": 0.25}
    row = {"steps": 3, **plain, "objects": 1.0, "L1": 0.05, "signs": shares}
    table = table_of({"all": row})
    assert table.rows == [["all", 3, "0.500", "0.250", "1.000", "0.0500", "0.625", *[None] * 5]]
    assert "found in photos: 0.750" in table.note
