import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch.testing import assert_close

from autoenc_sg.core.errors import InputError
from autoenc_sg.core.scene_graph import SceneGraph
from autoenc_sg.core.vocabulary import Vocabulary
from autoenc_sg.data.base.dataset import AnnotatedDataset
from autoenc_sg.data.base.graphs import make_graph
from autoenc_sg.data.base.in_memory import AnnotatedImage, InMemorySource, cut_validation
from autoenc_sg.data.base.samples import random_stream
from autoenc_sg.data.formats.coco_vg150 import open_coco_vg150
from autoenc_sg.data.formats.psg import open_psg
from autoenc_sg.data.formats.vrd import open_vrd
from autoenc_sg.data.images.decode import Pixels
from autoenc_sg.data.images.store import ImageStore, Place

NAMES = Vocabulary.from_names(["cat", "mat"], ["left of", "right of", "on"])
GRAPH = make_graph([1, 2], [(0, 0, 10, 10), (20, 5, 40, 20)], [(0, 1, 1), (0, 3, 1)], (20, 40), "x")


def save(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")


def photo(path: Path, width: int = 40, height: int = 20) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (width, height), "red").save(path)
    return path


def dataset(tmp_path: Path, split: Any, **more: Any) -> AnnotatedDataset:
    """Images 5 and 6, of which 6 has no file."""
    store = ImageStore({5: Place(str(photo(tmp_path / "5.jpg")))}, more.pop("short_side", None))
    source = InMemorySource([AnnotatedImage(6, GRAPH), AnnotatedImage(5, GRAPH)], NAMES, split)
    return AnnotatedDataset(source, store, split, **more)


def test_a_sample_has_image_graph_and_id(tmp_path: Path) -> None:
    data = dataset(tmp_path, "test")
    assert data.image_ids == (5,)  # image 6 is missing and left out
    assert data.rows == (1,)
    assert len(data) == 1
    sample = data[0]
    assert sample.image_id == 5
    assert sample.image.shape == (3, 20, 40)
    assert_close(sample.graph.boxes, GRAPH.boxes)
    assert sample.graph.triples.tolist() == [[0, 1, 1], [0, 3, 1]]


def test_without_any_image_all_graphs_are_kept() -> None:
    source = InMemorySource([AnnotatedImage(6, GRAPH)], NAMES, "test")
    data = AnnotatedDataset(source, ImageStore({}), "test")
    assert data.image_ids == (6,)
    assert_close(data.graph(0).boxes, GRAPH.boxes)
    with pytest.raises(InputError, match="image 6: expected an image file in the data set, got no"):
        data[0]


class Numbered:
    """A source whose graphs tell which random numbers they were made with."""

    random_key = "numbers"
    vocabulary = NAMES
    image_ids = (5, 6)

    def graph(self, row: int, generator: torch.Generator) -> SceneGraph:
        box = torch.rand(1, 4, generator=generator) + torch.tensor([0, 0, 1, 1])
        return SceneGraph(torch.tensor([1]), box, torch.zeros(0, 3).long(), (20, 40))

    def graph_on(
        self, row: int, generator: torch.Generator, pixels: Pixels, name: str
    ) -> SceneGraph:
        return self.graph(row, generator)

    def annotated(self, row: int) -> SceneGraph | None:
        return None


def test_random_choices_follow_from_seed_epoch_and_index() -> None:
    def boxes(split: Any, seed: int) -> Any:
        data = AnnotatedDataset(Numbered(), ImageStore({}), split, seed)
        assert_close(data.annotated(0).boxes, data.graph(0).boxes)
        return {tuple(data.graph(i, e).boxes[0].tolist()) for i in (0, 1) for e in (0, 1, 2)}

    assert len(boxes("train", 0)) == 6
    assert boxes("train", 0) == boxes("train", 0)
    assert not boxes("train", 0) & boxes("train", 1)
    assert len(boxes("test", 0)) == 2  # the same in every epoch
    assert boxes("test", 0) <= boxes("train", 0)
    key = random_stream("numbers", 3, 0, 1).getrandbits(62)
    first = torch.rand(1, 4, generator=torch.Generator().manual_seed(key))
    data = AnnotatedDataset(Numbered(), ImageStore({}), "val", 3)
    assert_close(data.graph(1, 2).boxes[:, :2], first[:, :2], rtol=0, atol=0)


