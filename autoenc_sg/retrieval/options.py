"""The options of `bank build` and `bank paste`, without PyTorch."""

from __future__ import annotations

from dataclasses import dataclass

from autoenc_sg.core.errors import require

LARGEST_SIDE = 1024  # pixels of a crop
LARGEST_CANVAS = 4096  # pixels of a pasted canvas' longer side


@dataclass(frozen=True)
class BankOptions:
    """What a bank holds.

    Attributes:
        crop_size: side of an object's crop in pixels.
        canvas_size: side in pixels of whole photos, patches of the class 0 for the `__image__`
            node; 0: none.
    """

    crop_size: int = 32
    canvas_size: int = 0

    def __post_init__(self) -> None:
        for name, least in (("crop_size", 1), ("canvas_size", 0)):
            value, expected = getattr(self, name), f"{least}..{LARGEST_SIDE}"
            require(least <= value <= LARGEST_SIDE, f"bank {name}", expected, value)


@dataclass(frozen=True)
class PasteOptions:
    """How to paste.

    Attributes:
        size: pixels of the canvas' longer side; its shape is that of the graph's image.
        canvas: first fill the canvas with the whole photo that is selected for the graph.
        seed: of a random selection: graph i of the file has seed + i.
        image_ids: of the images that the graphs of the file are of, in their order; none of their
            patches is pasted.
    """

    size: int = 256
    canvas: bool = False
    seed: int = 0
    image_ids: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        require(1 <= self.size <= LARGEST_CANVAS, "--size", f"1..{LARGEST_CANVAS}", self.size)
        require(0 <= self.seed < 2**62, "--seed", "0..2^62 - 1", self.seed)
