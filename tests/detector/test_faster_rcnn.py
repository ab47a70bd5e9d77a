"""Faster R-CNN opened up: regions found or given, features of regions and of pairs."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from autoenc_sg.config.model import DetectorConfig
from autoenc_sg.core.boxes import encode_deltas, union_boxes
from autoenc_sg.core.errors import InputError
from autoenc_sg.core.scene_graph_batch import SceneGraphBatch
from autoenc_sg.detector import Detector, FasterRCNN, FeatureMaps, build_detector
from autoenc_sg.detector.backbones import Backbone
from tests.support.graphs import C, random_boxes, random_graph, seeded

TINY = DetectorConfig(
    backbone="small",
    channels=8,
    min_size=64,
    max_size=96,
    anchor_sizes=(12, 24, 48),
    proposals=10,
    rois_per_image=8,
    feature_dim=12,
    pooled_size=3,
    detections=5,
    score_threshold=0.0,
)


def tiny_detector() -> FasterRCNN:
    torch.manual_seed(0)
    detector = build_detector(TINY, C).eval()
    assert isinstance(detector, FasterRCNN)
    return detector


def photos(*sizes: tuple[int, int], seed: int = 0) -> list[Tensor]:
    g = seeded(seed)
    return [torch.rand(3, h, w, generator=g) for h, w in sizes]


def truth_of(*counts: int, size: tuple[int, int] = (64, 64)) -> SceneGraphBatch:
    graphs = [random_graph(n, 0, 5 + k, size) for k, n in enumerate(counts)]
    return SceneGraphBatch.collate(graphs)


# Ways in between, on maps of our own ------------------------------------------------------------


class Flatten(nn.Module):
    """A head that hands on what was pooled."""

    def forward(self, pooled: Tensor) -> Tensor:
        return pooled.flatten(1)


class Answers(nn.Module):
    """A head's last layer that knows the answers: class logits and box deltas."""

    def __init__(self, logits: Tensor, deltas: Tensor) -> None:
        super().__init__()
        self.logits, self.deltas = logits, deltas

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        return self.logits[: len(features)], self.deltas[: len(features)]


class Proposals(nn.Module):
    """Region proposals that are given."""

    def __init__(self, *boxes: Tensor) -> None:
        super().__init__()
        self.boxes = boxes

    def forward(self, images: object, maps: object) -> tuple[list[Tensor], dict[str, Tensor]]:
        return list(self.boxes), {}


def looking_glass(num_classes: int = C, pooled_size: int = 2) -> FasterRCNN:
    """A detector whose map is the normalized image itself and whose features are what is pooled."""
    config = replace(TINY, min_size=32, max_size=64, pooled_size=pooled_size, anchor_sizes=(8,))
    detector = FasterRCNN(config, Backbone(nn.Identity(), {"0": 1}, 3), num_classes)
    detector.roi_heads.box_head = Flatten()  # type: ignore[assignment]
    detector.union_head = nn.Sequential()
    return detector.eval()


def silence(glass: FasterRCNN, regions: int) -> None:
    """No class is likelier than another, no box moves."""
    answers = Answers(torch.zeros(regions, C), torch.zeros(regions, 4 * C))
    glass.roi_heads.box_predictor = answers  # type: ignore[assignment]


def normalized(values: Tensor) -> Tensor:
    """Channels of grey values `[...]` as the network sees them: `[3, ...]`."""
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    shape = (3, *[1] * values.ndim)
    return (values[None] - mean.reshape(shape)) / std.reshape(shape)


def ramp(height: int, width: int) -> Tensor:
    """Grey that grows by 1/100 a pixel to the right: `[3, H, W]`."""
    return (torch.arange(width) / 100).expand(3, height, width)


def test_pooled_ramp_by_hand() -> None:
    glass = looking_glass()
    silence(glass, 2)
    maps = glass.encode([ramp(32, 32)])
    boxes = torch.tensor([[4.0, 2, 12, 20], [0, 0, 16, 16]])
    regions = glass.describe(maps, boxes, torch.tensor([0, 0]))
    # RoIAlign of a ramp is the ramp at the cells' middles: 6 and 10, 4 and 12
    for row, (left, right) in enumerate([(0.06, 0.10), (0.04, 0.12)]):
        grey = torch.tensor([[left, right], [left, right]])
        assert_close(regions.features[row].reshape(3, 2, 2), normalized(grey))
    assert_close(regions.boxes, boxes)
    assert regions.image_sizes == regions.network_sizes == ((32, 32),)
    pairs = torch.tensor([[0, 1], [1, 0]])
    union = glass.union_features(regions, pairs)  # the union box is 0..16 x 0..20
    assert union.shape == (2, 3, 2, 2)
    for k in range(2):
        assert_close(union[k], normalized(torch.tensor([[0.04, 0.12], [0.04, 0.12]])))


