"""Large JSON lists entry by entry: the same values as `json`, and one line for every damage."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

from autoenc_sg.core.errors import InputError
from autoenc_sg.data.base.json_stream import stream_entries

MODULE = "autoenc_sg.data.base.json_stream"
ENTRIES = [
    {"a": [1, {"b": '}],[\\ "'}]},
    {"c": "é½😀", "d": None, "e": True},
    {"f": [0.5, -3, 1e-7, 2.0, 123456789012]},
    {},
]


@pytest.mark.parametrize("chunk", [1, 7, 1000])
@pytest.mark.parametrize("start", ["", "\ufeff", "\n" + " " * 5000])
def test_entries_in_pieces(
    tmp_path: Path, chunk: int, start: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{MODULE}._CHUNK", chunk)
    path = tmp_path / "x.json"
    for indent, ascii_only in ((None, True), (2, False)):
        text = start + json.dumps(ENTRIES, indent=indent, ensure_ascii=ascii_only) + " \n"
        path.write_text(text, encoding="utf-8")
        steps: list[int] = []
        entries = list(stream_entries(path, steps.append))
        assert entries == ENTRIES
        assert [type(v) for v in entries[2]["f"]] == [float, int, float, float, int]
        assert sum(steps) == path.stat().st_size
    path.write_text("[ ]")
    assert list(stream_entries(path)) == []


def test_a_zip_of_one_file(tmp_path: Path) -> None:
    path = tmp_path / "x.json.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("folder/x.json", json.dumps(ENTRIES))
    assert list(stream_entries(path)) == ENTRIES
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("y.json", "[]")
    with pytest.raises(InputError, match=r"zip: expected a zip of one JSON file, got \["):
        list(stream_entries(path))


def test_a_damaged_zip(tmp_path: Path) -> None:
    path = tmp_path / "x.json.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.json", json.dumps(ENTRIES * 1000))
    data = bytearray(path.read_bytes())
    data[60:80] = bytes(20)
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"x.json.zip.*: expected "):
        list(stream_entries(path))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": 1}', r"""x.json: expected a JSON list of objects, got '{"a": 1}'"""),
        ("", "x.json: expected a JSON list of objects, got an empty file"),
        ('[{"a": 1}', "x.json entry 2: expected valid JSON, got parse error: premature EOF"),
        ('[{"a": 1},', "x.json entry 2: expected valid JSON"),
        ('[{"a": [1, 2', "x.json entry 1: expected valid JSON"),
        ('[{"a": 1}, 3]', "x.json entry 2: expected a JSON object, got int 3"),
        ("[null]", "x.json entry 1: expected a JSON object, got NoneType None"),
        ("[[1]]", "x.json entry 1: expected a JSON object, got list"),
        ('[{"a": 1} {"b": 2}]', "x.json entry 2: expected valid JSON"),
        ('[{"a": 1},]', "x.json entry 2: expected valid JSON"),
        ('[{"a": 1}] x', "x.json entry 2: expected valid JSON, got parse error: trailing garbage"),
        ('[{"a": NaN}]', "x.json entry 1: expected valid JSON"),
        ('[{"a": -Infinity}]', "x.json entry 1: expected valid JSON"),
        ('[{"a": 1e400}]', "x.json entry 1: expected valid JSON"),
        ('[{"a": 1' + "0" * 5000 + "}]", "entry 1: expe"),
        ('[{"a": "x\ty"}]', "x.json entry 1: expected valid JSON"),
        ('[{"a": "\ud800"}]', "x.json entry 1: expected valid JSON"),
    ],
)
def test_damaged_files(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(InputError, match=message) as error:
        list(stream_entries(path))
    assert "\n" not in str(error.value)


def test_of_equal_keys_the_last_counts(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text('[{"a": 1, "a": 2}]')
    assert list(stream_entries(path)) == [{"a": 2}]


def test_other_encodings_and_missing_files(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_bytes('[{"a": "é"}]'.encode("latin-1"))
    with pytest.raises(InputError, match=r"x.json entry 1: expected valid JSON, got .*UTF8"):
        list(stream_entries(path))
    path.write_bytes("[]".encode("utf-16"))
    with pytest.raises(InputError, match=r"x.json: expected a JSON list of objects"):
        list(stream_entries(path))
    with pytest.raises(InputError, match=r"y.json: expected a readable file, got No such file"):
        list(stream_entries(tmp_path / "y.json"))


def test_an_entry_without_end_is_refused_early(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{MODULE}._LONGEST_ENTRY", 1 << 20)
    path = tmp_path / "x.json"
    path.write_text("[" + "{}," * (1 << 19) + "{}]")  # longer, but of short entries
    assert sum(1 for _ in stream_entries(path)) == (1 << 19) + 1
    path.write_text('[{"a": [' + "1, " * (1 << 20) + "1]}]")
    with pytest.raises(InputError, match=r"x.json: expected entries of at most 1 MiB and"):
        list(stream_entries(path))
