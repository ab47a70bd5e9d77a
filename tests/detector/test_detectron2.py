"""The detectron2 back end beside detectron2 itself; where it is absent, that it is missed."""

from __future__ import annotations

import pickle
import shutil
import sys
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from autoenc_sg.config.model import DetectorConfig
from autoenc_sg.core.errors import InputError
from autoenc_sg.detector import build_detector
from autoenc_sg.weights.detector import load_detector_weights
from tests.support.detectors import needs_detectron2, small_config, small_detector
from tests.support.graphs import C, random_boxes, seeded
from tests.support.tiny import tiny_config

KINDS = ("detectron2-fpn", "detectron2-c4")


def test_without_detectron2_one_line_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "detectron2", None)
    with pytest.raises(InputError) as error:
        build_detector(DetectorConfig(backend="detectron2"), C)
    said = str(error.value)
    assert "\n" not in said
    assert said.startswith("detector.backend: expected detectron2 to be installed, got ")
    assert said.endswith("docs/detectors.md says how")


@needs_detectron2
@pytest.mark.parametrize("kind", KINDS)
def test_class_scores_are_detectron2_s_with_background_first(kind: str, tmp_path: Path) -> None:
    from detectron2.structures import Boxes

    detector = small_detector(kind, tmp_path)
    network = detector.network
    image = torch.rand(3, 64, 64, generator=seeded(0))
    maps = detector.encode([image])
    boxes = random_boxes(4, 64, 64, 0)
    got = detector.describe(maps, boxes, torch.zeros(4, dtype=torch.int64)).class_logits
    theirs = network.backbone(network.preprocess_image([{"image": image.flip(0) * 255}]).tensor)
    used = [theirs[name] for name in network.roi_heads.in_features]
    heads = network.roi_heads
    if kind.endswith("c4"):
        features = heads.res5(heads.pooler(used, [Boxes(boxes)])).mean((2, 3))
    else:
        features = heads.box_head(heads.box_pooler(used, [Boxes(boxes)]))
    logits, _ = heads.box_predictor(features)
    assert_close(got[:, 0], logits[:, -1], atol=1e-4, rtol=1e-4)
    assert_close(got[:, 1:], logits[:, :-1], atol=1e-4, rtol=1e-4)


@needs_detectron2
@pytest.mark.parametrize("kind", KINDS)
def test_the_surest_detection_is_detectron2_s(kind: str, tmp_path: Path) -> None:
    detector = small_detector(kind, tmp_path)
    predictor = detector.network.roi_heads.box_predictor
    torch.nn.init.normal_(predictor.cls_score.bias)
    torch.nn.init.normal_(predictor.cls_score.weight, std=0.02)
    image = torch.rand(3, 64, 64, generator=seeded(1))
    detections = detector.detect(detector.encode([image]))
    predictor.test_score_thresh = 0.0
    (theirs,) = detector.network.inference([{"image": image.flip(0) * 255}])
    best = theirs["instances"]
    assert_close(detections.scores[0], best.scores[0], atol=1e-4, rtol=1e-3)
    assert_close(detections.boxes[0], best.pred_boxes.tensor[0], atol=1e-2, rtol=1e-3)
    assert int(detections.labels[0]) == int(best.pred_classes[0]) + 1


@needs_detectron2
def test_losses_are_detectron2_s(tmp_path: Path) -> None:
    from detectron2.structures import Boxes, Instances
    from detectron2.utils.events import EventStorage

    from autoenc_sg.core.scene_graph import SceneGraph
    from autoenc_sg.core.scene_graph_batch import SceneGraphBatch

    detector = small_detector("detectron2-fpn", tmp_path).train()
    image, boxes = torch.rand(3, 64, 64, generator=seeded(1)), random_boxes(3, 64, 64, 2)
    labels = torch.tensor([1, 2, 1])
    graph = SceneGraph(labels, boxes, torch.zeros(0, 3, dtype=torch.int64), (64, 64))
    state = {k: v.clone() for k, v in detector.state_dict().items()}
    torch.manual_seed(3)
    detector.transform.resize(image, None)  # draws a number, as in `losses`
    truth = Instances((64, 64), gt_boxes=Boxes(boxes), gt_classes=labels - 1)
    with EventStorage():
        theirs = detector.network([{"image": image.flip(0) * 255, "instances": truth}])
    detector.load_state_dict(state)
    torch.manual_seed(3)
    losses = detector.losses([image], SceneGraphBatch.collate([graph]))
    names = {"rpn_objectness": "loss_rpn_cls", "rpn_box": "loss_rpn_loc"}
    names |= {"roi_class": "loss_cls", "roi_box": "loss_box_reg"}
    for name, other in names.items():
        assert_close(losses[name], theirs[other], atol=1e-5, rtol=1e-4, msg=name)


