"""Each weight of the configuration multiplies its own loss, in training as in the value given."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from autoenc_sg.config.phases import PhaseName, ReconstructionPhase
from autoenc_sg.core.scene_graph import SceneGraph
from autoenc_sg.data.base.samples import Batch, Sample, collate_samples
from autoenc_sg.data.open import open_dataset
from autoenc_sg.model import AutoEncoder
from autoenc_sg.training.objectives import Outcome, reconstruction_losses
from autoenc_sg.training.parallel.fabric import OpaqueBatch, make_fabric
from autoenc_sg.training.phases import Phase
from tests.support.tiny import tiny_config

SMALL = (
    "--generator.object_discriminator_dims=[8,12]",
    "--predictor.dropout=0",
    "--generator.appearance_dim=0",
)
RECONSTRUCTION = {
    "pixel": "pixel_weight",
    "layout_box": "box_weight",
    "mask": "mask_weight",
    "adversarial": "adversarial_weight",
    "object_adversarial": "object_adversarial_weight",
    "auxiliary": "auxiliary_weight",
    "relation_adversarial": "image_losses.relation_adversarial_weight",
    "relation_auxiliary": "image_losses.relation_auxiliary_weight",
    "features": "image_losses.feature_weight",
    "relation_features": "image_losses.relation_feature_weight",
}
GRAPH = ("predicate", "object", "box", "relatedness")
IMAGE = {
    "pixel": ("pixel_weight",),
    "adversarial": ("adversarial_weight",),
    "relation_adversarial": ("image_losses.relation_adversarial_weight",),
    "relation_auxiliary": ("image_losses.relation_auxiliary_weight",),
    "features": ("image_losses.feature_weight",),
    "relation_features": ("image_losses.relation_feature_weight",),
    "true_graph_pixel": ("pixel_weight", "true_graph_weight"),
    "layout_box": ("layout_box_weight", "true_graph_weight"),
}

STD = torch.tensor([0.229, 0.224, 0.225])  # ImageNet's


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("weights")


def masked_batch(folder: Path) -> Batch:
    dataset = open_dataset(tiny_config(folder).data, "test")
    samples = []
    for i in range(2):
        image, graph, image_id = dataset[i]
        masks = torch.rand(len(graph), 4, 4, generator=torch.Generator().manual_seed(i)) > 0.4
        fields = (graph.labels, graph.boxes, graph.triples, graph.image_size)
        samples.append(Sample(image, SceneGraph(*fields, masks=masks.float()), image_id))
    return collate_samples(samples)


def losses_of(
    folder: Path, name: PhaseName, weights: dict[str, float]
) -> tuple[dict[str, Tensor], Outcome]:
    """The losses of one batch with these weights; weights of the model and noise are the same."""
    options = [f"--{name}.{option}={value}" for option, value in weights.items()]
    config = tiny_config(folder, *SMALL, *options)
    torch.manual_seed(0)
    model = AutoEncoder(config, open_dataset(config.data, "test").vocabulary)
    phase = Phase(name, make_fabric(config), model, config)
    phase.objective.train()
    torch.manual_seed(1)
    outcome: Outcome = phase.objective(OpaqueBatch(masked_batch(folder)))
    losses: dict[str, Any] = dict(outcome.losses)
    for adversary in phase.adversaries:
        losses |= adversary.generator_losses(outcome)
    return {key: value.detach() for key, value in losses.items()}, outcome


def test_weights_of_the_reconstruction_phase(folder: Path) -> None:
    ones, outcome = losses_of(folder, "reconstruction", dict.fromkeys(RECONSTRUCTION.values(), 1))
    weights = {option: 2.0 + i for i, option in enumerate(RECONSTRUCTION.values())}
    weighted, _ = losses_of(folder, "reconstruction", weights)
    assert ones.keys() == weighted.keys() == RECONSTRUCTION.keys()
    for loss, option in RECONSTRUCTION.items():
        assert ones[loss] > 0
        assert_close(weighted[loss], weights[option] * ones[loss], msg=loss)
    assert outcome.image is not None
    assert outcome.target is not None
    assert_close(ones["pixel"], (outcome.image - outcome.target).abs().mean().detach())


def test_weights_of_the_joint_phase(folder: Path) -> None:
    options = ["image_loss_weight", "detection_weight", *(f"{loss}_weight" for loss in GRAPH)]
    options += sorted({option for factors in IMAGE.values() for option in factors})
    ones, _ = losses_of(folder, "joint", dict.fromkeys(options, 1))
    weights = {option: 2.0 + i for i, option in enumerate(options)}
    weighted, _ = losses_of(folder, "joint", weights)
    detection = {loss for loss in ones if loss.startswith(("rpn_", "roi_"))}
    assert ones.keys() == weighted.keys() == {*GRAPH, *IMAGE, *detection}
    assert detection
    for loss, value in ones.items():
        factor = weights[f"{loss}_weight"] if loss in GRAPH else weights["detection_weight"]
        if loss in IMAGE:
            factor = weights["image_loss_weight"]
            for option in IMAGE[loss]:
                factor *= weights[option]
        assert_close(weighted[loss], factor * value, msg=loss)


@pytest.mark.parametrize(
    ("kind", "space", "box", "pixel"),
    [("squared", "rgb", 0.0625, 0.2), ("l1", "normalized", 0.25, 0.2 * (1 / STD).mean())],
)
def test_kinds_of_the_box_and_the_pixel_loss(
    kind: Any, space: Any, box: float, pixel: float
) -> None:
    """Boxes are 0.25 off, images 0.2."""
    boxes = torch.full((3, 4), 0.5)
    generated: Any = SimpleNamespace(
        image=torch.full((1, 3, 4, 4), 0.7), boxes=boxes + 0.25, image_boxes=None, masks=None
    )
    graph: Any = SimpleNamespace(boxes=boxes, masks=None)
    settings = ReconstructionPhase(box_weight=1, box_kind=kind, pixel_space=space)
    losses = reconstruction_losses(generated, graph, torch.full((1, 3, 4, 4), 0.5), settings)
    assert losses["layout_box"].item() == pytest.approx(box)
    assert losses["pixel"].item() == pytest.approx(float(pixel))
