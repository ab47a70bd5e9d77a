"""`torch.inference_mode()` around parse and render leaves nothing behind that breaks training."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from autoenc_sg.data.base.samples import Batch, collate_samples
from autoenc_sg.data.open import open_dataset
from autoenc_sg.model.autoencoder import AutoEncoder
from autoenc_sg.training.objectives import (
    DetectorObjective,
    JointObjective,
    ReconstructionObjective,
)
from tests.support.tiny import tiny_config


@pytest.fixture(scope="module")
def batch(tiny_run: Path) -> Batch:
    dataset = open_dataset(replace(tiny_config(tiny_run).data, flip=False), "train")
    return collate_samples([dataset[i] for i in range(3)])


def clear_caches() -> None:
    """Forget what earlier tests of this process have computed."""
    for cache in gc.get_objects():
        is_cache = type(cache).__name__ == "_lru_cache_wrapper"
        if is_cache and str(cache.__module__).startswith("autoenc_sg."):
            cache.cache_clear()


def used_model(folder: Path, batch: Batch) -> AutoEncoder:
    """A new model that has parsed and rendered in inference mode."""
    config = tiny_config(folder, "--joint.true_graph_weight=1", "--joint.freeze_backbone=false")
    torch.manual_seed(0)
    model = AutoEncoder(config, open_dataset(config.data, "train").vocabulary)
    anchors = model.detector.rpn.anchor_generator  # type: ignore[union-attr]
    anchors.cell_anchors = [a.double() for a in anchors.cell_anchors]  # type: ignore[union-attr]
    clear_caches()
    with torch.inference_mode():
        graph = model.parse(batch.images[0])
        model.render(graph)
        model.render_batch(batch.graphs.split(), seeds=[0, 1, 2])
    return model


def tensors_of(value: object) -> Iterator[Tensor]:
    """Tensors among a module's attributes, in lists and dicts too."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from tensors_of(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from tensors_of(item)


def test_no_module_keeps_an_inference_tensor(tiny_run: Path, batch: Batch) -> None:
    model = used_model(tiny_run, batch)
    for name, module in model.named_modules():
        assert not any(t.is_inference() for t in tensors_of(vars(module))), name


@pytest.mark.parametrize("name", ["detector", "reconstruction", "joint"])
def test_every_objective_trains_after_it(tiny_run: Path, batch: Batch, name: str) -> None:
    model = used_model(tiny_run, batch)
    objective: nn.Module = {
        "detector": lambda: DetectorObjective(model.detector),
        "reconstruction": lambda: ReconstructionObjective(model, model.config.reconstruction),
        "joint": lambda: JointObjective(model, model.config.joint),
    }[name]()
    objective.train()(batch).total.backward()
    trained = [p for p in objective.parameters() if p.grad is not None]
    assert trained
    assert all(p.grad.isfinite().all() for p in trained if p.grad is not None)


def test_a_model_loaded_in_inference_mode_trains(tiny_run: Path, batch: Batch) -> None:
    with torch.inference_mode():
        model = AutoEncoder.from_checkpoint(tiny_run / "run")
        model.parse(batch.images[0])
    JointObjective(model, model.config.joint).train()(batch).total.backward()
    assert model.generator.obj_embeddings.weight.grad is not None
