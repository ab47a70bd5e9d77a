"""Backbones by name: maps, strides, weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, get_args
from urllib.error import URLError

import pytest
import torch
import torchvision
from torch import nn
from torch.testing import assert_close
from torchvision.models import VGG16_Weights
from torchvision.ops import FrozenBatchNorm2d

from autoenc_sg.config.model import BackboneName, DetectorConfig
from autoenc_sg.core.errors import InputError
from autoenc_sg.core.scene_graph_batch import SceneGraphBatch
from autoenc_sg.detector import build_detector
from autoenc_sg.detector.backbones import SmallBody, build_backbone
from autoenc_sg.detector.published.state_dicts import from_imagenet
from autoenc_sg.weights.detector import load_detector_weights
from tests.support.graphs import C, random_boxes, random_graph

PYRAMID = {"0": 4, "1": 8, "2": 16, "3": 32, "pool": 64}
STRIDES = {
    "small": {"0": 8},
    "resnet18": PYRAMID,
    "resnet50": PYRAMID,
    "resnet50_fpn": PYRAMID,
    "resnet101": PYRAMID,
    "resnet101_c4": {"0": 16},
    "mobilenet_v3": {"0": 8, "1": 16, "2": 32, "pool": 64},
    "mobilenet_v3_large_fpn": {"0": 32, "1": 32, "pool": 64},
    "vgg16": {"0": 16},
    "timm/tf_efficientnet_lite0": {"0": 8, "1": 16, "2": 32, "pool": 64},
    "timm/resnet10t": {"0": 8, "1": 16, "2": 32, "pool": 64},
}
WIDTHS = {"vgg16": 512, "resnet101_c4": 1024}  # the others': as configured


def config_of(name: str) -> DetectorConfig:
    return DetectorConfig(
        backbone=name,  # type: ignore[arg-type]
        channels=8,
        min_size=64,
        max_size=64,
        anchor_sizes=tuple(8 * 2**level for level in range(len(STRIDES[name]))),
        proposals=6,
        rois_per_image=4,
        feature_dim=6,
        pooled_size=2,
        detections=3,
        score_threshold=0.0,
    )


def test_all_names_are_here() -> None:
    assert set(get_args(BackboneName)) == {n for n in STRIDES if not n.startswith("timm/")}


@pytest.mark.parametrize("name", sorted(STRIDES))
def test_every_backbone_from_the_image_to_the_losses(name: str) -> None:
    torch.manual_seed(0)
    detector = build_detector(config_of(name), C)
    backbone = detector.backbone
    maps = backbone.eval()(torch.zeros(2, 3, 64, 96))
    assert backbone.strides == STRIDES[name]
    assert tuple(maps) == backbone.names == tuple(STRIDES[name])
    for key, stride in STRIDES[name].items():
        shape = (2, backbone.out_channels, -(-64 // stride), -(-96 // stride))
        assert maps[key].shape == shape, key
    assert backbone.out_channels == WIDTHS.get(name, 8)

    images = [torch.rand(3, 64, 64), torch.rand(3, 48, 60)]
    encoded = detector.eval().encode(images)
    detections = detector.detect(encoded)
    assert (torch.bincount(detections.image_index, minlength=2) <= 3).all()
    boxes = torch.cat([random_boxes(2, 64, 64, 0), random_boxes(2, 48, 60, 1)])
    regions = detector.describe(encoded, boxes, torch.tensor([0, 0, 1, 1]))
    assert regions.features.shape == (4, 6)
    pairs = torch.tensor([[0, 1], [3, 2]])
    assert detector.union_features(regions, pairs).shape == (2, 6, 2, 2)
    pooled = [key for key in STRIDES[name] if key != "pool"]
    assert detector.roi_heads.box_roi_pool.featmap_names == pooled
    assert detector.roi_heads.box_roi_pool.scales == [1 / STRIDES[name][key] for key in pooled]

    graphs = [random_graph(2, 0, 0, (64, 64)), random_graph(1, 0, 1, (48, 60))]
    losses = detector.train().losses(images, SceneGraphBatch.collate(graphs))
    total = torch.stack(list(losses.values())).sum()
    total.backward()
    first = next(iter(backbone.parameters()))
    assert first.grad is not None
    assert total.isfinite()


def test_small_sees_the_whole_of_a_small_picture() -> None:
    torch.manual_seed(0)
    body = SmallBody(8).eval()
    for module in body.modules():  # no ReLU may be silent
        if isinstance(module, nn.Conv2d):
            nn.init.constant_(module.weight, 0.1)
    image = torch.ones(1, 3, 128, 128, requires_grad=True)
    body(image)[0, :, 8, 8].sum().backward()
    assert image.grad is not None
    assert (image.grad[:, :, 2:-2, 2:-2] > 0).all()


def test_resnet_is_made_for_pretrained_weights_without_fetching_them() -> None:
    frozen = build_backbone("resnet18", 8, pretrained=True, download=False).backbone
    trainable = build_backbone("resnet18", 8, pretrained=False).backbone
    kinds = [
        {type(m) for m in b.modules() if isinstance(m, (nn.BatchNorm2d, FrozenBatchNorm2d))}
        for b in (frozen, trainable)
    ]
    assert kinds == [{FrozenBatchNorm2d}, {nn.BatchNorm2d}]
    names = {key for key in trainable.state_dict() if not key.endswith("num_batches_tracked")}
    assert names == set(frozen.state_dict())


def test_vgg_brings_its_two_layers_where_they_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def fetched(weights: Any = None) -> nn.Module:
        assert weights is VGG16_Weights.IMAGENET1K_V1
        vgg = nn.Module()
        vgg.features = nn.Sequential(nn.Conv2d(3, 512, 16, 16), nn.MaxPool2d(2))
        vgg.classifier = nn.Sequential(nn.Linear(512 * 49, 4096), nn.ReLU(), nn.Dropout())
        vgg.classifier.append(nn.Linear(4096, 4096, bias=True))
        calls.append(vgg)
        return vgg

    monkeypatch.setattr(torchvision.models, "vgg16", fetched)
    config = replace(config_of("vgg16"), pretrained=True)
    wide = build_detector(replace(config, box_head_dim=4096, box_pooled_size=7), C)
    assert wide.roi_heads.box_head.fc6 is calls[0].classifier[0]
    assert wide.roi_heads.box_head.fc7 is calls[0].classifier[3]
    assert wide.roi_heads.box_predictor.cls_score.weight.shape == (C, 4096)
    assert wide.projection[0].weight.shape == (6, 4096)
    narrow = build_detector(config, C)
    assert narrow.roi_heads.box_head.fc6.weight.shape == (6, 512 * 4)


def test_weights_that_cannot_be_fetched_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def offline(weights: Any = None, **options: Any) -> nn.Module:
        asked.append(weights)
        raise URLError("no route to host")

    monkeypatch.setattr(torchvision.models, "vgg16", offline)
    with pytest.raises(InputError) as error:
        build_detector(replace(config_of("vgg16"), pretrained=True), C)
    assert asked == [VGG16_Weights.IMAGENET1K_V1]
    message = str(error.value)
    assert "\n" not in message
    assert message.startswith("detector.pretrained: expected a network to download https://")
    assert "vgg16-397923af.pth, got" in message
    assert "no route to host" in message
    assert message.endswith("give detector.weights the file instead")


@pytest.mark.parametrize(
    ("name", "classifier"),
    [
        ("vgg16", "vgg16"),
        ("resnet18", "resnet18"),
        ("resnet101_c4", "resnet101"),
        ("mobilenet_v3", "mobilenet_v3_large"),
        ("mobilenet_v3_large_fpn", "mobilenet_v3_large"),
    ],
)
def test_a_file_of_imagenet_gives_what_the_download_would(
    name: str, classifier: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = getattr(torchvision.models, classifier)
    with torch.device("meta"):
        sizes = {n: v.shape for n, v in make().state_dict().items()}
    # ImageNet's two wide layers of VGG-16 are 0.5 GB: here a single number each
    wide = ("classifier.0", "classifier.3") if name == "vgg16" else ()
    weights = {n: torch.rand(1 if n.startswith(wide) else s) for n, s in sizes.items() if s}
    torch.save(weights, tmp_path / "imagenet.pth")
    detector = build_detector(replace(config_of(name), pretrained=True), C, download=False)
    before = {n: v.clone() for n, v in detector.state_dict().items()}
    names = ("__background__", *map(str, range(1, C)))
    load_detector_weights(detector, str(tmp_path / "imagenet.pth"), names)
    after = detector.state_dict()
    changed = {n for n, v in after.items() if not torch.equal(v, before[n])}
    body = {n for n in after if n.startswith("backbone.body.") and ".fpn." not in n}
    body |= {n for n in after if "layer4" in n}
    assert changed == body
    place = {
        "vgg16": "0.weight",
        "mobilenet_v3": "body.0.0.weight",
        "mobilenet_v3_large_fpn": "body.0.0.weight",
        "resnet18": "body.conv1.weight",
    }
    first = "features.0.weight" if name == "vgg16" else next(iter(weights))
    assert_close(after[f"backbone.body.{place.get(name, 'conv1.weight')}"], weights[first])
    other = build_detector(config_of("resnet50"), C)
    with pytest.raises(InputError, match="pth: expected ImageNet weights of this backbone"):
        load_detector_weights(other, str(tmp_path / "imagenet.pth"), names)


def test_the_wide_layers_of_imagenet_are_taken_where_they_fit() -> None:
    own_weights = {
        f"{n}.weight": torch.zeros(2, 3) for n in ("backbone.body.0", "roi_heads.box_head.fc6")
    }
    file = {"features.0.weight": torch.ones(2, 3), "classifier.0.weight": torch.ones(2, 3)}
    file["classifier.3.weight"] = torch.ones(1)
    shared = from_imagenet(file, own_weights)
    assert shared is not None
    assert shared.keys() == own_weights.keys()
    file["classifier.0.weight"] = torch.ones(2, 4)
    assert list(from_imagenet(file, own_weights) or {}) == ["backbone.body.0.weight"]
    assert from_imagenet({"features.0.weight": torch.ones(2, 3)}, own_weights) is None


def test_small_has_no_pretrained_weights() -> None:
    with pytest.raises(
        InputError, match=r"detector\.pretrained: expected false for backbone small"
    ):
        build_backbone("small", 8, pretrained=True)


@pytest.mark.parametrize("sizes", [(8, 16), (8, 16, 32, 64, 128, 256)])
def test_a_pyramid_wants_one_anchor_size_a_level(sizes: tuple[int, ...]) -> None:
    config = replace(config_of("resnet18"), anchor_sizes=sizes)
    with pytest.raises(
        InputError, match=r"detector\.anchor_sizes: expected 5 sizes, one a pyramid"
    ):
        build_detector(config, C)