def test_train_keeps_one_predicate_of_a_pair_and_flips(tmp_path: Path) -> None:
    data = dataset(tmp_path, "train", flip=True)
    samples = {_predicate_and_flip(data, epoch) for epoch in range(60)}
    assert samples == {(1, False), (3, False), (2, True), (3, True)}
    assert data.graph(0, 3).triples.equal(data.graph(0, 3).triples)


def _predicate_and_flip(data: AnnotatedDataset, epoch: int) -> tuple[int, bool]:
    graph = data.sample(0, epoch).graph
    assert len(graph.triples) == 1
    return int(graph.triples[0, 1]), bool(graph.boxes[0, 0] > 0)


def test_shrinking_scales_the_boxes(tmp_path: Path) -> None:
    sample = dataset(tmp_path, "test", short_side=10)[0]
    assert sample.image.shape == (3, 10, 20)
    assert sample.graph.image_size == (10, 20)
    assert_close(sample.graph.boxes, GRAPH.boxes / 2)


def test_an_image_of_another_shape_is_refused(tmp_path: Path) -> None:
    data = dataset(tmp_path, "test")
    photo(tmp_path / "5.jpg", 80, 40)
    assert_close(data[0].graph.boxes, GRAPH.boxes * 2)
    photo(tmp_path / "5.jpg", 20, 40)
    with pytest.raises(InputError, match=r"5\.jpg: expected an image of 40 x 20 pixels, .*20 x 40"):
        data[0]


def test_boxes_without_area_are_left_out_or_refused() -> None:
    boxes = [(0, 0, 5, 5), (40, 0, 60, 9), (5, 5, 50, 50)]
    graph = make_graph([1, 2, 1], boxes, [(0, 1, 1), (2, 2, 0)], (20, 40), "x")
    assert_close(graph.boxes, torch.tensor([[0.0, 0, 5, 5], [5, 5, 40, 20]]))
    assert graph.triples.tolist() == [[1, 2, 0]]
    with pytest.raises(InputError, match="x box 1: expected x1, y1, x2, y2 with some area"):
        make_graph([1, 2, 1], boxes, [], (20, 40), "x", strict=True)
    for bad in [(5, 0, 1, 9), (float("nan"), 0, 1, 1), (0, 0, float("inf"), 1)]:
        with pytest.raises(InputError, match="x box 0"):
            make_graph([1], [bad], [], (20, 40), "x")
    for relation in [(0, 1, 0), (0, 1, 2), (-1, 1, 0)]:
        with pytest.raises(InputError, match="x relation 0: expected two different ones of 2"):
            make_graph([1, 1], boxes[::2], [relation], (20, 40), "x")
    for size in ((0, 9), (9, 10**30)):
        with pytest.raises(InputError, match=f"x: expected a height .* got {size[0]} x {size[1]}"):
            make_graph([1], [(0, 0, 1, 1)], [], size, "x")
    with pytest.raises(InputError, match="a box for each label"):
        make_graph([1, 1], boxes, [], (20, 40), "x")
    with pytest.raises(InputError, match="boxes of four numbers"):
        make_graph([1], [("a", 0, 1, 1)], [], (20, 40), "x")  # type: ignore[list-item]
    assert len(make_graph([], [], [], (20, 40), "x")) == 0


def test_validation_is_the_first_part() -> None:
    images = [AnnotatedImage(i, GRAPH) for i in range(30)]
    assert [r.image_id for r in cut_validation(images, "val", 2)] == [0, 1]
    assert len(cut_validation(images, "train", 2)) == 28


def coco(annotations: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    return {
        "images": [{"id": i, "file_name": f"{i}.jpg", "width": 40, "height": 20} for i in (3, 4)],
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "mat"}],
        "annotations": annotations,
        **more,
    }


BOXES = [
    {"id": 11, "image_id": 3, "category_id": 2, "bbox": [20, 5, 20, 15]},
    {"id": 12, "image_id": 4, "category_id": 1, "bbox": [0, 0, 9, 9]},
    {"id": 13, "image_id": 3, "category_id": 1, "bbox": [0, 0, 10, 10]},
]


