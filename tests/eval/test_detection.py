"""Average precision through pycocotools: values computed by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from autoenc_sg.core.errors import InputError
from autoenc_sg.core.scene_graph import SceneGraph
from autoenc_sg.eval import DetectionPrecision
from autoenc_sg.eval.detection import ImageDetections

SQUARE = [0.0, 0.0, 10.0, 10.0]
APART = [50.0, 50.0, 60.0, 60.0]


def truth(boxes: list[list[float]], labels: list[int]) -> SceneGraph:
    boxes_ = torch.tensor(boxes).reshape(-1, 4)
    none = torch.zeros(0, 3, dtype=torch.int64)
    return SceneGraph(torch.tensor(labels, dtype=torch.int64), boxes_, none, (100, 100))


def detections_of(
    boxes: list[list[float]], labels: list[int], scores: list[float]
) -> ImageDetections:
    return (
        torch.tensor(boxes).reshape(-1, 4),
        torch.tensor(labels, dtype=torch.int64),
        torch.tensor(scores),
    )


def scores(pairs: list[tuple[ImageDetections, SceneGraph]]) -> dict[str, float]:
    metric = DetectionPrecision()
    metric.update([d for d, _ in pairs], [t for _, t in pairs])
    return {name: value.item() for name, value in metric.compute().items()}


def test_all_right_and_all_wrong() -> None:
    two = truth([SQUARE, APART], [1, 2])
    right = scores([(detections_of([SQUARE, APART], [1, 2], [0.9, 0.8]), two)])
    assert right == pytest.approx({"AP": 1, "AP50": 1, "AP75": 1, "AR": 1, "micro AP50": 1})
    wrong = scores([(detections_of([SQUARE, APART], [2, 1], [0.9, 0.8]), two)])
    assert wrong == {"AP": 0, "AP50": 0, "AP75": 0, "AR": 0, "micro AP50": 0}


def test_an_overlap_of_0_7_counts_up_to_that_threshold() -> None:
    # IoU 7 / 10: found at 0.50, 0.55, 0.60, 0.65 and 0.70 of the ten thresholds.
    narrow = detections_of([[0.0, 0.0, 7.0, 10.0]], [1], [0.9])
    got = scores([(narrow, truth([SQUARE], [1]))])
    assert got == pytest.approx({"AP": 0.5, "AP50": 1, "AP75": 0, "AR": 0.5, "micro AP50": 1})


def test_a_false_detection_before_the_true_one_halves_the_precision() -> None:
    got = scores([(detections_of([APART, SQUARE], [1, 1], [0.9, 0.8]), truth([SQUARE], [1]))])
    assert got["AP50"] == pytest.approx(0.5)
    behind = scores([(detections_of([APART, SQUARE], [1, 1], [0.7, 0.8]), truth([SQUARE], [1]))])
    assert behind["AP50"] == pytest.approx(1.0)


def test_the_best_detections_of_an_image_count() -> None:
    both = detections_of([SQUARE, APART], [1, 1], [0.8, 0.9])
    metric = DetectionPrecision(max_detections=1)
    metric.update([both], [truth([SQUARE, APART], [1, 1])])
    assert metric.compute()["AR"].item() == pytest.approx(0.5)
    assert metric.compute()["AP50"].item() == pytest.approx(51 / 101)


def test_micro_precision_ranks_all_classes_together() -> None:
    # Ranking: hit of class 1, miss of class 2, hit of class 2; the second box of class 1 is missed.
    # Recall 1/3 at precision 1, 2/3 at 2/3: 34 of COCO's 101 recalls (0.00 to 0.33), then 33.
    some = truth([SQUARE, APART, [20.0, 20.0, 30.0, 30.0]], [1, 2, 1])
    found = detections_of([SQUARE, [70.0, 0.0, 80.0, 10.0], APART], [1, 2, 2], [0.9, 0.8, 0.7])
    metric = DetectionPrecision()
    metric.update([found], [some])
    assert metric.compute()["micro AP50"].item() == pytest.approx((34 + 33 * 2 / 3) / 101)
    alone = detections_of([SQUARE], [1], [0.9])  # recall 1/3 at precision 1, and no more
    assert scores([(alone, some)])["micro AP50"] == pytest.approx(34 / 101)
    # class 1: 1 of 2 at precision 1 (51 of 101); class 2: all at precision 1/2
    assert metric.by_class() == pytest.approx({1: 51 / 101, 2: 0.5})


def test_micro_precision_of_one_class_is_its_precision() -> None:
    generator = torch.Generator().manual_seed(0)
    metric = DetectionPrecision()
    for _ in range(5):
        corners = torch.rand(6, 2, generator=generator) * 80
        boxes = torch.cat([corners, corners + 10 + 10 * torch.rand(6, 2, generator=generator)], 1)
        moved = boxes + 6 * torch.rand(6, 4, generator=generator)
        found = (moved, torch.ones(6, dtype=torch.int64), torch.rand(6, generator=generator))
        metric.update([found], [truth(boxes.tolist(), [1] * 6)])
    values = metric.compute()
    assert 0 < values["AP50"] < 1
    torch.testing.assert_close(values["micro AP50"], values["AP50"], rtol=0, atol=1e-12)


def test_without_any_true_box_there_is_no_class() -> None:
    metric = DetectionPrecision()
    metric.update([detections_of([SQUARE], [1], [0.9])], [truth([], [])])
    assert metric.by_class() == {}
    assert metric.compute()["micro AP50"].isnan()


def test_micro_precision_without_detections_is_0() -> None:
    assert scores([(detections_of([], [], []), truth([SQUARE], [1]))])["micro AP50"] == 0


def test_scores_are_compared_across_images() -> None:
    one = truth([SQUARE], [1])
    false_first = [
        (detections_of([APART], [1], [0.9]), one),
        (detections_of([SQUARE], [1], [0.8]), one),
    ]
    # recall 1/2 at precision 1/2: 51 of COCO's 101 recall points
    assert scores(false_first)["AP50"] == pytest.approx(0.5 * 51 / 101)


def test_a_class_without_true_boxes_does_not_count() -> None:
    got = scores([(detections_of([SQUARE, APART], [1, 7], [0.9, 0.8]), truth([SQUARE], [1]))])
    assert got["AP50"] == pytest.approx(1.0)


def test_nothing_detected_nothing_true_and_nothing_at_all() -> None:
    nothing, one = detections_of([], [], []), truth([SQUARE], [1])
    assert scores([(nothing, one)])["AP50"] == 0
    assert scores([(nothing, one), (detections_of([SQUARE], [1], [0.5]), one)])["AR"] == 0.5
    empty = SceneGraph.empty((10, 10))
    assert all(v != v for v in scores([(detections_of([SQUARE], [1], [0.5]), empty)]).values())
    assert all(v != v for v in scores([]).values())


def random_images(count: int) -> list[tuple[ImageDetections, SceneGraph]]:
    generator = torch.Generator().manual_seed(0)
    images = []
    for i in range(count):
        corners = torch.rand(i % 4, 2, generator=generator) * 50
        boxes = torch.cat([corners, corners + 20], 1)
        labels = torch.randint(1, 4, (i % 4,), generator=generator)
        detections = (boxes + torch.rand(i % 4, 4, generator=generator) * 6, labels)
        t = truth(boxes.tolist(), labels.tolist())
        images.append(((*detections, torch.rand(i % 4, generator=generator)), t))
    return images


def test_batched_equals_one_by_one_and_merging_equals_one(capsys: pytest.CaptureFixture) -> None:
    images = random_images(13)
    whole, single, other = (DetectionPrecision() for _ in range(3))
    whole.update([d for d, _ in images], [t for _, t in images])
    for i, (d, t) in enumerate(images):
        (single if i < 6 else other).update([d], [t])
    single.merge_state(other)
    torch.testing.assert_close(single.compute(), whole.compute(), equal_nan=True)
    assert 0 < whole.compute()["AP"] < 1
    assert capsys.readouterr().out == ""


def test_equals_torchmetrics_own_reading_of_coco() -> None:
    detection = pytest.importorskip("torchmetrics.detection")
    images, metric = random_images(13), DetectionPrecision()
    metric.update([d for d, _ in images], [t for _, t in images])
    reference = detection.MeanAveragePrecision(backend="pycocotools")
    names = ("boxes", "labels", "scores")
    reference.update(
        [dict(zip(names, d)) for d, _ in images],
        [{"boxes": t.boxes, "labels": t.labels} for _, t in images],
    )
    expected, got = reference.compute(), metric.compute()
    for ours, theirs in (("AP", "map"), ("AP50", "map_50"), ("AP75", "map_75"), ("AR", "mar_100")):
        assert got[ours].item() == pytest.approx(expected[theirs].item(), abs=1e-6)


def test_bad_input_is_refused() -> None:
    one = truth([SQUARE], [1])
    with pytest.raises(InputError, match="detections: expected one for each of 1 graphs, got 0"):
        DetectionPrecision().update([], [one])
    with pytest.raises(InputError, match="detections 0: expected as many labels and scores"):
        DetectionPrecision().update([detections_of([SQUARE], [1], [0.5, 0.6])], [one])
    with pytest.raises(InputError, match="detections 0: expected finite"):
        DetectionPrecision().update([detections_of([SQUARE], [1], [float("nan")])], [one])
    with pytest.raises(InputError, match="max_detections"):
        DetectionPrecision(0)


def test_detections_in_an_ignored_region_count_neither_way() -> None:
    """True, then two in the crowd (overlaps 1 and 0.5 of their area), then one half outside."""
    crowd = torch.tensor([[1.0, 40, 40, 80, 80]])
    graph = replace(truth([SQUARE], [1]), ignored=crowd)
    inside, half, outside = [50.0, 50, 60, 60], [75.0, 50, 85, 60], [76.0, 50, 86, 60]
    boxes = [inside, half, SQUARE]
    one = (detections_of(boxes, [1, 1, 1], [0.9, 0.8, 0.7]), graph)
    assert scores([one])["AP50"] == pytest.approx(1)
    assert scores([one])["micro AP50"] == pytest.approx(1)
    assert scores([one])["AP75"] == pytest.approx(0.5)  # at 0.75 the half one is a false one
    more = (detections_of([outside, SQUARE], [1, 1], [0.9, 0.7]), graph)
    assert scores([more])["AP50"] == pytest.approx(0.5)
    no_crowd = (one[0], truth([SQUARE], [1]))
    assert scores([no_crowd])["AP50"] == pytest.approx(1 / 3)
    # Of another class, a detection there is false; a class with crowds alone does not count.
    other = (
        detections_of([inside, SQUARE], [2, 2], [0.9, 0.8]),
        replace(truth([SQUARE], [2]), ignored=crowd),
    )
    assert scores([other])["AP50"] == pytest.approx(0.5)
    assert scores([other])["AP"] == pytest.approx(0.5)


def test_a_true_box_in_a_crowd_is_matched_first() -> None:
    crowd = torch.tensor([[1.0, 0, 0, 100, 100]])
    graph = replace(truth([SQUARE], [1]), ignored=crowd)
    found = scores([(detections_of([SQUARE, APART], [1, 1], [0.5, 0.9]), graph)])
    assert found == pytest.approx({"AP": 1, "AP50": 1, "AP75": 1, "AR": 1, "micro AP50": 1})
    missed = scores([(detections_of([APART], [1], [0.9]), graph)])
    assert (missed["AP50"], missed["AR"]) == (0, 0)
