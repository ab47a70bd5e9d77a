"""The feature loss: by hand, against loops, and what it trains."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.testing import assert_close
from torchvision.ops import roi_align

from autoenc_sg.config.image_losses import ImageLossConfig
from autoenc_sg.config.phases import PhaseName
from autoenc_sg.core.relaxed_graph import RelaxedGraph
from autoenc_sg.data.base.samples import Batch, collate_samples
from autoenc_sg.data.open import open_dataset
from autoenc_sg.detector import FeatureMaps
from autoenc_sg.model import AutoEncoder
from autoenc_sg.training.guards.step_checks import NonFiniteStep
from autoenc_sg.training.losses import features
from autoenc_sg.training.losses.features import (
    FeatureLoss,
    cell_distances,
    map_distance,
    relation_distance,
)
from autoenc_sg.training.parallel.fabric import OpaqueBatch, make_fabric
from autoenc_sg.training.phases import Phase
from tests.support.tiny import same, tiny_config

BOTH = ImageLossConfig(feature_weight=1.0, relation_feature_weight=1.0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("features")


def fresh(folder: Path, *overrides: str) -> tuple[AutoEncoder, Batch]:
    config = tiny_config(folder, *overrides)
    dataset = open_dataset(config.data, "test")
    torch.manual_seed(0)
    model = AutoEncoder(config, dataset.vocabulary)
    return model, collate_samples([dataset[i] for i in range(3)])


def pictures(batch: Batch, noise: float = 0.0) -> Tensor:
    """The batch's own pictures, of 64 pixels as all of them, with noise."""
    images = torch.stack(list(batch.images)).float() / 255
    drawn = torch.rand(images.shape, generator=torch.Generator().manual_seed(5)) - 0.5
    return images + noise * drawn


def values(model: AutoEncoder, generated: Tensor, batch: Batch, graph: RelaxedGraph) -> Any:
    terms = FeatureLoss(model.detector, BOTH).terms(generated, batch.images, graph)
    assert all(each[0].count == len(batch) for each in terms.values())
    return {name: each[0].mean for name, each in terms.items()}


# Values -------------------------------------------------------------------------------------------


def test_distance_of_cells_by_hand() -> None:
    first = torch.tensor([[3.0, 4.0], [1.0, 1.0], [2.0, 0.0], [0.0, 0.0]])
    second = torch.tensor([[40.0, 30.0], [-1.0, -1.0], [0.1, 0.0], [0.0, 1.0]])
    got = cell_distances(first.T[None, :, None], second.T[None, :, None])
    assert_close(got, torch.tensor([[[0.4 / math.sqrt(2), 2.0, 0.0, 1 / math.sqrt(2)]]]))


def maps_of(levels: list[Tensor]) -> FeatureMaps:
    """Of images that are resized to 64 x 32 and 32 x 96 (height, width), in batches of 64 x 96."""
    sizes = ((64, 32), (32, 96))
    return FeatureMaps(tuple(levels), ((32, 16), (16, 48)), sizes, (64, 96))


def random_maps(seed: int) -> FeatureMaps:
    rng = torch.Generator().manual_seed(seed)
    return maps_of([torch.randn(2, 3, *side, generator=rng) for side in ((8, 12), (3, 4))])


def test_distance_of_maps_equals_a_loop_over_the_cells_inside() -> None:
    first, second = random_maps(0), random_maps(1)
    total = 0.0
    for a, b in zip(first.maps, second.maps):
        strides = (64 / a.shape[2], 96 / a.shape[3])
        for image, (height, width) in enumerate(first.network_sizes):
            cells = [
                (y, x)
                for y in range(a.shape[2])
                for x in range(a.shape[3])
                if y * strides[0] < height and x * strides[1] < width
            ]
            for y, x in cells:
                u, v = a[image, :, y, x], b[image, :, y, x]
                distance = (u / u.norm() - v / v.norm()).abs().sum() / math.sqrt(3)
                total += float(distance) / len(cells) / 2 / 2
    assert float(map_distance(first, second)) == pytest.approx(total, rel=1e-5)
    beyond = [level.clone() for level in second.maps]
    beyond[0][0, :, :, 4:] += 1
    assert_close(map_distance(first, maps_of(beyond)), map_distance(first, second))
    beyond[0][0, :, :, 3] += 1
    assert map_distance(first, maps_of(beyond)) != map_distance(first, second)


