"""`OnnxModel` over PyTorch's networks: all but the ONNX graphs themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray

from autoenc_sg.config.files import load_config
from autoenc_sg.core.vocabulary import Vocabulary
from autoenc_sg.model.autoencoder import AutoEncoder
from autoenc_sg.onnx_runtime import OnnxModel
from autoenc_sg.pipelines.onnx_export.export import describe
from autoenc_sg.pipelines.onnx_export.parts import all_parts
from tests.support.tiny import TINY

NAMES = Vocabulary.from_names(["cat", "mat", "dog"], ["on", "under"])


def tiny_model(folder: Path, *overrides: str) -> AutoEncoder:
    """An untrained model of the tiny configuration; layers that start at 0 do not."""
    torch.manual_seed(0)
    file = folder / "config.yaml"
    file.write_text(TINY, encoding="utf-8")
    model = AutoEncoder(load_config(file, list(overrides)), NAMES).eval()
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim > 1 and not bool(weight.any()):
                weight.normal_(std=0.3)
    return model


class TorchGraphs(OnnxModel):
    """Runs the networks that would be exported."""

    def __init__(self, model: AutoEncoder) -> None:
        self.description = describe(model)
        self.parts = {part.name: part for part in all_parts(model)}

    def run(self, name: str, inputs: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        part = self.parts[name]
        with torch.no_grad():
            outputs = part.network(*(torch.from_numpy(inputs[each]) for each in part.inputs))
        outputs = [outputs] if isinstance(outputs, torch.Tensor) else outputs
        return {key: value.numpy() for key, value in zip(part.outputs, outputs)}
