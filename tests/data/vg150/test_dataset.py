import json
import pickle
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch.testing import assert_close

from autoenc_sg.core.errors import InputError
from autoenc_sg.core.scene_graph import SceneGraph
from autoenc_sg.core.vocabulary import Vocabulary
from autoenc_sg.data.vg150.dataset import open_vg150
from autoenc_sg.data.vg150.files import read_annotations
from autoenc_sg.data.vg150.writing import write_annotations
from tests.support.real_data import ANNOTATIONS, needs_annotations

NAMES = Vocabulary.from_names(["cat", "mat"], ["on", "near", "left of", "right of"])
SIZE = (32, 64)
A, B, FAR = [0.0, 0, 16, 16], [8.0, 8, 32, 24], [48.0, 0, 64, 16]


def graph(boxes: list[list[float]], triples: list[list[int]]) -> SceneGraph:
    return SceneGraph(
        torch.ones(len(boxes), dtype=torch.int64),
        torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        torch.tensor(triples, dtype=torch.int64).reshape(-1, 3),
        SIZE,
    )


FULL = graph([A, B, FAR], [[0, 1, 1], [0, 2, 1], [2, 3, 0], [0, 1, 1]])
APART = graph([A, FAR], [[0, 3, 1]])
ALONE = graph([A], [])
NOTHING = graph([], [])


def make(root: Path, graphs: list[SceneGraph], split: list[int]) -> Path:
    ids = range(100, 100 + len(graphs))
    write_annotations(root, graphs, ids, split, NAMES)
    (root / "VG_100K").mkdir()
    for image_id in ids:
        Image.new("RGB", (SIZE[1], SIZE[0]), (image_id, 0, 0)).save(
            root / f"VG_100K/{image_id}.jpg"
        )
    return root


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make(
        tmp_path, [NOTHING, FULL, ALONE, APART, FULL, FULL, ALONE, NOTHING], [0] * 4 + [2] * 4
    )


def test_images_without_boxes_or_relations_are_left_out(root: Path) -> None:
    assert open_vg150(root, "train", num_val=0).image_ids == (101, 103)
    assert open_vg150(root, "test").image_ids == (104, 105)
    assert open_vg150(root, "train", 0, filter_empty_relations=False).image_ids == (101, 102, 103)
    unfiltered = open_vg150(root, "test", filter_empty_relations=False)
    assert unfiltered.image_ids == (104, 105, 106)
    assert unfiltered.graph(2).triples.shape == (0, 3)


def test_validation_is_the_first_of_the_remaining_train_images(tmp_path: Path) -> None:
    root = make(tmp_path, [NOTHING, *[FULL] * 30, APART], [0] * 32)
    assert open_vg150(root, "val", num_val=2).image_ids == (101, 102)
    assert open_vg150(root, "train", num_val=2).image_ids == tuple(range(103, 132))
    assert open_vg150(root, "val").image_ids == (101, 102, 103)  # 10 % of 31
    assert len(open_vg150(root, "val", num_val=0)) == 0
    assert len(open_vg150(root, "test")) == 0


def test_overlap_filter_is_for_training_only(root: Path) -> None:
    train = open_vg150(root, "train", num_val=0, filter_overlap=True)
    assert train.image_ids == (101,)
    assert train.graph(0).triples[:, [0, 2]].tolist() == [[0, 1]]
    assert len(train.graph(0)) == 3  # boxes stay
    test = open_vg150(root, "test", filter_overlap=True)
    assert test.graph(0).triples.tolist() == FULL.triples.tolist()


def test_touching_boxes_overlap_by_the_plus_one_convention(tmp_path: Path) -> None:
    touching = graph([[0, 0, 16, 16], [16, 0, 32, 16]], [[0, 1, 1]])
    root = make(tmp_path, [touching, APART, FULL], [0, 0, 0])
    assert open_vg150(root, "train", 0, filter_overlap=True).image_ids == (100, 102)


def test_one_random_predicate_per_pair_in_training(root: Path) -> None:
    train = open_vg150(root, "train", num_val=0)
    drawn = [train.graph(0, epoch).triples.tolist() for epoch in range(90)]
    assert drawn == [train.graph(0, epoch).triples.tolist() for epoch in range(90)]
    assert {tuple(map(tuple, triples)) for triples in drawn} == {
        ((0, 1, 1), (2, 3, 0)),
        ((0, 2, 1), (2, 3, 0)),
        ((2, 3, 0), (0, 1, 1)),
    }
    stated = sum([0, 1, 1] in triples for triples in drawn)
    assert 45 < stated < 75  # stated twice out of three times
    other = open_vg150(root, "train", num_val=0, seed=1)
    assert drawn != [other.graph(0, epoch).triples.tolist() for epoch in range(90)]


def test_other_splits_keep_all_relations_in_every_epoch(root: Path) -> None:
    test = open_vg150(root, "test", flip=True)
    for epoch in range(8):
        assert_close(test.graph(0, epoch).triples, FULL.triples)
        assert_close(test.sample(0, epoch).graph.boxes, test.graph(0).boxes)


def test_sample_gives_pixels_and_boxes_of_the_image(root: Path) -> None:
    sample = open_vg150(root, "test")[1]
    assert sample.image_id == 105
    assert sample.image.shape == (3, *SIZE)
    assert abs(int(sample.image[0].float().mean()) - 105) < 3
    assert sample.graph.image_size == SIZE
    assert_close(sample.graph.boxes, FULL.boxes, atol=0.07, rtol=0)


def test_an_image_of_another_size_scales_the_boxes(root: Path) -> None:
    Image.new("RGB", (128, 64)).save(root / "VG_100K/104.jpg")
    dataset = open_vg150(root, "test")
    assert_close(dataset[0].graph.boxes, dataset.graph(0).boxes * 2)
    assert dataset[0].graph.image_size == (64, 128)


