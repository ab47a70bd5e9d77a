"""One checkpoint: a model file, and beside it the file with what training needs to go on.

The model file is a sealed safetensors file (`tensor_file`) of the weights. Its metadata, JSON each:
`format` (plain text), `version`, `config`, `vocabulary`, `phase`, `step`, `serial` (number of the
checkpoint among those written to its folder) and `training`: file name and SHA-256 of the training
file, or null. The training file, sealed too, holds optimizers, discriminators and random states
(`state_tree`). Files of version 1 (`torch.save`, both in one) are still read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from autoenc_sg.config.files import config_from_dict, config_to_dict
from autoenc_sg.config.run import RunConfig
from autoenc_sg.core.atomic_files import replacing
from autoenc_sg.core.errors import bad_input
from autoenc_sg.core.vocabulary import Vocabulary
from autoenc_sg.weights.files.tensor_file import read_metadata, read_tensors, write_tensors
from autoenc_sg.weights.safe_pickle import read_torch_file
from autoenc_sg.weights.state_tree import flatten_state, unflatten_state

FORMAT = "autoenc-sg checkpoint"
TRAINING_FORMAT = "autoenc-sg training state"
VERSION = 2
PICKLED_VERSION = 1
PICKLED_CONTENT = {
    "config": dict,
    "vocabulary": dict,
    "model": dict,
    "phase": str,
    "step": int,
    "training": dict,
}
TRAINING_NAME = re.compile(r"training-\w+-\d+(-\d+)?\.safetensors")


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """The state of a run after a step.

    Attributes:
        config, vocabulary: what the model is built from.
        model: the autoencoder's state dict, or its decoder's alone.
        phase: the phase it was written in; empty for weights that were imported.
        step: steps of that phase that are done.
        training: state dicts of optimizers and discriminators, and the random states; empty where
            only the model was read or is to be written.
        about: the free description of a model in a folder of `save_pretrained`.
    """

    config: RunConfig
    vocabulary: Vocabulary
    model: Mapping[str, Tensor]
    phase: str = ""
    step: int = 0
    training: Mapping[str, Any] = field(default_factory=dict)
    about: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class TrainingReference:
    """Name and SHA-256 of the training file that belongs to a model file."""

    file: str
    sha256: str


@dataclass(frozen=True)
class Summary:
    """What the metadata of a model file say about its place in the folder."""

    phase: str
    step: int
    serial: int
    training: TrainingReference | None


# Writing ------------------------------------------------------------------------------------------


def write_model_file(
    path: Path, checkpoint: Checkpoint, serial: int = 1, training: TrainingReference | None = None
) -> None:
    """Write the model of a checkpoint, atomically."""
    values = {
        "version": VERSION,
        "config": config_to_dict(checkpoint.config),
        "vocabulary": checkpoint.vocabulary.to_dict(),
        "phase": checkpoint.phase,
        "step": checkpoint.step,
        "serial": serial,
        "training": None if training is None else vars(training),
    }
    metadata = {"format": FORMAT, **{name: json.dumps(value) for name, value in values.items()}}
    with replacing(path) as temporary:
        write_tensors(temporary, checkpoint.model, metadata)


def write_training_file(folder: Path, checkpoint: Checkpoint) -> TrainingReference:
    """Write the training state of a checkpoint, atomically, under a name that is not in use."""
    tensors, structure = flatten_state(checkpoint.training)
    metadata = {
        "format": TRAINING_FORMAT,
        "version": json.dumps(VERSION),
        "structure": json.dumps(structure),
    }
    path = _unused(folder, f"training-{file_phase(checkpoint.phase)}-{checkpoint.step}")
    with replacing(path) as temporary:
        digest = write_tensors(temporary, tensors, metadata)
    return TrainingReference(path.name, digest)


def file_phase(phase: str) -> str:
    """The phase as part of a file name."""
    return re.sub(r"\W", "_", phase) or "none"


def _unused(folder: Path, stem: str) -> Path:
    path, number = folder / f"{stem}.safetensors", 2
    while path.exists():
        path, number = folder / f"{stem}-{number}.safetensors", number + 1
    return path


# Reading ------------------------------------------------------------------------------------------


def read_model_file(path: Path) -> Checkpoint:
    """Read and verify the model file of a checkpoint, tensors on the CPU, without training state.

    Raises:
        InputError: no such file, not one of ours, damaged, or of a newer version.
    """
    if not is_tensor_file(path):
        return replace(_read_pickled(path), training={})
    contents = read_tensors(path)
    if not contents.sealed:
        raise bad_input(path, "a checkpoint of autoenc-sg", "a file of another kind")
    summary = _summary(path, contents.metadata)
    return Checkpoint(
        config_from_dict(_value(path, contents.metadata, "config", dict), str(path)),
        Vocabulary.from_dict(_value(path, contents.metadata, "vocabulary", dict)),
        contents.tensors,
        summary.phase,
        summary.step,
    )


def read_training_file(path: Path) -> Mapping[str, Any]:
    """The training state that belongs to the model file at `path`, verified; empty without one.

    Raises:
        InputError: the training file is missing, damaged, or of another checkpoint; the message
            names it.
    """
    if not is_tensor_file(path):
        return _read_pickled(path).training
    reference = read_summary(path).training
    if reference is None:
        return {}
    file = path.with_name(reference.file)
    expected = f"the training state of {path.name}"
    if not file.is_file():
        raise bad_input(file, expected, "no such file")
    contents = read_tensors(file)
    if contents.sha256 != reference.sha256:
        raise bad_input(file, expected, "that of another checkpoint")
    structure = _value(file, contents.metadata, "structure", dict)
    return unflatten_state(contents.tensors, structure, file)


def read_summary(path: Path) -> Summary:
    """Phase, step and so on of a model file, from its header alone; raises as `read_model_file`."""
    return _summary(path, read_metadata(path))


def is_tensor_file(path: Path) -> bool:
    """Whether a file is read as safetensors: by its first bytes, else by its suffix.

    Raises:
        InputError: no such file.
    """
    if not path.is_file():
        raise bad_input(path, "a checkpoint file", "a folder" if path.is_dir() else "no such file")
    try:
        with path.open("rb") as file:
            head = file.read(9)
    except OSError as error:
        raise bad_input(path, "a readable file", error.strerror or error) from error
    pickled = head.startswith((b"PK\x03\x04", b"\x80"))
    return head[8:] == b"{" or (path.suffix == ".safetensors" and not pickled)


def _summary(path: Path, metadata: Mapping[str, str]) -> Summary:
    if metadata.get("format") != FORMAT:
        raise bad_input(path, "a checkpoint of autoenc-sg", "a file of another kind")
    version = _value(path, metadata, "version", int)
    if version > VERSION:
        raise bad_input(path, f"version {VERSION} or older", version)
    step, serial = (_value(path, metadata, name, int) for name in ("step", "serial"))
    return Summary(_value(path, metadata, "phase", str), step, serial, _reference(path, metadata))


def _reference(path: Path, metadata: Mapping[str, str]) -> TrainingReference | None:
    values = _value(path, metadata, "training", dict, type(None))
    if values is None:
        return None
    file, digest = values.get("file"), values.get("sha256")
    if not (isinstance(file, str) and isinstance(digest, str) and TRAINING_NAME.fullmatch(file)):
        raise bad_input(f"{path}: training", "name and SHA-256 of a training file", "others")
    return TrainingReference(file, digest)


def _value(path: Path, metadata: Mapping[str, str], name: str, *kinds: type) -> Any:
    """A JSON value of the metadata, of one of these types."""
    try:
        value = json.loads(metadata[name])
    except KeyError:
        raise bad_input(f"{path}: {name}", kinds[0].__name__, "none") from None
    except (ValueError, RecursionError) as error:
        raise bad_input(f"{path}: {name}", "JSON", "a text of another kind") from error
    if type(value) not in kinds:
        raise bad_input(f"{path}: {name}", kinds[0].__name__, type(value).__name__)
    return value


def _read_pickled(path: Path) -> Checkpoint:
    """A checkpoint of version 1, with its training state."""
    content = read_torch_file(path)
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise bad_input(path, "a checkpoint of autoenc-sg", "a file of another kind")
    version = content.get("version")
    if not isinstance(version, int) or version > PICKLED_VERSION:
        raise bad_input(path, f"version {PICKLED_VERSION} or older", version)
    for name, kind in PICKLED_CONTENT.items():
        if not isinstance(content.get(name), kind):
            got = type(content.get(name)).__name__
            raise bad_input(f"{path}: {name}", kind.__name__, got)
    if not all(isinstance(value, Tensor) for value in content["model"].values()):
        raise bad_input(f"{path}: model", "tensors alone", "other values")
    return Checkpoint(
        config_from_dict(content["config"], str(path)),
        Vocabulary.from_dict(content["vocabulary"]),
        content["model"],
        content["phase"],
        content["step"],
        content["training"],
    )
