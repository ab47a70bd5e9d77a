"""The memory of a frozen backbone's maps: what it gives, when it holds, what it forgets."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from autoenc_sg.config.model import DetectorConfig
from autoenc_sg.core.errors import InputError
from autoenc_sg.core.layers import ImageRandom
from autoenc_sg.core.scene_graph_batch import SceneGraphBatch
from autoenc_sg.detector import FasterRCNN, build_detector
from autoenc_sg.detector.backbone_memory import BackboneMemory, is_constant
from autoenc_sg.detector.contract import Detector
from tests.support.graphs import C, random_graph

TIMM = DetectorConfig(
    backbone="timm/resnet10t",
    channels=8,
    min_size=64,
    max_size=96,
    anchor_sizes=(8, 16, 32, 64),
    proposals=6,
    rois_per_image=4,
    feature_dim=6,
    pooled_size=2,
    detections=3,
)
SMALL = replace(TIMM, backbone="small")


def halved(images: Tensor) -> OrderedDict[str, Tensor]:
    """A trunk of stride 2 whose maps are the pixels' means."""
    return OrderedDict(a=nn.functional.avg_pool2d(images, 2))


def frozen_detector(config: DetectorConfig) -> FasterRCNN:
    torch.manual_seed(0)
    detector = build_detector(config, C)
    assert isinstance(detector, FasterRCNN)
    detector.backbone.trunk.requires_grad_(False)
    detector.backbone.trunk.eval()
    return detector


def two_images() -> list[Tensor]:
    g = torch.Generator().manual_seed(3)
    return [torch.rand(3, 64, side, generator=g) for side in (64, 90)]


def test_maps_end_where_the_image_padded_to_32_ends() -> None:
    images = torch.rand(2, 3, 64, 96)
    maps = BackboneMemory(1).maps(halved, images, [(40, 20), (64, 96)])["a"]
    assert maps.shape == (2, 3, 32, 48)
    own = halved(images)["a"]
    assert_close(maps[1], own[1])
    assert_close(maps[0, :, :, :16], own[0, :, :, :16])  # 20 pixels wide: padded to 32
    assert maps[0, :, :, 16:].count_nonzero() == 0


def test_an_image_is_computed_once_and_the_oldest_is_forgotten() -> None:
    calls: list[int] = []

    def counting(images: Tensor) -> OrderedDict[str, Tensor]:
        calls.append(len(images))
        return OrderedDict(a=torch.zeros(1, 1, 512, 512))  # 1 MiB

    memory, sizes = BackboneMemory(2), [(32, 32)]
    first, second, third = torch.rand(3, 1, 3, 32, 32)
    for image in (first, second, first, third, first, second):
        memory.maps(counting, image, sizes)
    assert calls == [1] * 4  # first, second, third; second again, which was used longest ago
    assert (len(memory), memory.size) == (2, 2 * 2**20)
    memory.clear()
    assert (len(memory), memory.size) == (0, 0)


@pytest.mark.parametrize("config", [SMALL, TIMM])
def test_maps_losses_and_gradients_are_those_of_images_alone(config: DetectorConfig) -> None:
    detector, images = frozen_detector(config), two_images()
    alone = [detector.encode([image]) for image in images]
    detector.remember_backbone(10)
    with torch.no_grad():
        cold = detector.encode(images)
        warm = detector.encode(images)
    for level, maps in enumerate(cold.maps):
        assert torch.equal(maps, warm.maps[level])
    for image, expected in zip(images, alone):
        for maps, expected_maps in zip(detector.encode([image]).maps, expected.maps):
            assert_close(maps, expected_maps)
    truth = SceneGraphBatch.collate([random_graph(3, 2, seed, (64, 64)) for seed in (1, 2)])
    gradients = []
    for _ in range(2):
        detector.train()
        detector.backbone.trunk.eval()
        losses = detector.counted_losses(images, truth, ImageRandom([1, 2]))
        sum(loss for loss, _ in losses.values()).backward()  # type: ignore[union-attr]
        gradients.append([p.grad.clone() for p in detector.parameters() if p.grad is not None])
        detector.zero_grad()
        detector.remember_backbone(10)  # cold again
    assert any(float(g.abs().sum()) > 0 for g in gradients[0])
    for warm_gradient, cold_gradient in zip(*gradients):
        assert_close(warm_gradient, cold_gradient)


def test_nothing_is_remembered_of_a_trunk_that_is_trained() -> None:
    detector, images = frozen_detector(SMALL), two_images()
    detector.remember_backbone(10)
    memory = detector.backbone.memory
    assert memory is not None
    detector.encode(images)
    assert len(memory) == 2
    next(detector.backbone.trunk.parameters()).requires_grad_(True)
    detector.encode(images)
    assert len(memory) == 0
    detector.remember_backbone(0)
    assert detector.backbone.memory is None


def test_what_makes_a_network_change() -> None:
    network = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), nn.Dropout(0.5)).eval()
    assert not is_constant(network)
    network.requires_grad_(False)
    assert is_constant(network)
    network[1].train()
    assert not is_constant(network)
    network[1].eval()
    network[2].train()
    assert not is_constant(network)
    assert is_constant(nn.Sequential(nn.Dropout(0.0)).train())


def test_other_detectors_refuse() -> None:
    detector = frozen_detector(SMALL)
    Detector.remember_backbone(detector, 0)
    with pytest.raises(InputError, match=r"runtime.backbone_memory: expected 0 with this detector"):
        Detector.remember_backbone(detector, 5)
