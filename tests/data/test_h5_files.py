"""An HDF5 file cannot make the reader read another file."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from autoenc_sg.core.errors import InputError
from autoenc_sg.data.h5_files import read_arrays


@pytest.mark.parametrize("way", ["link", "soft link", "raw", "virtual"])
def test_data_of_other_files_are_refused(tmp_path: Path, way: str) -> None:
    other, raw = tmp_path / "other.h5", tmp_path / "secret.txt"
    raw.write_bytes(b"12345678")
    with h5py.File(other, "w") as file:
        file["x"] = np.arange(8, dtype=np.uint8)
    path = tmp_path / "data.h5"
    with h5py.File(path, "w") as file:
        if way == "link":
            file["x"] = h5py.ExternalLink(str(other), "/x")
        elif way == "soft link":
            file["other"] = h5py.ExternalLink(str(other), "/")
            file["x"] = h5py.SoftLink("/other/x")
        elif way == "raw":
            file.create_dataset("x", (8,), np.uint8, external=[(str(raw), 0, 8)])
        else:
            layout = h5py.VirtualLayout((8,), np.uint8)
            layout[:] = h5py.VirtualSource(str(other), "x", (8,))
            file.create_virtual_dataset("x", layout)
    with pytest.raises(InputError, match=r"data\.h5: expected a data set 'x'"):
        read_arrays(path, ["x"], "a file")


def test_links_within_a_file_are_read(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "data.h5", "w") as file:
        file["y"] = np.arange(3)
        file["x"] = h5py.SoftLink("/y")
    arrays = read_arrays(tmp_path / "data.h5", ["x"], "a file")
    assert arrays["x"].tolist() == [0, 1, 2]
