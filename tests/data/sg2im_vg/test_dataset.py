import json
import logging
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from torch.testing import assert_close

from autoenc_sg.config.data import DataConfig
from autoenc_sg.core.errors import InputError
from autoenc_sg.data.open import open_dataset
from autoenc_sg.data.sg2im_vg.build import build_sg2im_vg
from autoenc_sg.data.sg2im_vg.dataset import open_sg2im_vg
from autoenc_sg.data.sg2im_vg.rules import RawFiles, Sg2imRules
from tests.support.files.sg2im_data import SMALL, photo, save, write_raw

VOCAB = {
    "object_idx_to_name": ["__image__", "man", "cup", "dog"],
    "pred_idx_to_name": ["__in_image__", "on", "near"],
}
NAMES, BOXES = [2, 1, 3, 1], [[10, 20, 30, 40], [0, 0, 50, 60], [90, 0, 30, 10], [5, 5, 40, 40]]
RELATIONS = [(0, 1, 1), (1, 2, 0)]


def padded(values: Any, width: int) -> np.ndarray[Any, Any]:
    table = np.full((1, width, *np.shape(values)[1:]), -1, np.int32)
    table[0, : len(values)] = values
    return table


def write(
    root: Path, paths: Any = None, relations: Any = RELATIONS, **changes: Any
) -> dict[str, Any]:
    """One image, 7, of 100 x 80 pixels, in every split."""
    columns = np.array(relations).reshape(-1, 3).T
    tables: dict[str, Any] = {
        "image_ids": np.array([7], np.int32),
        "objects_per_image": np.array([len(NAMES)], np.int32),
        "object_names": padded(NAMES, 6),
        "object_boxes": padded(BOXES, 6),
        "relationships_per_image": np.array([len(relations)], np.int32),
        **{
            f"relationship_{name}": padded(column, 5)
            for name, column in zip(("subjects", "predicates", "objects"), columns)
        },
        "image_paths": np.array(["VG_100K/7.jpg"], dtype=object) if paths is None else paths,
        **changes,
    }
    for split in ("train", "val", "test"):
        with h5py.File(root / f"{split}.h5", "w") as file:
            for name, value in tables.items():
                if value is not None:
                    file[name] = value
    save(root / "vocab.json", VOCAB)
    save(root / "image_data.json", [{"image_id": 7, "width": 100, "height": 80}])
    return tables


def test_a_graph_by_hand(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path, relations=[*RELATIONS, (3, 2, 3), (1, 1, 0)])
    with caplog.at_level(logging.WARNING):
        data = open_sg2im_vg(tmp_path, "test", max_objects=0)
    assert "1 relations of an object to itself are left out" in caplog.text
    graph = data.graph(0)
    assert data.image_ids == (7,)
    assert graph.image_size == (80, 100)
    assert graph.labels.tolist() == [2, 1, 3, 1]
    wanted = [[10.0, 20, 40, 60], [0, 0, 50, 60], [90, 0, 100, 10], [5, 5, 45, 45]]
    assert_close(graph.boxes, torch.tensor(wanted))  # the third is cut at the border
    assert graph.triples.tolist() == [[0, 1, 1], [1, 2, 0], [1, 1, 0]]  # also two of a pair
    assert graph.masks is None
    assert data.vocabulary.objects[1:] == ("man", "cup", "dog")
    assert data.vocabulary.predicates[1:] == ("on", "near")


def test_boxes_outside_are_left_out_and_told_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path, object_boxes=padded([[100, 0, 9, 9], *BOXES[1:]], 6))
    with caplog.at_level(logging.WARNING):
        data = open_sg2im_vg(tmp_path, "val")
    assert "1 boxes outside of their images are left out" in caplog.text
    graph = data.graph(0)
    assert graph.labels.tolist() == [1, 3, 1]
    assert len(graph.triples) == 0


@pytest.mark.parametrize(
    "paths",
    [
        np.array([b"VG_100K/7.jpg"]),  # bytes of one length
        np.array(["VG_100K/7.jpg"], dtype=object),  # strings of any length, bytes when read
        np.array([b"VG_100K/7.jpg"], dtype=object),
    ],
)
@pytest.mark.parametrize("folder", ["images/VG_100K", "VG_100K", "images", "."])
def test_paths_as_bytes_or_strings(tmp_path: Path, paths: Any, folder: str) -> None:
    write(tmp_path, paths)
    photo(tmp_path / folder / "7.jpg", 100, 80)
    sample = open_sg2im_vg(tmp_path, "train")[0]
    assert sample.image.shape == (3, 80, 100)
    assert sample.image_id == 7


def test_images_by_their_paths_come_first(tmp_path: Path) -> None:
    write(tmp_path, np.array(["my photos/a café.png"], dtype=object))
    photo(tmp_path / "7.jpg", 50, 40)
    path = tmp_path / "elsewhere" / "my photos" / "a café.png"
    photo(path, 200, 160)
    data = open_sg2im_vg(tmp_path, "train", tmp_path / "elsewhere")
    assert data.store.name(7) == str(path)
    assert_close(data[0].graph.boxes, 2 * data.annotated(0).boxes[torch.tensor([0, 1, 2, 3])])
    assert open_sg2im_vg(tmp_path, "train")[0].image.shape == (3, 40, 50)
    with pytest.raises(InputError, match="nowhere: expected a folder, zip or h5 of images"):
        open_sg2im_vg(tmp_path, "train", tmp_path / "nowhere")


