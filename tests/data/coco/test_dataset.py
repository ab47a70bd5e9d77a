import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch.testing import assert_close

from autoenc_sg.core.errors import InputError
from autoenc_sg.core.scene_graph_batch import SceneGraphBatch
from autoenc_sg.data.base.augment import flip, left_right_swap
from autoenc_sg.data.coco.dataset import CocoRules, CocoSource, open_coco
from tests.support.real_data import PHOTOS, needs_photos

RULES = CocoRules(num_val=1, num_test=1)


def box(number: int, image: int, category: int, bbox: list[float], **more: Any) -> dict[str, Any]:
    return {"id": number, "image_id": image, "category_id": category, "bbox": bbox, **more}


def content() -> dict[str, Any]:
    return {
        "images": [
            {"id": i, "file_name": f"{i}.png", "width": 40, "height": 20}
            for i in (30, 10, 50, 20, 40)
        ],
        "categories": [{"id": 7, "name": "dog"}, {"id": 3, "name": "cat"}],
        "annotations": [
            box(1, 10, 7, [0, 0, 10, 10]),
            box(2, 10, 3, [20, 0, 20, 20]),
            box(3, 20, 3, [0, 0, 10, 10]),
            box(4, 30, 3, [4, 4, 8, 8]),
            box(5, 30, 3, [0, 0, 40, 20], iscrowd=1),
            box(6, 30, 7, [0, 0, 2, 3]),  # under 1 % of the image
            box(7, 50, 7, [30, 10, 20, 20]),  # beyond the image
        ],
    }


def write(root: Path, data: Any) -> Path:
    (root / "instances.json").write_text(json.dumps(data))
    for image_id in (10, 20, 30, 40, 50):
        Image.new("RGB", (40, 20), (image_id, 0, 0)).save(root / f"{image_id}.png")
    return root / "instances.json"


def test_splits_labels_and_boxes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path, content())
    train, val, test = (open_coco(path, tmp_path, s, RULES) for s in ("train", "val", "test"))
    assert (val.image_ids, train.image_ids, test.image_ids) == ((10,), (20, 30), (50,))
    assert train.vocabulary.objects[1:] == ("cat", "dog")  # by category id
    assert val.graph(0).labels.tolist() == [1, 2]  # the largest first
    assert_close(val.graph(0).boxes, torch.tensor([[20.0, 0, 40, 20], [0, 0, 10, 10]]))
    assert train.graph(1).labels.tolist() == [1]  # neither the crowd nor the speck
    assert train.graph(1).triples.shape == (0, 3)
    assert_close(test.graph(0).boxes, torch.tensor([[30.0, 10, 40, 20]]))
    assert val.graph(0).image_size == (20, 40)
    sample = test[0]
    assert sample.image_id == 50
    assert sample.image[0].unique().tolist() == [50]
    assert capsys.readouterr().out == ""


def test_crowds_are_ignored_regions_in_pixels_of_the_image(tmp_path: Path) -> None:
    data = content()
    data["annotations"] += [
        box(8, 30, 7, [30, 10, 20, 20], iscrowd=1),  # clipped
        box(9, 10, 7, [0, 0, 1, 1], iscrowd=1),  # small ones, too
    ]
    path = write(tmp_path, data)
    train, val = (open_coco(path, tmp_path, split, RULES) for split in ("train", "val"))
    assert train.graph(0).ignored is None
    crowds = torch.tensor([[1.0, 0, 0, 40, 20], [2, 30, 10, 40, 20]])
    assert_close(train.graph(1).ignored, crowds)
    assert_close(val.graph(0).ignored, torch.tensor([[2.0, 0, 0, 1, 1]]))
    half = open_coco(path, tmp_path, "train", RULES, short_side=10)
    sample = half.sample(1)
    assert_close(sample.graph.ignored, crowds * torch.tensor([1, 0.5, 0.5, 0.5, 0.5]))
    mirrored = flip(sample, left_right_swap(train.vocabulary)).graph
    assert_close(mirrored.ignored, torch.tensor([[1.0, 0, 0, 20, 10], [2, 0, 5, 5, 10]]))
    batch = SceneGraphBatch.collate([train.graph(0), train.graph(1), val.graph(0)])
    assert batch.ignored is not None
    assert batch.ignored[:, :2].tolist() == [[1, 1], [1, 2], [2, 2]]
    parts = [graph.ignored for graph in batch.split()]
    assert parts[0] is None
    assert_close(parts[1:], [crowds, torch.tensor([[2.0, 0, 0, 1, 1]])])
    assert_close(train.graph(1).select(torch.tensor([0])).ignored, crowds)


def test_least_area_and_number_of_objects(tmp_path: Path) -> None:
    data = content()
    data["annotations"].append(box(8, 30, 7, [5, 5, 0, 9]))  # of no area: COCO has such
    path = write(tmp_path, data)
    small = open_coco(path, tmp_path, "train", CocoRules(1, 1, min_area=0.0))
    assert small.graph(1).labels.tolist() == [1, 2]
    one = open_coco(path, tmp_path, "val", CocoRules(1, 1, max_objects=1))
    assert one.graph(0).labels.tolist() == [1]


