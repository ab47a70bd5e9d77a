"""The patch discriminator: is each patch of this picture, with this layout, real?"""

from __future__ import annotations

from torch import Tensor, cat, nn

from autoenc_sg.config import GeneratorConfig
from autoenc_sg.errors import bad_input
from autoenc_sg.generator.normalization import ImageNormalization, normalization_layers
from autoenc_sg.layers import activation_layer

KERNEL, STRIDE = 4, 2


class PatchDiscriminator(nn.Module):
    """Convolutions 4x4 of stride 2 without padding, normalization and activation between them.

    google/sg2im's `C4-64-2,C4-128-2,C4-256-2`. With the default `classify` an activation and its
    classifier, a 1x1 convolution, follow. sg2im holds the classifier but never calls it: there the
    loss is averaged over all channels of the last convolution, which `classify=False` gives.

    Args:
        config: widths, normalization, activation, and whether the layout is seen (paper, section
            3.2: conditional; concatenated to the image's channels).
        classify: see above.

    Raises:
        InputError: the image is too small for so many convolutions.
    """

    def __init__(self, config: GeneratorConfig, classify: bool = True) -> None:
        super().__init__()
        _check_patches(config)
        self.conditional = config.discriminator_condition == "layout"
        self.classify = classify
        self.normalize = ImageNormalization()
        channels = 3 + (config.gconv_dim if self.conditional else 0)
        layers: list[nn.Module] = []
        for i, width in enumerate(config.discriminator_dims):
            if i > 0:
                layers += normalization_layers(config.normalization, channels)
                layers.append(activation_layer(config.activation))
            layers.append(nn.Conv2d(channels, width, KERNEL, STRIDE))
            channels = width
        self.cnn = nn.Sequential(*layers)
        self.activation = activation_layer(config.activation)
        self.classifier = nn.Conv2d(channels, 1, 1)

    def forward(self, image: Tensor, layout: Tensor | None = None) -> Tensor:
        """Scores (logits) of patches: `[B, 1, h, w]`, or `[B, D, h, w]` without `classify`.

        Args:
            image: `[B, 3, H, W]`, RGB in [0, 1].
            layout: `[B, gconv_dim, H, W]`, `Generated.layout`, if the discriminator is conditional;
                detaching it is the caller's choice. Ignored otherwise.

        Raises:
            InputError: no layout where it is needed.
        """
        seen = self.normalize(image)
        if self.conditional:
            if layout is None:
                raise bad_input("the conditional discriminator", "a layout", None)
            seen = cat([seen, layout], 1)
        scores: Tensor = self.cnn(seen)
        return self.classifier(self.activation(scores)) if self.classify else scores


def _check_patches(config: GeneratorConfig) -> None:
    side = config.image_size
    for _ in config.discriminator_dims:
        side = (side - KERNEL) // STRIDE + 1
    if side < 1 or not config.discriminator_dims:
        what = f"discriminator_dims at {config.image_size} px"
        raise bad_input(what, "1 or more, at least one patch left", config.discriminator_dims)
