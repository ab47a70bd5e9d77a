"""How a network runs for a while: in evaluation mode, without gradient, in its own precision."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch
from torch import nn


@contextmanager
def eval_mode(module: nn.Module) -> Iterator[None]:
    """Evaluation mode inside a `with`; each part's former mode after it."""
    modes = {name: part.training for name, part in module.named_modules()}
    module.eval()
    try:
        yield
    finally:
        for name, part in module.named_modules():
            part.training = modes[name]


@contextmanager
def inference(module: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradient; autocast to the weights' type where it is a half one.

    A model after `.bfloat16()` or `.half()` so takes float32 images and boxes, as it does inside a
    user's own `torch.autocast`.
    """
    weight = next(module.parameters())
    half = weight.dtype in (torch.bfloat16, torch.float16)
    precision = torch.autocast(weight.device.type, weight.dtype) if half else nullcontext()
    with eval_mode(module), torch.no_grad(), precision:
        yield
