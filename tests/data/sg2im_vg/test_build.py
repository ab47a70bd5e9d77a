import json
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from autoenc_sg.cli.main import main
from autoenc_sg.core.errors import InputError
from autoenc_sg.data.sg2im_vg.build import build_sg2im_vg
from autoenc_sg.data.sg2im_vg.padded_tables import (
    by_appearance,
    commonest,
    first_known,
    last_positions,
)
from autoenc_sg.data.sg2im_vg.raw_json import NamedEntries, read_sg2im_aliases
from autoenc_sg.data.sg2im_vg.rules import RawFiles, Sg2imRules
from tests.support.files.sg2im_data import SMALL, relation, save, thing, write_raw

BIG = (10, 10, 50, 60)
TABLES = {
    "image_ids", "objects_per_image", "object_ids", "object_names", "object_boxes",
    "relationships_per_image", "relationship_ids", "relationship_subjects",
    "relationship_predicates", "relationship_objects", "attributes_per_object",
    "object_attributes", "image_paths",
}  # fmt: skip


def read(path: Path) -> dict[str, np.ndarray[Any, Any]]:
    with h5py.File(path) as file:
        return {name: file[name][()] for name in file}


def write(root: Path, **lists: Any) -> Path:
    """Two train images and one of each other split, 300 x 200 pixels, by hand."""
    objects = {
        1: [thing(10, ["cup", "mug"], BIG), thing(11, ["ghost", "man"], BIG),
            thing(12, ["Man"], (5, 6, 32, 32)), thing(13, ["man"], (5, 6, 31, 90))],
        2: [thing(20, ["man"], BIG), thing(21, ["cup"], BIG), thing(22, ["man"], BIG)],
        3: [thing(30, ["man"], BIG), thing(31, ["cup"], BIG), thing(32, ["man"], BIG)],
        4: [thing(40, ["man"], BIG), thing(41, ["cup"], BIG), thing(42, ["man"], BIG)],
    }  # fmt: skip
    relations = {
        1: [relation(1, 11, "HOLDS ", 10), relation(2, 12, "near", 13), relation(3, 12, "by", 11)],
        2: [relation(4, 20, "near", 22), relation(5, 20, "holds", 21), relation(6, 22, "of", 21)],
        3: [relation(7, 30, "holds", 31), relation(8, 30, "HOLDS", 31), relation(9, 32, "by", 31)],
        4: [relation(10, 40, "near", 40)],
    }
    attributes = {
        1: [{"object_id": 10, "attributes": ["red", "red", "odd", "old"]},
            {"object_id": 12, "attributes": ["old"]}, {"object_id": 12}],
        2: [{"object_id": 20, "attributes": ["red", "old"]}],
    }  # fmt: skip
    parts = {"objects": objects, "relationships": relations, "attributes": attributes}
    for name, by_image in parts.items():
        value = [{"image_id": i, name: entries} for i, entries in by_image.items()]
        save(root / f"{name}.json", lists.get(name, value))
    data = [{"image_id": i, "width": 300, "height": 200, "url": f"https://a.b/x/VG_100K/{i}.jpg"}
            for i in range(1, 5)]  # fmt: skip
    save(root / "image_data.json", data)
    (root / "object_alias.txt").write_text("man,Man, guy\n")
    (root / "relationship_alias.txt").write_text("near,by,close to\n")
    save(root / "vg_splits.json", lists.get("splits", {"train": [1, 2], "test": [4], "val": [3]}))
    return root


RULES = Sg2imRules(min_object_instances=2, min_attribute_instances=2, min_relationship_instances=2)


