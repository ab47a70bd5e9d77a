"""Nearest vectors: by hand, against a plain loop, in batches and approximately."""

from __future__ import annotations

import logging
import sys

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from autoenc_sg.retrieval import neighbours
from autoenc_sg.retrieval.neighbours import ExactIndex, FaissIndex, build_index
from tests.support.graphs import seeded


def slow_nearest(vectors: Tensor, query: Tensor, count: int) -> list[int]:
    distances = [sum((a - b) ** 2 for a, b in zip(v, query.tolist())) for v in vectors.tolist()]
    return sorted(range(len(distances)), key=lambda i: (distances[i], i))[:count]


def test_by_hand() -> None:
    index = ExactIndex(torch.tensor([[0.0, 0.0], [3.0, 4.0], [0.0, 1.0]]))
    positions, distances = index.search(torch.tensor([[0.0, 0.0], [3.0, 3.0]]), 2)
    assert positions.tolist() == [[0, 2], [1, 2]]
    assert distances.tolist() == [[0, 1], [1, 13]]
    positions, distances = index.search(torch.tensor([[0.0, 0.0]]), 5)
    assert positions.tolist() == [[0, 2, 1, -1, -1]]
    assert distances.tolist() == [[0, 1, 25, torch.inf, torch.inf]]


def test_no_queries_and_no_vectors() -> None:
    index = ExactIndex(torch.zeros(3, 2))
    assert index.search(torch.zeros(0, 2), 2)[0].shape == (0, 2)
    positions, distances = ExactIndex(torch.zeros(0, 2)).search(torch.zeros(1, 2), 2)
    assert positions.tolist() == [[-1, -1]]
    assert distances.tolist() == [[torch.inf] * 2]


def test_ties_are_by_position() -> None:

    index = ExactIndex(torch.tensor([[1.0], [-1.0], [2.0], [1.0]]))
    assert index.search(torch.zeros(1, 1), 4)[0].tolist() == [[0, 1, 3, 2]]


@pytest.mark.parametrize("block", [7, 300, 1 << 26])
def test_against_a_loop_in_blocks_of_queries(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "_BLOCK", block)
    vectors, queries = torch.randn(90, 5, generator=seeded(0)), torch.randn(9, 5)
    index = ExactIndex(vectors)
    positions, distances = index.search(queries, 6)
    assert positions.tolist() == [slow_nearest(vectors, query, 6) for query in queries]
    alone = [index.search(query[None], 6) for query in queries]
    assert torch.equal(positions, torch.cat([each for each, _ in alone]))
    assert_close(distances, torch.cat([each for _, each in alone]))


def test_far_from_the_origin_distances_keep_their_digits() -> None:
    vectors = torch.tensor([[1000.0], [1000.02], [1000.05], [1000.09]])
    positions, distances = ExactIndex(vectors).search(torch.tensor([[1000.04]]), 4)
    assert positions.tolist() == [[2, 1, 0, 3]]
    assert_close(distances[0, 0], torch.tensor(1e-4), rtol=0.05, atol=0)


def test_only_allowed_ones() -> None:
    index = ExactIndex(torch.arange(4.0)[:, None])
    allowed = torch.tensor([[False, True, False, True], [False] * 4])
    positions, distances = index.search_allowed(torch.zeros(2, 1), 3, allowed)
    assert positions.tolist() == [[1, 3, -1], [-1, -1, -1]]
    assert distances.tolist() == [[1, 9, torch.inf], [torch.inf] * 3]


def test_without_faiss_every_vector_is_compared(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    with caplog.at_level(logging.WARNING):
        assert isinstance(build_index(torch.zeros(4, 2), exact_limit=3), ExactIndex)
    assert "pip install 'autoenc-sg[bank]'" in caplog.text
    caplog.clear()
    assert isinstance(build_index(torch.zeros(3, 2), exact_limit=3), ExactIndex)
    assert caplog.text == ""


def test_faiss_finds_most() -> None:
    pytest.importorskip("faiss")
    vectors = torch.randn(4000, 8, generator=seeded(1))
    queries = vectors[:50] + 0.01
    index = build_index(vectors, exact_limit=100)
    assert isinstance(index, FaissIndex)
    positions, distances = index.search(queries, 5)
    expected, exact_distances = ExactIndex(vectors).search(queries, 5)
    assert positions[:, 0].tolist() == list(range(50))
    shared = [len(set(a) & set(b)) for a, b in zip(positions.tolist(), expected.tolist())]
    assert sum(shared) / 250 > 0.9
    assert_close(distances[:, 0], exact_distances[:, 0], rtol=1e-3, atol=1e-4)
    many, far = index.search(queries[:1], 4000)  # more than its cells hold
    assert (many == -1).any()
    assert far[many == -1].isinf().all()
