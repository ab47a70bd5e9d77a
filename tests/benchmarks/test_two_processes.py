"""What Adam makes of gradients that differ by rounding, as the benchmark measures it."""

from __future__ import annotations

import pytest
import torch

from benchmarks.training.two_processes import compare_gradients


def test_by_hand() -> None:
    first = torch.tensor([3.0, 4.0, 0.0, 1e-9], dtype=torch.float64)
    second = torch.tensor([3.0, 4.000005, 0.0, 2e-9], dtype=torch.float64)
    apart, share, elements = compare_gradients(first, second, 1e-8)
    assert apart == pytest.approx(1e-6)
    assert elements == 0.5  # the third and the fourth
    assert share == pytest.approx(1)  # the fourth's step is 1 / 11 or 1 / 6
    _, share, _ = compare_gradients(first, second, 1.0)
    # steps apart by 5e-6 / 25 and 1e-9
    assert share == pytest.approx((1e-9 / 2e-7) ** 2, rel=1e-4)