def test_boxes_are_pixels_of_the_images_passed_in() -> None:
    glass = looking_glass()
    silence(glass, 2)
    plain = glass.encode([ramp(32, 32)])
    # the same maps, said to be of images of twice the width and three times the height
    scaled = replace(plain, image_sizes=((96, 64),))
    box = torch.tensor([[4.0, 2, 12, 20]])
    index = torch.tensor([0])
    one = glass.describe(plain, box, index)
    other = glass.describe(scaled, box * torch.tensor([2.0, 3, 2, 3]), index)
    assert_close(one.features, other.features)
    none = torch.tensor([[0, 0]])
    assert_close(glass.union_features(one, none), glass.union_features(other, none))


def test_images_of_different_sizes_batched_equal_one_by_one() -> None:
    """The network sees them at 32 pixels and padded; a map without neighbours shows the way."""
    glass = looking_glass()
    silence(glass, 9)
    images = photos((48, 40), (20, 60), (32, 32))
    boxes = [random_boxes(n, *image.shape[1:], 3) for n, image in zip((3, 0, 2), images)]
    index = torch.tensor([0, 0, 0, 2, 2])
    together = glass.describe(glass.encode(images), torch.cat(boxes), index)
    pairs = torch.tensor([[0, 2], [4, 3]])
    unions = glass.union_features(together, pairs)
    assert together.network_sizes == ((38, 32), (21, 64), (32, 32))
    for image in (0, 2):
        image_index = torch.zeros(len(boxes[image]), dtype=torch.int64)
        alone = glass.describe(glass.encode([images[image]]), boxes[image], image_index)
        assert_close(together.features[index == image], alone.features)
        pair = torch.tensor([[0, 2]] if image == 0 else [[1, 0]])
        assert_close(unions[image // 2], glass.union_features(alone, pair)[0])


def test_the_first_image_does_not_decide_the_scale() -> None:
    """torchvision guesses strides from the first batch; ours are known."""
    once, again = tiny_detector(), tiny_detector()
    narrow, square = photos((16, 90), (64, 64))
    boxes, index = torch.tensor([[8.0, 8, 40, 40]]), torch.tensor([0])
    once.describe(once.encode([narrow]), boxes / 4, index)
    one, two = (d.describe(d.encode([square]), boxes, index) for d in (once, again))
    assert_close(one.features, two.features)
    assert once.roi_heads.box_roi_pool.scales == [1 / 8]


def test_detections_by_hand() -> None:
    """Four proposals in an image shown at half its size, none in the next, one in the third."""
    glass = looking_glass(num_classes=3)
    glass.config = replace(glass.config, score_threshold=0.15)
    same = [4.0, 4, 12, 12]
    start = torch.tensor([same, same, same, [20, 20, 28, 31], [2, 2, 10, 10]])
    probabilities = torch.tensor(
        [
            [0.2, 0.7, 0.1],
            [0.1, 0.5, 0.4],  # suppressed as class 1, stays as class 2
            [0.6, 0.1, 0.3],  # suppressed as class 2, too unsure as class 1
            [0.0, 0.1, 0.9],  # moved by half its width to the right, beyond the image
            [0.1, 0.5, 0.4],  # one class a region
        ]
    )
    deltas = torch.zeros(5, 3, 4)
    deltas[3, 2] = encode_deltas(torch.tensor([[24.0, 20, 36, 31]]), start[3:4])[0]
    deltas[3, 1] = 9.0  # those of a class that is not chosen count for nothing
    glass.rpn = Proposals(start[:4], start[:0], start[4:])  # type: ignore[assignment]
    answers = Answers(probabilities.log().clamp(min=-99), deltas.flatten(1))
    glass.roi_heads.box_predictor = answers  # type: ignore[assignment]
    maps = glass.encode([torch.zeros(3, 64, 64), torch.zeros(3, 32, 32), torch.zeros(3, 32, 32)])
    detections = glass.detect(maps)
    assert detections.image_index.tolist() == [0, 0, 0, 2]
    assert detections.labels.tolist() == [2, 1, 2, 1]
    assert_close(detections.scores, torch.tensor([0.9, 0.7, 0.4, 0.5]))
    expected = [[48.0, 40, 64, 62], [8, 8, 24, 24], [8, 8, 24, 24], [2, 2, 10, 10]]
    assert_close(detections.boxes, torch.tensor(expected))


def test_kinds_of_images_are_seen_alike() -> None:
    detector = tiny_detector()
    whole = torch.randint(0, 256, (3, 64, 64), generator=seeded(0)).to(torch.uint8)
    one, two = (detector.encode([image]).maps[0] for image in (whole, whole / 255))
    assert_close(one, two)


def test_shapes_and_ranges_of_what_is_found() -> None:
    detector = tiny_detector()
    images = photos((64, 64), (40, 90), (100, 80))
    maps = detector.encode(images)
    assert maps.image_sizes == ((64, 64), (40, 90), (100, 80))
    assert maps.network_sizes == ((64, 64), (42, 96), (80, 64))
    assert maps.padded_size == (96, 96)
    assert maps.maps[0].shape == (3, 8, 12, 12)
    detections = detector.detect(maps)
    assert 0 < len(detections.boxes) <= 15
    assert (torch.bincount(detections.image_index, minlength=3) <= 5).all()
    assert (detections.image_index.diff() >= 0).all()
    assert ((detections.labels >= 1) & (detections.labels < C)).all()
    assert ((detections.scores >= 0) & (detections.scores <= 1)).all()
    for image, size in enumerate(maps.image_sizes):
        in_image = detections.image_index == image
        assert (detections.scores[in_image].diff() <= 0).all()
        boxes = detections.boxes[in_image]
        assert (boxes >= 0).all()
        assert (boxes[:, 2:] <= torch.tensor([size[1], size[0]])).all()
        assert (boxes[:, 2:] - boxes[:, :2] >= 1).all()
    assert not detections.scores.requires_grad


def test_detecting_leaves_the_mode_of_the_proposals() -> None:
    detector = tiny_detector().train()
    detector.detect(detector.encode(photos((64, 64))))
    assert detector.rpn.training
    detector.rpn.eval()
    detector.detect(detector.encode(photos((64, 64))))
    assert not detector.rpn.training


def test_batched_equals_one_by_one() -> None:
    detector = tiny_detector()
    images = photos((64, 64), (64, 64), (64, 64))
    detections = detector.detect(detector.encode(images))
    regions = detector.describe(detector.encode(images), detections.boxes, detections.image_index)
    for image in range(3):
        in_image = detections.image_index == image
        maps = detector.encode(images[image : image + 1])
        alone = detector.detect(maps)
        assert_close(alone.labels, detections.labels[in_image])
        assert_close(alone.boxes, detections.boxes[in_image], atol=1e-3, rtol=1e-4)
        assert_close(alone.scores, detections.scores[in_image], atol=1e-5, rtol=1e-4)
        single = detector.describe(maps, alone.boxes, alone.image_index)
        assert_close(single.features, regions.features[in_image], atol=1e-4, rtol=1e-4)
        assert_close(single.class_logits, regions.class_logits[in_image], atol=1e-4, rtol=1e-4)


def test_given_and_found_regions_are_described_alike() -> None:
    """What a detected box says in `detect` is what `describe` says of the same region."""
    detector = tiny_detector()
    nn.init.zeros_(detector.roi_heads.box_predictor.bbox_pred.weight)  # boxes stay the proposals
    nn.init.zeros_(detector.roi_heads.box_predictor.bbox_pred.bias)
    maps = detector.encode(photos((64, 64), (40, 90)))
    detections = detector.detect(maps)
    regions = detector.describe(maps, detections.boxes, detections.image_index)
    scores = regions.class_logits.softmax(1)[
        torch.arange(len(detections.labels)), detections.labels
    ]
    assert_close(scores, detections.scores, atol=1e-5, rtol=1e-4)
    assert regions.features.shape == (len(detections.boxes), 12)
    given_boxes = random_boxes(4, 40, 60, 0)
    given_regions = detector.describe(maps, given_boxes, torch.tensor([0, 0, 1, 1]))
    assert_close(given_regions.boxes, given_boxes)
    assert given_regions.class_logits.shape == (4, C)


def test_order_of_the_regions_permutes_the_features() -> None:
    detector = tiny_detector()
    maps = detector.encode(photos((64, 64), (64, 64)))
    boxes, index = random_boxes(5, 64, 64, 1), torch.tensor([0, 0, 0, 1, 1])
    order = torch.tensor([2, 0, 1, 4, 3])
    one = detector.describe(maps, boxes, index)
    two = detector.describe(maps, boxes[order], index)
    assert_close(one.features[order], two.features)
    pairs = torch.tensor([[0, 1], [2, 0], [3, 4]])
    other = order.argsort()[pairs]
    assert_close(detector.union_features(one, pairs), detector.union_features(two, other))


def test_union_features_are_those_of_the_union_box() -> None:
    detector = tiny_detector()
    maps = detector.encode(photos((64, 64)))
    boxes, index = random_boxes(3, 64, 64, 2), torch.zeros(3, dtype=torch.int64)
    pairs = torch.tensor([[0, 1], [1, 0], [2, 1]])
    regions = detector.describe(maps, boxes, index)
    features = detector.union_features(regions, pairs)
    assert features.shape == (3, TINY.feature_dim, TINY.pooled_size, TINY.pooled_size)
    assert_close(features[0], features[1])
    united = detector.describe(maps, union_boxes(boxes, pairs), index)
    assert_close(features, detector.union_features(united, torch.tensor([[0, 0], [1, 1], [2, 2]])))


@pytest.mark.parametrize("counts", [[0], [0, 0], [2, 0, 1]])
def test_no_object_and_an_empty_image_with_backward(counts: list[int]) -> None:
    detector = tiny_detector()
    maps = detector.encode(photos(*[(64, 64)] * len(counts)))
    n = sum(counts)
    index = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    regions = detector.describe(maps, random_boxes(n, 64, 64, 0), index)
    assert regions.features.shape == (n, 12)
    pairs = torch.zeros(0, 2, dtype=torch.int64)
    unions = detector.union_features(regions, pairs)
    assert unions.shape == (0, 12, 3, 3)
    (regions.class_logits.sum() + regions.features.sum() + unions.sum()).backward()
    for part in detector.trainable_head_modules():
        for parameter in part.parameters():
            assert parameter.grad is not None
            assert parameter.grad.isfinite().all()


def test_nothing_found_is_an_answer() -> None:
    detector = tiny_detector()
    detector.config = replace(TINY, score_threshold=1.1)
    maps = detector.encode(photos((64, 64), (40, 90)))
    detections = detector.detect(maps)
    assert detections.boxes.shape == (0, 4)
    assert detections.labels.dtype == torch.int64
    assert len(detector.describe(maps, detections.boxes, detections.image_index).features) == 0


def test_frozen_and_trained_modules_share_nothing_and_leave_only_the_boxes() -> None:
    detector = tiny_detector()
    parts = [
        {id(p) for m in modules for p in m.parameters()}
        for modules in (detector.frozen_modules(), detector.trainable_head_modules())
    ]
    assert not parts[0] & parts[1]
    rest = {id(p) for p in detector.parameters()} - parts[0] - parts[1]
    assert rest == {id(p) for p in detector.roi_heads.box_predictor.bbox_pred.parameters()}


def test_a_sliver_is_refused_in_one_line() -> None:
    detector = tiny_detector()
    sliver = torch.zeros(3, 1, 97)
    expected = "image: expected a long side of at most 96 short sides, got 97 x 1 pixels"
    for call in (
        lambda: detector.encode([sliver]),
        lambda: detector.losses([sliver], truth_of(0, size=(1, 97))),
    ):
        with pytest.raises(InputError) as error:
            call()
        assert str(error.value) == expected
    assert detector.encode([torch.zeros(3, 1, 96)]).network_sizes == ((1, 96),)


def test_the_contract_is_complete() -> None:
    assert isinstance(tiny_detector(), Detector)
    assert Detector.__abstractmethods__ == {
        "encode",
        "detect",
        "box_features",
        "region_maps",
        "losses",
        "backbone_parameters",
        "frozen_parameters",
        "frozen_modules",
        "trainable_head_modules",
    }
    with pytest.raises(TypeError):
        Detector()  # type: ignore[abstract]
    names = OrderedDict((f.name, f) for f in FeatureMaps.__dataclass_fields__.values())
    assert list(names) == ["maps", "image_sizes", "network_sizes", "padded_size", "colors"]