@pytest.mark.parametrize("size", [(64, 26), (90, 40)])  # image_data.json may be wrong
def test_an_image_of_another_shape_that_holds_the_boxes(root: Path, size: tuple[int, int]) -> None:
    Image.new("RGB", size).save(root / "VG_100K/104.jpg")
    dataset = open_vg150(root, "test")
    scale = max(size) / 64
    assert_close(dataset[0].graph.boxes, dataset.graph(0).boxes * scale)


@pytest.mark.parametrize("size", [(32, 64), (128, 256), (64, 15), (64, 7)])
def test_a_turned_or_cut_image_is_refused(root: Path, size: tuple[int, int]) -> None:
    Image.new("RGB", size).save(root / "VG_100K/104.jpg")
    turned = r" \(is it turned\?\)" if size[1] > size[0] else ""
    message = rf"104\.jpg: expected an image of 64 x 32 pixels.*got {size[0]} x {size[1]}{turned}$"
    with pytest.raises(InputError, match=message):
        open_vg150(root, "test")[0]


def test_flip_moves_boxes_and_swaps_predicates(root: Path) -> None:
    dataset = open_vg150(root, "train", num_val=0, flip=True)
    flipped = 0
    for epoch in range(60):
        plain, sample = dataset.graph(1, epoch), dataset.sample(1, epoch).graph
        if plain.boxes.equal(sample.boxes):
            assert sample.triples.tolist() == [[0, 3, 1]]
        else:
            flipped += 1
            assert sample.triples.tolist() == [[0, 4, 1]]
            assert_close(sample.boxes[:, 0], 64 - plain.boxes[:, 2])
    assert 15 < flipped < 45


def test_samples_do_not_depend_on_the_order_of_access_or_the_process(root: Path) -> None:
    dataset = open_vg150(root, "train", num_val=0, flip=True, seed=4)
    wanted = [dataset.sample(i, epoch) for epoch in (0, 1) for i in (0, 1)]
    copy = pickle.loads(pickle.dumps(dataset))
    got = [copy.sample(i, epoch) for epoch in (1, 0) for i in (1, 0)][::-1]
    for one, other in zip(wanted, got):
        assert_close(one.image, other.image)
        assert_close(one.graph.boxes, other.graph.boxes)
        assert_close(one.graph.triples, other.graph.triples)


def test_missing_and_unreadable_image(root: Path) -> None:
    dataset = open_vg150(root, "test")
    (root / "VG_100K/104.jpg").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(InputError, match=r"104\.jpg: expected a readable image file, got"):
        dataset[0]
    (root / "VG_100K/104.jpg").unlink()
    with pytest.raises(
        InputError, match=r"104\.jpg: expected a readable image file, got no such file"
    ):
        dataset[0]
    assert len(dataset.graph(0)) == 3


def naive_train_graph(h5: dict[str, list], row: int) -> tuple[int, set[tuple[int, int]]]:
    first, last = h5["img_to_first_box"][row], h5["img_to_last_box"][row]
    rel_first, rel_last = h5["img_to_first_rel"][row], h5["img_to_last_rel"][row]
    if first < 0 or rel_first < 0:
        return 0, set()
    boxes = []
    for xc, yc, w, h in h5["boxes_1024"][first : last + 1]:
        x1, y1 = int(xc - w / 2), int(yc - h / 2)
        boxes.append((x1, y1, x1 + w, y1 + h))
    pairs = set()
    for s, o in h5["relationships"][rel_first : rel_last + 1]:
        a, b = boxes[s - first], boxes[o - first]
        wide = min(a[2], b[2]) - max(a[0], b[0]) + 1
        if wide > 0 and min(a[3], b[3]) - max(a[1], b[1]) + 1 > 0:
            pairs.add((s - first, o - first))
    return len(boxes), pairs


@needs_annotations
def test_real_annotations_against_a_plain_loop() -> None:
    import h5py

    with h5py.File(ANNOTATIONS / "VG-SGG.h5") as file:
        h5 = {name: file[name][()].tolist() for name in file}
    entries = json.loads((ANNOTATIONS / "image_data.json").read_text())
    ids = [entry["image_id"] for entry in entries]
    dataset = open_vg150(ANNOTATIONS, "train", num_val=100, filter_overlap=True)
    rows = [
        i for i, split in enumerate(h5["split"]) if split == 0 and h5["img_to_first_rel"][i] >= 0
    ]
    plain = {ids[row]: naive_train_graph(h5, row) for row in rows[100:]}
    assert dataset.image_ids == tuple(i for i, (_, pairs) in plain.items() if pairs)
    for index in range(0, len(dataset), 7):
        graph = dataset.graph(index)
        count, pairs = plain[dataset.image_ids[index]]
        assert len(graph) == count
        assert {(s, o) for s, _, o in graph.triples.tolist()} == pairs
        assert len(graph.triples) == len(pairs)
        height, width = graph.image_size
        assert (graph.boxes[:, 2:] > graph.boxes[:, :2]).all()
        assert (graph.boxes >= 0).all()
        assert (graph.boxes <= torch.tensor([width, height, width, height])).all()


@needs_annotations
def test_real_test_split_keeps_every_relation() -> None:
    dataset = open_vg150(ANNOTATIONS, "test")
    assert len(dataset) == 1323
    num_relations = sum(len(dataset.graph(i).triples) for i in range(len(dataset)))
    data = read_annotations(ANNOTATIONS)
    counts = data.rel_ranges[data.split == 2]
    assert num_relations == int((counts[:, 1] - counts[:, 0]).sum())
