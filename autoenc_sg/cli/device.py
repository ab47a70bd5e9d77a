"""The option `--device`."""

from __future__ import annotations

from autoenc_sg.core.errors import InputError


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