def test_relations_are_drawn_anew_in_each_train_epoch_only(tmp_path: Path) -> None:
    data = content()
    data["annotations"] += [
        box(100 + 4 * i + k, i, 3, [9 * k + 1, 3 * k, 8, 8]) for i in (10, 20, 30) for k in range(4)
    ]
    path = write(tmp_path, data)
    train, val = (open_coco(path, tmp_path, s, RULES, seed=3) for s in ("train", "val"))
    drawn = [train.graph(0, epoch).triples.tolist() for epoch in range(20)]
    again = open_coco(path, tmp_path, "train", RULES, seed=3)
    assert drawn == [again.graph(0, epoch).triples.tolist() for epoch in range(20)]
    assert len({str(triples) for triples in drawn}) > 10
    assert len({str(val.graph(0, epoch).triples.tolist()) for epoch in range(20)}) == 1
    other = open_coco(path, tmp_path, "train", RULES, seed=4)
    assert drawn != [other.graph(0, epoch).triples.tolist() for epoch in range(20)]
    for triples in drawn:
        assert len(triples) == len(train.graph(0))  # one each
        assert all(s != o for s, _, o in triples)


def test_angle_is_that_of_the_masks(tmp_path: Path) -> None:
    """Box centres of a are left of b's; its mask lies at the lower right of b's."""
    data = content()
    corner = [[32.0, 18.0, 36.0, 18.0, 36.0, 20.0, 32.0, 20.0]]
    middle = [[20.0, 8.0, 24.0, 8.0, 24.0, 12.0, 20.0, 12.0]]
    plain = [box(1, 10, 3, [0, 0, 36, 20]), box(2, 10, 7, [4, 0, 36, 20])]
    masked = [{**b, "segmentation": s} for b, s in zip(plain, (corner, middle))]
    names = []
    for annotations in (plain, masked):
        data["annotations"] = [*annotations, *content()["annotations"][2:]]
        val = open_coco(write(tmp_path, data), tmp_path, "val", RULES)
        cat = val.graph(0).labels.tolist().index(1)
        predicates = {
            (s, val.vocabulary.predicates[p]) for s, p, _ in val.graph(0).triples.tolist()
        }
        names.append({name for s, name in predicates if s == cat} | {
            {"right of": "left of", "left of": "right of", "above": "below"}[name]
            for s, name in predicates if s != cat
        })  # fmt: skip
    # 12 px to the right of 40 and 9 px down of 20: downwards in the squared image
    assert names == [{"left of"}, {"below"}]


def test_run_length_masks_and_no_masks(tmp_path: Path) -> None:
    data = content()
    counts = [0, 20 * 10, 20 * 30]  # column by column: the left quarter
    data["annotations"][0]["segmentation"] = {"size": [20, 40], "counts": counts}
    data["annotations"][1]["segmentation"] = []
    val = open_coco(write(tmp_path, data), tmp_path, "val", RULES)
    assert isinstance(val.source, CocoSource)
    assert_close(val.source.centres(0), torch.tensor([[0.75, 0.5], [0.125, 0.5]]))


def test_stuff_boxes_of_a_second_file_join(tmp_path: Path) -> None:
    path = write(tmp_path, content())
    stuff = {**content(), "categories": [{"id": 1, "name": "grass"}, {"id": 2, "name": "cat"}]}
    stuff["annotations"] = [box(1, 10, 1, [0, 10, 40, 10]), box(2, 40, 2, [0, 0, 40, 20])]
    (tmp_path / "stuff.json").write_text(json.dumps(stuff))
    rules = CocoRules(1, 1, stuff=tmp_path / "stuff.json")
    val, train = (open_coco(path, tmp_path, s, rules) for s in ("val", "train"))
    assert val.vocabulary.objects[1:] == ("cat", "dog", "grass")
    assert sorted(val.graph(0).labels.tolist()) == [1, 2, 3]
    assert train.image_ids == (20, 30, 40)
    assert train.graph(2).labels.tolist() == [1]  # one class by its name


def test_an_image_of_another_size_scales_the_boxes(tmp_path: Path) -> None:
    path = write(tmp_path, content())
    Image.new("RGB", (80, 40)).save(tmp_path / "10.png")
    val = open_coco(path, tmp_path, "val", RULES)
    assert_close(val[0].graph.boxes, torch.tensor([[40.0, 0, 80, 40], [0, 0, 20, 20]]))
    Image.new("RGB", (20, 40)).save(tmp_path / "10.png")
    with pytest.raises(InputError, match=r"10\.png: expected an image of 40 x 20 .*is it turned"):
        val[0]


