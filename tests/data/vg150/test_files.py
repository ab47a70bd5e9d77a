import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from autoenc_sg.config.data import DataConfig
from autoenc_sg.core.boxes import clip_to_image, has_area
from autoenc_sg.core.errors import InputError
from autoenc_sg.core.scene_graph import SceneGraph
from autoenc_sg.core.vocabulary import Vocabulary
from autoenc_sg.data.inspect.verify import verify
from autoenc_sg.data.vg150.files import boxes_outside, decode_boxes, read_annotations
from autoenc_sg.data.vg150.writing import encode_boxes, write_annotations

NAMES = Vocabulary.from_names(["cat", "dog", "mat"], ["on", "near"])


def graph(labels: list[int], boxes: list[list[float]], triples: list[list[int]]) -> SceneGraph:
    return SceneGraph(
        torch.tensor(labels, dtype=torch.int64),
        torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        torch.tensor(triples, dtype=torch.int64).reshape(-1, 3),
        (64, 128),
    )


GRAPHS = [
    graph([1, 3], [[8, 8, 24, 24], [0, 16, 128, 64]], [[0, 1, 1], [1, 2, 0]]),
    graph([], [], []),
    graph([2, 3, 1], [[1, 2, 3, 4], [5, 6, 50, 60], [100, 2, 128, 9]], []),
    graph([2, 2], [[0, 0, 16, 16], [16, 16, 32, 32]], [[1, 2, 0]]),
]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_annotations(tmp_path, GRAPHS, [11, 12, 13, 14], [0, 0, 2, 2], NAMES)
    return tmp_path


def change(root: Path, name: str, edit: Callable[[Any], Any]) -> None:
    with h5py.File(root / "VG-SGG.h5", "r+") as file:
        data = file[name][()]
        del file[name]
        changed = edit(data)
        if changed is not None:
            file.create_dataset(name, data=changed)


def put(row: Any, value: Any) -> Callable[[Any], Any]:
    def edit(data: Any) -> Any:
        data[row] = value
        return data

    return edit


def test_layout_on_disk(root: Path) -> None:
    with h5py.File(root / "VG-SGG.h5") as file:
        tables = {name: file[name][()] for name in file}
    assert tables["labels"].tolist() == [[1], [3], [2], [3], [1], [2], [2]]
    assert tables["predicates"].tolist() == [[1], [2], [2]]
    assert tables["relationships"].tolist() == [[0, 1], [1, 0], [6, 5]]  # rows of the whole file
    assert tables["img_to_first_box"].tolist() == [0, -1, 2, 5]
    assert tables["img_to_last_box"].tolist() == [1, -1, 4, 6]  # inclusive
    assert tables["img_to_first_rel"].tolist() == [0, -1, -1, 2]
    assert tables["img_to_last_rel"].tolist() == [1, -1, -1, 2]
    assert tables["split"].tolist() == [0, 0, 2, 2]
    assert tables["boxes_1024"][0].tolist() == [128, 128, 128, 128]
    assert tables["boxes_512"][1].tolist() == [256, 160, 512, 192]
    for name in ("boxes_512", "boxes_1024", "relationships", "img_to_first_box", "split"):
        assert tables[name].dtype == np.int32
    dicts = json.loads((root / "VG-SGG-dicts.json").read_text())
    assert dicts == {
        "label_to_idx": {"cat": 1, "dog": 2, "mat": 3},
        "idx_to_label": {"1": "cat", "2": "dog", "3": "mat"},
        "predicate_to_idx": {"on": 1, "near": 2},
        "idx_to_predicate": {"1": "on", "2": "near"},
        "object_count": {"cat": 2, "dog": 3, "mat": 2},
        "predicate_count": {"on": 1, "near": 2},
    }
    images = json.loads((root / "image_data.json").read_text())
    assert images[0] == {"image_id": 11, "width": 128, "height": 64}


def test_reading_gives_what_was_written(root: Path) -> None:
    data = read_annotations(root)
    assert data.vocabulary == NAMES
    assert data.image_ids.tolist() == [11, 12, 13, 14]
    assert data.image_size(0) == (64, 128)
    for row, graph in enumerate(GRAPHS):
        first, end = data.box_ranges[row].tolist()
        assert_close(data.labels[first:end], graph.labels)
        assert_close(data.raw_boxes[first:end] / 8, graph.boxes, atol=0.126, rtol=0)
        rel_first, rel_end = data.rel_ranges[row].tolist()
        assert_close(data.relationships[rel_first:rel_end] - first, graph.triples[:, [0, 2]])
        assert_close(data.predicates[rel_first:rel_end], graph.triples[:, 1])


