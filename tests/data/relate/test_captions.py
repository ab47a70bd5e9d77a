"""The rule for captions, on sentences."""

from __future__ import annotations

import pytest

from autoenc_sg.data.relate.captions import caption_triples, class_phrases, plural

CLASSES = ["person", "horse", "wine glass", "glass", "bus", "knife", "dog"]
PREDICATES = ["ride", "holding", "on", "next to", "in front of"]
PHRASES = class_phrases(CLASSES, {"puppy": "dog", "tree": "plant"})


@pytest.mark.parametrize(
    ("caption", "triples"),
    [
        ("person riding horse", [("person", "ride", "horse")]),
        ("A man is riding the horses.", [("person", "ride", "horse")]),
        ("Two people hold wine glasses", [("person", "holding", "wine glass")]),
        ("a puppy on a bus next to a person",
         [("dog", "on", "bus"), ("bus", "next to", "person")]),
        ("women standing in front of the buses", []),  # "standing" is between
        ("a person and a horse", []),
        ("person, riding horse", []),  # a comma is between
        ("horse person", []),
        ("riding a horse", []),
        ("a dog in front of knives", [("dog", "in front of", "knife")]),
        ("the glass on the dog on the dog", [("glass", "on", "dog"), ("dog", "on", "dog")]),
        ("", []),
    ],
)  # fmt: skip
def test_rule(caption: str, triples: list[tuple[str, str, str]]) -> None:
    assert [tuple(t) for t in caption_triples(caption, PHRASES, PREDICATES)] == triples


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("horse", "horses"),
        ("bus", "buses"),
        ("bench", "benches"),
        ("baby", "babies"),
        ("toy", "toys"),
        ("wine glass", "wine glasses"),
        ("person", "people"),
        ("sheep", "sheep"),
    ],
)
def test_plurals(name: str, expected: str) -> None:
    assert plural(name) == expected


def test_without_a_class_person_a_man_is_nobody() -> None:
    assert caption_triples("man riding horse", class_phrases(["horse"]), PREDICATES) == []
    assert caption_triples("man riding horse", class_phrases([]), []) == []
