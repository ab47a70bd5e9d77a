"""Seeds of the generator's noise that a user gives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from autoenc_sg.core.errors import bad_input, whole_number

Seeds = int | Sequence[int] | NDArray[Any] | Tensor

_EXPECTED = "a whole number in 0..2^63 - 1"


def checked_seeds(seeds: Seeds, count: int) -> list[int]:
    """A seed for each of `count` graphs, of one for each or of one number for all.

    Raises:
        InputError: another number of seeds, or one that is not a whole number in 0..2^63 - 1.
    """
    plain = seeds.tolist() if isinstance(seeds, (np.ndarray, Tensor)) else seeds
    numbers = list(plain) if isinstance(plain, Sequence) else [plain] * count
    if len(numbers) != count:
        raise bad_input("seeds", f"one number, or one for each of {count} graphs", len(numbers))
    return [_seed(number) for number in numbers]


def _seed(value: object) -> int:
    number = whole_number(value, "seed", _EXPECTED)
    if number < 0:
        raise bad_input("seed", _EXPECTED, repr(value))
    return number
