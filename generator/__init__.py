"""The decoder: scene graph to picture, its discriminators and the image losses.

`model` is the way through; `graph_conv`, `image_node`, `heads`, `layout` and `refinement` are its
stations, in that order.
"""

from autoenc_sg.generator.discriminators import ObjectDiscriminator, PatchDiscriminator
from autoenc_sg.generator.image_node import with_image_boxes
from autoenc_sg.generator.losses import (
    box_loss,
    class_loss,
    gan_discriminator_loss,
    gan_generator_loss,
    mask_loss,
    pixel_loss,
)
from autoenc_sg.generator.model import Generated, Generator
from autoenc_sg.generator.noise import GeneratorNoise

__all__ = [
    "Generated",
    "Generator",
    "GeneratorNoise",
    "ObjectDiscriminator",
    "PatchDiscriminator",
    "box_loss",
    "class_loss",
    "gan_discriminator_loss",
    "gan_generator_loss",
    "mask_loss",
    "pixel_loss",
    "with_image_boxes",
]
