"""The options of `bank build`, without PyTorch."""

from __future__ import annotations

from dataclasses import dataclass

from autoenc_sg.core.errors import require

LARGEST_SIDE = 1024  # pixels of a crop


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
