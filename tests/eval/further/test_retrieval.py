"""Retrieval accuracy, by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch.testing import assert_close

from autoenc_sg.core.errors import InputError
from autoenc_sg.eval.further.retrieval import retrieval_accuracy, source_share, true_ranks


def test_ranks_of_the_true_patch() -> None:
    candidates = torch.tensor([[5, 3, 8], [1, 2, 0], [4, -1, -1], [0, 9, 6]])
    assert true_ranks(candidates, torch.tensor([3, 7, 4, 0])).tolist() == [2, 0, 1, 1]
    assert true_ranks(torch.zeros(2, 0).long(), torch.tensor([3, 7])).tolist() == [0, 0]
    assert true_ranks(torch.zeros(0, 3).long(), torch.zeros(0).long()).tolist() == []
    with pytest.raises(InputError, match=r"expected shape \[4\], got \[3\]"):
        true_ranks(candidates, torch.zeros(3))


def test_accuracy_counts_what_is_not_retrieved() -> None:
    scores = retrieval_accuracy(torch.tensor([2, 0, 1, 4]), (1, 2, 5))
    assert scores == {"R@1": 0.25, "R@2": 0.5, "R@5": 0.75, "MRR": (0.5 + 0 + 1 + 0.25) / 4}
    assert all(math.isnan(value) for value in retrieval_accuracy(torch.zeros(0).long()).values())


def test_share_of_one_photo() -> None:
    sources = torch.tensor([7, 8, 7, 7, 5, 6, 9])
    pictures = torch.tensor([0, 0, 2, 0, 2, 2, 3])
    share = source_share(sources, pictures, 5)
    expected = torch.tensor([2 / 3, torch.nan, 1 / 3, 1, torch.nan]).double()
    assert_close(share, expected, equal_nan=True)
    assert source_share(sources[:0], pictures[:0], 0).shape == (0,)
