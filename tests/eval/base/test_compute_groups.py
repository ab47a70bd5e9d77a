"""Metrics in a MetricCollection, called, merged and copied give what they give alone."""

from __future__ import annotations

import pickle

import pytest
import torch
from torchmetrics import Metric, MetricCollection

from autoenc_sg.core.errors import InputError
from autoenc_sg.eval import (
    DetectionPrecision,
    Features,
    GenerativeQuality,
    ImageQuality,
    PairRecall,
    RecallConventions,
    TripletRecall,
)
from tests.eval.test_detection import random_images
from tests.support.eval_graphs import P, random_batch

STRICT = RecallConventions((5, 50), iou_threshold=0.9)


def test_metrics_of_a_collection_that_begin_alike_stay_themselves() -> None:
    predictions, truths, _ = random_batch(3, images=20)
    loose = RecallConventions((5, 50))
    collection = MetricCollection(
        {
            "loose": TripletRecall(P, loose),
            "strict": TripletRecall(P, STRICT),
            "loose pairs": PairRecall(loose),
            "strict pairs": PairRecall(STRICT),
        }
    )
    alone = TripletRecall(P, STRICT)
    for p, t in zip(predictions, truths):  # the first images score the same at both thresholds
        collection.update([p], [t])
        alone.update([p], [t])
    got, expected = collection.compute(), alone.compute()
    torch.testing.assert_close({n: got[f"strict_{n}"] for n in expected}, expected, equal_nan=True)
    assert got["loose_R@50"] > got["strict_R@50"]
    assert got["loose pairs_pair R@50"] > got["strict pairs_pair R@50"]


def graphs(part: slice) -> tuple[object, ...]:
    predictions, truths, _ = random_batch(3, images=20)
    return predictions[part], truths[part]


def detections(part: slice) -> tuple[object, ...]:
    images = random_images(20)[part]
    return [found for found, _ in images], [truth for _, truth in images]


def pictures(part: slice) -> tuple[object, ...]:
    images = torch.rand(2, 20, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    return images[0, part], images[1, part]


def features(part: slice) -> tuple[object, ...]:
    features = 9 * torch.rand(2, 20, 4, generator=torch.Generator().manual_seed(0))
    return tuple(Features(x[part], x[part]) for x in features)


PARTS = [slice(0, 8), slice(8, 12), slice(12, 20)]


@pytest.mark.parametrize(
    ("metric", "given"),
    [
        (TripletRecall(P, STRICT), graphs),
        (PairRecall(STRICT), graphs),
        (DetectionPrecision(), detections),
        (ImageQuality(), pictures),
        (GenerativeQuality(4), features),
    ],
    ids=lambda x: type(x).__name__ if isinstance(x, Metric) else x.__name__,
)
def test_called_merged_and_copied_metrics_lose_nothing(metric: Metric, given: object) -> None:
    def fresh() -> Metric:
        return pickle.loads(pickle.dumps(metric))

    def close(got: object, expected: object) -> None:
        torch.testing.assert_close(got, expected, equal_nan=True)

    whole, called, first = fresh(), fresh(), fresh()
    whole.update(*given(slice(0, 20)))
    for part in PARTS:
        value = called(*given(part))
    close(called.compute(), whole.compute())
    last = fresh()
    last.update(*given(PARTS[-1]))
    close(value, last.compute())
    first.update(*given(slice(0, 12)))
    copied = first.clone()
    copied.update(*given(PARTS[-1]))
    close(copied.compute(), whole.compute())
    first.merge_state(last)
    close(first.compute(), whole.compute())


def test_other_metrics_are_not_merged() -> None:
    with pytest.raises(InputError, match="merged: expected a GenerativeQuality, got ImageQuality"):
        GenerativeQuality(4).merge_state(ImageQuality())
