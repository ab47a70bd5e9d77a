"""The manifest of a run's folder: which weights lie in it, of which step, and their checksums."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from autoenc_sg.core.atomic_files import replacing
from autoenc_sg.core.errors import InputError
from autoenc_sg.weights.checkpoint_file import read_summary
from autoenc_sg.weights.files.tensor_file import read_metadata

MANIFEST = "manifest.json"


def write_manifest(folder: Path, validations: Sequence[Mapping[str, Any]] = ()) -> None:
    """Write `manifest.json`, atomically, from the headers of the model files in the folder.

    `files` has, by name, `phase`, `step`, `sha256` (that of the header, which reading verifies),
    `training` (name and SHA-256 of the training file, or null) and `scores` (on the validation
    split after that step, or null). Damaged files are left out.

    Args:
        folder: of the run.
        validations: rows of its `validation.jsonl`.

    Raises:
        InputError: the operating system refuses.
    """
    scores = {(row["phase"], row["step"]): row["scores"] for row in validations}
    files = {}
    for path in sorted(folder.glob("[!.]*.safetensors")):
        try:
            summary, digest = read_summary(path), read_metadata(path).get("sha256")
        except InputError:  # a training file, or one that is damaged
            continue
        files[path.name] = {
            "phase": summary.phase,
            "step": summary.step,
            "sha256": digest,
            "training": None if summary.training is None else vars(summary.training),
            "scores": scores.get((summary.phase, summary.step)),
        }
    content = {"format": "autoenc-sg run", "version": 1, "files": files}
    with replacing(folder / MANIFEST) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
