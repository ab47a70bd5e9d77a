"""Names of one vocabulary in another, in order of the ways."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from autoenc_sg.core.errors import InputError
from autoenc_sg.data.relate.names import (
    NameFiles,
    map_names,
    match_predicates,
    read_word_vectors,
    stem,
)

PRIOR = ["man", "Person", "phone", "table", "bike", "dog"]


def vectors(path: Path) -> Path:
    words = np.array(["dog", "puppy", "phone", "old", "cell"])
    np.savez(path, words=words, vectors=np.float16([[2, 0], [4, 3], [0, 1], [1, 0], [0, 3]]))
    return path


def test_ways_in_their_order(tmp_path: Path) -> None:
    mapping_file, aliases = tmp_path / "m.json", tmp_path / "aliases.txt"
    mapping_file.write_text(json.dumps({"tent": "table", "person": None}))
    aliases.write_text("dog,hound,poodle\nbike,dining table\nwolf,fox\n")
    files = NameFiles(mapping_file, aliases, vectors(tmp_path / "v.npz"), 0.8)
    names = ["tent", "person", "Man", "dining  table", "hound", "puppy", "cell phone", "fox", "old"]
    mapping = map_names(names, PRIOR, files)
    assert [(n.target, n.way) for n in mapping.names] == [
        ("table", "file"),
        (None, "file"),
        ("man", "exact"),
        ("bike", "alias"),  # the user's, before the built-in table
        ("dog", "alias"),
        ("dog", "word vectors"),  # cosine 4 / 5
        ("phone", "alias"),  # built in
        (None, "none"),  # wolf is not there either
        ("dog", "word vectors"),
    ]
    assert mapping.unmapped == ("person", "fox")
    ids = mapping.ids(["__background__", *PRIOR])
    assert ids == [0, 4, 0, 1, 5, 6, 6, 3, 0, 6]


def test_vectors_below_the_threshold_are_no_match(tmp_path: Path) -> None:
    file = vectors(tmp_path / "v.npz")
    near, far = (
        map_names(["puppy", "dog"], PRIOR, NameFiles(word_vectors=file, least_similarity=s))
        for s in (0.8, 0.81)
    )
    assert (near.unmapped, far.unmapped) == ((), ("puppy",))


def test_nothing_maps_to_anything() -> None:
    with pytest.raises(InputError, match=r"classes: expected names of the prior .* a mapping file"):
        map_names(["xyz", "abc"], PRIOR)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"dgo": "dog"}', r"classes of the boxes \(nearest: dog.*got 'dgo'"),
        ('{"dog": "phoen"}', r"classes of the prior \(nearest: phone.*got 'phoen'"),
        ('{"dog": 3}', "classes of the prior .* got 3"),
        ("[1]", "expected an object of names"),
        ("{", "expected a JSON file"),
    ],
)
def test_bad_mappings(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "m.json").write_text(content)
    with pytest.raises(InputError, match=message):
        map_names(["dog", "cat"], PRIOR, NameFiles(mapping=tmp_path / "m.json"))


def test_bad_word_vectors(tmp_path: Path) -> None:
    np.savez(tmp_path / "short.npz", words=np.array(["a", "b"]), vectors=np.zeros((1, 2)))
    np.savez(tmp_path / "other.npz", words=np.array(["a"]))
    (tmp_path / "text.npz").write_text("x")
    for name in ("short", "other", "text", "none"):
        with pytest.raises(InputError, match=rf"{name}.npz: expected an .npz file with 'words'"):
            read_word_vectors(tmp_path / f"{name}.npz")
    with pytest.raises(InputError, match=r"least similarity: expected 0..1, got 2"):
        NameFiles(least_similarity=2)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["riding", "ride", "rides", "rid"], "rid"),
        (["holding", "hold", "holds"], "hold"),
        (["sitting on", "sit on", "sits on"], "sit on"),
        (["carrying", "carry"], "carry"),
        (["serving", "serve", "serves"], "serv"),
        (["Using", "use"], "us"),
        (["across"], "across"),
        (["on"], "on"),
        (["string"], "string"),
    ],
)
def test_stems(names: list[str], expected: str) -> None:
    assert {stem(name) for name in names} == {expected}


def test_predicates_match_by_name_before_stem() -> None:
    same = match_predicates(["hold", "sit on", "wear", "with"], ["sitting on", "hold", "holding"])
    assert same == {"hold": "hold", "sit on": "sitting on"}