def test_flip_swaps_left_and_right(tmp_path: Path) -> None:
    data = content()
    data["annotations"][2]["image_id"] = 10
    data["annotations"] += [box(9, 20, 3, [0, 5, 9, 9]), box(10, 20, 7, [30, 5, 9, 9])]
    train = open_coco(write(tmp_path, data), tmp_path, "train", RULES, flip=True)
    swap = {"left of": "right of", "right of": "left of"}
    names = train.vocabulary.predicates
    flips = set()
    for epoch in range(20):
        plain, sample = train.graph(0, epoch), train.sample(0, epoch).graph
        flipped = not plain.boxes.equal(sample.boxes)
        flips.add(flipped)
        wanted = [swap[names[p]] if flipped else names[p] for p in plain.triples[:, 1].tolist()]
        assert [names[p] for p in sample.triples[:, 1].tolist()] == wanted
    assert flips == {False, True}


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (
            ("annotations", 0, "bbox"),
            [45, 0, 5, 5],
            r"annotation 1 'bbox': .*within 40 x 20, got \[45, 0",
        ),
        (
            ("annotations", 0, "bbox"),
            [-9, 0, 5, 5],
            r"annotation 1 'bbox': expected x, y, width, height",
        ),
        (
            ("annotations", 0, "bbox"),
            [5, 5, -1, 5],
            r"annotation 1 'bbox': expected x, y, width, height",
        ),
        (("annotations", 0, "bbox"), [5, 5, 1], r"annotation 1 'bbox': expected four numbers"),
        (("annotations", 0, "bbox"), [5, 5, 1, "a"], r"annotation 1 'bbox': expected four numbers"),
        (
            ("annotations", 0, "bbox"),
            None,
            r"'annotations' entry 0: expected a field 'bbox'",
        ),
        (
            ("annotations", 0, "bbox"),
            [5, float("nan"), 1, 1],
            r"annotation 1 'bbox': expected x, y",
        ),
        (
            ("annotations", 0, "image_id"),
            99,
            r"annotation 1: expected an image id of the file, got 99",
        ),
        (
            ("annotations", 0, "category_id"),
            9,
            r"annotation 1: expected a category id of the file, got 9",
        ),
        (("annotations", 0), {"id": 4}, r"'annotations' entry 0: expected a field 'image_id'"),
        (("images", 2), 5, r"'images' entry 2: expected a field 'id' .a whole number., got 5"),
        (("categories",), None, r"expected COCO's format with a list 'categories'"),
        (("images",), [], r"num_test .*: expected fewer than its 0 images, got 1"),
    ],
)
def test_bad_annotations(tmp_path: Path, path: tuple[Any, ...], value: Any, message: str) -> None:
    data = content()
    place = data
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    if path == ("images",):
        data["annotations"] = []
    with pytest.raises(InputError, match=message) as error:
        open_coco(write(tmp_path, data), tmp_path, "train", RULES)
    assert "instances.json" in str(error.value)
    assert "\n" not in str(error.value)


def test_bad_segmentation(tmp_path: Path) -> None:
    data = content()
    data["annotations"][0]["segmentation"] = "none"
    path = write(tmp_path, data)
    with pytest.raises(InputError, match=r"json annotation 1 'segmentation': expected polygons of"):
        open_coco(path, tmp_path, "val", RULES)


def test_bad_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.json: expected a JSON file, got no such file"):
        open_coco(tmp_path / "none.json", tmp_path, "train")
    (tmp_path / "half.json").write_text('{"images": [')
    with pytest.raises(InputError, match=r"half\.json: expected a JSON file, got"):
        open_coco(tmp_path / "half.json", tmp_path, "train")
    (tmp_path / "list.json").write_text("[]")
    with pytest.raises(
        InputError, match=r"list\.json: expected COCO's format, an object, got list"
    ):
        open_coco(tmp_path / "list.json", tmp_path, "train")
    val = open_coco(write(tmp_path, content()), tmp_path, "val", RULES)
    (tmp_path / "10.png").unlink()
    with pytest.raises(
        InputError, match=r"10\.png: expected a readable image file, got no such file"
    ):
        val[0]


@needs_photos
@pytest.mark.parametrize("stuff", [None, PHOTOS / "panoptic_stuff_boxes.json"])
def test_real_photographs_read_through(stuff: Path | None) -> None:
    rules = CocoRules(stuff=stuff)
    path = PHOTOS / "instances.json"
    parts = {
        s: open_coco(path, PHOTOS / "images", s, rules, flip=True) for s in ("train", "val", "test")
    }
    ids = sorted(int(p.stem) for p in (PHOTOS / "images").iterdir())
    together = [i for part in parts.values() for i in part.image_ids]
    assert len(together) == len(set(together))
    assert set(parts["test"].image_ids) <= set(ids[-30:])
    assert max(parts["train"].image_ids) < ids[-30]
    assert len(parts["val"]) == (len(parts["train"]) + len(parts["val"])) // 10
    for part in parts.values():
        for index in range(0, len(part), 3):
            image, graph, _ = part[index]
            height, width = image.shape[1:]
            assert graph.image_size == (height, width)
            assert 1 <= len(graph) <= 20
            assert len(graph.triples) == (len(graph) if len(graph) > 1 else 0)
            assert (graph.boxes[:, 2:] > graph.boxes[:, :2]).all()
            assert (graph.boxes >= 0).all()
            assert (graph.boxes <= torch.tensor([width, height, width, height])).all()
    copy = pickle.loads(pickle.dumps(parts["test"]))
    assert_close(copy[0].graph.triples, parts["test"][0].graph.triples)
