"""The manifest names what lies in a run's folder, with the checksums that reading verifies."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from autoenc_sg.training.run_log import VALIDATION, read_history
from autoenc_sg.weights.checkpoint import read_checkpoint
from autoenc_sg.weights.files.tensor_file import read_tensors
from autoenc_sg.weights.manifest import write_manifest


def test_the_manifest_of_a_run(tiny_run: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(tiny_run / "run", run)
    (run / "broken.safetensors").write_bytes(b"no header")
    shutil.copy(run / "checkpoint.safetensors", run / ".0123456789ab.safetensors")  # a temporary
    assert (run / "manifest.json").is_file()
    rows = read_history(run, VALIDATION)
    write_manifest(run, rows)
    content = json.loads((run / "manifest.json").read_text(encoding="utf-8"))
    files = content["files"]
    models = {
        p.name for p in run.glob("*.safetensors") if not p.name.startswith(("training-", "."))
    }
    assert set(files) == models - {"broken.safetensors"}
    for name, entry in files.items():
        checkpoint = read_checkpoint(run / name)
        assert (entry["phase"], entry["step"]) == (checkpoint.phase, checkpoint.step)
        assert entry["sha256"] == read_tensors(run / name).sha256
    newest = files["checkpoint.safetensors"]
    training = read_tensors(run / newest["training"]["file"])
    assert newest["training"]["sha256"] == training.sha256
    best = [name for name in files if name.startswith("best")]
    for name in best:
        place = (files[name]["phase"], files[name]["step"])
        expected = [r["scores"] for r in rows if (r["phase"], r["step"]) == place]
        assert files[name]["scores"] == expected[-1]
    write_manifest(run)
    assert (
        json.loads((run / "manifest.json").read_text(encoding="utf-8"))["files"].keys()
        == files.keys()
    )
