"""Operations that PyTorch's ONNX exporter does not translate by itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch


def translations() -> dict[Callable[..., Any], Callable[..., Any]]:
    """For `torch.onnx.export(custom_translation_table=…)`: the stable sort, along one axis.

    ONNX's TopK puts the lower index first where values are equal, so it is stable.
    """
    from onnxscript import opset18

    op: Any = opset18

    def sort_stable(
        values: Any, stable: bool | None = None, dim: int = -1, descending: bool = False
    ) -> tuple[Any, Any]:
        axis = op.Constant(value_ints=[dim])
        count = op.Gather(op.Shape(values), axis)
        result: tuple[Any, Any] = op.TopK(values, count, axis=dim, largest=int(descending))
        return result

    return {torch.ops.aten.sort.stable: sort_stable}
