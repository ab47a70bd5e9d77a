"""Small files that state to hold far more than they do: refused before anything is read."""

from __future__ import annotations

import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import h5py
import pytest
from PIL import Image

from autoenc_sg.core.errors import InputError
from autoenc_sg.data.h5_files import read_arrays
from autoenc_sg.data.images.decode import MAX_FILE_BYTES, read_pixels
from autoenc_sg.data.images.store import ImageStore, find_images

GIGABYTES_3 = 3_000_000_000
CENTRAL = b"PK\x01\x02"  # of a zip's table of contents; the size of the content is at byte 24


def test_a_zip_member_of_3_gigabytes(tmp_path: Path) -> None:
    path = tmp_path / "images.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("1.png", b"no image")
    data = bytearray(path.read_bytes())
    struct.pack_into("<I", data, data.index(CENTRAL) + 24, GIGABYTES_3)
    path.write_bytes(data)
    store = ImageStore(find_images(tmp_path, path))
    with pytest.raises(InputError, match=rf"at most {MAX_FILE_BYTES} bytes, got {GIGABYTES_3}"):
        store.read(1)


def test_an_image_file_of_a_gigabyte(tmp_path: Path) -> None:
    path = tmp_path / "1.png"
    with path.open("wb") as file:
        file.truncate(1 << 30)  # sparse: it takes no room
    with pytest.raises(
        InputError, match=rf"1\.png: expected an image file of at most .* {1 << 30}"
    ):
        read_pixels(path)


def test_an_h5_data_set_of_8_gigabytes(tmp_path: Path) -> None:
    path = tmp_path / "huge.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("labels", (10**9,), "i8", chunks=(1024,))  # nothing is stored
    assert path.stat().st_size < 100_000
    with pytest.raises(
        InputError, match=r"huge\.h5 'labels': expected at most 268435456 bytes, got"
    ):
        read_arrays(path, ["labels"], "a test")


READ_UNDER_6_GB = """
import resource, sys
resource.setrlimit(resource.RLIMIT_AS, (6 * 2**30, 6 * 2**30))
from pathlib import Path
from autoenc_sg.core.images import read_image
print(tuple(read_image(Path(sys.argv[1])).shape))
"""


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "I;16", "P"])
def test_an_image_of_88_megapixels_is_read_within_6_gigabytes(mode: str, tmp_path: Path) -> None:
    path = tmp_path / "large.png"
    Image.new(mode, (11_000, 8_000)).save(path, compress_level=1)
    command = [sys.executable, "-c", READ_UNDER_6_GB, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "(3, 8000, 11000)", done.stderr[-500:]
