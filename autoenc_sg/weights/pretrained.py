"""A model to hand on: a folder with `model.safetensors` and `model.json`, without a run's state.

`model.json` holds `format`, `version`, `config`, `vocabulary`, `sha256` and `about`, which is
free. `sha256` names two digests: `weights` of the file `model.safetensors` (as `sha256sum` prints
it) and `description` of config and vocabulary, written as JSON with sorted keys.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from autoenc_sg.config.files import config_from_dict, config_to_dict
from autoenc_sg.core.atomic_files import replacing
from autoenc_sg.core.errors import bad_input
from autoenc_sg.core.vocabulary import Vocabulary
from autoenc_sg.weights.checkpoint_file import Checkpoint
from autoenc_sg.weights.files.tensor_file import read_tensors, write_tensors

WEIGHTS = "model.safetensors"
DESCRIPTION = "model.json"
FORMAT = "autoenc-sg model"
VERSION = 1
MAX_DESCRIPTION_BYTES = 1 << 24
CONTENT = {
    "format": str,
    "version": int,
    "config": dict,
    "vocabulary": dict,
    "sha256": dict,
    "about": dict,
}
DTYPES = (torch.float32, torch.float16, torch.bfloat16)
REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")  # owner/name
SHIPPED = Path(__file__).parent / "shipped"  # models that come with the package


def save_pretrained(
    folder: Path,
    model: Checkpoint,
    dtype: torch.dtype = torch.float32,
    about: Mapping[str, Any] | None = None,
) -> None:
    """Write a model to a folder, each file atomically.

    Args:
        folder: made if missing; a model in it is replaced.
        model: weights, config and vocabulary.
        dtype: of the floating-point weights: float32, float16 or bfloat16.
        about: free description (JSON values), kept in `model.json`.

    Raises:
        InputError: another dtype, a weight that it cannot hold, an `about` that is no JSON, or the
            system refuses to write.
    """
    if dtype not in DTYPES:
        raise bad_input("dtype", "torch.float32, torch.float16 or torch.bfloat16", dtype)
    description = {
        "config": config_to_dict(model.config),
        "vocabulary": model.vocabulary.to_dict(),
    }
    try:
        text = json.dumps(dict(about or {}))
    except (TypeError, ValueError) as error:
        raise bad_input("about", "JSON values", error) from error
    weights = {name: _converted(name, tensor, dtype) for name, tensor in model.model.items()}
    with replacing(folder / WEIGHTS) as temporary:
        digest = write_tensors(temporary, weights, {"format": "pt"}, sealed=False)
    digests = {"weights": digest, "description": _digest(description)}
    content = {"format": FORMAT, "version": VERSION, **description, "sha256": digests}
    with replacing(folder / DESCRIPTION) as temporary:
        content["about"] = json.loads(text)
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def read_pretrained(folder: Path) -> Checkpoint:
    """The model in a folder of `save_pretrained`, verified; weights as they were saved.

    Raises:
        InputError: a file is missing, damaged, of another kind or of a newer version.
    """
    path = folder / DESCRIPTION
    content = _read_description(path)
    contents = read_tensors(folder / WEIGHTS)
    if contents.sha256 != content["sha256"].get("weights"):
        expected = f"the weights that {DESCRIPTION} belongs to"
        raise bad_input(
            folder / WEIGHTS, expected, "others, or damaged ones (the checksum differs)"
        )
    config = config_from_dict(content["config"], str(path))
    vocabulary = Vocabulary.from_dict(content["vocabulary"])
    return Checkpoint(config, vocabulary, contents.tensors, about=content["about"])


def find_pretrained(source: str | Path, revision: str | None = None) -> Path:
    """A folder as it is, that of a model that comes with the package, or a repository's, fetched.

    Args:
        source: a folder, the name of a model that comes with the package, or a repository
            `owner/name` of the Hugging Face Hub, looked for in this order.
        revision: branch, tag or commit of the repository; by default its main branch.

    Raises:
        InputError: none of these, or the repository cannot be fetched.
    """
    folder = Path(source)
    if folder.is_dir():
        return folder
    names = shipped_models()
    if str(source) in names:
        return SHIPPED / str(source)
    if REPOSITORY.fullmatch(str(source)):
        return _fetched(str(source), revision)
    choices = f"one of: {', '.join(names)}" if names else "a name (none in this version)"
    raise bad_input(f"model {source}", f"a folder, a repository owner/name or {choices}", "neither")


def shipped_or(path: Path) -> Path:
    """The folder of the weights that come with the package by this name, else the path itself."""
    return SHIPPED / str(path) if str(path) in shipped_models() else path


def read_about(folder: Path) -> dict[str, Any]:
    """The free description of a model in a folder of `save_pretrained`, without its weights.

    Raises:
        InputError: as `read_pretrained`.
    """
    about: dict[str, Any] = _read_description(folder / DESCRIPTION)["about"]
    return about


def shipped_models() -> list[str]:
    """Names of the models that come with the package."""
    return sorted(file.parent.name for file in SHIPPED.glob(f"*/{DESCRIPTION}"))


def _fetched(repository: str, revision: str | None) -> Path:
    """The folder with a repository's two files, in the cache of huggingface_hub."""
    expected = "a folder, or a repository that can be fetched"
    try:
        import huggingface_hub
    except ImportError as error:
        got = "none, and huggingface_hub is not installed"
        raise bad_input(f"model {repository}", expected, got) from error
    files = [WEIGHTS, DESCRIPTION]
    try:
        folder = huggingface_hub.snapshot_download(
            repository, revision=revision, allow_patterns=files
        )
    except (OSError, ValueError) as error:
        reason = next(iter(str(error).splitlines()), "") or type(error).__name__
        raise bad_input(f"model {repository}", expected, f"none ({reason})") from error
    return Path(folder)


