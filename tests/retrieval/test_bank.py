"""Banks that are damaged, of something else or not finished: one line, nothing lost."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from autoenc_sg.core.errors import InputError
from autoenc_sg.core.vocabulary import Vocabulary
from autoenc_sg.retrieval.bank import PatchBank
from tests.retrieval.banks import VOCABULARY, build

OBJECTS = ((1, 50), (2, 100))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    build(tmp_path / "bank", OBJECTS)
    return tmp_path / "bank"


def test_another_vocabulary(folder: Path) -> None:
    assert PatchBank(folder, VOCABULARY).vocabulary == VOCABULARY
    for objects, predicates, message in (
        (["cat", "cow", "cart", "horse"], ["on"], "object 2 'dog' where 'cow' is expected"),
        (["cat", "dog", "cart"], ["on"], "4 objects where 3 are expected"),
        (["cat", "dog", "cart", "horse"], ["under"], "predicate 1 'on' where 'under'"),
    ):
        with pytest.raises(InputError, match=message):
            PatchBank(folder, Vocabulary.from_names(objects, predicates))


@pytest.mark.parametrize("kept", [0, 10, 100, -70, -1])
def test_a_truncated_file(folder: Path, kept: int) -> None:
    path = folder / "00000.patches"
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(InputError, match=r"00000.patches: expected (whole )?patches of a bank"):
        PatchBank(folder)


def test_a_missing_file(folder: Path) -> None:
    (folder / "00000.patches").unlink()
    with pytest.raises(InputError, match=r"00000.patches: expected patches of a bank, got No such"):
        PatchBank(folder)


def test_the_file_of_another_bank(folder: Path, tmp_path: Path) -> None:
    build(tmp_path / "other", ((1, 51), (2, 100)))
    shutil.copy(tmp_path / "other" / "00000.patches", folder)
    with pytest.raises(InputError, match="expected the 2 patches of its manifest, got those of"):
        PatchBank(folder)


def test_a_damaged_pixel_is_seen_when_it_is_read(folder: Path) -> None:
    bank = PatchBank(folder)
    record = next(r for r in bank._shards[0].file.records if r["column"] == "crops")
    path = folder / "00000.patches"
    data = bytearray(path.read_bytes())
    data[record["start"]] ^= 1
    path.write_bytes(data)
    bank = PatchBank(folder)
    assert len(bank.pixels([1])) == 1
    with pytest.raises(InputError, match="patch 0: expected what was written, got damaged bytes"):
        bank.pixels([0])


def change(folder: Path, **values: object) -> None:
    path = folder / "bank.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def test_a_bank_that_is_being_built(folder: Path) -> None:
    bank = PatchBank(folder)
    change(folder, shards=None)  # what another process writes first
    with pytest.raises(InputError, match="expected a finished bank, got an unfinished one"):
        PatchBank(folder)
    assert len(bank.pixels([0, 1])) == 2  # one that was opened before goes on


def test_bad_manifests(folder: Path, tmp_path: Path) -> None:
    content = json.loads((folder / "bank.json").read_text())
    for values, message in (
        ({"version": 2}, "version: expected 1, got 2"),
        (
            {"features": {**content["features"], "width": 4}},
            "features of 4 numbers .manifest., got",
        ),
        ({"features": {**content["features"], "width": "x"}}, "expected a whole number >= 1"),
        ({"features": {"name": "x"}}, "expected the manifest of a patch bank, got another file"),
        ({"graph": content["features"]}, "graph of 3 numbers .manifest., got 0"),
        ({"vocabulary": {}}, "vocabulary objects: expected a list of names"),
        ({"images": 200}, "shards: expected 4, got 1"),
        ({"images_per_shard": 0}, "images_per_shard: expected a whole number >= 1, got 0"),
    ):
        change(folder, **{**content, **values})
        with pytest.raises(InputError, match=message):
            PatchBank(folder)
    for text in ("", "[]", "{", "{}"):
        (folder / "bank.json").write_text(text)
        with pytest.raises(InputError, match=r"bank.json: "):
            PatchBank(folder)
    for place, got in ((tmp_path, "a folder without it"), (tmp_path / "no", "no such folder")):
        with pytest.raises(
            InputError, match=f"expected the manifest of a patch bank .*, got {got}"
        ):
            PatchBank(place)
