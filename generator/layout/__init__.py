"""The layout: vectors of objects and relations over their boxes, kept as factors."""

from autoenc_sg.generator.layout.factors import (
    Layout,
    factor_layout,
    hats,
    in_slots,
    joined_layouts,
    object_slots,
    with_background_vectors,
)
from autoenc_sg.generator.layout.relations import RelationLayout

__all__ = [
    "Layout",
    "RelationLayout",
    "factor_layout",
    "hats",
    "in_slots",
    "joined_layouts",
    "object_slots",
    "with_background_vectors",
]
