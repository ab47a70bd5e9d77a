"""Which model a command uses, and on which device."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from autoenc_sg.core.errors import InputError, bad_input

DEFAULT_MODEL = "photos"


def split_model(arguments: Sequence[Path], what: str) -> tuple[Path, tuple[Path, ...]]:
    """The model and the other arguments of a command whose first one may be a model.

    A model is a run's folder, a checkpoint file or the name of weights that come with the package
    (which a file of that name in the current folder does not hide). Without one it is
    `DEFAULT_MODEL`.

    Args:
        arguments: one or more.
        what: the other arguments, for messages, such as `photos`.

    Raises:
        InputError: the first argument is neither a model nor a file, or nothing follows the model.
    """
    from autoenc_sg.weights.pretrained import shipped_models

    first, rest = arguments[0], tuple(arguments[1:])
    if str(first) in shipped_models() or first.suffix in (".safetensors", ".pt") or _is_run(first):
        if not rest:
            raise bad_input(what, f"one or more after the model {first}", "none")
        return first, rest
    unknown = not first.exists() and not first.suffix
    if unknown or DEFAULT_MODEL not in shipped_models():
        names = ", ".join(shipped_models()) or "none in this version"
        expected = f"a model (a run's folder, a checkpoint file, or a name: {names})"
        expected += f" or {what}" if DEFAULT_MODEL in shipped_models() else f" before the {what}"
        raise bad_input(first, expected, _kind(first))
    return Path(DEFAULT_MODEL), tuple(arguments)


def _kind(path: Path) -> str:
    if path.is_dir():
        return "a folder without a checkpoint"
    return "another file" if path.exists() else "no such file or name"


def _is_run(path: Path) -> bool:
    from autoenc_sg.weights.checkpoint import find_checkpoints
    from autoenc_sg.weights.pretrained import DESCRIPTION, WEIGHTS

    parts = (DESCRIPTION, WEIGHTS)  # of a model to hand on; one may be missing, and is named then
    whole_or_part = any((path / name).is_file() for name in parts)
    return path.is_dir() and bool(find_checkpoints(path) or whole_or_part)


def usable_device(name: str) -> str:
    """`auto`: CUDA where there is one, else the CPU.

    Raises:
        InputError: a device that PyTorch does not have.
    """
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.zeros(1, device=name).item()  # a `meta` tensor has no value
    except (RuntimeError, AssertionError) as error:
        reason = str(error).split("\n")[0]
        raise InputError(
            f"--device: expected one PyTorch can use, got {name!r} ({reason})"
        ) from error
    return name