def test_by_hand(tmp_path: Path) -> None:
    counts = build_sg2im_vg(RawFiles(write(tmp_path / "raw")), tmp_path / "out", RULES)
    vocab = json.loads((tmp_path / "out" / "vocab.json").read_text())
    assert vocab == {
        "object_name_to_idx": {"__image__": 0, "man": 1, "cup": 2},  # 5 and 2 of the train images
        "object_idx_to_name": ["__image__", "man", "cup"],
        "attribute_name_to_idx": {"old": 0, "red": 1},  # `red` twice in an object is once
        "attribute_idx_to_name": ["old", "red"],
        "pred_name_to_idx": {"__in_image__": 0, "holds": 1, "near": 2},  # as they appear
        "pred_idx_to_name": ["__in_image__", "holds", "near"],
    }
    train = read(tmp_path / "out" / "train.h5")
    assert set(train) == TABLES
    assert train["image_ids"].tolist() == [1, 2]
    assert train["image_paths"].tolist() == [b"VG_100K/1.jpg", b"VG_100K/2.jpg"]
    assert train["objects_per_image"].tolist() == [3, 3]
    assert train["object_ids"][0].tolist() == [10, 11, 12] + 27 * [-1]  # 13 is too narrow
    assert train["object_names"][0, :4].tolist() == [2, 1, 1, -1]  # the first name that is known
    assert train["object_boxes"][0, 2].tolist() == [5, 6, 32, 32]
    assert train["object_boxes"][0, 3].tolist() == [-1, -1, -1, -1]
    assert train["relationships_per_image"].tolist() == [2, 2]
    assert train["relationship_ids"][:, :3].tolist() == [[1, 3, -1], [4, 5, -1]]
    assert train["relationship_subjects"][:, :3].tolist() == [[1, 2, -1], [0, 0, -1]]
    assert train["relationship_predicates"][:, :3].tolist() == [[1, 2, -1], [2, 1, -1]]
    assert train["relationship_objects"][:, :3].tolist() == [[0, 1, -1], [2, 1, -1]]
    assert train["attributes_per_object"][:, :4].tolist() == [[3, 0, 0, -1], [2, 0, 0, -1]]
    assert train["object_attributes"].shape == (6, 30)
    assert train["object_attributes"][:, :4].tolist() == [
        [1, 1, 0, -1], [-1] * 4, [-1] * 4, [1, 0, -1, -1], [-1] * 4, [-1] * 4,
    ]  # fmt: skip
    assert all(train[name].dtype == np.int32 for name in TABLES - {"image_paths"})
    # outside of the train split predicates must be typed as the vocabulary has them
    val = read(tmp_path / "out" / "val.h5")
    assert val["relationship_ids"][0, :3].tolist() == [7, -1, -1]
    assert read(tmp_path / "out" / "test.h5")["relationship_objects"][0, :2].tolist() == [0, -1]
    assert counts.kept == {"train": 2, "val": 1, "test": 1}
    assert counts.names == "2 classes, 2 predicates, 2 attributes"
    assert [row[0] for row in counts.table().rows][-1] == "relationships"


def test_held_out_predicates_may_be_mended(tmp_path: Path) -> None:
    rules = Sg2imRules(0, 2, 2, min_relationship_instances=2, normalize_held_out=True)
    build_sg2im_vg(RawFiles(write(tmp_path)), tmp_path, rules)
    val = read(tmp_path / "val.h5")
    assert val["relationship_ids"][0, :4].tolist() == [7, 8, 9, -1]
    assert val["relationship_predicates"][0, :4].tolist() == [1, 1, 2, -1]


@pytest.mark.parametrize(
    ("rules", "kept"),
    [
        ({"min_image_size": 201}, None),
        ({"min_objects_per_image": 4}, None),
        ({"max_objects_per_image": 2}, None),
        ({"min_relationships_per_image": 2}, {"train": 2, "val": 0, "test": 0}),
        ({"max_relationships_per_image": 1}, None),
        ({"max_attributes_per_image": 1}, {"train": 2, "val": 1, "test": 1}),
    ],
)
def test_limits_of_images(tmp_path: Path, rules: dict[str, int], kept: Any) -> None:
    limits = Sg2imRules(**{**SMALL, "min_object_instances": 2, **rules})
    if kept is None:
        with pytest.raises(InputError, match=r"expected train images .* got none left"):
            build_sg2im_vg(RawFiles(write(tmp_path)), tmp_path / "out", limits)
        assert not (tmp_path / "out").exists()
        return
    assert build_sg2im_vg(RawFiles(write(tmp_path)), tmp_path, limits).kept == kept
    width = rules.get("max_attributes_per_image", 30)
    assert read(tmp_path / "train.h5")["object_attributes"].shape == (6, width)
    assert read(tmp_path / "train.h5")["attributes_per_object"][0, 0] == min(width, 3)


