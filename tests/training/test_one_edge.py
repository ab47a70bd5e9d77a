"""Batch norm between linear layers: graphs of one edge, of one object, and of nothing train."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from autoenc_sg.core.scene_graph import SceneGraph
from autoenc_sg.data.base.samples import Sample, collate_samples
from autoenc_sg.data.open import open_dataset
from autoenc_sg.model.autoencoder import AutoEncoder
from autoenc_sg.training.parallel.fabric import make_fabric
from autoenc_sg.training.phases import Phase
from tests.support.tiny import tiny_config


@pytest.mark.parametrize("name", ["reconstruction", "joint"])
@pytest.mark.parametrize(("objects", "edges"), [(2, 1), (2, 0), (1, 0), (0, 0)])
def test_a_small_graph_trains(
    tiny_run: Path, tmp_path: Path, name: str, objects: int, edges: int
) -> None:
    shutil.copytree(tiny_run / "scenes", tmp_path / "scenes")
    config = tiny_config(
        tmp_path, "--generator.mlp_normalization=batch", "--joint.true_graph_weight=1"
    )
    dataset = open_dataset(config.data, "test")
    image, graph, _ = dataset[0]
    triples = torch.tensor([[0, 1, 1]])[:edges]
    small = SceneGraph(graph.labels[:objects], graph.boxes[:objects], triples, graph.image_size)
    torch.manual_seed(0)
    model = AutoEncoder(config, dataset.vocabulary)
    phase = Phase(name, make_fabric(config), model, config)  # type: ignore[arg-type]
    losses = phase.step(collate_samples([Sample(image, small, 1)]), 0)
    assert all(bool(torch.isfinite(loss)) for loss in losses.values())
    assert all(bool(torch.isfinite(p).all()) for p in model.parameters())
