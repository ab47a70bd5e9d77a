r"""The losses of generator and discriminators, as functions of tensors.

The paper's objectives (section 3.2) are, with the fake term that its equation 5 leaves out,

    L_D = -E_real[log D(x)] - E_fake[log(1 - D(x))]              (eq. 5)
    L_G =  E_fake[log(1 - D(x))] + lambda |x - x^|_1             (eq. 6)

For the generator the non-saturating form -E_fake[log D(x)] is used, as in the code the paper builds
on (google/sg2im `losses.py`). It has the same fixed points; log(1 - D) saturates, and gives almost
no gradient, while the discriminator wins, as it does early in training. D = sigmoid(scores).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from autoenc_sg.config.phases import BoxKind, GanKind, PixelSpace
from autoenc_sg.core.errors import bad_input
from autoenc_sg.core.images import IMAGENET_STD
from autoenc_sg.generator.image_node import WHOLE_IMAGE


def gan_generator_loss(fake: Tensor, kind: GanKind = "gan") -> Tensor:
    """The generator's adversarial loss; mean over all scores.

    gan: -log sigmoid(s); lsgan: (sigmoid(s) - 1)^2; wgan: -s.

    Args:
        fake: the discriminator's scores of generated images, any shape.
        kind: which loss.

    Raises:
        InputError: another kind.
    """
    return -fake.mean() if kind == "wgan" else _score_loss(fake, 1.0, kind)


def gan_discriminator_loss(real: Tensor, fake: Tensor, kind: GanKind = "gan") -> Tensor:
    """The discriminator's adversarial loss; sum of the means over real and generated images.

    gan: -log sigmoid(r) - log(1 - sigmoid(f)); lsgan: (sigmoid(r) - 1)^2 + sigmoid(f)^2;
    wgan: f - r.
    `fake` are scores of detached images. Arguments and errors as in `gan_generator_loss`.
    """
    if kind == "wgan":
        return fake.mean() - real.mean()
    return _score_loss(real, 1.0, kind) + _score_loss(fake, 0.0, kind)


def pixel_loss(image: Tensor, target: Tensor, space: PixelSpace = "rgb") -> Tensor:
    """Mean absolute difference (eq. 6) of two `[B, 3, H, W]` images in RGB [0, 1].

    Args:
        image: generated.
        target: true.
        space: `rgb`, or `normalized` as sg2im measures it: each channel divided by ImageNet's
            deviation, which makes the loss about 4.4 times larger.

    Raises:
        InputError: another space.
    """
    if space == "rgb":
        return F.l1_loss(image, target)
    if space != "normalized":
        raise bad_input("pixel space", "rgb or normalized", repr(space))
    std = image.new_tensor(IMAGENET_STD)[:, None, None]
    return ((image - target) / std).abs().mean()


def mask_loss(
    masks: Tensor, target: Tensor, image_masks: Tensor | None = None, eps: float = 1e-7
) -> Tensor:
    """Mean binary cross entropy of predicted masks; 0 where there is none.

    Args:
        masks: `[N, S, S]`, predicted, in [0, 1].
        target: `[N, S, S]`, true, in [0, 1].
        image_masks: `[B, S, S]`, those predicted for the `__image__` nodes, which should be ones;
            sg2im's loss has them.
        eps: masks are clamped to [eps, 1 - eps].

    Raises:
        InputError: the true masks have another size.
    """
    if masks.shape != target.shape:
        raise bad_input("true masks", f"shape {list(masks.shape)}", list(target.shape))
    if image_masks is not None:
        masks = torch.cat([masks, image_masks])
        target = torch.cat([target.to(image_masks), torch.ones_like(image_masks)])
    if len(masks) == 0:
        return masks.sum()
    return F.binary_cross_entropy(masks.float().clamp(eps, 1 - eps), target.float())


def class_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """The auxiliary classifier's mean cross entropy; 0 where there is no object.

    Shapes: `[N, C], [N] -> []`.
    """
    return F.cross_entropy(logits, labels) if len(labels) else logits.sum() * 0


def box_loss(
    boxes: Tensor,
    target: Tensor,
    image_boxes: Tensor | None = None,
    kind: BoxKind = "squared",
) -> Tensor:
    """Mean error of predicted box coordinates; 0 where there is no box.

    Args:
        boxes: `[N, 4]`, predicted, fractions of the image.
        target: `[N, 4]`, true.
        image_boxes: `[B, 4]`, the boxes predicted for the `__image__` nodes, which should be
            [0, 0, 1, 1]; sg2im's loss has them.
        kind: `squared` as sg2im's code does, or `l1` as its paper says.

    Raises:
        InputError: another kind.
    """
    if kind not in ("squared", "l1"):
        raise bad_input("box loss", "squared or l1", repr(kind))
    if image_boxes is not None:
        boxes = torch.cat([boxes, image_boxes])
        target = torch.cat([target, target.new_tensor(WHOLE_IMAGE).expand(len(image_boxes), 4)])
    if len(boxes) == 0:
        return boxes.sum()
    return F.mse_loss(boxes, target) if kind == "squared" else F.l1_loss(boxes, target)


def _score_loss(scores: Tensor, target: float, kind: str) -> Tensor:
    targets = torch.full_like(scores, target)
    if kind == "gan":
        return F.binary_cross_entropy_with_logits(scores, targets)
    if kind == "lsgan":
        return F.mse_loss(scores.sigmoid(), targets)
    raise bad_input("GAN loss", "gan, lsgan or wgan", repr(kind))
