"""Candidates: never a patch of the image that is drawn, and another class where there is none."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from autoenc_sg.core.errors import InputError
from autoenc_sg.core.vocabulary import Vocabulary
from autoenc_sg.data.relate.names import WordVectors
from autoenc_sg.retrieval import search as search_module
from autoenc_sg.retrieval.bank import PatchBank
from autoenc_sg.retrieval.class_names import NearestNames
from autoenc_sg.retrieval.neighbours import ExactIndex
from autoenc_sg.retrieval.search import PatchSearch
from tests.retrieval.banks import VOCABULARY, build, vector_bank
from tests.support.graphs import seeded

CAT, DOG, CART, HORSE = 1, 2, 3, 4


@pytest.fixture
def bank(tmp_path: Path) -> PatchBank:
    """Cats at 0, 1, 2, 3, 10 of the images 7, 7, 7, 8, 9, and a dog at 5 of the image 7."""
    vectors = torch.tensor([[0.0], [1.0], [2.0], [5.0], [3.0], [10.0]])
    return vector_bank(tmp_path, [CAT, CAT, CAT, DOG, CAT, CAT], [7, 7, 7, 7, 8, 9], vectors)


def test_nearest_of_the_class(bank: PatchBank) -> None:
    labels, queries = torch.tensor([CAT, DOG]), torch.tensor([[1.2], [1.2]])
    found = PatchSearch(bank).nearest(labels, queries, [None, 6], 3)
    assert found.rows.tolist() == [[1, 2, 0], [3, -1, -1]]
    assert_close(found.distances[0], torch.tensor([0.04, 0.64, 1.44]))
    assert found.distances[1, 1:].isinf().all()
    assert found.labels.tolist() == [CAT, DOG]
    assert found.replacements(labels) == {}


def test_no_patch_of_the_drawn_image(bank: PatchBank) -> None:
    found = PatchSearch(bank).nearest(
        torch.full((4,), CAT), torch.full((4, 1), 1.2), [7, 8, None, 7], 3
    )
    assert found.rows.tolist() == [[4, 5, -1], [1, 2, 0], [1, 2, 0], [4, 5, -1]]


def test_image_0_is_an_image(tmp_path: Path) -> None:
    bank = vector_bank(tmp_path, [CAT, CAT], [0, 1], torch.tensor([[0.0], [1.0]]))
    search = PatchSearch(bank)
    queries = torch.zeros(2, 1)
    found = search.nearest(torch.tensor([CAT, CAT]), queries, [0, None], 1)
    assert found.rows.tolist() == [[1], [0]]


class Forgetful:
    """An approximate index: the true order without every second vector."""

    def __init__(self, vectors: Tensor) -> None:
        self.exact = ExactIndex(vectors)

    def search(self, queries: Tensor, count: int) -> tuple[Tensor, Tensor]:
        positions, distances = self.exact.search(queries, count)
        missed = positions % 2 == 1
        return positions.masked_fill(missed, -1), distances.masked_fill(missed, torch.inf)


def random_bank(folder: Path, images: int) -> PatchBank:
    """200 cats of a few images."""
    owners = torch.randint(images, (200,), generator=seeded(2)).tolist()
    return vector_bank(folder, [CAT] * 200, owners, torch.randn(200, 4, generator=seeded(3)))


@pytest.mark.parametrize("images", [2, 5, 40])
@pytest.mark.parametrize("approximate", [False, True])
def test_the_guard_in_batches(
    images: int, approximate: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if approximate:
        monkeypatch.setattr(search_module, "build_index", lambda vectors, limit: Forgetful(vectors))
    bank = random_bank(tmp_path, images)
    search, count = PatchSearch(bank), 10
    owners = [None if i % 5 == 4 else i % images for i in range(30)]
    queries = torch.randn(30, 4, generator=seeded(4))
    found = search.nearest(torch.full((30,), CAT), queries, owners, count)
    for row, owner in zip(found.rows, owners):
        assert not (bank.image_ids[row.numpy()] == owner).any()
        available = len(search.allowed_rows(CAT, owner))
        assert int((row >= 0).sum()) == min(count, available)
        assert row[row >= 0].unique().numel() == int((row >= 0).sum())
    assert (found.distances.diff(dim=1) >= 0).all()
    alone = [
        search.nearest(torch.tensor([CAT]), query[None], [owner], count)
        for query, owner in zip(queries, owners)
    ]
    assert torch.equal(found.rows, torch.cat([each.rows for each in alone]))


def test_the_guard_with_faiss(tmp_path: Path) -> None:
    pytest.importorskip("faiss")
    bank = random_bank(tmp_path, 2)
    search = PatchSearch(bank, exact_limit=50)
    queries = bank.vectors(bank.rows_of_class(CAT))
    owners = bank.image_ids.tolist()
    found = search.nearest(torch.full((200,), CAT), queries, owners, 20)
    assert (found.rows >= 0).all()
    assert (bank.image_ids[found.rows.numpy()] != bank.image_ids[:, None]).all()


def test_a_class_without_a_patch(bank: PatchBank) -> None:
    labels, queries = torch.tensor([CART, HORSE, CAT]), torch.zeros(3, 1)
    nothing = PatchSearch(bank).nearest(labels, queries, [None] * 3, 2)
    assert nothing.rows.tolist() == [[-1, -1], [-1, -1], [0, 1]]
    assert nothing.labels.tolist() == [-1, -1, CAT]
    assert nothing.replacements(labels) == {CART: -1, HORSE: -1}
    found = PatchSearch(bank, names=NearestNames(VOCABULARY)).nearest(labels, queries, [8] * 3, 2)
    assert found.rows.tolist() == [[0, 1], [3, -1], [0, 1]]
    assert found.replacements(labels) == {CART: CAT, HORSE: DOG}


def test_a_class_whose_patches_are_all_of_the_drawn_image(bank: PatchBank) -> None:
    search = PatchSearch(bank, names=NearestNames(VOCABULARY))
    found = search.nearest(torch.tensor([DOG]), torch.zeros(1, 1), [7], 1)
    assert found.labels.tolist() == [CAT]
    assert found.rows.tolist() == [[4]]


def test_whole_photos_are_of_class_0_and_stand_in_for_nothing(tmp_path: Path) -> None:
    bank = build(tmp_path, ((CAT, 50), (CAT, 200)), canvas=4)
    search = PatchSearch(bank, names=NearestNames(VOCABULARY))
    queries = torch.tensor([[0.1, 0, 0], [0.1, 0, 0]])
    found = search.nearest(torch.tensor([0, 0]), queries, [None, 0], 1)
    assert found.rows.tolist() == [[2], [3]]
    empty = build(tmp_path / "b", ((CAT, 50),))
    alone = PatchSearch(empty, names=NearestNames(VOCABULARY))
    assert alone.nearest(torch.tensor([0]), queries[:1], [None], 1).labels.tolist() == [-1]


def test_bad_queries(bank: PatchBank) -> None:
    search, cat = PatchSearch(bank), torch.tensor([CAT])
    for labels, vectors, ids, count, message in (
        (cat, torch.zeros(1, 2), [None], 1, r"vectors of shape \[1, 1\] .*, got \[1, 2\] and 1"),
        (cat, torch.zeros(1, 1), [], 1, r"and as many image ids, got \[1, 1\] and 0"),
        (cat, torch.full((1, 1), torch.nan), [None], 1, "expected finite numbers"),
        (cat + 4, torch.zeros(1, 1), [None], 1, "class of a query: expected 0..4, got 5"),
        (cat, torch.zeros(1, 1), [None], 0, "patches to find: expected 1 or more"),
    ):
        with pytest.raises(InputError, match=message):
            search.nearest(labels, vectors, ids, count)
    with pytest.raises(
        InputError, match=r"expected graph vectors \(bank build --graph\), got none"
    ):
        PatchSearch(bank, "graph")
    assert search.nearest(cat[:0], torch.zeros(0, 1), [], 3).rows.shape == (0, 3)


def test_names_by_letters_and_by_word_vectors() -> None:
    words = Vocabulary.from_names(["cat", "cart", "lion", "dog house"], [])
    assert NearestNames(words).order(1)[0] == 2
    rows = {"cat": 0, "lion": 1, "dog": 2, "house": 3}
    unit = torch.tensor([[1.0, 0], [0.8, 0.6], [0.6, -0.8], [0, -1.0]]).double().numpy()
    by_vectors = NearestNames(words, WordVectors(rows, unit))
    assert by_vectors.order(1) == [3, 4, 2]  # `cart` has no vector, so it is last
    assert by_vectors.order(2) == NearestNames(words).order(2)
