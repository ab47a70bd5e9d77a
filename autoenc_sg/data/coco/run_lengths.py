"""COCO's run lengths: of pixels outside and inside a mask in turn, column by column."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from autoenc_sg.core.boxes import ImageSize

RunLengths = NDArray[np.int64]
_LONGEST_CODE = 7  # characters of 5 bits


def read_runs(counts: object) -> RunLengths:
    """Run lengths `[R]`, compressed (text) or not (a list of whole numbers); their sum is checked.

    Raises:
        ValueError: they are neither.
    """
    if isinstance(counts, (str, bytes)):
        return _uncompressed(counts.encode("ascii") if isinstance(counts, str) else counts)
    if not isinstance(counts, list) or not set(map(type, counts)) <= {int, float}:
        raise ValueError(f"counts {str(counts)[:40]}")
    runs = np.array(counts, dtype=np.float64)
    if not (np.isfinite(runs) & (runs == runs.round()) & (abs(runs) < 1 << 53)).all():
        raise ValueError(f"counts {str(counts)[:40]}")
    return runs.astype(np.int64)


def mask_of_runs(runs: RunLengths, size: ImageSize) -> NDArray[np.uint8]:
    """The mask `[H, W]` of run lengths >= 0 whose sum is H W."""
    inside = (np.arange(len(runs)) % 2).astype(np.uint8)
    return np.repeat(inside, runs).reshape(size[1], size[0]).T


def _uncompressed(text: bytes) -> RunLengths:
    """Characters from 48, each of 5 bits (the lowest first) and one for "more follow".

    The highest bit of a number is its sign; from the fourth one on numbers are differences to the
    one before the last (pycocotools, maskApi.c, rleToString).
    """
    codes = np.frombuffer(text, np.uint8).astype(np.int64) - 48
    is_last = (codes & 32) == 0
    if not len(codes) or codes.min() < 0 or codes.max() > 63 or not is_last[-1]:
        raise ValueError("counts that are no compressed run lengths")
    ends = is_last.nonzero()[0]
    starts = np.concatenate([[0], ends[:-1] + 1])
    lengths = ends - starts + 1
    if lengths.max() > _LONGEST_CODE:
        raise ValueError("counts that are no compressed run lengths")
    places = np.arange(len(codes)) - np.repeat(starts, lengths)
    runs = np.add.reduceat((codes & 31) << (5 * places), starts)
    runs -= np.where(codes[ends] & 16, 1 << (5 * lengths), 0)
    for first in (1, 2):
        runs[first::2] = runs[first::2].cumsum()
    return runs