def test_sizes_without_image_data(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path)
    (tmp_path / "image_data.json").unlink()
    with caplog.at_level(logging.WARNING):
        assert open_sg2im_vg(tmp_path, "test").graph(0).image_size == (60, 120)  # of the boxes
    assert "the sizes of 1 of 1 images are unknown" in caplog.text
    photo(tmp_path / "7.jpg", 130, 90)
    assert open_sg2im_vg(tmp_path, "test").graph(0).image_size == (90, 130)


def test_choice_of_objects(tmp_path: Path) -> None:
    """As sg2im: those with relations first, then others at random; 10 counts `__image__`."""
    write(tmp_path)
    for count, related in ((4, 2), (3, 2), (2, 1)):
        data = open_sg2im_vg(tmp_path, "train", max_objects=count)
        choices = set()
        for epoch in range(30):
            graph = data.graph(0, epoch)
            assert len(graph) == count - 1
            rows = [data.annotated(0).boxes.tolist().index(box) for box in graph.boxes.tolist()]
            assert len({0, 1} & set(rows)) == related
            assert len(graph.triples) == (2 if related == 2 else 0)
            choices.add(tuple(rows))
        assert len(choices) == {4: 2, 3: 1, 2: 2}[count]
        again = open_sg2im_vg(tmp_path, "train", max_objects=count)
        assert_close(again.graph(0, 5).boxes, data.graph(0, 5).boxes)
        held_out = open_sg2im_vg(tmp_path, "test", max_objects=count)
        assert_close(held_out.graph(0, 1).boxes, held_out.graph(0, 2).boxes)
    assert len(open_sg2im_vg(tmp_path, "train").graph(0)) == 4
    assert len(data.annotated(0)) == 4


def test_an_image_without_objects(tmp_path: Path) -> None:
    none = np.zeros(1, np.int32)
    write(tmp_path, objects_per_image=none, relationships_per_image=none)
    assert len(open_sg2im_vg(tmp_path, "test").graph(0)) == 0
    (tmp_path / "image_data.json").unlink()
    assert open_sg2im_vg(tmp_path, "test").graph(0).image_size == (1, 1)


def test_what_is_built_reads_back(tmp_path: Path) -> None:
    write_raw(tmp_path / "raw")
    build_sg2im_vg(RawFiles(tmp_path / "raw"), tmp_path / "out", Sg2imRules(**SMALL))
    config = DataConfig("sg2im_vg", str(tmp_path / "out"), images="../raw/images", max_objects=5)
    raw = {
        entry["image_id"]: {o["object_id"]: o for o in entry["objects"]}
        for entry in json.loads((tmp_path / "raw" / "objects.json").read_text())
    }
    total = 0
    for split in ("train", "val", "test"):
        data = open_dataset(config, split)  # type: ignore[arg-type]
        for index, image_id in enumerate(data.image_ids):
            image, graph, _ = data[index]
            assert image.shape == (3, 220, 220)
            assert len(graph) <= 4
            for box in data.annotated(index).boxes.tolist():
                x, y, x2, y2 = box
                assert any(
                    (o["x"], o["y"], o["w"], o["h"]) == (x, y, x2 - x, y2 - y)
                    for o in raw[image_id].values()
                )
                total += 1
    assert total > 20


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"object_names": None}, "expected a data set 'object_names', got only"),
        ({"object_names": padded([2, 1, 4, 1], 6)}, "row 0, column 2: expected 1..3, got 4"),
        ({"object_names": padded([2, 0, 3, 1], 6)}, "column 1: expected 1..3, got 0"),
        ({"object_names": padded(NAMES, 5)}, "'object_boxes': expected whole numbers of 1 images"),
        ({"object_boxes": padded([*BOXES[:3], [1, 1, 5, 0]], 6)}, "column 3: expected >= 1, got 0"),
        ({"objects_per_image": np.array([7])}, "'objects_per_image' row 0: expected 0..6, got 7"),
        ({"relationship_subjects": padded([4, 1], 5)}, "row 0, column 0: expected 0..3, got 4"),
        ({"relationship_predicates": padded([1, 3], 5)}, "column 1: expected 1..2, got 3"),
        ({"relationship_objects": padded([1], 4)}, "expected tables of one size"),
        ({"image_ids": np.array([7.5])}, "'image_ids': expected whole numbers"),
        ({"image_paths": np.array([b"a", b"b"])}, "and 2 paths"),
    ],
)  # fmt: skip
def test_bad_tables(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    write(tmp_path, **changes)
    with pytest.raises(InputError, match=message) as error:
        open_sg2im_vg(tmp_path, "train")
    assert "train.h5" in str(error.value)
    assert "\n" not in str(error.value)


def test_bad_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"vocab\.json: expected a JSON file, got no such file"):
        open_sg2im_vg(tmp_path, "train")
    write(tmp_path)
    save(tmp_path / "vocab.json", {**VOCAB, "pred_idx_to_name": ["on"]})
    with pytest.raises(InputError, match=r"vocab\.json, pred_idx_to_name: expected a list that b"):
        open_sg2im_vg(tmp_path, "train")
    save(tmp_path / "vocab.json", VOCAB)
    whole = (tmp_path / "val.h5").read_bytes()
    (tmp_path / "val.h5").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"val\.h5: expected a complete HDF5 file"):
        open_sg2im_vg(tmp_path, "val")
    (tmp_path / "val.h5").unlink()
    with pytest.raises(InputError, match=r"val\.h5: expected annotations .* got no such file"):
        open_sg2im_vg(tmp_path, "val")
    with pytest.raises(InputError, match=r"data.max_objects: expected 0 or >= 2, got 1"):
        DataConfig(max_objects=1)