def _converted(name: str, tensor: Tensor, dtype: torch.dtype) -> Tensor:
    if not tensor.is_floating_point():
        return tensor
    converted = tensor.to(dtype)
    if not torch.equal(converted.isfinite(), tensor.isfinite()):
        largest = float(tensor.abs().max())
        raise bad_input(name, f"numbers that {dtype} can hold", f"up to {largest:g}")
    return converted


def _digest(description: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(description, sort_keys=True).encode()).hexdigest()


def _read_description(path: Path) -> dict[str, Any]:
    """`model.json`, with every key of `CONTENT` and its checksum verified."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_DESCRIPTION_BYTES + 1)
    except OSError as error:
        raise bad_input(path, "the description of a model", error.strerror or error) from error
    if len(data) > MAX_DESCRIPTION_BYTES:
        raise bad_input(path, f"at most {MAX_DESCRIPTION_BYTES} bytes", "more")
    try:
        content = json.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise bad_input(path, "a JSON file", error) from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise bad_input(path, "the description of a model of autoenc-sg", "a file of another kind")
    _check_content(path, content)
    return content


def _check_content(path: Path, content: Mapping[str, Any]) -> None:
    if type(content.get("version")) is int and content["version"] > VERSION:
        raise bad_input(path, f"version {VERSION} or older", content["version"])
    unknown = [name for name in content if name not in CONTENT]
    if unknown:
        raise bad_input(path, f"the keys {', '.join(CONTENT)}", f"{unknown[0][:80]!r}")
    for name, kind in CONTENT.items():
        if type(content.get(name)) is not kind:
            got = type(content[name]).__name__ if name in content else "no such key"
            raise bad_input(f"{path}: {name}", kind.__name__, got)
    description = {name: content[name] for name in ("config", "vocabulary")}
    if content["sha256"].get("description") != _digest(description):
        got = "others, or damaged ones (the checksum differs)"
        raise bad_input(path, "the config and vocabulary that were saved", got)
