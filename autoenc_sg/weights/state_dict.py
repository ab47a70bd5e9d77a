"""State dicts: read from files of several programs, checked against a module, loaded."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from autoenc_sg.core.errors import bad_input
from autoenc_sg.weights.checkpoint import read_checkpoint
from autoenc_sg.weights.checkpoint_file import FORMAT, is_tensor_file
from autoenc_sg.weights.files.tensor_file import read_metadata, read_tensors
from autoenc_sg.weights.safe_pickle import read_array_pickle, read_torch_file


def load_weights(module: nn.Module, weights: Mapping[str, Tensor], where: str) -> None:
    """Load a complete state dict; raises as `check_weights`."""
    check_weights(module, weights, where)
    module.load_state_dict(dict(weights))


def check_weights(module: nn.Module, weights: Mapping[str, Tensor], where: str) -> None:
    """Check that a state dict has the module's names, shapes and kinds of numbers.

    Raises:
        InputError: a name, shape or kind does not fit; the message names the first one.
    """
    expected = module.state_dict()
    missing = [name for name in expected if name not in weights]
    unknown = [name for name in weights if name not in expected]
    if missing or unknown:
        got = f"{len(missing)} missing {missing[:1]}, {len(unknown)} unknown {unknown[:1]}"
        raise bad_input(where, f"weights with {len(expected)} known names", got)
    for name, tensor in expected.items():
        got_shape, got_dtype = weights[name].shape, weights[name].dtype
        if got_shape != tensor.shape:
            raise bad_input(f"{where}: {name}", f"shape {list(tensor.shape)}", list(got_shape))
        if got_dtype.is_floating_point != tensor.dtype.is_floating_point:
            raise bad_input(f"{where}: {name}", f"numbers as {tensor.dtype}", got_dtype)


def read_weights(path: Path) -> Mapping[str, Tensor]:
    """A state dict from a `.safetensors`, `.pt` or `.pkl` file, or that of a checkpoint.

    A pickled checkpoint has it under `model` (detectron2's, maskrcnn-benchmark's) or `state_dict`
    (Neural Motifs'); a `.pkl` holds NumPy arrays (detectron2's model zoo). A folder is read by
    `read_checkpoint`.

    Raises:
        InputError: the file is not one of these, or would have to run code to be read.
    """
    if path.is_dir():
        return read_checkpoint(path).model
    if path.suffix == ".safetensors" and not path.is_file():
        raise bad_input(path, "a weights file", "no such file")
    if path.suffix != ".pkl" and is_tensor_file(path):
        is_checkpoint = read_metadata(path).get("format") == FORMAT
        return read_checkpoint(path).model if is_checkpoint else read_tensors(path).tensors
    return _read_pickled(path)


def _read_pickled(path: Path) -> Mapping[str, Tensor]:
    arrays = path.suffix == ".pkl"
    content = read_array_pickle(path) if arrays else read_torch_file(path)
    for key in ("model", "state_dict"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if isinstance(content, dict) and arrays:
        content = {k: torch.as_tensor(v) if hasattr(v, "shape") else v for k, v in content.items()}
    if not isinstance(content, dict) or not all(isinstance(v, Tensor) for v in content.values()):
        raise bad_input(path, "a mapping of names to tensors", type(content).__name__)
    return content
