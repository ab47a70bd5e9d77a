"""Image metrics on pictures whose scores can be written down."""

from __future__ import annotations

import math

import pytest
import torch

from autoenc_sg.core.errors import InputError
from autoenc_sg.eval import ImageQuality, MeanImage


def flat(*values: float, side: int = 16) -> torch.Tensor:
    return torch.tensor(values)[:, None, None, None].expand(-1, 3, side, side).clone()


def test_flat_images_by_hand() -> None:
    metric = ImageQuality()
    metric.update(flat(0.5, 0.2), flat(0.4, 0.2))
    got = metric.compute()
    assert got["L1"].item() == pytest.approx(0.05)
    assert got["PSNR"].item() == pytest.approx((20 + 100) / 2, rel=1e-5)  # equal images: the cap
    luminance = (2 * 0.5 * 0.4 + 1e-4) / (0.5**2 + 0.4**2 + 1e-4)
    assert got["SSIM"].item() == pytest.approx((luminance + 1) / 2, rel=1e-4)


def test_psnr_is_averaged_over_images_not_over_errors() -> None:
    metric = ImageQuality()
    metric.update(flat(0.1, 0.01), flat(0.0, 0.0))
    assert metric.compute()["PSNR"].item() == pytest.approx(30.0, rel=1e-4)  # of 20 and 40 dB


def test_batched_equals_one_by_one_and_merging_equals_one() -> None:
    generator = torch.Generator().manual_seed(0)
    images, truths = torch.rand(2, 5, 3, 16, 20, generator=generator)
    whole, single, other = (ImageQuality() for _ in range(3))
    whole.update(images, truths)
    whole.update(images[:0], truths[:0])
    for i in range(5):
        (single if i < 2 else other).update(images[i : i + 1], truths[i : i + 1])
    single.merge_state(other)
    torch.testing.assert_close(single.compute(), whole.compute())
    loop = sum((a - b).abs().mean().item() for a, b in zip(images, truths)) / 5
    assert whole.compute()["L1"].item() == pytest.approx(loop)


def test_no_image_is_nan() -> None:
    metric = ImageQuality()
    metric.update(flat(), flat())
    assert all(value.isnan() for value in metric.compute().values())


def test_mean_image() -> None:
    first, second = MeanImage((4, 6)), MeanImage((4, 6))
    images = torch.rand(7, 3, 4, 6, generator=torch.Generator().manual_seed(0))
    first.update(images[:3])
    second.update(images[3:])
    first.merge_state(second)
    torch.testing.assert_close(first.compute(), images.mean(0))


def test_the_mean_image_is_scored_like_a_reconstruction() -> None:
    mean = MeanImage((16, 16))
    mean.update(flat())
    assert mean.compute().abs().sum() == 0
    mean.update(flat(0.2, 0.6))
    metric, truths = ImageQuality(), flat(0.4, 0.9)
    metric.update(mean.compute().expand_as(truths), truths)
    assert metric.compute()["L1"].item() == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("images", "truths", "message"),
    [
        (torch.zeros(3, 16, 16), flat(0.0), r"images: expected float \[B, 3, H, W\]"),
        (flat(0.0), flat(0.0).byte(), "true images: expected float"),
        (flat(1.5), flat(0.0), r"images: expected values in \[0, 1\], got 1.5..1.5"),
        (flat(math.nan), flat(0.0), r"images: expected values in \[0, 1\], got nan"),
        (flat(0.0), flat(0.0, 0.0), r"images: expected shape \[2, 3, 16, 16\]"),
        (flat(0.0, side=8), flat(0.0, side=8), "images: expected sides >= 11 pixels"),
    ],
)
def test_bad_images_are_refused(images: torch.Tensor, truths: torch.Tensor, message: str) -> None:
    with pytest.raises(InputError, match=message):
        ImageQuality().update(images, truths)


def test_mean_image_refuses_another_size() -> None:
    with pytest.raises(InputError, match="images: expected shape"):
        MeanImage((4, 4)).update(flat(0.0))
