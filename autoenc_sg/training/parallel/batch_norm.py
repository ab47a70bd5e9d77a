"""Batch normalization over the batches of all processes, on any device.

PyTorch's `SyncBatchNorm` does this on GPUs alone.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn import functional as F


class _GlobalBatchNorm(nn.modules.batchnorm._BatchNorm):
    r"""Batch norm whose training statistics are those of all processes' values.

        y = (x - m) / sqrt(v + eps) * weight + bias

    m and v are mean and variance of a channel over the K values of all processes; the running
    variance takes `K / (K - 1) v`. They are the same in every process, so running statistics are,
    too. With one value in all it normalizes as in evaluation, where `BatchNorm` raises. Parameters
    and buffers are those of the module it replaces, and so are the modules inside of that, which
    come after the norm (timm's dropout and activation). Shapes: `[N, C, ...]`, N may be 0.

    Attributes:
        is_counted: whether this process's values count; all processes take part all the same.
    """

    is_counted = True

    @classmethod
    def replacing(cls, module: nn.modules.batchnorm._BatchNorm) -> _GlobalBatchNorm:
        """One with the parameters, buffers and modules (not copies of them) of another."""
        new = cls(module.num_features, module.eps, module.momentum)
        new.weight, new.bias = module.weight, module.bias
        for name, buffer in module.named_buffers(recurse=False):
            setattr(new, name, buffer)
        for name, layer in module.named_children():
            setattr(new, name, layer)
        return new.train(module.training)

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def forward(self, x: Tensor) -> Tensor:
        """The normalized values, of the shape and type of `x`."""
        normalized = self._normalized(x)
        for layer in self.children():
            normalized = layer(normalized)
        return normalized

    def _normalized(self, x: Tensor) -> Tensor:
        if not self.training:
            return self._as_in_evaluation(x)
        values = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
        dims = [d for d in range(x.ndim) if d != 1]
        count = values.new_full((1,), values.numel() / max(values.shape[1], 1))
        factor = float(self.is_counted)
        sums = _SumOfProcesses.apply(torch.cat([values.sum(dims), count]) * factor)
        total = float(sums[-1].detach())
        if total <= 1:
            return self._as_in_evaluation(x)
        mean = sums[:-1] / total
        centred = values - _by_channel(mean, x)
        var = _SumOfProcesses.apply(centred.square().sum(dims) * factor) / total
        self._track(mean, var * (total / (total - 1)))
        scale = (var + self.eps).rsqrt() * self.weight
        return (centred * _by_channel(scale, x) + _by_channel(self.bias, x)).to(x.dtype)

    @torch.no_grad()
    def _track(self, mean: Tensor, var: Tensor) -> None:
        for running, value in ((self.running_mean, mean), (self.running_var, var)):
            assert running is not None
            assert self.momentum is not None
            running.lerp_(value.to(running), self.momentum)
        assert self.num_batches_tracked is not None
        self.num_batches_tracked += 1

    def _as_in_evaluation(self, x: Tensor) -> Tensor:
        moments = (self.running_mean, self.running_var)
        return F.batch_norm(x, *moments, self.weight, self.bias, eps=self.eps)


class GlobalBatchNorm1d(_GlobalBatchNorm, nn.BatchNorm1d):
    """Of rows `[N, C]`."""


class GlobalBatchNorm2d(_GlobalBatchNorm, nn.BatchNorm2d):
    """Of maps `[N, C, H, W]`."""


class _SumOfProcesses(torch.autograd.Function):
    """The sum over the processes, in each of them; in backward the sum of their gradients."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        total = values.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.contiguous().clone()
        distributed.all_reduce(total)
        return total


def _by_channel(values: Tensor, x: Tensor) -> Tensor:
    return values.reshape(1, -1, *[1] * (x.ndim - 2))


def replace_batch_norm(module: nn.Module, is_counted: bool = True) -> None:
    """Replace the batch norms inside a module by those over all processes, in place.

    Its state dict stays as it is.

    Args:
        module: whose children are replaced, at any depth.
        is_counted: whether this process's values count.
    """
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm1d | nn.BatchNorm2d):
            if not isinstance(child, _GlobalBatchNorm):
                is_maps = isinstance(child, nn.BatchNorm2d)
                child = (GlobalBatchNorm2d if is_maps else GlobalBatchNorm1d).replacing(child)
                setattr(module, name, child)
            child.is_counted = is_counted
        else:
            replace_batch_norm(child, is_counted)
