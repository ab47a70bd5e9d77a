"""torchvision's MobileNetV3 detectors of COCO: the same detections from the same weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close
from torchvision.models import WeightsEnum
from torchvision.models.detection import fasterrcnn_mobilenet_v3_large_fpn

from autoenc_sg.config.model import DetectorConfig
from autoenc_sg.core.boxes import rescale_boxes
from autoenc_sg.core.errors import InputError
from autoenc_sg.detector import FasterRCNN, build_detector
from autoenc_sg.detector.published.classes import coco_names
from autoenc_sg.weights.detector import load_detector_weights

NAMES = ("__background__", "cat", "dog", "tree")
CONFIG = DetectorConfig(
    backbone="mobilenet_v3_large_fpn",
    pretrained=True,
    min_size=160,
    max_size=240,
    proposals=40,
    box_head_dim=1024,
    box_pooled_size=7,
    feature_dim=16,
    detections=12,
    score_threshold=0.0,
    nms_threshold=0.5,
)
SETTINGS: dict[str, Any] = {  # those of CONFIG under torchvision's names
    "weights": None,
    "weights_backbone": None,
    "num_classes": len(NAMES),
    "min_size": 160,
    "max_size": 240,
    "rpn_score_thresh": 0.0,
    "rpn_pre_nms_top_n_test": 160,
    "rpn_post_nms_top_n_test": 40,
    "box_score_thresh": 0.0,
    "box_detections_per_img": 12,
}


def random_weights(model: nn.Module) -> None:
    """Other numbers than those at initialization, of about their size; batch norm's, too."""
    for name, value in model.state_dict().items():
        if name.endswith("running_var"):
            value.uniform_(0.5, 2.0)
        elif value.is_floating_point():
            value.add_(torch.randn_like(value) * value.std(correction=0).clamp(min=0.02) * 0.5)


def torchvisions_detections(
    detector: FasterRCNN, images: list[Tensor]
) -> tuple[list[dict[str, Tensor]], list[Tensor]]:
    """Our detector's proposals through torchvision's last step, and the proposals."""
    maps = detector.encode(images)
    boxes, index = detector._propose(maps)
    proposals = [boxes[index == i] for i in range(len(images))]
    named = dict(zip(detector.backbone.names, maps.maps))
    results, _ = detector.roi_heads(named, proposals, list(maps.network_sizes))
    for i, result in enumerate(results):
        image = torch.full((len(result["boxes"]),), i)
        result["boxes"] = rescale_boxes(
            result["boxes"], maps.network_sizes, maps.image_sizes, image
        )
    return results, proposals


@torch.no_grad()
def test_detections_are_those_of_torchvision(tmp_path: Path) -> None:
    """Its 320-pixel model is the same network with other defaults."""
    torch.manual_seed(0)
    published = fasterrcnn_mobilenet_v3_large_fpn(**SETTINGS).eval()
    random_weights(published)
    torch.save(published.state_dict(), tmp_path / "mobilenet.pth")
    torch.manual_seed(1)
    detector = build_detector(CONFIG, len(NAMES), download=False).eval()
    assert isinstance(detector, FasterRCNN)
    load_detector_weights(detector, str(tmp_path / "mobilenet.pth"), NAMES)
    assert detector.rpn.anchor_generator.num_anchors_per_location() == [15, 15, 15]
    images = [torch.rand(3, 120, 170), torch.rand(3, 100, 100)]
    expected = published(images)
    results, proposals = torchvisions_detections(detector, images)
    assert [len(boxes) for boxes in proposals] == [40, 40]
    assert len(torch.cat([other["labels"] for other in expected]).unique()) > 1
    for result, other in zip(results, expected):
        assert len(other["boxes"]) == 12
        assert_close(result["scores"], other["scores"], atol=1e-4, rtol=0)
        assert torch.equal(result["labels"], other["labels"])
        assert_close(result["boxes"], other["boxes"], atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize(
    ("source", "file"),
    [
        ("coco_mobilenet_v3", "fasterrcnn_mobilenet_v3_large_fpn-fb6a3cc7.pth"),
        ("coco_mobilenet_v3_320", "fasterrcnn_mobilenet_v3_large_320_fpn-907ea3f9.pth"),
    ],
)
def test_without_a_network_the_file_is_named(
    source: str, file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def offline(*_: Any, **__: Any) -> None:
        raise URLError("no route to host")

    monkeypatch.setattr(WeightsEnum, "get_state_dict", offline)
    detector = build_detector(CONFIG, len(NAMES), download=False)
    with pytest.raises(InputError, match=f"to download https://.*/{file}, got"):
        load_detector_weights(detector, source, coco_names(True))
