"""What every detector promises, over all back ends."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from autoenc_sg.core.boxes import union_boxes
from autoenc_sg.core.errors import InputError
from autoenc_sg.core.scene_graph_batch import SceneGraphBatch
from autoenc_sg.detector import Detector
from tests.support.detectors import MARKED, small_detector
from tests.support.graphs import C, random_boxes, random_graph, seeded

ALL = {"rpn_objectness", "rpn_box", "roi_class", "roi_box"}


@pytest.fixture(params=MARKED)
def kind(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def detector(kind: str, tmp_path: Path) -> Detector:
    return small_detector(kind, tmp_path)


def photos(*sizes: tuple[int, int], seed: int = 0) -> list[Tensor]:
    g = seeded(seed)
    return [torch.rand(3, h, w, generator=g) for h, w in sizes]


def truth_of(*counts: int) -> SceneGraphBatch:
    graphs = [random_graph(n, 0, 5 + k, (64, 64)) for k, n in enumerate(counts)]
    return SceneGraphBatch.collate(graphs)


def test_what_is_found_lies_inside_best_first(detector: Detector) -> None:
    images = photos((64, 64), (40, 90), (100, 80))
    maps = detector.encode(images)
    assert maps.image_sizes == ((64, 64), (40, 90), (100, 80))
    assert maps.network_sizes == ((64, 64), (42, 96), (80, 64))
    detections = detector.detect(maps)
    assert 0 < len(detections.boxes) <= 15
    assert (torch.bincount(detections.image_index, minlength=3) <= 5).all()
    assert (detections.image_index.diff() >= 0).all()
    assert ((detections.labels >= 1) & (detections.labels < C)).all()
    assert ((detections.scores >= 0) & (detections.scores <= 1)).all()
    for image, (height, width) in enumerate(maps.image_sizes):
        in_image = detections.image_index == image
        assert (detections.scores[in_image].diff() <= 0).all()
        assert (detections.boxes[in_image] >= 0).all()
        assert (detections.boxes[in_image][:, 2:] <= torch.tensor([width, height])).all()
        assert (detections.boxes[in_image][:, 2:] - detections.boxes[in_image][:, :2] >= 1).all()
    assert not detections.scores.requires_grad


def test_bytes_and_fractions_are_seen_alike(detector: Detector) -> None:
    whole = torch.randint(0, 256, (3, 64, 64), generator=seeded(0)).to(torch.uint8)
    one, two = (detector.encode([image]).maps[0] for image in (whole, whole / 255))
    assert_close(one, two)


def test_batched_equals_one_by_one(detector: Detector) -> None:
    images = photos((64, 64), (64, 64), (64, 64))
    together = detector.encode(images)
    detections = detector.detect(together)
    regions = detector.describe(together, detections.boxes, detections.image_index)
    for image in range(3):
        in_image = detections.image_index == image
        maps = detector.encode(images[image : image + 1])
        alone = detector.detect(maps)
        assert_close(alone.scores, detections.scores[in_image], atol=1e-4, rtol=1e-3)
        single = detector.describe(
            maps, detections.boxes[in_image], alone.image_index[:0].new_zeros(5)[: in_image.sum()]
        )
        assert_close(single.features, regions.features[in_image], atol=1e-3, rtol=1e-3)
        assert_close(single.class_logits, regions.class_logits[in_image], atol=1e-3, rtol=1e-3)


def test_order_of_regions_and_pairs_permutes_the_features(detector: Detector) -> None:
    maps = detector.encode(photos((64, 64), (64, 64)))
    boxes, index = random_boxes(5, 64, 64, 1), torch.tensor([0, 0, 0, 1, 1])
    order = torch.tensor([2, 0, 1, 4, 3])
    one = detector.describe(maps, boxes, index)
    two = detector.describe(maps, boxes[order], index)
    assert one.features.shape == (5, detector.feature_dim) == (5, 12)
    assert one.class_logits.shape == (5, C)
    assert_close(one.features[order], two.features, atol=1e-4, rtol=1e-4)
    assert_close(one.class_logits[order], two.class_logits, atol=1e-4, rtol=1e-4)
    pairs = torch.tensor([[0, 1], [2, 0], [3, 4]])
    other = order.argsort()[pairs]
    unions = detector.union_features(one, pairs)
    assert unions.shape == (3, 12, 3, 3)
    assert_close(unions, detector.union_features(two, other), atol=1e-4, rtol=1e-4)


def test_union_features_are_those_of_the_union_box(detector: Detector) -> None:
    maps = detector.encode(photos((64, 64)))
    boxes, index = random_boxes(3, 64, 64, 2), torch.zeros(3, dtype=torch.int64)
    pairs = torch.tensor([[0, 1], [1, 0], [2, 1]])
    features = detector.union_features(detector.describe(maps, boxes, index), pairs)
    assert_close(features[0], features[1])
    united = detector.describe(maps, union_boxes(boxes, pairs), index)
    same = torch.tensor([[0, 0], [1, 1], [2, 2]])
    assert_close(features, detector.union_features(united, same), atol=1e-4, rtol=1e-4)


def test_boxes_are_pixels_of_the_images_passed_in(detector: Detector) -> None:
    """An image of twice the size is resized to the same: so are boxes of twice the size."""
    (small,) = photos((32, 32))
    large = small.repeat_interleave(2, 1).repeat_interleave(2, 2)
    box, index = torch.tensor([[4.0, 6, 20, 30]]), torch.tensor([0])
    halves = detector.encode([small])
    whole = detector.encode([large])
    whole = type(whole)(halves.maps, whole.image_sizes, whole.network_sizes, whole.padded_size)
    one, two = (detector.describe(m, box * s, index) for m, s in ((halves, 1), (whole, 2)))
    assert_close(one.features, two.features, atol=1e-5, rtol=1e-4)
    pair = torch.tensor([[0, 0]])
    assert_close(*(detector.union_features(r, pair) for r in (one, two)), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("counts", [[0], [0, 0], [2, 0, 1]])
def test_no_object_and_an_empty_image_with_backward(detector: Detector, counts: list[int]) -> None:
    maps = detector.encode(photos(*[(64, 64)] * len(counts)))
    n = sum(counts)
    index = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    regions = detector.describe(maps, random_boxes(n, 64, 64, 0), index)
    assert regions.features.shape == (n, 12)
    unions = detector.union_features(regions, torch.zeros(0, 2, dtype=torch.int64))
    assert unions.shape == (0, 12, 3, 3)
    (regions.class_logits.sum() + regions.features.sum() + unions.sum()).backward()
    for part in detector.trainable_head_modules():
        for parameter in part.parameters():
            assert parameter.grad is not None
            assert parameter.grad.isfinite().all()


@pytest.mark.parametrize("counts", [[2, 3], [2, 0], [0]])
def test_losses_with_backward(detector: Detector, counts: list[int]) -> None:
    losses = detector.train().losses(photos(*[(64, 64)] * len(counts)), truth_of(*counts))
    assert set(losses) == ALL
    assert all(loss.ndim == 0 and loss.isfinite() and loss >= 0 for loss in losses.values())
    if not sum(counts):
        assert float(losses["roi_box"].detach()) == float(losses["rpn_box"].detach()) == 0
    torch.stack(list(losses.values())).sum().backward()
    trained = [p for p in detector.parameters() if p.grad is not None]
    assert all(p.grad.isfinite().all() for p in trained if p.grad is not None)
    for part in (*detector.frozen_modules(), *detector.classifier_modules()):
        assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in part.parameters())


def test_frozen_parts_have_no_losses(detector: Detector) -> None:
    detector.train()
    for part in detector.frozen_modules():
        part.eval()
    assert set(detector.losses(photos((64, 64)), truth_of(2))) == {"roi_class", "roi_box"}
    assert detector.eval().losses(photos((64, 64)), truth_of(2)) == {}


def test_detecting_leaves_modes_alone(detector: Detector) -> None:
    detector.train()
    modes = [module.training for module in detector.modules()]
    detector.detect(detector.encode(photos((64, 64))))
    assert [module.training for module in detector.modules()] == modes


def test_frozen_and_trained_modules_share_nothing(detector: Detector) -> None:
    frozen, path, classifier = (
        {id(p) for module in modules for p in module.parameters()}
        for modules in (
            detector.frozen_modules(),
            detector.trainable_head_modules(),
            detector.classifier_modules(),
        )
    )
    assert not frozen & path
    assert classifier < path
    rest = [n for n, p in detector.named_parameters() if id(p) not in frozen | path]
    assert [name.split(".")[-2] for name in rest] == ["bbox_pred", "bbox_pred"]


def test_class_agnostic_boxes(kind: str, tmp_path: Path) -> None:
    detector = small_detector(kind, tmp_path, class_agnostic=True)
    names = [n for n, p in detector.named_parameters() if "box_predictor.bbox_pred" in n]
    assert [detector.get_parameter(name).shape[0] for name in names] == [4, 4]
    detections = detector.detect(detector.encode(photos((64, 64))))
    assert len(detections.boxes) > 0
    losses = detector.train().losses(photos((64, 64)), truth_of(2))
    losses["roi_box"].backward()
    assert detector.get_parameter(names[0]).grad is not None


def test_head_of_another_width_is_projected(kind: str, tmp_path: Path) -> None:
    changes: dict[str, object] = {"feature_dim": 7, "pooled_size": 2}
    if "c4" not in kind:
        changes |= {"box_head_dim": 20, "box_pooled_size": 4}
    detector = small_detector(kind, tmp_path, **changes)
    maps = detector.encode(photos((64, 64)))
    regions = detector.describe(maps, random_boxes(2, 64, 64, 0), torch.tensor([0, 0]))
    assert regions.features.shape == (2, 7)
    assert regions.class_logits.shape == (2, C)
    assert detector.union_features(regions, torch.tensor([[0, 1]])).shape == (1, 7, 2, 2)


def test_a_few_steps_learn_one_image(detector: Detector) -> None:
    detector.train()
    image, truth = photos((64, 64)), truth_of(2)
    optimizer = torch.optim.SGD(detector.parameters(), 0.02, 0.9)
    totals = []
    for _ in range(14):
        torch.manual_seed(0)
        loss = torch.stack(list(detector.losses(image, truth).values())).sum()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(detector.parameters(), 5.0)
        optimizer.step()
        totals.append(float(loss.detach()))
    assert min(totals[-2:]) < 0.9 * totals[0]


def test_a_sliver_is_refused_in_one_line(detector: Detector) -> None:
    expected = r"image: expected a long side of at most 96 short sides, got 97 x 1 pixels"
    for call in (detector.encode, lambda images: detector.losses(images, truth_of(0))):
        with pytest.raises(InputError, match=expected):
            call([torch.zeros(3, 1, 97)])


def test_region_maps_are_those_of_the_box_itself(detector: Detector) -> None:
    maps = detector.encode(photos((64, 64), (40, 90)))
    boxes = torch.tensor([[4.0, 8, 40, 60], [0, 0, 64, 64], [10, 5, 80, 39]])
    regions = detector.describe(maps, boxes, torch.tensor([0, 0, 1]))
    region_maps = detector.region_maps(regions)
    side = detector.pooled_size
    assert region_maps.shape == (3, detector.map_channels, side, side)
    alone = detector.describe(maps, boxes[2:], torch.tensor([1]))
    assert_close(detector.region_maps(alone), region_maps[2:])
    pair = torch.tensor([[0, 0]])
    assert_close(detector.union_head(region_maps[:1]), detector.union_features(regions, pair))  # type: ignore[operator]
    none = detector.describe(maps, boxes[:0], torch.zeros(0, dtype=torch.int64))
    assert detector.region_maps(none).shape == (0, detector.map_channels, side, side)
