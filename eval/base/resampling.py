"""Confidence intervals of figures over images, and paired tests between two systems.

Intervals: the percentile bootstrap. N images are drawn with replacement from the N, R times; the
interval is from the 2.5 % to the 97.5 % quantile of the R figures (Efron and Tibshirani 1993, "An
Introduction to the Bootstrap", section 13.3). Samples where a figure is NaN do not count.

Test: two systems on the same images. The interval of the difference is bootstrapped with the same
images for both. p is that of the paired permutation test: if the systems are alike, an image's
results may as well be swapped, so p = (1 + number of the R random swaps whose difference is at
least as large in size) / (1 + R), two-sided (Noreen 1989; Phipson and Smyth 2010 for the 1).

Figures of `ImageSumMetric` need the images only through sums, so that all samples of a chunk are
one product of a sparse matrix (addends by image) and a dense one (images by sample).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from autoenc_sg.config.recall import Resampling
from autoenc_sg.core.errors import bad_input
from autoenc_sg.eval.base.image_sums import ImageSumMetric, by_rows

_CHUNK = 100  # samples at a time, for memory: 100 x N weights
_TAILS = (0.025, 0.975)
_ROUNDING = 1e-12
Figures = dict[str, Tensor]


def intervals(metrics: Sequence[ImageSumMetric], resampling: Resampling) -> list[Figures]:
    """95 % bootstrap intervals of all figures of some metrics on the same images.

    Returns:
        For each metric `[2]` by name, low and high; `[2, P]` for lists. NaN where no sample has a
        number.
    """
    addends = _addends(metrics)
    samples: list[list[Figures]] = [[] for _ in metrics]
    for weights in _draws(addends[0].shape[1], resampling):
        for metric, matrix, figures in zip(metrics, addends, samples):
            figures.append(metric.figures(metric.weighted_sums(matrix, weights)))
    return [
        {n: _quantiles(values) for n, values in _joined(figures).items()} for figures in samples
    ]


def comparisons(
    first: Sequence[ImageSumMetric], second: Sequence[ImageSumMetric], resampling: Resampling
) -> list[Figures]:
    """First minus second, for the same metrics of two systems on the same images.

    Returns:
        For each metric `[4]` by name: difference, low and high end of its 95 % interval, p;
        `[4, P]` for lists.
    """
    addends = _addends([*first, *second])
    firsts, seconds = addends[: len(first)], addends[len(first) :]
    count = addends[0].shape[1]
    drawn: list[list[Figures]] = [[] for _ in first]
    swapped: list[list[Figures]] = [[] for _ in first]
    for weights in _draws(count, resampling):
        for i, (one, other) in enumerate(zip(first, second)):
            sums = one.weighted_sums(firsts[i], weights), other.weighted_sums(seconds[i], weights)
            drawn[i].append(_difference(one.figures(sums[0]), other.figures(sums[1])))
    changes = [a.to_sparse_coo() - b.to_sparse_coo() for a, b in zip(seconds, firsts)]
    changes = [by_rows(change) for change in changes]
    for swaps in _swaps(count, resampling):
        for one, other, change, figures in zip(first, second, changes, swapped):
            figures.append(_swapped_difference(one, other, change, swaps))
    return [
        _comparison(_difference(one.compute(), other.compute()), _joined(draws), _joined(swaps))
        for one, other, draws, swaps in zip(first, second, drawn, swapped)
    ]


def _addends(metrics: Sequence[ImageSumMetric]) -> list[Tensor]:
    """The addends of each metric `[F, N]`; refuses different N."""
    addends = [metric.image_addends() for metric in metrics]
    counts = {matrix.shape[1] for matrix in addends}
    if len(counts) > 1:
        raise bad_input("metrics", "the same images", f"{sorted(counts)} images")
    return addends


def _draws(count: int, resampling: Resampling) -> Iterator[Tensor]:
    """How often each of `count` images is drawn, chunks of `[r, count]` float64."""
    generator = torch.Generator().manual_seed(resampling.seed)
    for rows in _chunk_sizes(resampling.samples):
        images = torch.randint(max(count, 1), (rows, count), generator=generator)
        ones = torch.ones(1, dtype=torch.float64).expand(rows, count)
        yield torch.zeros(rows, count, dtype=torch.float64).scatter_add(1, images, ones)


def _swaps(count: int, resampling: Resampling) -> Iterator[Tensor]:
    """Which of `count` images are swapped, chunks of `[r, count]` float64, 0 or 1."""
    generator = torch.Generator().manual_seed(resampling.seed)
    for rows in _chunk_sizes(resampling.samples):
        yield torch.randint(2, (rows, count), generator=generator).double()


def _chunk_sizes(samples: int) -> list[int]:
    return [min(_CHUNK, samples - start) for start in range(0, samples, _CHUNK)]


def _swapped_difference(
    first: ImageSumMetric, second: ImageSumMetric, change: Tensor, swaps: Tensor
) -> Figures:
    """The difference after swaps; `change [F, N]`: addends of the second minus the first's."""
    moved = first.weighted_sums(change, swaps)
    one = {name: getattr(first, name).cpu() + moved[name] for name in moved}
    other = {name: getattr(second, name).cpu() - moved[name] for name in moved}
    return _difference(first.figures(one), second.figures(other))


def _comparison(difference: Figures, draws: Figures, swaps: Figures) -> Figures:
    results = {}
    for name, value in difference.items():
        value = value.cpu().reshape(draws[name].shape[1:])
        extreme = (swaps[name].abs() >= value.abs() - _ROUNDING).sum(0)
        p = (1 + extreme) / (1 + len(swaps[name]))
        p = torch.where(value.isnan(), torch.nan, p.double())
        results[name] = torch.stack([value, *_quantiles(draws[name]), p])
    return results


def _difference(first: Figures, second: Figures) -> Figures:
    return {name: first[name] - second[name] for name in first}


def _joined(chunks: Sequence[Figures]) -> Figures:
    return {name: torch.cat([chunk[name] for chunk in chunks]) for name in chunks[0]}


def _quantiles(values: Tensor) -> Tensor:
    """The ends of the interval of R figures: `[R, ...] -> [2, ...]`."""
    return values.nanquantile(torch.tensor(_TAILS, dtype=values.dtype), dim=0)
