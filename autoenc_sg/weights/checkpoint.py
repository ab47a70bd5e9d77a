"""Checkpoints: one file with weights, optimizers, step, random state, config and vocabulary.

Written to a temporary name and renamed; read without executing anything from the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from autoenc_sg.config.files import config_from_dict, config_to_dict
from autoenc_sg.config.run import RunConfig
from autoenc_sg.core.atomic_files import replacing
from autoenc_sg.core.errors import bad_input
from autoenc_sg.core.vocabulary import Vocabulary
from autoenc_sg.weights.safe_pickle import read_array_pickle, read_torch_file

FORMAT = "autoenc-sg checkpoint"
VERSION = 1
DECODER = "generator."  # prefix of the names of the decoder's weights
CONTENT = {
    "config": dict,
    "vocabulary": dict,
    "model": dict,
    "phase": str,
    "step": int,
    "training": dict,
}


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A moment of a run.

    Attributes:
        config, vocabulary: what the model was built from.
        model: the autoencoder's state dict.
        phase: the phase it was written in.
        step: steps of that phase that are done.
        training: state dicts of optimizers and discriminator, and the random state.
    """

    config: RunConfig
    vocabulary: Vocabulary
    model: Mapping[str, Tensor]
    phase: str = ""
    step: int = 0
    training: Mapping[str, Any] = field(default_factory=dict)


def is_decoder(weights: Mapping[str, Tensor]) -> bool:
    """Whether a model's weights are those of its decoder alone."""
    return all(name.startswith(DECODER) for name in weights)


def write_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write the file whole or not at all."""
    content = {
        "format": FORMAT,
        "version": VERSION,
        "config": config_to_dict(checkpoint.config),
        "vocabulary": checkpoint.vocabulary.to_dict(),
        "model": dict(checkpoint.model),
        "phase": checkpoint.phase,
        "step": checkpoint.step,
        "training": dict(checkpoint.training),
    }
    with replacing(path) as temporary:
        torch.save(content, temporary)


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a file of `write_checkpoint`, tensors on the CPU.

    Raises:
        InputError: no such file, not one of ours, or of a newer version.
    """
    content = read_torch_file(path)
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise bad_input(path, "a checkpoint of autoenc-sg", "a file of another kind")
    version = content.get("version")
    if not isinstance(version, int) or version > VERSION:
        raise bad_input(path, f"version {VERSION} or older", version)
    for name, kind in CONTENT.items():
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


def load_weights(module: nn.Module, weights: Mapping[str, Tensor], where: str) -> None:
    """Load a state dict whole; raises as `check_weights`."""
    check_weights(module, weights, where)
    module.load_state_dict(dict(weights))


def check_weights(module: nn.Module, weights: Mapping[str, Tensor], where: str) -> None:
    """See that a state dict is the module's own.

    Raises:
        InputError: a name or shape does not fit; the message names the first one.
    """
    own = module.state_dict()
    missing = [name for name in own if name not in weights]
    unknown = [name for name in weights if name not in own]
    if missing or unknown:
        got = f"{len(missing)} missing {missing[:1]}, {len(unknown)} unknown {unknown[:1]}"
        raise bad_input(where, f"weights with {len(own)} known names", got)
    for name, value in own.items():
        if weights[name].shape != value.shape:
            what = f"{where}: {name}"
            raise bad_input(what, f"shape {list(value.shape)}", list(weights[name].shape))


def read_weights(path: Path) -> Mapping[str, Tensor]:
    """A bare state dict from a `.safetensors`, `.pt` or `.pkl` file, or the one in a checkpoint.

    A checkpoint has it under `model` (ours, detectron2's, maskrcnn-benchmark's) or `state_dict`
    (Neural Motifs'); a `.pkl` holds NumPy arrays (detectron2's model zoo).

    Raises:
        InputError: the file is not one of these, or would have to run code to be read.
    """
    if path.suffix == ".safetensors":
        if not path.is_file():
            raise bad_input(path, "a weights file", "no such file")
        try:
            return dict(load_file(path))
        except SafetensorError as error:
            raise bad_input(path, "a safetensors file", str(error)) from error
    pickled = path.suffix == ".pkl"
    content = read_array_pickle(path) if pickled else read_torch_file(path)
    for key in ("model", "state_dict"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if isinstance(content, dict) and pickled:
        content = {k: torch.as_tensor(v) if hasattr(v, "shape") else v for k, v in content.items()}
    if not isinstance(content, dict) or not all(isinstance(v, Tensor) for v in content.values()):
        raise bad_input(path, "a mapping of names to tensors", type(content).__name__)
    return content


def check_vocabulary(checkpoint: Checkpoint, vocabulary: Vocabulary, where: object) -> None:
    """Refuse a checkpoint of another vocabulary.

    Raises:
        InputError: names the first entry that differs.
    """
    for kind in ("objects", "predicates"):
        own, other = getattr(checkpoint.vocabulary, kind), getattr(vocabulary, kind)
        if own != other:
            first = next(
                (i for i, (a, b) in enumerate(zip(own, other)) if a != b), min(len(own), len(other))
            )
            got, wanted = (
                f"{len(names) - 1} {kind}, number {first} is "
                + (repr(names[first]) if first < len(names) else "none")
                for names in (own, other)
            )
            raise bad_input(where, f"the data's vocabulary ({wanted})", f"another ({got})")
