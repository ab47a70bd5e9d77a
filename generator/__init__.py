"""The decoder: scene graph to image, its discriminators and the image losses.

`model` is the whole generator; its stages, in order, are `image_node`, `graph_conv`, `heads`,
`layout` and `refinement`.
"""

from autoenc_sg.generator.discriminators import (
    ObjectDiscriminator,
    PatchDiscriminator,
    RelationDiscriminator,
)
from autoenc_sg.generator.image_node import with_image_boxes, with_image_relations
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
    "RelationDiscriminator",
    "box_loss",
    "class_loss",
    "gan_discriminator_loss",
    "gan_generator_loss",
    "mask_loss",
    "pixel_loss",
    "with_image_boxes",
    "with_image_relations",
]