def test_distance_of_relations_equals_a_loop(folder: Path) -> None:
    """Images of 64 pixels are resized to 48."""
    model, batch = fresh(folder, "--detector.min_size=48", "--detector.max_size=48")
    graph = model.relax(batch.graphs)
    rng = torch.Generator().manual_seed(3)
    graph = replace(graph, edge_weights=torch.rand(len(graph.pairs), generator=rng) * 0.6)
    shuffled = torch.randperm(len(graph.pairs), generator=rng)
    graph = replace(graph, pairs=graph.pairs[shuffled])
    first, second = (model.detector.encode(list(pictures(batch, n))) for n in (0.0, 0.5))
    per_image: list[list[tuple[float, float]]] = [[], [], []]
    for (s, o), weight in zip(graph.pairs.tolist(), graph.edge_weights.tolist()):
        image = int(graph.image_index[s])
        low = torch.minimum(graph.boxes[s], graph.boxes[o])[:2]
        high = torch.maximum(graph.boxes[s], graph.boxes[o])[2:]
        rois = [torch.cat([low, high])[None] * 48]
        cells = [
            roi_align(m.maps[0][image][None], rois, model.detector.pooled_size, 1 / 8, 2)
            for m in (first, second)
        ]
        per_image[image].append((weight, float(cell_distances(*cells).mean().detach())))
    expected = sum(
        sum(w * d for w, d in each) / max(sum(w for w, _ in each), 1) for each in per_image
    )
    got = relation_distance(model.detector, first, second, graph).detach()
    assert float(got) == pytest.approx(expected / 3, rel=1e-4)


def test_equal_pictures_have_no_distance_and_noise_more_and_more(folder: Path) -> None:
    model, batch = fresh(folder)
    graph = model.relax(batch.graphs)
    distances = [values(model, pictures(batch, n), batch, graph) for n in (0.0, 0.2, 0.8)]
    for name in ("features", "relation_features"):
        same, near, far = (float(each[name].detach()) for each in distances)
        assert same < 1e-5
        assert 100 * same < near < far < 2


def test_pixels_are_normalized_as_the_detector_s_own(folder: Path) -> None:
    model, batch = fresh(folder)
    inputs: list[Tensor] = []
    model.detector.backbone.register_forward_pre_hook(lambda _, given: inputs.append(given[0]))
    small = torch.full((3, 3, 32, 32), 0.25)
    FeatureLoss(model.detector, BOTH).terms(small, batch.images, model.relax(batch.graphs))
    true, generated = inputs
    assert true.shape == generated.shape == (3, 3, 64, 64)
    mean, std = (
        torch.tensor(v)[:, None, None] for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    )
    assert_close(true, (pictures(batch) - mean) / std)
    assert_close(generated, ((0.25 - mean) / std).expand(3, 3, 64, 64))


def test_batched_equals_one_by_one(folder: Path) -> None:
    model, batch = fresh(folder)
    drawn = pictures(batch, 0.5)
    singles = [
        values(
            model,
            drawn[i : i + 1],
            Batch([batch.images[i]], graph, batch.image_ids[i : i + 1]),
            model.relax(graph),
        )
        for i, graph in enumerate(type(batch.graphs).collate([g]) for g in batch.graphs.split())
    ]
    for name, value in values(model, drawn, batch, model.relax(batch.graphs)).items():
        assert_close(value, torch.stack([single[name] for single in singles]).mean())


def test_generated_pictures_take_the_shapes_of_the_true_ones(folder: Path) -> None:
    model, batch = fresh(folder)
    graph = model.relax(batch.graphs)
    wide = [image[:, : 64 - 16 * i] for i, image in enumerate(batch.images)]
    squares = torch.stack(
        [F.interpolate(image[None].float() / 255, (64, 64), mode="bilinear")[0] for image in wide]
    )
    near, far = (
        values(model, images, replace(batch, images=wide), graph)["features"].detach()
        for images in (squares, squares.flip(2))
    )
    assert 0 < near < 0.5 * far


def test_generated_pictures_are_averaged_where_they_are_made_smaller() -> None:
    """Every fourth column is white: without antialiasing the resized picture would be black."""
    picture = torch.zeros(1, 3, 128, 128)
    picture[..., ::4] = 1
    (small,) = features._resized(picture, [(32, 32)])
    assert_close(small[:, :, 1:-1], torch.full((3, 32, 30), 0.25), atol=0.02, rtol=0)


def test_training_mode_changes_neither_losses_nor_statistics(folder: Path) -> None:
    model, batch = fresh(folder)
    graph, drawn = model.relax(batch.graphs), pictures(batch, 0.5)
    expected = values(model.eval(), drawn, batch, graph)
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    same(values(model.train(), drawn, batch, graph), expected)
    same(dict(model.named_buffers()), buffers)


@pytest.mark.parametrize("name", ["feature", "relation_feature"])
def test_each_of_both_losses_alone(folder: Path, name: str) -> None:
    model, batch = fresh(folder)
    graph, drawn = model.relax(batch.graphs), pictures(batch, 0.5)
    expected = values(model, drawn, batch, graph)
    weights = ImageLossConfig(**{f"{name}_weight": 2.0})
    ((key, terms),) = (
        FeatureLoss(model.detector, weights, 0.25).terms(drawn, batch.images, graph).items()
    )
    assert key == f"{name}s"
    assert_close(terms[0].mean, 0.5 * expected[key])


def test_without_relations_it_is_zero_with_backward(folder: Path) -> None:
    model, batch = fresh(folder)
    graph = model.relax(batch.graphs)
    names = ("predicates", "pairs", "edge_weights")
    none = replace(graph, **{name: getattr(graph, name)[:0] for name in names})
    drawn = pictures(batch, 0.5).requires_grad_()
    distance = values(model, drawn, batch, none)["relation_features"]
    assert float(distance.detach()) == 0
    distance.backward()
    assert drawn.grad is not None
    assert not drawn.grad.any()