def test_an_object_id_that_comes_twice(tmp_path: Path) -> None:
    """sg2im keeps objects by id: both entries get class and box of the last kept one."""
    twice = [
        {"image_id": 1, "objects": [
            thing(1, ["cup"], BIG), thing(2, ["man"], BIG),
            thing(1, ["man"], (1, 2, 40, 40)), thing(1, ["cup"], (0, 0, 1, 1)),
        ]},
        {"image_id": 2, "objects": [thing(k, ["cup"], BIG) for k in (5, 6, 7)]},
    ]  # fmt: skip
    related = [
        {"image_id": 1, "relationships": [relation(1, 2, "near", 1)]},
        {"image_id": 2, "relationships": [relation(2, 5, "near", 6)]},
    ]
    build_sg2im_vg(RawFiles(write(tmp_path, objects=twice, relationships=related)), tmp_path, RULES)
    train = read(tmp_path / "train.h5")
    assert train["object_names"][0, :5].tolist() == [2, 2, 2, 2, -1]
    assert train["object_boxes"][0, 0].tolist() == [1, 2, 40, 40]
    assert train["relationship_objects"][0, 0] == 3  # the last of them


def naive_vocab(entries: list[tuple[int, list[str]]], least: int) -> list[str]:
    counter: Counter[str] = Counter()
    for _, names in entries:
        counter.update(list(dict.fromkeys(names)))
    return [name for name, count in counter.most_common() if count >= least]


def test_names_against_a_plain_version() -> None:
    rng = np.random.default_rng(0)
    entries = [(int(rng.integers(5)), [f"n{k}" for k in rng.integers(0, 9, rng.integers(0, 4))])
               for _ in range(200)]  # fmt: skip
    names = list(dict.fromkeys(name for _, entry_names in entries for name in entry_names))
    flat = np.array([names.index(name) for _, entry_names in entries for name in entry_names])
    table = NamedEntries(
        np.array([image for image, _ in entries]),
        np.arange(200),
        flat,
        np.array([len(entry_names) for _, entry_names in entries]),
        np.zeros((200, 4), np.int64),
    )
    counted = np.array([True, False, True, True, False])
    used = [entry for entry in entries if counted[entry[0]]]
    for least in (0, 20, 25, 99):
        chosen = [names[i] for i in commonest(table, counted, len(names), least)]
        assert chosen == naive_vocab(used, least)
    id_of_name = np.where(np.arange(len(names)) % 3 == 0, np.arange(len(names)), -1)
    plain = []
    for _, entry_names in entries:
        ids = [int(id_of_name[names.index(name)]) for name in entry_names]
        plain.append(next((name_id for name_id in ids if name_id >= 0), -1))
    assert first_known(table, id_of_name).tolist() == plain
    assert by_appearance(np.array([3, 1, 3, 0, 1, 3]), 5, 2).tolist() == [3, 1]
    assert last_positions(np.array([5, 2, 5]), np.array([[5, 2], [1, 9]])).tolist() == [
        [2, 1],
        [-1] * 2,
    ]
    assert last_positions(np.zeros(0, np.int64), np.array([1])).tolist() == [-1]


