"""Discriminators of image patches, of objects and of relations."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, cat, channels_last, nn, stack

from autoenc_sg.config.model import GeneratorConfig
from autoenc_sg.core.boxes import enclosing_boxes, grid_coverage
from autoenc_sg.core.errors import bad_input
from autoenc_sg.core.layers import activation_layer
from autoenc_sg.generator.crops import crop_objects
from autoenc_sg.generator.normalization import (
    ConvBeforeNorm,
    ImageNormalization,
    normalization_layers,
)

KERNEL, STRIDE = 4, 2
CROP_DIM = 1024


class PatchDiscriminator(nn.Module):
    """Convolutions 4x4 of stride 2 without padding, normalization and activation between them.

    google/sg2im's `C4-64-2,C4-128-2,C4-256-2`. With `discriminator_classifier` an activation and a
    classifier, a 1x1 convolution, follow. sg2im has that classifier but never calls it: there the
    loss is averaged over all channels of the last convolution.

    Args:
        config: widths, normalization, activation, conditioning on the layout (paper, section 3.2;
            concatenated to the image's channels), and the patch classifier.

    Raises:
        InputError: the image is too small for so many convolutions.
    """

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        _check_side("discriminator_dims", config.discriminator_dims, config.image_size)
        self.conditional = config.discriminator_condition == "layout"
        self.classify = config.discriminator_classifier
        self.normalize = ImageNormalization()
        channels = 3 + (config.gconv_dim if self.conditional else 0)
        self.cnn = _halvings(channels, config.discriminator_dims, config)
        self.activation = activation_layer(config.activation)
        self.classifier = nn.Conv2d(config.discriminator_dims[-1], 1, 1)

    def forward(self, image: Tensor, layout: Tensor | None = None) -> Tensor:
        """Scores (logits) of patches: `[B, 1, h, w]`, or `[B, D, h, w]` without `classify`.

        Args:
            image: `[B, 3, H, W]`, RGB in [0, 1].
            layout: `[B, gconv_dim, H, W]`, `Generated.layout`, if the discriminator is conditional;
                not detached here. Ignored otherwise.

        Raises:
            InputError: a conditional discriminator without a layout.
        """
        inputs = self.normalize(image)
        if self.conditional:
            if layout is None:
                raise bad_input("the conditional discriminator", "a layout", None)
            inputs = cat([inputs, layout], 1)
        scores: Tensor = self.cnn(inputs.contiguous(memory_format=channels_last))
        return self.classifier(self.activation(scores)) if self.classify else scores


class _CropDiscriminator(nn.Module):
    """Convolutions as in `PatchDiscriminator` over crops, and the real/generated logit of each.

    After the convolutions the mean over all positions and a linear layer to 1024 features. What the
    crops are and which classes they have is a subclass's; its classifier comes after these layers.

    Args:
        config: `object_discriminator_dims`, `object_size`, normalization, activation.
        channels: of a crop, with the image's three.

    Raises:
        InputError: the crops are too small for so many convolutions.
    """

    def __init__(self, config: GeneratorConfig, channels: int) -> None:
        super().__init__()
        dims = config.object_discriminator_dims
        _check_side("object_discriminator_dims", dims, config.object_size)
        self.size = config.object_size
        self.normalize = ImageNormalization()
        convolutions = _halvings(channels, dims, config)
        self.cnn = nn.Sequential(convolutions, _PixelMean(), nn.Linear(dims[-1], CROP_DIM))
        self.real_classifier = nn.Linear(CROP_DIM, 1)

    def _crops(self, images: Tensor, boxes: Tensor, image_index: Tensor) -> Tensor:
        """Of normalized images: `[N, 3, S, S]`."""
        return crop_objects(self.normalize(images), boxes, image_index, self.size)

    def _features(self, crops: Tensor) -> Tensor:
        """`[N, channels, S, S] -> [N, 1024]`."""
        features: Tensor = self.cnn(crops.contiguous(memory_format=channels_last))
        return features


class ObjectDiscriminator(_CropDiscriminator):
    """Classifies crops of objects as real or generated, and by object class.

    To the crops' features one linear layer for the real/generated logit and one for class logits
    (the auxiliary classifier of Odena et al., 2017).

    Source: Johnson et al. (CVPR 2018), section 3; google/sg2im `AcCropDiscriminator`, whose
    parameter names are these with the prefix `discriminator.`.

    Args:
        config: `object_discriminator_dims`, `object_size`, normalization, activation.
        num_objects: C, with the reserved 0, which is `__image__` here.

    Raises:
        InputError: the crops are too small for so many convolutions.
    """

    def __init__(self, config: GeneratorConfig, num_objects: int) -> None:
        super().__init__(config, 3)
        self.obj_classifier = nn.Linear(CROP_DIM, num_objects)

    def forward(self, images: Tensor, boxes: Tensor, image_index: Tensor) -> tuple[Tensor, Tensor]:
        """Scores (logits) `[N, 1]` of being real, and class logits `[N, C]`.

        Args:
            images: `[B, 3, H, W]`, RGB in [0, 1].
            boxes: `[N, 4]` xyxy, fractions of the image.
            image_index: `[N]` ascending.
        """
        features = self._features(self._crops(images, boxes, image_index))
        return self.real_classifier(features), self.obj_classifier(features)


class RelationDiscriminator(_CropDiscriminator):
    """Classifies crops of relations' union boxes as real or generated, and by predicate.

    As `ObjectDiscriminator`, with two more channels of a crop: the shares of each pixel that the
    subject's and the object's box cover, which say whose relation it is.

    Args:
        config: `object_discriminator_dims`, `object_size`, normalization, activation.
        num_predicates: P, with the reserved 0, which is `__in_image__` here.

    Raises:
        InputError: the crops are too small for so many convolutions.
    """

    def __init__(self, config: GeneratorConfig, num_predicates: int) -> None:
        super().__init__(config, 5)
        self.predicate_classifier = nn.Linear(CROP_DIM, num_predicates)

    def forward(self, images: Tensor, boxes: Tensor, image_index: Tensor) -> tuple[Tensor, Tensor]:
        """Scores (logits) `[M, 1]` of being real, and predicate logits `[M, P]`.

        Args:
            images: `[B, 3, H, W]`, RGB in [0, 1].
            boxes: `[M, 2, 4]` of subject and object, xyxy, fractions of the image.
            image_index: `[M]` ascending.
        """
        union = enclosing_boxes(*boxes.unbind(1))
        crops = self._crops(images, union, image_index)
        covered = [grid_coverage(each, union, self.size) for each in boxes.unbind(1)]
        features = self._features(cat([crops, stack(covered, 1).to(crops)], 1))
        return self.real_classifier(features), self.predicate_classifier(features)


class _PixelMean(nn.Module):
    def forward(self, maps: Tensor) -> Tensor:
        return maps.mean((2, 3))


def _halvings(channels: int, dims: Sequence[int], config: GeneratorConfig) -> nn.Sequential:
    layers: list[nn.Module] = []
    for i, width in enumerate(dims):
        norm = normalization_layers(config.normalization, width) if i < len(dims) - 1 else []
        conv = ConvBeforeNorm if norm else nn.Conv2d
        layers += [conv(channels, width, KERNEL, STRIDE), *norm]
        if i < len(dims) - 1:
            layers.append(activation_layer(config.activation))
        channels = width
    return nn.Sequential(*layers)


def _check_side(what: str, dims: Sequence[int], size: int) -> None:
    side = size
    for _ in dims:
        side = (side - KERNEL) // STRIDE + 1
    if side < 1 or not dims:
        raise bad_input(f"{what} at {size} px", "1 or more, at least one patch left", tuple(dims))
