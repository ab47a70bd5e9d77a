"""FID, IS and LPIPS diversity: closed forms, and networks with weights made here."""

from __future__ import annotations

import warnings

import pytest
import torch
import torchvision

from autoenc_sg.core.errors import InputError
from autoenc_sg.core.scene_graph import SceneGraph
from autoenc_sg.core.structures import GraphPrediction
from autoenc_sg.eval import Features, GenerativeQuality, InceptionNetwork, LpipsDiversity
from autoenc_sg.eval.round_trip import rescale_predictions


def features(pooled: list[list[float]], logits: list[list[float]]) -> Features:
    return Features(torch.tensor(pooled), torch.tensor(logits))


SQUARE = [[0.0, 0.0], [0.0, 2.0], [2.0, 0.0], [2.0, 2.0]]
SURE = [[50.0, 0.0], [0.0, 50.0], [50.0, 0.0], [0.0, 50.0]]


def test_fid_of_equal_covariances_is_the_distance_of_the_means() -> None:
    metric = GenerativeQuality(2)
    moved = [[x + 3, y + 4] for x, y in SQUARE]
    metric.update(features(moved, SURE), features(SQUARE, SURE))
    assert metric.compute()["FID"].item() == pytest.approx(25.0, rel=1e-4)


def test_fid_of_equal_means_compares_the_covariances() -> None:
    # Covariances a I and 4 a I with a = 4/3: tr(a + 4 a - 2 * 2 a) = a for each of two axes.
    metric = GenerativeQuality(2)
    wide = [[2 * x - 1, 2 * y - 1] for x, y in SQUARE]
    metric.update(features(wide, SURE), features(SQUARE, SURE))
    assert metric.compute()["FID"].item() == pytest.approx(2 * 4 / 3, rel=1e-4)


def test_inception_score_of_one_class_is_1() -> None:
    metric = GenerativeQuality(2)
    metric.update(features(SQUARE, [[50.0, 0.0]] * 4), features(SQUARE, SURE))
    assert metric.compute()["IS"].item() == pytest.approx(1.0)


def test_inception_score_does_not_depend_on_order_or_chance() -> None:
    logits = 9 * torch.rand(23, 5, generator=torch.Generator().manual_seed(0))
    batches = []
    for rows in (logits, logits.flip(0)):
        metric = GenerativeQuality(2)
        metric.update(Features(torch.rand(23, 2), rows), Features(torch.rand(23, 2), rows))
        before = torch.get_rng_state()
        batches += [metric.compute()["IS"], metric.compute()["IS std"]]
        assert torch.equal(torch.get_rng_state(), before)
    assert batches[:2] == batches[2:]
    assert batches[1] > 0


def test_batches_add_up_and_reset_forgets() -> None:
    whole, parts = GenerativeQuality(2), GenerativeQuality(2)
    drawn, real = features([[1.0, 2], [3, 4], [5, 9]], SURE[:3]), features(SQUARE[:3], SURE[:3])
    whole.update(drawn, real)
    for i in range(3):
        parts.update(*(Features(f.pooled[i : i + 1], f.logits[i : i + 1]) for f in (drawn, real)))
    torch.testing.assert_close(whole.compute()["FID"], parts.compute()["FID"])
    whole.reset()
    whole.update(features(SQUARE[:1], SURE[:1]), features(SQUARE[:1], SURE[:1]))
    assert all(value.isnan() for value in whole.compute().values())  # one picture has no covariance


def test_torchvisions_inception() -> None:
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        plain = torchvision.models.inception_v3(weights=None, init_weights=False, aux_logits=True)
    plain.eval()
    network = InceptionNetwork(plain.state_dict(), "given.pth")
    assert network.name == "torchvision's Inception v3, given.pth"
    images = torch.rand(2, 3, 299, 299)
    got = network(images)
    assert got.pooled.shape == (2, 2048)
    with torch.no_grad():
        torch.testing.assert_close(got.logits, plain(images * 2 - 1), rtol=1e-3, atol=1e-4)
    assert not network.training
    assert not any(p.requires_grad for p in network.parameters())


def test_lpips_of_given_weights() -> None:
    torch.manual_seed(0)
    weights = torchvision.models.squeezenet1_1(weights=None).state_dict()
    before = torch.hub.get_dir()
    metric = LpipsDiversity(weights, "given.pth")
    assert torch.hub.get_dir() == before
    assert metric.name == "LPIPS of SqueezeNet 1.1, given.pth"
    assert metric.compute()["LPIPS diversity"].isnan()
    pictures = torch.rand(3, 3, 64, 64)
    metric.update(pictures, pictures)
    assert metric.compute()["LPIPS diversity"] == 0
    metric.update(pictures[:1], 1 - pictures[:1])
    metric.update(pictures[:0], pictures[:0])
    value = metric.compute()["LPIPS diversity"]
    alone = LpipsDiversity(weights, "given.pth")
    alone.update(pictures[:1], 1 - pictures[:1])
    torch.testing.assert_close(value, alone.compute()["LPIPS diversity"] / 4)
    assert value > 0


def test_other_weights_are_refused() -> None:
    for weights in ({}, {"fc.weight": torch.zeros(10, 2048)}, {"fc.weight": torch.tensor(1.0)}):
        with pytest.raises(InputError, match=r"x.pth: expected weights of an Inception v3"):
            InceptionNetwork(weights, "x.pth")
        with pytest.raises(InputError, match=r"x.pth: expected weights of torchvision's AlexNet"):
            LpipsDiversity(weights, "x.pth")
    weights = torchvision.models.squeezenet1_1(weights=None).state_dict()
    weights["features.3.squeeze.weight"] = torch.zeros(1)
    with pytest.raises(InputError, match=r"x.pth: expected torchvision's SqueezeNet"):
        LpipsDiversity(weights, "x.pth")
    odd = {"fc.weight": torch.zeros(1000, 2048), "fc.bias": torch.zeros(1000)}
    with pytest.raises(InputError, match="inception_v3, got other shapes"):
        InceptionNetwork(odd | {"Mixed_7c.branch1x1.conv.weight": torch.zeros(1)}, "x.pth")


def test_inception_of_2015_needs_its_package() -> None:
    pytest.importorskip("torchmetrics")
    try:
        import torch_fidelity  # noqa: F401
    except ModuleNotFoundError:
        weights = {"fc.weight": torch.zeros(1008, 2048)}
        with pytest.raises(InputError, match="pip install torch-fidelity"):
            InceptionNetwork(weights | {"Mixed_7c.branch1x1.conv.weight": torch.ones(1)}, "x.pth")


def test_round_trip_boxes_are_scaled_to_the_graphs_image() -> None:
    graph = SceneGraph.empty((50, 200))
    boxes = torch.tensor([[0.0, 16, 32, 64]])
    none = torch.zeros(0, 2, dtype=torch.int64)
    parsed = GraphPrediction(boxes, torch.ones(1).long(), torch.ones(1), none, torch.zeros(0, 3))
    (got,) = rescale_predictions([parsed], [graph], (64, 64))
    assert got.boxes.tolist() == [[0.0, 12.5, 100.0, 50.0]]
