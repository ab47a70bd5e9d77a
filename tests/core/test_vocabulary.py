"""Names and ids."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoenc_sg.core.errors import InputError
from autoenc_sg.core.vocabulary import BACKGROUND, Vocabulary

VOCABULARY = Vocabulary.from_names(["cat", "cap", "dog"], ["on", "left of"])


def test_ids_start_at_one_and_count_the_reserved_entry() -> None:
    assert VOCABULARY.objects == (BACKGROUND, "cat", "cap", "dog")
    assert (VOCABULARY.num_objects, VOCABULARY.num_predicates) == (4, 3)
    assert VOCABULARY.object_id("dog") == 3
    assert VOCABULARY.predicate_id("on") == 1


@given(st.lists(st.text(min_size=1), unique=True, max_size=5).filter(lambda n: BACKGROUND not in n))
def test_dict_round_trip_and_lookup(names: list[str]) -> None:
    one = Vocabulary.from_names(names, names)
    assert Vocabulary.from_dict(one.to_dict()) == one
    assert [one.object_id(name) for name in names] == list(range(1, len(names) + 1))
    assert [one.predicate_id(name) for name in names] == list(range(1, len(names) + 1))


def test_vg_dicts_are_read_by_id_whatever_their_order() -> None:
    dicts = {"label_to_idx": {"dog": 2, "cat": 1}, "predicate_to_idx": {"on": 1, BACKGROUND: 0}}
    one = Vocabulary.from_vg_dicts(dicts)
    assert one.objects == (BACKGROUND, "cat", "dog")
    assert one.predicates == (BACKGROUND, "on")


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (None, "VG dicts: expected a mapping 'label_to_idx' of name to id, got NoneType"),
        (["cat"], "VG dicts: expected a mapping 'label_to_idx' of name to id, got list"),
        ({"cat": 1, "dog": 3}, "VG dicts 'label_to_idx': expected ids 1..2, each once, got [1, 3]"),
        ({"cat": 1, "dog": 1}, "VG dicts 'label_to_idx': expected ids 1..2, each once, got [1, 1]"),
        ({"cat": -1}, "VG dicts 'label_to_idx': expected ids 1..1, each once, got [-1]"),
    ],
)
def test_bad_vg_dicts(labels: Any, message: str) -> None:
    with pytest.raises(InputError) as error:
        Vocabulary.from_vg_dicts({"label_to_idx": labels, "predicate_to_idx": {"on": 1}})
    assert str(error.value) == message


@pytest.mark.parametrize("index", ["one", None, [1]])
def test_an_id_that_is_no_number(index: Any) -> None:
    with pytest.raises(InputError, match="'label_to_idx': expected whole numbers as ids, got"):
        Vocabulary.from_vg_dicts({"label_to_idx": {"cat": index}, "predicate_to_idx": {}})


@pytest.mark.parametrize(
    ("objects", "message"),
    [
        ((), "vocabulary objects: expected '__background__' first, got ()"),
        (("cat",), "vocabulary objects: expected '__background__' first, got ('cat',)"),
        (
            (BACKGROUND, "cat", "dog", "cat"),
            "vocabulary objects: expected each name once, got ['cat'] repeated",
        ),
    ],
)
def test_bad_names(objects: tuple[str, ...], message: str) -> None:
    with pytest.raises(InputError) as error:
        Vocabulary(objects, (BACKGROUND,))
    assert str(error.value) == message


def test_unknown_names_come_with_the_nearest() -> None:
    with pytest.raises(InputError) as error:
        VOCABULARY.object_id("caat")
    assert str(error.value).startswith("object 'caat': expected one of 3 known names, got")
    assert "nearest: cat, cap" in str(error.value)
    with pytest.raises(InputError, match="predicate 'xyz': expected one of 2 known names") as far:
        VOCABULARY.predicate_id("xyz")
    assert str(far.value).count("nearest: ") == 1  # one is always named
    for written in ("CAT", " Cat "):
        with pytest.raises(InputError, match="nearest: cat"):
            VOCABULARY.object_id(written)
    with pytest.raises(InputError):
        VOCABULARY.object_id(BACKGROUND)  # never a user's class


@pytest.mark.parametrize("bad", [{}, {"objects": "abc", "predicates": []}, {"objects": [1]}])
def test_a_dict_of_something_else(bad: Any) -> None:
    with pytest.raises(InputError, match="vocabulary objects: expected a list of names, got"):
        Vocabulary.from_dict(bad)