def reltr(root: Path) -> Path:
    for split in ("train", "val", "test"):
        save(root / f"{split}.json", coco(BOXES))
    relations = {s: {"3": [[1, 0, 2], [0, 1, 1]], "4": []} for s in ("train", "val", "test")}
    save(root / "rel.json", {**relations, "rel_categories": ["__background__", "near", "on"]})
    photo(root / "VG_100K" / "3.jpg")
    photo(root / "VG_100K" / "4.jpg")
    return root


def test_reltr(tmp_path: Path) -> None:
    data = open_coco_vg150(reltr(tmp_path), "test")
    assert data.vocabulary == Vocabulary.from_names(["cat", "mat"], ["near", "on"])
    assert data.image_ids == (3,)
    sample = data[0]
    assert sample.graph.labels.tolist() == [2, 1]
    assert_close(sample.graph.boxes, torch.tensor([[20.0, 5, 40, 20], [0, 0, 10, 10]]))
    assert sample.graph.triples.tolist() == [[1, 2, 0], [0, 1, 1]]  # subject, predicate, object
    assert open_coco_vg150(tmp_path, "test", filter_empty=False).image_ids == (3, 4)


@pytest.mark.parametrize("first", [0, 1])
def test_sgg_benchmark(tmp_path: Path, first: int) -> None:
    extra = {
        "rel_categories": [{"id": first, "name": "near"}, {"id": first + 1, "name": "on"}],
        "rel_annotations": [
            {"id": 0, "subject_id": 13, "predicate_id": first + 1, "object_id": 11},
            {"id": 1, "subject_id": 11, "predicate_id": first, "object_id": 11},
        ],
    }
    for folder in ("train", "valid", "test"):
        save(tmp_path / folder / "_annotations.coco.json", coco(BOXES, **extra))
        photo(tmp_path / folder / "3.jpg")
    for split in ("train", "val", "test"):
        data = open_coco_vg150(tmp_path, split)  # type: ignore[arg-type]
        assert data.image_ids == (3,)
        assert data[0].graph.triples.tolist() == [[1, 2, 0]]  # not the one of a thing to itself
        assert data.vocabulary.predicates[1:] == ("near", "on")


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (
            lambda d: d["test"].update({"3": [[0, 7, 1]]}),
            "rel.json test image 3: expected .subject",
        ),
        (lambda d: d["test"].update({"3": [[0, -1, 1]]}), "rel.json test image 3"),
        (lambda d: d["test"].update({"3": [[0, 1, 9]]}), "test.json image 3: .*KeyError 9"),
        (lambda d: d["test"].update({"x": [[0, 1, 1]]}), "test image x"),
        (lambda d: d.pop("rel_categories"), "'rel_categories': expected a list of names"),
        (lambda d: d.pop("test"), "an object with 'test'"),
    ],
)
def test_bad_reltr(tmp_path: Path, edit: Any, message: str) -> None:
    path = reltr(tmp_path) / "rel.json"
    data = json.loads(path.read_text())
    edit(data)
    save(path, data)
    with pytest.raises(InputError, match=message) as error:
        open_coco_vg150(tmp_path, "test")
    assert "\n" not in str(error.value)


def test_other_categories_and_other_folders(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"expected rel.json or test/_annotations.coco.json"):
        open_coco_vg150(tmp_path, "test")
    other = coco(BOXES)
    other["categories"][0]["name"] = "dog"
    save(reltr(tmp_path) / "test.json", other)
    with pytest.raises(InputError, match=r"test.json: expected the categories of .*train.json"):
        open_coco_vg150(tmp_path, "test")


def vrd(root: Path) -> Path:
    save(root / "objects.json", ["cat", "mat"])
    save(root / "predicates.json", ["on", "near"])
    cat = {"category": 0, "bbox": [0, 10, 2, 12]}  # ymin, ymax, xmin, xmax
    mat = {"category": 1, "bbox": [5, 20, 20, 40]}
    rows = [
        {"subject": cat, "predicate": 0, "object": mat},
        {"subject": mat, "predicate": 1, "object": cat},
        {"subject": cat, "predicate": 1, "object": cat},
    ]
    for split in ("train", "test"):
        save(root / f"annotations_{split}.json", {"b é.jpg": rows, "a.jpg": [], "c.jpg": rows})
        photo(root / f"sg_{split}_images" / "b é.jpg")
    return root


