"""What `bench` measures."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from autoenc_sg.core.errors import bad_input, require, require_at_least

Precision = Literal["float32", "bfloat16", "float16"]
LARGEST_SIDE = 8192


@dataclass(frozen=True)
class BenchOptions:
    """What is measured: all combinations of sizes, threads, devices and precisions.

    Attributes:
        sizes: of the photos, WIDTHxHEIGHT in pixels, such as 640x480; the detector resizes them.
        threads: of PyTorch on the CPU; 0: its own choice.
        devices: such as cpu or cuda.
        precisions: of the weights; a half one runs under autocast.
        batch_size: photos at a time.
        objects: detected boxes of each photo that relations are read from; 0: as many as the
            detector keeps at most.
        warmup: passes before those that are measured.
        repeats: measured passes.
    """

    sizes: tuple[str, ...] = ("640x480",)
    threads: tuple[int, ...] = (0,)
    devices: tuple[str, ...] = ("cpu",)
    precisions: tuple[Precision, ...] = ("float32",)
    batch_size: int = 1
    objects: int = 0
    warmup: int = 2
    repeats: int = 10

    def __post_init__(self) -> None:
        for name in ("sizes", "threads", "devices", "precisions"):
            require(len(getattr(self, name)) > 0, name, "one or more", getattr(self, name))
        require_at_least(1, self, "bench", "batch_size", "repeats")
        require_at_least(0, self, "bench", "objects", "warmup")
        require(min(self.threads) >= 0, "threads", "0 or more", self.threads)
        for size in self.sizes:
            height_and_width(size)


def height_and_width(size: str) -> tuple[int, int]:
    """The (height, width) of `WIDTHxHEIGHT`; raises InputError for another text."""
    parts = re.fullmatch(r"(\d{1,4})x(\d{1,4})", size)
    expected = f"WIDTHxHEIGHT, 1..{LARGEST_SIDE} pixels each"
    if parts is None:
        raise bad_input("sizes", expected, repr(size))
    width, height = int(parts[1]), int(parts[2])
    if not (1 <= width <= LARGEST_SIDE and 1 <= height <= LARGEST_SIDE):
        raise bad_input("sizes", expected, repr(size))
    return height, width
