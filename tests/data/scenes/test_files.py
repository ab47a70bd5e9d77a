import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from autoenc_sg.config.data import DataConfig, ScenesConfig
from autoenc_sg.core.errors import InputError
from autoenc_sg.data.base.samples import collate_samples
from autoenc_sg.data.open import open_dataset
from autoenc_sg.data.scenes.files import ensure_scenes, read_settings, write_scenes
from autoenc_sg.data.scenes.random_scene import random_scene
from autoenc_sg.data.scenes.render import draw_scene
from autoenc_sg.data.vg150.dataset import open_vg150
from autoenc_sg.data.vg150.files import read_annotations

CONFIG = ScenesConfig(num_train=12, num_test=4, seed=9)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "scenes"
    write_scenes(path, CONFIG)
    return path


def test_files_and_splits(root: Path) -> None:
    names = {path.name for path in root.iterdir()}
    wanted = {"VG-SGG.h5", "VG-SGG-dicts.json", "image_data.json", "scenes.json", "VG_100K"}
    assert names == wanted
    assert sorted(int(p.stem) for p in (root / "VG_100K").iterdir()) == list(range(1, 17))
    assert [p.name for p in root.parent.iterdir()] == ["scenes"]  # nothing temporary is left
    data = read_annotations(root)
    assert data.split.tolist() == [0] * 12 + [2] * 4


def test_reading_gives_the_worlds_that_were_drawn(root: Path) -> None:
    test = open_vg150(root, "test")
    for index in range(4):
        image, graph = draw_scene(random_scene(9, "test", index), 128)
        sample = test[index]
        assert sample.image_id == 13 + index
        assert_close(sample.graph.labels, graph.labels)
        assert_close(sample.graph.triples, graph.triples)
        assert_close(sample.graph.boxes, graph.boxes, atol=0.4, rtol=0)
        drawn = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8).reshape(128, 128, 3)
        apart = sample.image.permute(1, 2, 0).float() - drawn.float()
        assert float(apart.abs().mean()) < 4  # JPEG


def test_progress_is_told(tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    config = ScenesConfig(num_train=2, num_test=1, image_size=32)
    write_scenes(
        tmp_path / "new" / "scenes", config, lambda done, total: calls.append((done, total))
    )
    assert calls == [(1, 3), (2, 3), (3, 3)]


def test_noise_changes_the_train_annotations_only(root: Path, tmp_path: Path) -> None:
    noisy = replace(CONFIG, drop_relations=0.3, wrong_predicates=0.3, wrong_labels=0.3)
    write_scenes(tmp_path / "noisy", noisy)
    for path in (root / "VG_100K").iterdir():
        assert path.read_bytes() == (tmp_path / "noisy" / "VG_100K" / path.name).read_bytes()
    clean, other = read_annotations(root), read_annotations(tmp_path / "noisy")
    assert_close(clean.raw_boxes, other.raw_boxes)
    count = int(clean.box_ranges[12, 0])
    wrong = clean.labels != other.labels
    assert not wrong[count:].any()
    assert 0.1 < float(wrong[:count].float().mean()) < 0.5
    first = [int(data.rel_ranges[12, 0]) for data in (clean, other)]
    assert first[1] < first[0]
    assert_close(clean.predicates[first[0] :], other.predicates[first[1] :])
    assert_close(clean.relationships[first[0] :], other.relationships[first[1] :])


def test_test_pictures_do_not_depend_on_the_number_of_train_images(
    root: Path, tmp_path: Path
) -> None:
    write_scenes(tmp_path / "few", replace(CONFIG, num_train=3))
    few = (tmp_path / "few" / "VG_100K" / "4.jpg").read_bytes()
    assert few == (root / "VG_100K" / "13.jpg").read_bytes()


def test_nothing_is_left_when_drawing_stops(tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_scenes(tmp_path / "scenes", CONFIG, stop)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").touch()
    with pytest.raises(InputError, match="expected a new or empty folder, got something there"):
        ensure_scenes(tmp_path, CONFIG)
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]


def test_scenes_of_other_settings_are_refused(root: Path) -> None:
    ensure_scenes(root, CONFIG)
    with pytest.raises(InputError, match=r"scenes in .*: expected seed 8, got scenes drawn with 9"):
        ensure_scenes(root, replace(CONFIG, seed=8))
    with pytest.raises(InputError, match=r"expected wrong_labels 0\.1, got scenes drawn with 0\.0"):
        open_dataset(DataConfig(root=str(root), scenes=replace(CONFIG, wrong_labels=0.1)), "train")


def test_scenes_of_another_tint_are_other_pictures_of_the_same_graphs(
    root: Path, tmp_path: Path
) -> None:
    strong = replace(CONFIG, tint=80)
    with pytest.raises(InputError, match="expected tint 80, got scenes drawn with 10"):
        ensure_scenes(root, strong)
    ensure_scenes(tmp_path / "strong", strong)
    one, other = open_vg150(root, "test"), open_vg150(tmp_path / "strong", "test")
    for index in range(4):
        for part in ("labels", "boxes", "triples"):
            wanted, got = (getattr(data.graph(index), part) for data in (one, other))
            assert_close(got, wanted, atol=0, rtol=0)
        apart = (one[index].image.float() - other[index].image.float()).abs().mean((1, 2))
        assert float(apart.max()) > 15
    with pytest.raises(InputError, match=r"tint: expected 0\.\.255, got 256"):
        replace(CONFIG, tint=256)


def test_scenes_that_say_no_tint_have_the_usual_one(tmp_path: Path) -> None:
    config = ScenesConfig(num_train=2, num_test=1, image_size=32)
    ensure_scenes(tmp_path / "s", config)
    file = tmp_path / "s" / "scenes.json"
    settings = json.loads(file.read_text())
    assert settings.pop("tint") == 10
    file.write_text(json.dumps(settings))  # as it was written before there was a choice
    ensure_scenes(tmp_path / "s", config)
    with pytest.raises(InputError, match="expected tint 9, got scenes drawn with 10"):
        ensure_scenes(tmp_path / "s", replace(config, tint=9))


@pytest.mark.parametrize("text", ["[]", "{", ""])
def test_damaged_settings_are_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "scenes.json").write_text(text)
    with pytest.raises(InputError, match=r"scenes\.json: expected"):
        ensure_scenes(tmp_path, CONFIG)


