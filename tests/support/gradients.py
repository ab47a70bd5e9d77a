"""Which parameters have a gradient."""

from __future__ import annotations

from torch import nn

from autoenc_sg.core.layers import LinearBeforeNorm
from autoenc_sg.generator.normalization import ConvBeforeNorm


def assert_all_but_biases_before_norms_have_gradients(net: nn.Module) -> None:
    """After backward in training mode: finite gradients, and none of the biases before norms."""
    before_norms = {
        f"{name}.bias"
        for name, layer in net.named_modules()
        if isinstance(layer, (ConvBeforeNorm, LinearBeforeNorm))
    }
    assert before_norms == {name for name, p in net.named_parameters() if p.grad is None}
    assert all(p.grad.isfinite().all() for p in net.parameters() if p.grad is not None)