def test_a_box_that_is_not_finite_ends_the_step(folder: Path) -> None:
    """As in training that diverges: RoIAlign would read outside of the maps, and crash."""
    model, batch = fresh(folder, *only("joint"))
    phase = Phase("joint", make_fabric(model.config), model, model.config)
    with torch.no_grad():
        model.predictor.get_submodule("box_deltas").bias.fill_(3e38)
    with pytest.raises(NonFiniteStep, match="relation_features = nan"):
        phase.step(batch, 0)
    graph = model.relax(batch.graphs)
    first, second = (model.detector.encode(list(pictures(batch, n))) for n in (0.0, 0.5))
    for value in (math.nan, math.inf):
        boxes = graph.boxes.clone()
        boxes[graph.pairs[0, 1], 2] = value
        distance = relation_distance(model.detector, first, second, replace(graph, boxes=boxes))
        assert distance.isnan()


def test_of_weight_zero_nothing_is_computed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, batch = fresh(folder)
    monkeypatch.setattr(model.detector, "encode", None)
    loss = FeatureLoss(model.detector, ImageLossConfig())
    assert loss.terms(pictures(batch), batch.images, model.relax(batch.graphs)) == {}


# Gradients ----------------------------------------------------------------------------------------


def test_gradient_reaches_the_picture_and_nothing_else(folder: Path) -> None:
    model, batch = fresh(folder)
    model.requires_grad_(True).train()
    first = next(model.detector.parameters()).requires_grad_(False)
    graph = model.relax(batch.graphs)
    fields = {n: getattr(graph, n).clone().requires_grad_() for n in ("boxes", "edge_weights")}
    drawn = pictures(batch, 0.5).requires_grad_()
    losses = values(model, drawn, batch, replace(graph, **fields))
    for loss in losses.values():
        (gradient,) = torch.autograd.grad(loss, drawn, retain_graph=True)
        assert gradient.abs().sum((1, 2, 3)).gt(0).all()
    sum(losses.values()).backward()
    assert all(p.grad is None for p in model.parameters())
    assert all(value.grad is None for value in fields.values())
    assert model.detector.training
    trained = [p for p in model.detector.parameters() if p is not first]
    assert all(p.requires_grad for p in trained)
    assert not first.requires_grad


def test_a_memory_of_the_backbone_does_not_stop_the_gradient(folder: Path) -> None:
    model, batch = fresh(folder)
    graph = model.relax(batch.graphs)
    model.detector.remember_backbone(8)
    for _ in range(2):
        drawn = pictures(batch, 0.5).requires_grad_()
        values(model, drawn, batch, graph)["features"].backward()
        assert drawn.grad is not None
        assert drawn.grad.any()
        assert len(model.detector.backbone.memory) == 3  # the true pictures alone


def only(name: str, *options: str) -> tuple[str, ...]:
    """The feature losses alone, of the images losses."""
    zero = [f"--{name}.{n}_weight=0" for n in ("pixel", "adversarial")]
    zero += ["--reconstruction.box_weight=0"] if name == "reconstruction" else []
    on = [f"--{name}.image_losses.{n}_weight=1" for n in ("feature", "relation_feature")]
    return (*zero, *on, *options)


def test_a_reconstruction_step_trains_the_generator_alone(folder: Path) -> None:
    model, batch = fresh(folder, *only("reconstruction"), "--generator.relation_layout=true")
    phase = Phase("reconstruction", make_fabric(model.config), model, model.config)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    losses = [phase.step(batch, step) for step in range(12)]
    assert {"features", "relation_features"} <= set(losses[0])
    totals = [float(each["features"] + each["relation_features"]) for each in losses]
    assert totals[-1] < totals[0]
    moved = {n for n, p in model.named_parameters() if not torch.equal(p, before[n])}
    assert all(name.startswith("generator.") for name in moved)
    for part in ("refinement_net", "relation_net", "pred_embeddings", "mask_net"):
        assert any(name.startswith(f"generator.{part}") for name in moved), part
    assert all(p.grad is None for p in model.detector.parameters())


@pytest.mark.parametrize(("frozen", "passes"), [("true", 2), ("false", 3)])
def test_the_joint_phase_reuses_a_frozen_detector_s_pass(
    folder: Path, frozen: str, passes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, batch = fresh(folder, *only("joint", f"--joint.freeze_backbone={frozen}"))
    name: PhaseName = "joint"
    phase = Phase(name, make_fabric(model.config), model, model.config)
    phase.objective.train()
    encode, counts = model.detector.encode, []

    def counted(images: Any) -> FeatureMaps:
        counts.append(len(images))
        return encode(images)

    monkeypatch.setattr(model.detector, "encode", counted)
    outcome = phase.objective(OpaqueBatch(batch))
    assert counts == [3] * passes
    (outcome.losses["features"] + outcome.losses["relation_features"]).backward()
    gradient = model.get_parameter("predictor.relation_classifier.0.weight").grad
    assert gradient is not None
    assert gradient.any()
