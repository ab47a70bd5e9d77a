import json
import zipfile
from itertools import product
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoenc_sg.core.errors import InputError
from autoenc_sg.data.vg150.files import read_annotations
from autoenc_sg.data.vg150.from_raw.build import BuildRules, build_vg150
from autoenc_sg.data.vg150.from_raw.merge_boxes import merge_boxes, overlap_kinds
from autoenc_sg.data.vg150.from_raw.names import NameTable, normalized, read_aliases, read_names
from autoenc_sg.data.vg150.from_raw.raw_json import stream_images
from autoenc_sg.data.vg150.writing import encode_pixel_boxes

SIZE = {"width": 1024, "height": 512}


def thing(object_id: int, names: list[str], x: int, y: int, w: int, h: int) -> dict[str, Any]:
    return {"object_id": object_id, "names": names, "x": x, "y": y, "w": w, "h": h, "synsets": []}


def end(object_id: int, name: str, box: tuple[int, int, int, int]) -> dict[str, Any]:
    return {"object_id": object_id, "name": name, **dict(zip("xywh", box)), "synsets": []}


def relation(subject: dict[str, Any], predicate: str, other: dict[str, Any]) -> dict[str, Any]:
    return {"predicate": predicate, "subject": subject, "object": other, "relationship_id": 1}


CAT, MAT = end(1, "cat", (1, 1, 100, 100)), end(2, "mat", (201, 1, 200, 300))
OBJECTS = [
    {
        "image_id": 7,
        "objects": [
            thing(1, ["Cat!"], 1, 1, 100, 100),
            thing(2, ["mat"], 201, 1, 200, 300),
            thing(3, ["kitty", "cat"], 3, 3, 100, 100),  # overlap 98²/102² > 0.9: merged with 1
            thing(4, ["fly"], 500, 5, 10, 10),  # small
            thing(5, ["mat"], 211, 11, 50, 50),  # inside 2, same name: merged with it
        ],
    },
    {"image_id": 8, "objects": [thing(9, ["dog"], 1, 1, 1024, 512)]},
    {"image_id": 9, "objects": []},
    {"image_id": 1592, "objects": [thing(1, ["cat"], 1, 1, 99, 99)]},  # one of the broken
]
RELATIONSHIPS = [
    {
        "image_id": 7,
        "relationships": [
            relation(CAT, "ON", MAT),
            relation(CAT, "on", end(5, "mat", (211, 11, 50, 50))),  # the same as the first
            relation(end(1, "cat", (0, 0, 1, 1)), "near", end(3, "kitty", (0, 0, 1, 1))),  # one cat
            relation(CAT, "has", end(4, "fly", (500, 5, 10, 10))),  # too small
            relation(end(6, "dog", (601, 101, 100, 100)), "sees", CAT),  # news: a dog
        ],
    },
    {"image_id": 8, "relationships": []},
    {"image_id": 9, "relationships": []},
    {"image_id": 1592, "relationships": []},
]
IMAGES = [{"image_id": i, **SIZE} for i in (7, 8, 9, 1592)]


def raw_files(
    folder: Path, objects: Any = OBJECTS, relationships: Any = RELATIONSHIPS, images: Any = IMAGES
) -> Path:
    folder.mkdir(exist_ok=True)
    for name, value in (
        ("objects", objects),
        ("relationships", relationships),
        ("image_data", images),
    ):
        (folder / f"{name}.json").write_text(json.dumps(value), encoding="utf-8")
    return folder


def tables(folder: Path) -> dict[str, Any]:
    with h5py.File(folder / "VG-SGG.h5") as file:
        return {name: file[name][()] for name in file}


def test_by_hand(tmp_path: Path) -> None:
    raw = raw_files(tmp_path / "raw")
    counts = build_vg150(raw, tmp_path / "out")
    built = tables(tmp_path / "out")
    dicts = json.loads((tmp_path / "out" / "VG-SGG-dicts.json").read_text())
    assert dicts["label_to_idx"] == {"cat": 1, "dog": 2, "kitty": 3, "mat": 4}  # alphabetical
    assert dicts["object_count"] == {"cat": 1, "dog": 2, "kitty": 1, "mat": 1}  # merged: once each
    assert dicts["predicate_count"] == {"has": 1, "near": 1, "on": 2, "sees": 1}  # of all raw ones
    assert built["labels"][:, 0].tolist() == [1, 4, 2, 2]  # cat and kitty tie: the alphabet
    # The mean of x 1..101 and 3..103 is 2..102; the mats' is the larger box. x and y count from 1.
    assert built["boxes_1024"].tolist() == [
        [51, 51, 100, 100], [300, 150, 200, 300], [650, 150, 100, 100], [512, 256, 1024, 512]
    ]  # fmt: skip
    assert built["relationships"].tolist() == [[0, 1], [0, 1], [2, 0]]
    on, sees = dicts["predicate_to_idx"]["on"], dicts["predicate_to_idx"]["sees"]
    assert built["predicates"][:, 0].tolist() == [on, on, sees]
    assert built["split"].tolist() == [0, 0, 2]  # int(0.7 * 3) train images
    assert built["img_to_first_box"].tolist() == [0, 3, -1]
    assert built["img_to_last_rel"].tolist() == [2, -1, -1]
    assert counts.merged_objects == 2
    assert counts.small_objects == 1
    assert counts.relationships_within_object == 1
    assert counts.relationships_without_object == 1
    assert counts.annotated_images_left_out == 1
    assert len(counts.table().rows) == 15
    read = read_annotations(tmp_path / "out")
    assert read.image_ids.tolist() == [7, 8, 9]


