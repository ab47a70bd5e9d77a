"""Intervals and paired tests: against loops that recount every resample, and by hand."""

from __future__ import annotations

import math

import pytest
import torch

from autoenc_sg.config.recall import Resampling
from autoenc_sg.core.errors import InputError
from autoenc_sg.eval import PairRecall, RecallConventions, TripletRecall
from autoenc_sg.eval.base.image_sums import ImageSumMetric
from autoenc_sg.eval.base.resampling import comparisons, intervals
from tests.support.eval_graphs import P, random_batch, random_conventions

FEW = Resampling(samples=11, seed=4)


def metrics(predictions: list, truths: list, c: RecallConventions) -> list[ImageSumMetric]:
    """Both metrics, with the images in batches of three, two and the rest."""
    made = [TripletRecall(P, c, per_predicate=True, keep_images=True), PairRecall(c, True, True)]
    for metric in made:
        for part in (slice(0, 3), slice(3, 5), slice(5, None)):
            metric.update(predictions[part], truths[part])
    return made


def draws(count: int, resampling: Resampling) -> torch.Tensor:
    generator = torch.Generator().manual_seed(resampling.seed)
    return torch.randint(count, (resampling.samples, count), generator=generator)


def values(metric: ImageSumMetric, name: str) -> list[float]:
    return metric.compute()[name].reshape(-1).tolist()


@pytest.mark.parametrize("task", ["PredCls", "SGGen"])
def test_intervals_are_quantiles_of_recounted_resamples(task: str) -> None:
    predictions, truths, rng = random_batch(5, images=6)
    c = random_conventions(rng, task)
    fast = metrics(predictions, truths, c)
    recounted = [
        metrics([predictions[i] for i in images], [truths[i] for i in images], c)
        for images in draws(6, FEW).tolist()
    ]
    for which, (metric, found) in enumerate(zip(fast, intervals(fast, FEW))):
        assert set(found) == set(metric.compute())
        for name, ends in found.items():
            each = torch.tensor([values(sample[which], name) for sample in recounted]).double()
            expected = each.nanquantile(torch.tensor([0.025, 0.975]).double(), dim=0)
            torch.testing.assert_close(
                ends.reshape(2, -1), expected, equal_nan=True, atol=1e-6, rtol=0, msg=name
            )


def test_comparison_against_recounted_draws_and_swaps() -> None:
    resampling = Resampling(7, 4)
    first, truths, _ = random_batch(6, images=9)
    second = [*first[:4], *random_batch(60, images=9)[0][4:]]
    c = RecallConventions(ks=(2, 100), averages=("micro", "macro"))
    got = comparisons(metrics(first, truths, c), metrics(second, truths, c), resampling)[0]
    difference = values(metrics(first, truths, c)[0], "R@2")[0]
    difference -= values(metrics(second, truths, c)[0], "R@2")[0]
    generator = torch.Generator().manual_seed(4)
    extreme = 0
    for swaps in torch.randint(2, (7, 9), generator=generator).tolist():
        one = [b if s else a for a, b, s in zip(first, second, swaps)]
        other = [a if s else b for a, b, s in zip(first, second, swaps)]
        swapped = values(metrics(one, truths, c)[0], "R@2")[0]
        swapped -= values(metrics(other, truths, c)[0], "R@2")[0]
        extreme += abs(swapped) >= abs(difference) - 1e-9
    drawn = []
    for images in draws(9, resampling).tolist():
        pairs = [([x[i] for i in images], [truths[i] for i in images]) for x in (first, second)]
        a, b = (values(metrics(*pair, c)[0], "R@2")[0] for pair in pairs)
        drawn.append(a - b)
    low, high = torch.tensor(drawn).double().quantile(torch.tensor([0.025, 0.975]).double())
    expected = [difference, low.item(), high.item(), (1 + extreme) / 8]
    assert got["R@2"].tolist() == pytest.approx(expected, abs=1e-6)
    assert difference != 0


def test_a_system_against_itself() -> None:
    predictions, truths, _ = random_batch(7, images=9)
    both = [metrics(predictions, truths, RecallConventions()) for _ in range(2)]
    for name, (difference, low, high, p) in comparisons(*both, FEW)[1].items():
        assert (difference, low, high) == (0, 0, 0), name
        assert p == 1, name


def test_one_image_has_an_interval_of_no_width() -> None:
    predictions, truths, _ = random_batch(3, images=20)
    rows = [i for i, t in enumerate(truths) if len(t.triples) and len(predictions[i].pairs)][:1]
    metric = metrics([predictions[i] for i in rows], [truths[i] for i in rows], RecallConventions())
    value = metric[0].compute()["R@20"].item()
    assert intervals(metric, FEW)[0]["R@20"].tolist() == [value, value]


def test_seeds_decide_and_more_images_narrow() -> None:
    predictions, truths, _ = random_batch(3, images=20)
    c = RecallConventions(ks=(2,), task="PredCls")
    few, many = metrics(predictions, truths, c), metrics(predictions * 4, truths * 4, c)
    again = [intervals(few, Resampling(200, seed))[0]["R@2"].tolist() for seed in (0, 0, 1)]
    assert again[0] == again[1] != again[2]
    low, high = intervals(many, Resampling(200))[0]["R@2"].tolist()
    assert high - low < again[0][1] - again[0][0]


def test_nothing_is_nan() -> None:
    empty = TripletRecall(P, RecallConventions(), keep_images=True)
    assert all(math.isnan(x) for x in intervals([empty], FEW)[0]["R@20"].tolist())


def test_merged_metrics_keep_all_images() -> None:
    predictions, truths, _ = random_batch(3, images=12)
    whole, first, last = (PairRecall(keep_images=True) for _ in range(3))
    whole.update(predictions, truths)
    first.update(predictions[:5], truths[:5])
    last.update(predictions[5:], truths[5:])
    last.merge_state(first)
    torch.testing.assert_close(last.image_addends().to_dense(), whole.image_addends().to_dense())


def test_bad_input() -> None:
    predictions, truths, _ = random_batch(3, images=12)
    all_images, some = PairRecall(keep_images=True), PairRecall(keep_images=True)
    all_images.update(predictions, truths)
    some.update(predictions[:5], truths[:5])
    with pytest.raises(InputError, match=r"metrics: expected the same images, got \[5, 12\]"):
        comparisons([all_images], [some], FEW)
    with pytest.raises(InputError, match="samples: expected >= 1, got 0"):
        Resampling(0)