@needs_detectron2
@pytest.mark.parametrize("kind", KINDS)
def test_its_published_weights_load_with_classes_by_name(kind: str, tmp_path: Path) -> None:
    """A `.pkl` of arrays as in its model zoo: 80 classes, and buffers that we do not keep."""
    torch.manual_seed(5)
    coco = build_detector(small_config(kind, tmp_path), 81).network
    arrays = {name: value.numpy() for name, value in coco.state_dict().items()}
    arrays["pixel_mean"] = coco.pixel_mean.numpy()
    arrays["proposal_generator.anchor_generator.cell_anchors.0"] = torch.zeros(3, 4).numpy()
    path = tmp_path / "model_final_b275ba.pkl"
    path.write_bytes(pickle.dumps({"model": arrays, "__author__": "Detectron2 Model Zoo"}, 2))
    names = ("__background__", "cat", "zebra crossing", "person")
    detector = build_detector(small_config(kind, tmp_path), len(names))
    load_detector_weights(detector, str(path), names)
    own_weights = detector.state_dict()
    name = f"backbone.{'bottom_up.' if kind.endswith('fpn') else ''}stem.conv1.weight"
    assert_close(own_weights[f"network.{name}"], torch.from_numpy(arrays[name]))
    scores = "roi_heads.box_predictor.cls_score.weight"
    assert_close(
        own_weights[f"network.{scores}"][[0, 2, 3]], torch.from_numpy(arrays[scores][[15, 0, 80]])
    )
    boxes = "roi_heads.box_predictor.bbox_pred.bias"
    assert_close(own_weights[f"network.{boxes}"][8:12], torch.from_numpy(arrays[boxes][0:4]))


@needs_detectron2
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("MODEL: {META_ARCHITECTURE: RetinaNet}", "got RetinaNet with Res5ROIHeads"),
        ("MODEL: {ROI_HEADS: {NAME: CascadeROIHeads}}", "with CascadeROIHeads"),
        ("NO_SUCH_KEY: 3", "expected a configuration of detectron2"),
    ],
)
def test_other_configurations_are_refused(text: str, expected: str, tmp_path: Path) -> None:
    (tmp_path / "other.yaml").write_text(text, encoding="utf-8")
    config = DetectorConfig(backend="detectron2", detectron2_config=str(tmp_path / "other.yaml"))
    with pytest.raises(InputError, match=expected) as error:
        build_detector(config, C)
    assert "\n" not in str(error.value)


@needs_detectron2
def test_names_in_the_model_zoo() -> None:
    from autoenc_sg.detector.detectron2_backend import import_detectron2, read_settings

    pytest.importorskip("pkg_resources")
    config = DetectorConfig(backend="detectron2")
    settings = read_settings(import_detectron2(), config, 151)
    assert settings.MODEL.ROI_HEADS.NUM_CLASSES == 150
    assert (settings.MODEL.RESNETS.DEPTH, settings.MODEL.RPN.POST_NMS_TOPK_TEST) == (50, 256)
    missing = DetectorConfig(backend="detectron2", detectron2_config="COCO-Detection/none.yaml")
    with pytest.raises(InputError, match="a name in detectron2's model zoo, got 'COCO-Detection"):
        read_settings(import_detectron2(), missing, 151)


@needs_detectron2
def test_all_phases_train_and_the_checkpoint_parses(tiny_run: Path, tmp_path: Path) -> None:
    from autoenc_sg.data.open import open_dataset
    from autoenc_sg.model.autoencoder import AutoEncoder
    from autoenc_sg.training.loop import train

    shutil.copytree(tiny_run / "scenes", tmp_path / "scenes")
    file = small_config("detectron2-fpn", tmp_path).detectron2_config
    options = ("--detector.backend", "detectron2", "--detector.detectron2_config", file)
    config = tiny_config(tmp_path, *options, "--detector_training.validate_epochs", "1")
    model = AutoEncoder.from_checkpoint(train(config))
    image, _, _ = open_dataset(config.data, "test")[0]
    graph = model.parse(image)
    assert graph.image_size == tuple(image.shape[-2:])
