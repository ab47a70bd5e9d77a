"""Relations in captions, by one rule: class, predicate, class, in this order and side by side.

`A man is riding the horses.` has `man riding horse`: two class names (or their plurals, or aliases)
with nothing between them but a predicate, forms of "to be" before it, and determiners.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from autoenc_sg.data.relate.names import stem

_FILLERS = frozenset(
    (
        *("a", "an", "the", "this", "that", "these", "those", "his", "her", "its", "their", "some"),
        *("two", "three", "four", "several", "is", "are", "was", "were", "being", "who", "which"),
    )
)
_IRREGULAR = {
    "person": "people",
    "man": "men",
    "woman": "women",
    "child": "children",
    "mouse": "mice",
    "knife": "knives",
    "leaf": "leaves",
    "shelf": "shelves",
    "sheep": "sheep",
    "foot": "feet",
    "scissors": "scissors",
    "skis": "skis",
    "couch": "couches",
}
# Words for COCO's `person`, which captions hardly ever use.
PEOPLE = ("man", "woman", "boy", "girl", "child", "kid", "guy", "lady", "player")


class CaptionTriple(NamedTuple):
    """Class, predicate and class that a caption names."""

    subject: str
    predicate: str
    object: str


def plural(name: str) -> str:
    """The plural of a name's last word: `wine glasses`, `people`."""
    *first, last = name.split(" ")
    return " ".join([*first, _plural_word(last)])


def _plural_word(word: str) -> str:
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    if word.endswith(("s", "x", "z", "ch", "sh")):
        return word + "es"
    if word.endswith("y") and word[-2:-1] not in tuple("aeiou"):
        return word[:-1] + "ies"
    return word + "s"


def class_phrases(
    classes: Iterable[str], aliases: Mapping[str, str] | None = None
) -> dict[tuple[str, ...], str]:
    """The class of each phrase (a tuple of words) that names one.

    Args:
        classes: their names, which win over aliases.
        aliases: alias to class; where there is a class `person`, `PEOPLE` are aliases of it.
    """
    names = list(classes)
    phrases: dict[tuple[str, ...], str] = {}
    people = dict.fromkeys(PEOPLE, "person") if "person" in names else {}
    pairs = [*people.items(), *(aliases or {}).items(), *((name, name) for name in names)]
    for phrase, name in pairs:
        if name in names:
            for form in (plural(phrase.lower()), phrase.lower()):
                phrases[tuple(form.split())] = name
    return phrases


def caption_triples(
    caption: str, phrases: Mapping[tuple[str, ...], str], predicates: Sequence[str]
) -> list[CaptionTriple]:
    """The triples in a caption, in order.

    Args:
        caption: a sentence.
        phrases: see `class_phrases`; the longest phrase at a place counts.
        predicates: their names; verbs match in all their forms (`names.stem`).
    """
    by_stem = {stem(name): name for name in reversed(predicates)}
    words = re.findall(r"[a-z0-9]+|[.,;:!?]", caption.lower())
    mentions = _mentions(words, phrases)
    triples = []
    for (subject, _, end), (other, start, _) in pairwise(mentions):
        between = [word for word in words[end:start] if word not in _FILLERS]
        predicate = by_stem.get(stem(" ".join(between))) if between else None
        if predicate is not None:
            triples.append(CaptionTriple(subject, predicate, other))
    return triples


def _mentions(
    words: Sequence[str], phrases: Mapping[tuple[str, ...], str]
) -> list[tuple[str, int, int]]:
    """Classes with the places of their first word and of the word behind, left to right."""
    longest = max(map(len, phrases), default=0)
    mentions, place = [], 0
    while place < len(words):
        for length in range(min(longest, len(words) - place), 0, -1):
            name = phrases.get(tuple(words[place : place + length]))
            if name is not None:
                mentions.append((name, place, place + length))
                place += length - 1
                break
        place += 1
    return mentions