def test_decoding_truncates_as_the_published_code() -> None:
    stored = torch.tensor([[10, 10, 4, 5], [2, 2, 5, 5], [1, 0, 3, 1]])
    wanted = [[8, 7, 12, 12], [0, 0, 5, 5], [0, 0, 3, 1]]  # 7.5 -> 7; -0.5 -> 0
    assert decode_boxes(stored).tolist() == wanted
    array = stored.numpy().astype(np.int32)
    array[:, :2] = array[:, :2] - array[:, 2:] / 2  # Neural Motifs' lines
    array[:, 2:] = array[:, :2] + array[:, 2:]
    assert array.tolist() == wanted


@given(
    st.integers(20, 4000),
    st.integers(20, 4000),
    st.lists(st.tuples(*[st.floats(0, 1, width=32)] * 4), min_size=1, max_size=8),
)
def test_corners_come_back_within_half_a_unit(
    height: int, width: int, corners: list[tuple[float, float, float, float]]
) -> None:
    points = torch.tensor(corners, dtype=torch.float64).reshape(-1, 2, 2).sort(1).values
    boxes = (points * torch.tensor([width, height])).reshape(-1, 4)
    unit = max(height, width) / 1024
    back = decode_boxes(encode_boxes(boxes, (height, width), 1024)).double() * unit
    assert (back[:, 2:] > back[:, :2]).all()
    wide = ((boxes[:, 2:] - boxes[:, :2]) >= unit).all(1)
    assert_close(back[wide], boxes[wide], atol=0.501 * unit, rtol=0)
    assert_close(back, boxes, atol=1.501 * unit, rtol=0)  # narrower ones are one unit wide


def test_boxes_on_the_grid_of_a_large_photo_come_back_exactly() -> None:
    boxes = torch.tensor([[125, 250, 1000, 2125], [0, 0, 4000, 3000], [3875, 500, 4000, 3000]])
    unit = 4000 / 1024
    exact = (boxes / unit).round() * unit
    stored = encode_boxes(exact.double(), (3000, 4000), 1024)
    assert_close(decode_boxes(stored).double() * unit, exact.double(), atol=1e-3, rtol=0)


def test_a_box_beyond_the_image_is_clipped(root: Path) -> None:
    change(root, "boxes_1024", put(1, [512, 400, 1200, 400]))
    data = read_annotations(root)
    assert_close(data.raw_boxes[1], torch.tensor([-88.0, 200, 1112, 600]))
    clipped = clip_to_image(data.raw_boxes[:2], (512, 1024))
    assert_close(clipped[1], torch.tensor([0.0, 200, 1024, 512]))
    assert has_area(clipped).tolist() == [True, True]


def test_boxes_outside_of_their_images_are_told_of(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    change(root, "boxes_1024", put(6, [300, 600, 9, 9]))
    data = read_annotations(root)
    assert boxes_outside(data).tolist() == [6]
    assert "1 boxes outside of their images are left out" in caplog.text


@pytest.mark.parametrize(
    ("name", "edit", "message"),
    [
        ("labels", put(2, 4), r"'labels' row 2: expected 1\.\.3, got \[4\]"),
        ("labels", put(2, 0), r"'labels' row 2: expected 1\.\.3, got \[0\]"),
        ("predicates", put(1, 3), r"'predicates' row 1: expected 1\.\.2, got \[3\]"),
        ("relationships", put(1, [0, 7]), r"'relationships' row 1: expected 0\.\.6, got \[0, 7\]"),
        (
            "relationships",
            put(0, [0, 5]),
            r"row 0: expected boxes of its own image, 0\.\.1, got \[0, 5\]",
        ),
        (
            "boxes_1024",
            put(3, [5, 5, 0, 9]),
            r"'boxes_1024' row 3: .* w and h >= 1, got \[5, 5, 0, 9\]",
        ),
        ("boxes_1024", put(3, [5, 5, -4, 9]), r"row 3: expected xc, yc, w, h with w and h"),
        ("boxes_1024", lambda data: data[:5], r"'boxes_1024': expected 7 rows as 'labels', got 5"),
        (
            "boxes_1024",
            lambda data: data[:, :3],
            r"'boxes_1024': expected integers of shape \[7, 4\]",
        ),
        ("labels", lambda data: data.astype(float), r"'labels': expected integers .* float64"),
        (
            "img_to_last_box",
            put(3, 7),
            r"row 3: expected an inclusive range within 0\.\.6, .* got 5, 7",
        ),
        ("img_to_last_rel", put(0, -1), r"'img_to_last_rel' row 0: expected an .* got 0, -1"),
        (
            "img_to_first_rel",
            lambda data: data[:2],
            r"'img_to_first_rel': .* shape \[4\], got int32 \[2\]",
        ),
        ("split", put(1, 1), r"'split': expected 0 \(train\) or 2 \(test\), got \[0, 1, 2\]"),
        ("labels", lambda data: 3, r"'labels': expected integers .* \[1, 1\], got int64 \[\]"),
        ("split", lambda data: "no", r"'split': expected integers of shape \[1\], got .* \[\]"),
        ("split", lambda data: h5py.Empty("i4"), r"'split': expected integers .* got object \[\]"),
        (
            "predicates",
            lambda data: None,
            r"VG-SGG\.h5: expected a data set 'predicates', got only",
        ),
    ],
)
def test_bad_tables(root: Path, name: str, edit: Callable[[Any], Any], message: str) -> None:
    change(root, name, edit)
    with pytest.raises(InputError, match=message) as error:
        read_annotations(root)
    assert "VG-SGG.h5" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("keep", [0, 100, 3000])
def test_truncated_h5(root: Path, keep: int) -> None:
    path = root / "VG-SGG.h5"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(InputError, match=r"VG-SGG\.h5: expected a complete HDF5 file, got"):
        read_annotations(root)


def test_changed_bytes_give_other_numbers_or_one_line(root: Path) -> None:
    path = root / "VG-SGG.h5"
    whole, random_bytes = path.read_bytes(), random.Random(0)
    messages = []
    for _ in range(100):
        data = bytearray(whole)
        for _ in range(3):  # the first bytes hold what the file is made of
            data[random_bytes.randrange(4000)] = random_bytes.randrange(256)
        path.write_bytes(data)
        try:
            read_annotations(root)
        except InputError as error:
            messages.append(str(error))
        verify(DataConfig("vg150", str(root)))
    assert len(messages) > 10
    assert all("VG-SGG.h5" in message for message in messages)


@pytest.mark.parametrize("name", ["VG-SGG.h5", "VG-SGG-dicts.json", "image_data.json"])
def test_missing_file(root: Path, name: str) -> None:
    (root / name).unlink()
    with pytest.raises(InputError, match=rf"{name}: expected .*, got no such file"):
        read_annotations(root)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (
            "image_data.json",
            '[{"image_id": 1,',
            "image_data.json: expected a JSON file, got Expecting",
        ),
        ("image_data.json", "{}", "expected a list of images, got dict"),
        ("image_data.json", "[]", "expected 4 images as in the h5, got 0"),
        ("image_data.json", '[{"image_id": 1}]', "expected 'image_id', 'height' and 'width'"),
        (
            "image_data.json",
            json.dumps([{"image_id": i, "height": 5 * (i - 2), "width": 3} for i in range(4)]),
            "image 0: expected a height and width >= 1 and < 16777216, got -10 x 3",
        ),
        (
            "image_data.json",
            '[{"image_id": 1, "height": 9, "width": 16777216}]',
            "image 1: expected a height and width >= 1 and < 16777216, got 9 x 16777216",
        ),
        ("image_data.json", "[" + "1" * 5000 + "]", "image_data.json: expected a JSON file, got"),
        ("VG-SGG-dicts.json", "{", "VG-SGG-dicts.json: expected a JSON file"),
        ("VG-SGG-dicts.json", "[]", "expected an object with 'label_to_idx', got list"),
        (
            "VG-SGG-dicts.json",
            '{"label_to_idx": {"cat": 1}}',
            "VG-SGG-dicts.json: .*predicate_to_idx",
        ),
        ("VG-SGG-dicts.json", '{"label_to_idx": {"cat": "x"}}', "VG-SGG-dicts.json: "),
    ],
)
def test_bad_json(root: Path, name: str, text: str, message: str) -> None:
    (root / name).write_text(text)
    with pytest.raises(InputError, match=message) as error:
        read_annotations(root)
    assert "\n" not in str(error.value)


def test_the_four_broken_images_of_visual_genome_are_skipped(root: Path) -> None:
    entries = json.loads((root / "image_data.json").read_text())
    broken = [{"image_id": i, "height": 9, "width": 9} for i in (1592, 1722, 4616, 4617)]
    mixed = [broken[0], *entries[:2], *broken[1:], *entries[2:]]
    (root / "image_data.json").write_text(json.dumps(mixed))
    assert read_annotations(root).image_ids.tolist() == [11, 12, 13, 14]


def test_names_of_the_variant_with_attributes(root: Path) -> None:
    (root / "VG-SGG.h5").rename(root / "VG-SGG-with-attri.h5")
    (root / "VG-SGG-dicts.json").rename(root / "VG-SGG-dicts-with-attri.json")
    assert len(read_annotations(root).labels) == 7