def test_vrd(tmp_path: Path) -> None:
    data = open_vrd(vrd(tmp_path), "test")
    assert data.image_ids == (2,)  # a has no relation, c no file
    graph = data[0].graph
    assert graph.labels.tolist() == [1, 2]
    assert_close(graph.boxes, torch.tensor([[2.0, 0, 12, 10], [20, 5, 40, 20]]))
    assert graph.triples.tolist() == [[0, 1, 1], [1, 2, 0]]
    assert open_vrd(tmp_path, "train").image_ids == (2,)


@pytest.mark.parametrize(
    ("key", "value"), [("bbox", [1, 2]), ("category", 9), ("category", "x"), ("bbox", None)]
)
def test_bad_vrd(tmp_path: Path, key: str, value: Any) -> None:
    path = vrd(tmp_path) / "annotations_test.json"
    data = json.loads(path.read_text())
    data["b é.jpg"][0]["subject"][key] = value
    save(path, data)
    with pytest.raises(InputError, match=r"annotations_test.json b é.jpg: expected relations of"):
        open_vrd(tmp_path, "test")
    save(tmp_path / "objects.json", {})
    with pytest.raises(InputError, match=r"'objects.json': expected a list of names"):
        open_vrd(tmp_path, "test")
    save(path, [])
    save(tmp_path / "objects.json", ["a"])
    with pytest.raises(InputError, match="expected an object of file names"):
        open_vrd(tmp_path, "test")


def psg_entry(image_id: str, relations: list[list[int]]) -> dict[str, Any]:
    return {
        "file_name": f"val2017/{image_id}.jpg",
        "height": 20,
        "width": 40,
        "image_id": image_id,
        "segments_info": [{"category_id": 2}, {"category_id": 0}],
        "annotations": [
            {"bbox": [20, 5, 40, 20], "bbox_mode": 0, "category_id": 2},
            {"bbox": [0, 0, 10, 10], "bbox_mode": 1, "category_id": 0},
        ],
        "relations": relations,
    }


def psg(root: Path) -> Path:
    data = {
        "data": [psg_entry("7", [[1, 0, 1]]), psg_entry("8", []), psg_entry("9", [[0, 1, 0]])],
        "thing_classes": ["cat", "dog"],
        "stuff_classes": ["grass"],
        "predicate_classes": ["over", "on"],
        "test_image_ids": ["7", "8"],
    }
    save(root / "psg.json", data)
    photo(root / "val2017" / "7.jpg")
    photo(root / "val2017" / "9.jpg")
    return root / "psg.json"


def test_psg(tmp_path: Path) -> None:
    path = psg(tmp_path)
    data = open_psg(path, tmp_path, "test")
    assert data.vocabulary == Vocabulary.from_names(["cat", "dog", "grass"], ["over", "on"])
    assert data.image_ids == (7,)  # 8 has no relation
    graph = data[0].graph
    assert graph.labels.tolist() == [3, 1]
    assert_close(graph.boxes, torch.tensor([[20.0, 5, 40, 20], [0, 0, 10, 10]]))
    assert graph.triples.tolist() == [[1, 2, 0]]
    train = open_psg(path, tmp_path, "train")
    assert train.image_ids == (9,)
    assert train[0].graph.triples.tolist() == [[0, 1, 1]]


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("relations", [[0, 1, 5]], "entry 0: expected annotations with bbox"),
        ("relations", [[0, 4, 1]], "entry 0 relation 0"),
        ("segments_info", [{"category_id": 2}], "2 annotations, 1 segments"),
        ("segments_info", [{"category_id": 2}, {"category_id": 3}], "entry 0"),
        ("annotations", [{"bbox": [1]}, {}], "entry 0"),
        ("height", "tall", "entry 0"),
    ],
)
def test_bad_psg(tmp_path: Path, key: str, value: Any, message: str) -> None:
    path = psg(tmp_path)
    data = json.loads(path.read_text())
    data["data"][0][key] = value
    save(path, data)
    with pytest.raises(InputError, match=message) as error:
        open_psg(path, tmp_path, "test")
    assert "psg.json" in str(error.value)
    save(path, [])
    with pytest.raises(InputError, match="expected an object with a list 'data'"):
        open_psg(path, tmp_path, "test")