def test_cut_lists_and_aliases(tmp_path: Path) -> None:
    raw = raw_files(tmp_path / "raw")
    (tmp_path / "alias.txt").write_text("pet,cat,kitty,dog\n", encoding="utf-8")
    (tmp_path / "list.txt").write_text("sees\nnear\n", encoding="utf-8")
    rules = BuildRules(
        1, 5, predicate_list=tmp_path / "list.txt", object_aliases=tmp_path / "alias.txt"
    )
    counts = build_vg150(raw, tmp_path / "out", rules)
    dicts = json.loads((tmp_path / "out" / "VG-SGG-dicts.json").read_text())
    assert dicts["label_to_idx"] == {"pet": 1}  # the commonest one
    assert dicts["predicate_to_idx"] == {"near": 1, "sees": 2}
    assert tables(tmp_path / "out")["relationships"].tolist() == [[1, 0]]
    assert counts.unnamed_objects == 1  # the mat


def test_same_bytes_from_zips_into_the_same_folder_and_other_orders(tmp_path: Path) -> None:
    build_vg150(raw_files(tmp_path / "raw"), tmp_path / "a")
    expected = (tmp_path / "a" / "VG-SGG.h5").read_bytes()
    build_vg150(
        raw_files(tmp_path / "b", OBJECTS[::-1], RELATIONSHIPS[2:] + RELATIONSHIPS[:2]),
        tmp_path / "b",
    )
    assert (tmp_path / "b" / "VG-SGG.h5").read_bytes() == expected
    assert json.loads((tmp_path / "b" / "image_data.json").read_text()) == IMAGES  # left alone
    for name in ("objects", "relationships"):
        path = tmp_path / "raw" / f"{name}.json"
        with zipfile.ZipFile(f"{path}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.write(path, path.name)
        path.unlink()
    build_vg150(tmp_path / "raw", tmp_path / "c")
    assert (tmp_path / "c" / "VG-SGG.h5").read_bytes() == expected


def naive_kind(a: list[int], b: list[int], same_name: bool) -> int:
    def inside(p: list[int], q: list[int]) -> bool:
        return p[0] >= q[0] and p[1] >= q[1] and p[2] <= q[2] and p[3] <= q[3]

    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    meet = width * height if width > 0 and height > 0 else 0
    around = (max(a[2], b[2]) - min(a[0], b[0])) * (max(a[3], b[3]) - min(a[1], b[1]))
    if a == b or meet / around > 0.9:
        return 1
    if same_name and (inside(a, b) or inside(b, a)):
        return 2
    return 3 if same_name and meet / around > 0.6 else 0


def naive_merge(boxes: list[list[int]], names: list[int]) -> tuple[list[int], list[list[int]]]:
    owner: dict[int, int] = {}
    merged: list[list[int]] = []
    rows = [0] * len(boxes)
    for i in range(len(boxes)):
        if i in owner:
            continue
        group, kinds = [i], [1]
        for j in range(i + 1, len(boxes)):
            kind = naive_kind(boxes[i], boxes[j], names[i] == names[j] > 0)
            if j not in owner and kind:
                owner[j] = i
                group.append(j)
                kinds.append(kind)
        sides = list(zip(*(boxes[k] for k in group)))
        if max(kinds) > 1:
            box = [min(sides[0]), min(sides[1]), max(sides[2]), max(sides[3])]
        else:
            m = [sum(side) / len(group) for side in sides]
            box = [int(m[0]), int(m[1]), int(m[0]) + int(m[2] - m[0]), int(m[1]) + int(m[3] - m[1])]
        for k in group:
            rows[k] = len(merged)
        merged.append(box)
    return rows, merged


a_box = st.tuples(*[st.integers(0, 12)] * 2, *[st.integers(1, 14)] * 2, st.integers(0, 2))


@settings(max_examples=150, deadline=None)
@given(st.lists(a_box, max_size=9))
def test_merging_equals_the_plain_loop(items: list[tuple[int, ...]]) -> None:
    boxes = [[x, y, x + w, y + h] for x, y, w, h, _ in items]
    names = [item[4] for item in items]
    table, ids = np.array(boxes, np.int32).reshape(-1, 4), np.array(names, np.int32)
    kinds = overlap_kinds(table, ids)
    for i, j in product(range(len(boxes)), repeat=2):
        same = names[i] == names[j] > 0
        assert kinds[i, j] == naive_kind(boxes[i], boxes[j], same)
    rows, merged = merge_boxes(table, ids)
    assert (rows.tolist(), merged.tolist()) == naive_merge(boxes, names)


def test_box_encoding_by_hand() -> None:
    boxes = np.array([[1, 1, 3, 5], [500, 250, 100, 100], [0, -5, 700, 10], [2000, 1, 5, 5]])
    sizes = np.array([[250, 500]] * 4)
    assert encode_pixel_boxes(boxes, sizes, 1024).tolist() == [
        [3, 5, 7, 11],  # 0, 0 and 6.1 x 10.2 -> 7 x 11; the centre rounds down
        [1022, 611, 3, 205],  # x 1021; w cut at 1024
        [512, 10, 1024, 21],
        [1023, 5, 2, 11],
    ]


def test_names() -> None:
    assert normalized("  Man's T-Shirt. ") == "mans tshirt"
    assert normalized("½ café 20°") == "half cafe 20 degree"
    table = NameTable({"kitty": "cat"})
    assert [table.id(n) for n in ("Kitty", "CAT", "dog", "!", "dog ")] == [1, 1, 2, 0, 2]
    assert table.names == ["", "cat", "dog"]


def test_name_files(tmp_path: Path) -> None:
    path = tmp_path / "names ü.txt"
    path.write_text("cat,kitty\nkitty,kitten\n\n", encoding="utf-8")
    assert read_aliases(path) == {"cat": "cat", "kitty": "cat", "kitten": "cat"}
    path.write_text("b\na\nb\n", encoding="utf-8")
    assert read_names(path) == ("b", "a")
    with pytest.raises(InputError, match=r"absent.txt"):
        read_names(tmp_path / "absent.txt")


def test_images_of_one_file_alone_and_twice(tmp_path: Path) -> None:
    raw = raw_files(tmp_path, OBJECTS[:2], RELATIONSHIPS[1:3])
    images = {
        i.image_id: i for i in stream_images(raw / "objects.json", raw / "relationships.json")
    }
    assert sorted(images) == [7, 8, 9]
    assert len(images[7].objects) == 5
    assert images[7].relationships == images[9].objects == []
    raw = raw_files(tmp_path, [OBJECTS[1], OBJECTS[1]], RELATIONSHIPS)
    with pytest.raises(InputError, match=r"objects.json: expected each image once, got image 8"):
        list(stream_images(raw / "objects.json", raw / "relationships.json"))


@pytest.mark.parametrize(
    ("objects", "relationships", "message"),
    [
        ([{"image_id": 7, "objects": [{"x": 1}]}], [], "image 7: expected objects with object_id"),
        ([{"image_id": 7, "objects": 3}], [], "image 7: expected a list of objects 'objects'"),
        ([{"objects": []}], [], "entry 1: expected a number 'image_id'"),
        ([], [{"image_id": 7, "relationships": [{"subject": 1}]}], "image 7: expected"),
        ([{"image_id": 7, "objects": [thing(1, ["a"], "x", 1, 1, 1)]}], [], "image 7: expected"),  # type: ignore[arg-type]
        ([{"image_id": 7, "objects": [thing(1, ["a"], float("nan"), 1, 9, 9)]}], [], "valid JSON"),  # type: ignore[arg-type]
        ([{"image_id": 7, "objects": [thing(1, [1], 1, 1, 99, 99)]}], [], "image 7: expected"),  # type: ignore[list-item]
        ([{"image_id": 7, "objects": [thing(1, ["a"], 1 << 24, 1, 9, 9)]}], [], "in pixels"),
        ([], [], "none left"),
    ],
)
def test_bad_raw_files(tmp_path: Path, objects: Any, relationships: Any, message: str) -> None:
    raw = raw_files(tmp_path / "raw", objects, relationships)
    with pytest.raises(InputError, match=message):
        build_vg150(raw, tmp_path / "out")
    assert not (tmp_path / "out" / "VG-SGG.h5").exists()


def test_bad_rules_and_missing_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="num_objects"):
        BuildRules(-1)
    with pytest.raises(InputError, match="train_fraction"):
        BuildRules(train_fraction=1.5)
    raw = raw_files(tmp_path / "raw")
    (raw / "relationships.json").unlink()
    with pytest.raises(InputError, match=r"relationships.json: .*no such file"):
        build_vg150(raw, tmp_path / "out")


@pytest.mark.parametrize("levels", [1000, 100_000])
def test_entries_nested_too_deeply_are_one_line(tmp_path: Path, levels: int) -> None:
    raw = raw_files(tmp_path, [], RELATIONSHIPS)
    nested = "[" * levels + "]" * levels
    text = f'[{{"image_id": 7, "objects": [{{"object_id": 1, "names": {nested}}}]}}]'
    (raw / "objects.json").write_text(text)
    with pytest.raises(InputError, match="expected") as error:
        build_vg150(raw, tmp_path / "out")
    assert "\n" not in str(error.value)
