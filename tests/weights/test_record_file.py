"""Files of records: what was written is what is read, and damage is one line."""

from __future__ import annotations

import pickle
import struct
from pathlib import Path

import pytest

from autoenc_sg.core.errors import InputError
from autoenc_sg.weights.files.record_file import RecordFile, RecordKind, write_records

KIND = RecordKind(b"TESTREC1", "numbers", "make it again")


def test_records_by_hand(tmp_path: Path) -> None:
    path = tmp_path / "a.rec"
    write_records(path, KIND, [(b"abc", {"name": "x"}), (b"", {}), (b"12345678", {"name": "y"})])
    data = path.read_bytes()
    assert data[:8] == b"TESTREC1"
    assert data[16:24] == b"abc" + bytes(5)  # a record starts at a multiple of 8
    assert data[24:32] == b"12345678"
    assert struct.unpack("<Q", data[8:16]) == (32,)
    file = RecordFile(path, KIND)
    assert [record.get("name") for record in file.records] == ["x", None, "y"]
    assert [file.read(row).tobytes() for row in range(3)] == [b"abc", b"", b"12345678"]
    assert len(file.checksum) == 64
    assert not file.mapped(0).flags.writeable


def test_an_open_file_is_pickled_without_its_map(tmp_path: Path) -> None:
    path = tmp_path / "a.rec"
    write_records(path, KIND, [(bytes(1 << 20), {})])
    file = RecordFile(path, KIND)
    file.read(0)
    data = pickle.dumps(file)
    assert len(data) < 2000
    assert pickle.loads(data).read(0).nbytes == 1 << 20


def test_the_checksum_covers_the_records(tmp_path: Path) -> None:
    checksums = []
    for number, content in enumerate((b"abc", b"abX", b"abc")):
        path = tmp_path / f"{number}.rec"
        write_records(path, KIND, [(content, {})])
        checksums.append(RecordFile(path, KIND).checksum)
    assert checksums[0] == checksums[2] != checksums[1]


def test_damage(tmp_path: Path) -> None:
    path = tmp_path / "a.rec"
    write_records(path, KIND, [(b"abcdefgh", {}), (b"ijkl", {})])
    data = path.read_bytes()
    path.write_bytes(data[:17] + b"?" + data[18:])
    file = RecordFile(path, KIND)
    assert file.read(1).tobytes() == b"ijkl"
    with pytest.raises(InputError, match=r"a.rec, entry 0: .* damaged bytes; make it again"):
        file.read(0)
    for content in (data[:-70], data[:-1], data[:20], data[:-80] + b"x" + data[-79:]):
        path.write_bytes(content)
        with pytest.raises(InputError, match="expected whole numbers, got damaged bytes"):
            RecordFile(path, KIND)
    for content in (b"", data[:10], b"OTHERREC" + data[8:]):
        path.write_bytes(content)
        with pytest.raises(InputError, match="expected numbers, got a file of another kind"):
            RecordFile(path, KIND)
    with pytest.raises(InputError, match="No such file"):
        RecordFile(tmp_path / "b.rec", KIND)


def test_a_writer_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def records() -> object:
        yield b"abc", {}
        raise InputError("no second record")

    with pytest.raises(InputError, match="no second record"):
        write_records(tmp_path / "a.rec", KIND, records())  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []
