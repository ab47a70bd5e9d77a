"""Building a bank: what is in it, and what is left of a run that was killed."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from autoenc_sg.core.errors import InputError
from autoenc_sg.core.scene_graph import SceneGraph
from autoenc_sg.core.vocabulary import Vocabulary
from autoenc_sg.data.base.from_pairs import PairsDataset
from autoenc_sg.retrieval import build as build_module
from autoenc_sg.retrieval.bank import PatchBank
from autoenc_sg.retrieval.build import PatchSource, build_bank
from autoenc_sg.retrieval.manifest import FeatureSource
from autoenc_sg.retrieval.options import BankOptions
from tests.retrieval.banks import COLOURS, VOCABULARY, MeanColour, build, dataset, source

OBJECTS = ((1, 50), (2, 100), (1, 150), (4, 200), (2, 250))


@pytest.fixture(autouse=True)
def two_images_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build_module, "IMAGES_PER_SHARD", 2)


def files(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir() if not p.name.startswith(".")}


def test_patches_by_hand(tmp_path: Path) -> None:
    bank = build(tmp_path, OBJECTS[:3], canvas=4)
    assert len(bank) == 6  # an object and the photo of each image
    assert bank.labels.tolist() == [1, 2, 0, 0, 1, 0]  # by file: objects, then photos
    assert bank.image_ids.tolist() == [0, 1, 0, 1, 2, 2]
    assert bank.boxes[[0, 2]].tolist() == [[0.5, 0, 1, 1], [0, 0, 1, 1]]
    assert bank.areas.tolist() == [0.5, 0.5, 1, 1, 0.5, 1]
    assert bank.image_sizes.tolist() == [[4, 8]] * 6
    assert bank.rows_of_class(1).tolist() == [0, 4]
    assert bank.rows_of_class(0).tolist() == [2, 3, 5]
    assert bank.rows_of_class(3).tolist() == []
    crop, photo = bank.pixels([4, 5])
    assert crop.tolist() == [[[150] * 2] * 2, [[0] * 2] * 2, [[0] * 2] * 2]
    assert photo.shape == (3, 4, 4)
    assert photo[0, 0, 0] == 0
    assert photo[0, 0, 3] == 150
    expected = torch.tensor([[150 / 255, 0, 0], [75 / 255, 0, 0]])
    assert_close(bank.vectors(np.array([4, 5])), expected, atol=5e-4, rtol=0)
    with pytest.raises(InputError, match=r"expected rows 0..5, got 6"):
        bank.pixels([6])
    with pytest.raises(InputError, match="expected graph vectors"):
        bank.vectors(np.array([0]), "graph")


def test_images_without_objects(tmp_path: Path) -> None:
    images = dataset(OBJECTS[:1])
    image, graph = images._pairs[0]
    empty = SceneGraph(torch.zeros(0).long(), torch.zeros(0, 4), torch.zeros(0, 3).long(), (4, 8))
    pairs = PairsDataset([(image, empty), (image, graph), (image, empty)], VOCABULARY)
    bank = build_bank(tmp_path / "a", PatchSource(pairs, MeanColour()))
    assert bank.image_ids.tolist() == [1]
    with_photos = PatchSource(pairs, MeanColour(), None, BankOptions(2, 2))
    assert build_bank(tmp_path / "c", with_photos).labels.tolist() == [1, 0, 0, 0]


def test_a_killed_run_goes_on_and_ends_in_the_same_files(tmp_path: Path) -> None:
    build(tmp_path / "whole", OBJECTS)
    folder = tmp_path / "killed"
    with pytest.raises(KeyboardInterrupt):
        build_bank(folder, source(OBJECTS, MeanColour(fail_at=3)))
    with pytest.raises(InputError, match="expected a finished bank, got an unfinished one"):
        PatchBank(folder)
    (folder / ".0123456789ab.patches").write_bytes(b"half")  # of a kill while writing
    features, done = MeanColour(), []
    build_bank(folder, source(OBJECTS, features), done.append)
    assert features.images == 3  # the first file's two images are not computed again
    assert done == [2, 2, 1]
    assert files(folder) == files(tmp_path / "whole")
    assert not (folder / ".0123456789ab.patches").exists()
    build_bank(folder, source(OBJECTS, features))
    assert features.images == 3


@pytest.mark.parametrize("place", [20, -10])
def test_a_damaged_file_alone_is_made_again(tmp_path: Path, place: int) -> None:
    build(tmp_path, OBJECTS)
    whole, path = files(tmp_path), tmp_path / "00001.patches"
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)
    features = MeanColour()
    build_bank(tmp_path, source(OBJECTS, features))
    assert features.images == 2
    assert files(tmp_path) == whole


def test_a_bank_of_something_else_is_not_touched(tmp_path: Path) -> None:
    build(tmp_path, OBJECTS)
    before = files(tmp_path)
    given = source(OBJECTS)
    other = Vocabulary.from_names(["cat", "dog", "cart", "mule"], ["on"])
    renamed = PairsDataset(dataset(OBJECTS)._pairs, other)
    wider = MeanColour(source=replace(COLOURS, width=4))
    weights = MeanColour(source=FeatureSource("mean colour", "4567", 3))
    for changed, message in (
        (replace(given, options=BankOptions(3)), "crop_size: expected 3, got 2: a bank of"),
        (replace(given, options=BankOptions(2, 8)), "canvas_size: expected 8, got 0"),
        (replace(given, dataset=renamed), "vocabulary: expected the same, got another one"),
        (replace(given, dataset=dataset(OBJECTS[:4])), "data: expected"),
        (replace(given, features=wider), r"features: .* \(4 numbers.* \(3 numbers"),
        (replace(given, features=weights), r"features: .*4567\), got .*0123\)"),
    ):
        with pytest.raises(InputError, match=message):
            build_bank(tmp_path, changed)
    assert files(tmp_path) == before


def test_a_folder_with_other_files(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").touch()
    with pytest.raises(InputError, match=r"expected a folder of a patch bank, got photo.jpg in it"):
        build(tmp_path, OBJECTS)
    assert [path.name for path in tmp_path.glob("[!.]*")] == ["photo.jpg"]


def test_two_processes_do_not_build_one_bank(tmp_path: Path) -> None:
    other = subprocess.Popen(
        [sys.executable, "-c", LOCKER, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert other.stdout is not None
        assert other.stdout.readline() == "locked\n"
        message = f"no other process that builds a bank there, got one, of process {other.pid}"
        with pytest.raises(InputError, match=message):
            build(tmp_path, OBJECTS)
    finally:
        other.communicate("end\n")
    build(tmp_path, OBJECTS)


LOCKER = """
import sys
from pathlib import Path
from autoenc_sg.core.atomic_files import folder_lock
with folder_lock(Path(sys.argv[1]), "none"):
    print("locked", flush=True)
    sys.stdin.readline()
"""


def test_features_that_float16_cannot_hold(tmp_path: Path) -> None:
    class Large(MeanColour):
        def __call__(self, image: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
            return super().__call__(image, boxes) + 1e5

    with pytest.raises(InputError, match="finite features that float16 can hold"):
        build_bank(tmp_path, source(OBJECTS, Large()))


def test_mirrored_images_are_refused(tmp_path: Path) -> None:
    images = PairsDataset(dataset(OBJECTS)._pairs, VOCABULARY, augment=True)
    with pytest.raises(InputError, match="expected a data set that mirrors no image"):
        build_bank(tmp_path, PatchSource(images, MeanColour()))
    for options in ({"crop_size": 0}, {"crop_size": 1025}, {"canvas_size": -1}):
        with pytest.raises(InputError, match=r"expected \d..1024"):
            BankOptions(**options)