def test_aliases_are_not_followed(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("man, guy ,Man\nperson,man\n")
    assert read_sg2im_aliases(path) == {
        "man": "person", "guy": "man", "Man": "man", "person": "person",
    }  # fmt: skip


def test_zips_other_orders_and_the_same_bytes(tmp_path: Path) -> None:
    first, second = (write_raw(tmp_path / name, photos=False) for name in "ab")
    for name in ("objects", "attributes"):
        path = second / f"{name}.json"
        path.write_text(json.dumps(json.loads(path.read_text())))
        with zipfile.ZipFile(second / f"{name}.json.zip", "w") as archive:
            archive.write(path, path.name)
        path.unlink()
    for root in (first, second):
        build_sg2im_vg(RawFiles(root), root / "out", Sg2imRules(**SMALL))
    for name in ("train.h5", "val.h5", "test.h5", "vocab.json"):
        assert (first / "out" / name).read_bytes() == (second / "out" / name).read_bytes()


def test_random_splits(tmp_path: Path) -> None:
    write_raw(tmp_path, 30, photos=False)
    (tmp_path / "vg_splits.json").unlink()
    with pytest.raises(InputError, match=r"vg_splits\.json: expected sg2im's list .*--splits rand"):
        build_sg2im_vg(RawFiles(tmp_path), tmp_path)
    counts = build_sg2im_vg(RawFiles(tmp_path, Path("random")), tmp_path, Sg2imRules(**SMALL))
    assert counts.images == {"train": 24, "val": 3, "test": 3}


def test_images_that_are_unknown_are_counted(tmp_path: Path) -> None:
    splits = {"train": [1, 2, 77], "val": [3], "test": [4, 78]}
    counts = build_sg2im_vg(RawFiles(write(tmp_path, splits=splits)), tmp_path, RULES)
    assert counts.unknown == {"train": 1, "val": 0, "test": 1}
    assert counts.kept == {"train": 2, "val": 1, "test": 1}


@pytest.mark.parametrize(
    ("lists", "message"),
    [
        ({"objects": [{"image_id": 1, "objects": [{"object_id": 1, "names": ["a"]}]}]},
         "objects.json image 1: expected .* got KeyError 'x'"),
        ({"objects": [{"image_id": 1, "objects": [thing(1, "man", BIG)]}]},  # type: ignore[arg-type]
         "objects.json image 1: .* got TypeError names 'man'"),
        ({"objects": [{"image_id": 1, "objects": [thing(1 << 40, ["man"], BIG)]}]},
         "objects.json image 1: .* got ValueError object_id"),
        ({"attributes": [{"image_id": 1, "attributes": [{"object_id": 1, "attributes": [3]}]}]},
         "attributes.json image 1: .* got TypeError a name 3"),
        ({"relationships": [{"image_id": 1, "relationships": [{"predicate": "on"}]}]},
         "relationships.json image 1: .* got KeyError 'subject'"),
        ({"relationships": [{"image_id": 1}]}, "image 1: expected a list of objects"),
        ({"objects": {}}, "objects.json: expected a JSON list of objects"),
        ({"splits": {"train": [1]}}, "vg_splits.json: expected image ids by train, val, test, got"),
        ({"splits": {"train": [1], "val": [1], "test": []}}, "expected each image in one split"),
        ({"splits": {"train": ["1"], "val": [], "test": []}}, "'train': expected a list of image"),
    ],
)  # fmt: skip
def test_bad_files(tmp_path: Path, lists: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        build_sg2im_vg(RawFiles(write(tmp_path, **lists)), tmp_path / "out", RULES)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


def test_missing_files(tmp_path: Path) -> None:
    for name in ("relationship_alias.txt", "attributes.json", "image_data.json"):
        write(tmp_path)
        (tmp_path / name).unlink()
        with pytest.raises(InputError, match=name):
            build_sg2im_vg(RawFiles(tmp_path), tmp_path / "out", RULES)


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write_raw(tmp_path, photos=False)
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in SMALL.items()]
    assert main(["data", "sg2im-vg", "--root", str(root), *flags]) == 0
    assert "images kept" in capsys.readouterr().out
    assert (root / "train.h5").is_file()
    assert main(["data", "sg2im-vg", "--root", str(root), "--min-image-size=-1"]) == 2
    assert "autoenc-sg: min_image_size: expected >= 0, got -1" in capsys.readouterr().err
