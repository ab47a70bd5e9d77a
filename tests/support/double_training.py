"""Trains the tiny configuration in float64: `python -m tests.support.double_training FOLDER N …`.

In float64, rounding stays far below what Adam's steps make of it in float32: a gradient that is
zero but for rounding (of a bias before a batch norm) moves its parameter by a whole step.
"""

from __future__ import annotations

import sys
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from autoenc_sg.config.phases import PHASES
from autoenc_sg.core.relaxed_graph import RelaxedGraph
from autoenc_sg.core.scene_graph_batch import SceneGraphBatch
from autoenc_sg.data.base.samples import GraphDataset, Sample
from autoenc_sg.data.open import open_dataset
from autoenc_sg.model.autoencoder import AutoEncoder
from autoenc_sg.training import loop
from tests.support.tiny import tiny_config

STEPS = 4
build_model = loop.build_model


class DoubleDataset:
    """A data set whose images and boxes are float64."""

    def __init__(self, dataset: GraphDataset) -> None:
        self.dataset = dataset

    def __getattr__(self, name: str) -> Any:
        return getattr(self.dataset, name)

    def __len__(self) -> int:
        return len(self.dataset)

    def sample(self, index: int, epoch: int = 0) -> Sample:
        image, graph, image_id = self.dataset.sample(index, epoch)
        return Sample(image.double() / 255, replace(graph, boxes=graph.boxes.double()), image_id)


def double_model(*arguments: Any) -> AutoEncoder:
    model = build_model(*arguments).double()
    relax = model.relax

    def double_relax(graphs: SceneGraphBatch) -> RelaxedGraph:
        graph = relax(graphs)
        values = {field.name: getattr(graph, field.name) for field in fields(graph)}
        floats = {
            name: value.double()
            for name, value in values.items()
            if isinstance(value, Tensor) and value.is_floating_point()
        }
        return replace(graph, **floats)

    model.relax = double_relax  # type: ignore[method-assign]
    return model


def train_in_double(folder: Path, devices: int, *options: str) -> None:
    """The three phases, 4 steps each, with the checkpoint of each phase's end in `run-DEVICES`."""
    loop.build_model = double_model
    torch.set_default_dtype(torch.float64)
    steps = [f"--{name}.steps={STEPS}" for name in ("detector_training", "reconstruction", "joint")]
    every = [f"--runtime.{name}=1000" for name in ("checkpoint_every", "sample_every")]
    out = ["--out", str(folder / f"run-{devices}"), "--runtime.keep_last=3"]
    config = tiny_config(folder, *out, f"--runtime.devices={devices}", *steps, *every, *options)
    dataset: Any = DoubleDataset(open_dataset(config.data, "train", config.seed))
    try:
        loop.train(config, PHASES, dataset=dataset)
    finally:
        loop.build_model = build_model
        torch.set_default_dtype(torch.float32)


if __name__ == "__main__":
    train_in_double(Path(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:])