def test_open_dataset_draws_once_and_splits(tmp_path: Path) -> None:
    config = DataConfig(root=str(tmp_path / "s"), scenes=ScenesConfig(num_train=20, num_test=3))
    splits = {name: open_dataset(config, name) for name in ("train", "val", "test")}
    written = (tmp_path / "s" / "VG-SGG.h5").stat().st_mtime_ns
    assert [len(d) for d in splits.values()] == [18, 2, 3]
    open_dataset(config, "train", seed=5)
    assert (tmp_path / "s" / "VG-SGG.h5").stat().st_mtime_ns == written
    batch = collate_samples([splits["train"][i] for i in range(4)])
    assert batch.graphs.num_images == 4
    assert all(image.shape == (3, 128, 128) for image in batch.images)
    flips = [
        not splits[name].sample(i).graph.boxes.equal(splits[name].graph(i).boxes)
        for name in splits
        for i in range(len(splits[name]))
    ]
    assert 3 < sum(flips[:18]) < 15
    assert not any(flips[18:])


def test_open_dataset_of_the_other_formats(root: Path, tmp_path: Path) -> None:
    config = DataConfig(format="vg150", root=str(root), num_val=1, flip=False)
    assert open_dataset(config, "val").image_ids == (1,)
    data = {
        "images": [
            {"id": i, "file_name": f"{i}.jpg", "width": 128, "height": 128} for i in (1, 2, 3)
        ],
        "annotations": [
            {"id": i, "image_id": i, "category_id": 1, "bbox": [0, 0, 50, 50]} for i in (1, 2, 3)
        ],
        "categories": [{"id": 1, "name": "cat"}],
    }
    (tmp_path / "boxes.json").write_text(json.dumps(data))
    (tmp_path / "photos").symlink_to(root / "VG_100K")
    coco = DataConfig(
        format="coco", root=str(tmp_path), annotations="boxes.json", images="photos", num_test=1
    )
    assert [open_dataset(coco, split).image_ids for split in ("train", "val", "test")] == [
        (2,),
        (1,),
        (3,),
    ]
    assert open_dataset(coco, "test")[0].image.shape == (3, 128, 128)
    with pytest.raises(
        InputError, match=r"instances\.json: expected a JSON file, got no such file"
    ):
        open_dataset(replace(coco, annotations="instances.json"), "test")


def test_settings_are_read(tmp_path: Path) -> None:
    write_scenes(tmp_path / "scenes", replace(CONFIG, num_train=2, num_test=1, tint=20))
    path = tmp_path / "scenes" / "scenes.json"
    assert read_settings(tmp_path / "scenes").tint == 20
    stored = json.loads(path.read_text())
    path.write_text(json.dumps(stored | {"version": 9}))
    with pytest.raises(InputError, match="expected version 1, got 9"):
        read_settings(tmp_path / "scenes")
    path.write_text(json.dumps(stored | {"colour": 1}))
    with pytest.raises(
        InputError, match=r"scenes\.json: expected settings of drawn scenes, got co"
    ):
        read_settings(tmp_path / "scenes")
