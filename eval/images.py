"""Similarity of images: L1, PSNR and SSIM; and the mean image as a baseline."""

from __future__ import annotations

import torch
import torchmetrics
from torch import Tensor
from torchmetrics.functional.image import (
    peak_signal_noise_ratio,
    structural_similarity_index_measure,
)

from autoenc_sg.core.errors import bad_input
from autoenc_sg.eval.base.compute_groups import prevent_compute_groups


class ImageQuality(torchmetrics.Metric):
    """Mean over images of L1, PSNR and SSIM.

    `compute()` gives `L1` (mean absolute difference, in [0, 1]), `PSNR` (dB, of the mean squared
    error over pixels and channels of each image, at most `max_psnr`) and `SSIM` (Gaussian window of
    11 pixels, sigma 1.5, Wang et al. 2004); NaN before the first image.

    Args:
        max_psnr: upper bound; the PSNR of equal images is infinite, and so would the mean be.
    """

    full_state_update = False
    is_differentiable = False

    images: Tensor
    l1: Tensor
    psnr: Tensor
    ssim: Tensor

    def __init__(self, max_psnr: float = 100.0) -> None:
        super().__init__()
        self.max_psnr = max_psnr
        for name in ("images", "l1", "psnr", "ssim"):
            self.add_state(name, torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        prevent_compute_groups(self)

    def update(self, images: Tensor, truths: Tensor) -> None:
        """Count some images.

        Shapes: both `[B, 3, H, W]`, float in [0, 1], sides of at least 11 pixels.

        Raises:
            InputError: a shape or a value is not as stated.
        """
        check_images("images", images)
        check_images("true images", truths)
        if images.shape != truths.shape:
            raise bad_input("images", f"shape {list(truths.shape)}", list(images.shape))
        if min(images.shape[2:]) < 11:
            raise bad_input("images", "sides >= 11 pixels", list(images.shape[2:]))
        if len(images) == 0:
            return
        images, truths = images.float(), truths.float()
        psnr = peak_signal_noise_ratio(
            images, truths, data_range=1.0, reduction="none", dim=(1, 2, 3)
        )
        ssim = structural_similarity_index_measure(images, truths, data_range=1.0, reduction="none")
        self.images += len(images)
        self.l1 += (images - truths).abs().mean((1, 2, 3)).sum().to(self.l1)
        self.psnr += psnr.clamp(max=self.max_psnr).sum().to(self.psnr)
        self.ssim += torch.as_tensor(ssim).sum().to(self.ssim)

    def compute(self) -> dict[str, Tensor]:
        """L1, PSNR and SSIM."""
        sums = {"L1": self.l1, "PSNR": self.psnr, "SSIM": self.ssim}
        return {name: total / self.images for name, total in sums.items()}


class MeanImage(torchmetrics.Metric):
    """The mean of the training images: a reconstruction baseline without an encoder.

    Args:
        image_size: (height, width).
    """

    full_state_update = False
    is_differentiable = False

    images: Tensor
    total: Tensor

    def __init__(self, image_size: tuple[int, int]) -> None:
        super().__init__()
        zeros = torch.zeros(3, *image_size, dtype=torch.float64)
        self.add_state("images", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("total", zeros, dist_reduce_fx="sum")

    def update(self, images: Tensor) -> None:
        """Add images `[B, 3, H, W]`, float in [0, 1].

        Raises:
            InputError: a shape or a value is not as stated.
        """
        check_images("images", images)
        if images.shape[1:] != self.total.shape:
            raise bad_input("images", f"shape {['B', *self.total.shape]}", list(images.shape))
        self.images += len(images)
        self.total += images.sum(0, dtype=torch.float64).to(self.total)

    def compute(self) -> Tensor:
        """The mean: `[3, H, W]` float32 in [0, 1]; zeros before the first image."""
        return (self.total / self.images.clamp(min=1)).float()


def check_images(name: str, images: Tensor) -> None:
    """Refuse all but `[B, 3, H, W]` float in [0, 1].

    Raises:
        InputError: a shape, type or value is not as stated.
    """
    if images.ndim != 4 or images.shape[1] != 3 or not images.is_floating_point():
        raise bad_input(name, "float [B, 3, H, W]", f"{images.dtype} {list(images.shape)}")
    if images.numel() == 0:
        return
    least, most = images.aminmax()
    if not bool((least >= 0) & (most <= 1)):
        raise bad_input(name, "values in [0, 1]", f"{least.item():g}..{most.item():g}")
