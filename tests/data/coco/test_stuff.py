import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.testing import assert_close

from autoenc_sg.config.data import DataConfig
from autoenc_sg.core.errors import InputError
from autoenc_sg.data.base.samples import collate_samples
from autoenc_sg.data.coco.masks import mask_centres
from autoenc_sg.data.coco.stuff import CocoStuffRules, open_coco_stuff
from autoenc_sg.data.open import open_dataset
from tests.support.files.sg2im_data import photo, save, write_coco_stuff

HALF = [[0, 0, 20, 0, 20, 40, 0, 40]]  # the left half of 40 x 40


def box(number: int, image: int, category: int, bbox: list[float], **more: Any) -> dict[str, Any]:
    return {"id": number, "image_id": image, "category_id": category, "bbox": bbox, **more}


def files(root: Path, instances: list[Any], stuff: list[Any], ids: tuple[int, ...]) -> Path:
    """Images of 40 x 40 pixels: an area of 2 % is 32 square pixels."""
    images = [{"id": i, "file_name": f"{i}.jpg", "width": 40, "height": 40} for i in ids]
    kinds = {
        "instances": (instances, [{"id": 2, "name": "cat"}, {"id": 5, "name": "dog"}]),
        "stuff": (stuff, [{"id": 7, "name": "sky"}, {"id": 183, "name": "other"}]),
    }
    for part in ("train2017", "val2017"):
        for kind, (annotations, categories) in kinds.items():
            value = {"images": images, "annotations": annotations, "categories": categories}
            save(root / "annotations" / f"{kind}_{part}.json", value)
    return root


def three(image: int, first: int) -> list[dict[str, Any]]:
    return [box(first + k, image, 2, [4 * k, 4 * k, 20, 20], iscrowd=0) for k in range(3)]


def test_the_rules_by_hand(tmp_path: Path) -> None:
    instances = [
        *three(9, 1),
        box(10, 9, 5, [0, 0, 8, 4]),  # exactly 2 %: out
        box(11, 9, 5, [0, 0, 8, 4.1], iscrowd=1),  # above, and crowds count
        *three(4, 20)[:2],  # two objects: the stuff below makes three
        *three(6, 30),  # no stuff in this image
        *three(2, 40), *three(2, 50), *three(2, 60),  # nine
        *three(8, 70)[:2],  # two, and one that is `other`
    ]  # fmt: skip
    stuff = [
        box(1, 4, 7, [0, 20, 40, 20]),
        box(2, 9, 7, [0, 0, 3, 3]),  # too small, but there is stuff
        box(3, 2, 7, [0, 0, 1, 1]),
        box(4, 8, 183, [0, 0, 40, 40]),
    ]
    root = files(tmp_path, instances, stuff, (9, 4, 6, 2, 8))
    train = open_coco_stuff(root, "train")
    assert train.image_ids == (9, 4)  # in the file's order
    assert train.graph(0).labels.tolist() == [2, 2, 2, 5]
    assert train.graph(1).labels.tolist() == [2, 2, 7]
    assert_close(train.graph(1).boxes[2], torch.tensor([0.0, 20, 40, 40]))
    names = train.vocabulary.objects
    assert (names[2], names[5], names[7], names[183]) == ("cat", "dog", "sky", "other")
    assert names[6] == "__unused_6__"
    assert len(names) == 184  # COCO's ids
    assert train.vocabulary.predicates[1:3] == ("left of", "right of")
    rules = CocoStuffRules(include_other=True, stuff_only=False, max_objects=9)
    assert open_coco_stuff(root, "train", rules=rules).image_ids == (9, 4, 6, 2, 8)


def test_splits_of_val2017(tmp_path: Path) -> None:
    write_coco_stuff(tmp_path, photos=False)
    parts = {s: open_coco_stuff(tmp_path, s, rules=CocoStuffRules(4)) for s in ("val", "test")}  # type: ignore[arg-type]
    assert parts["val"].image_ids == (200, 201, 202, 203)
    assert parts["test"].image_ids == tuple(range(204, 210))
    assert open_coco_stuff(tmp_path, "train").image_ids == tuple(range(100, 110))
    assert open_coco_stuff(tmp_path, "val").image_ids == (200, 201, 202)  # 1024 are not there
    assert open_coco_stuff(tmp_path, "test").image_ids == tuple(range(203, 210))


def test_masks_and_relations_by_hand(tmp_path: Path) -> None:
    """The left half of the whole image, a box around its centre, and one in a corner."""
    instances = [
        box(1, 3, 2, [0, 0, 40, 40], segmentation=HALF),
        box(2, 3, 5, [10, 10, 20, 20]),  # no segmentation: full
        box(3, 3, 5, [30, 0, 10, 10], segmentation=[]),
    ]
    root = files(tmp_path, instances, [box(1, 3, 7, [0, 0, 2, 2])], (3,))
    train = open_coco_stuff(root, "train")
    graph = train.graph(0)
    assert graph.masks is not None
    half = torch.zeros(16, 16)
    half[:, :8] = 1
    assert_close(graph.masks, torch.stack([half, torch.ones(16, 16), torch.ones(16, 16)]))
    # the mean of columns 0 to 7 of 15; the box around (0.5, 0.5) is strictly inside
    centres = mask_centres(graph.masks, graph.boxes / 40)
    assert_close(centres, torch.tensor([[3.5 / 15, 0.5], [0.5, 0.5], [0.875, 0.125]]))
    wanted = {
        (0, 1): "surrounding", (1, 0): "inside",
        (0, 2): "left of", (2, 0): "right of",  # dx 0.64, dy 0.375; the corner is shared
        (1, 2): "left of", (2, 1): "right of",  # on the diagonal
    }  # fmt: skip
    pairs = set()
    for epoch in range(60):
        triples = train.graph(0, epoch).triples
        assert len(triples) == 3
        for subject, predicate, other in triples.tolist():
            pairs.add((subject, other))
            assert train.vocabulary.predicates[predicate] == wanted[subject, other]
    assert pairs == set(wanted)


def test_drawn_anew_in_train_epochs_only(tmp_path: Path) -> None:
    write_coco_stuff(tmp_path, photos=False)
    train = open_coco_stuff(tmp_path, "train", seed=3)
    drawn = [train.graph(0, epoch).triples.tolist() for epoch in range(12)]
    again = open_coco_stuff(tmp_path, "train", seed=3)
    assert drawn == [again.graph(0, epoch).triples.tolist() for epoch in range(12)]
    assert len({str(triples) for triples in drawn}) > 3
    val = open_coco_stuff(tmp_path, "val", rules=CocoStuffRules(2))
    assert len({str(val.graph(0, epoch).triples.tolist()) for epoch in range(12)}) == 1
    assert_close(val.annotated(1).triples, val.graph(1).triples)


def test_samples_flip_and_shrink_masks_and_boxes_together(tmp_path: Path) -> None:
    write_coco_stuff(tmp_path)
    train = open_coco_stuff(tmp_path, "train", flip=True)
    plain = open_coco_stuff(tmp_path, "train", short_side=24)
    assert plain[0].image.shape == (3, 24, 30)
    assert_close(plain[0].graph.boxes * 2, plain.graph(0).boxes)
    assert_close(plain[0].graph.masks, plain.graph(0).masks)
    flips = set()
    for epoch in range(10):
        graph, sample = train.graph(0, epoch), train.sample(0, epoch)
        assert graph.masks is not None
        assert sample.graph.masks is not None
        flipped = not torch.equal(graph.boxes, sample.graph.boxes)
        flips.add(flipped)
        assert_close(sample.graph.masks, graph.masks.flip(-1) if flipped else graph.masks)
        x1 = 60 - graph.boxes[:, 2] if flipped else graph.boxes[:, 0]
        assert_close(sample.graph.boxes[:, 0], x1)
    assert flips == {False, True}
    batch = collate_samples([train[0], train[1]])
    assert batch.graphs.masks is not None
    assert batch.graphs.masks.shape == (6, 16, 16)


def test_by_configuration(tmp_path: Path) -> None:
    write_coco_stuff(tmp_path)
    config = DataConfig("coco_stuff", str(tmp_path), num_val=4)
    masks = open_dataset(config, "test")[0].graph.masks
    assert masks is not None
    assert masks.shape == (3, 16, 16)
    small = DataConfig("coco_stuff", str(tmp_path), num_val=4, mask_size=4, images="images")
    masks = open_dataset(small, "test")[0].graph.masks
    assert masks is not None
    assert masks.shape == (3, 4, 4)
    cached = open_dataset(replace(config, cache="c", short_side=24), "test")
    for _ in range(2):
        assert cached[1].image.shape == (3, 24, 30)
    without = open_dataset(DataConfig("coco_stuff", str(tmp_path), mask_size=0), "train")
    assert without[0].graph.masks is None
    assert_close(without.graph(0).triples, open_dataset(config, "train").graph(0).triples)


def test_stuff_and_masks_of_plain_coco_by_configuration(tmp_path: Path) -> None:
    root = write_coco_stuff(tmp_path)
    more = {
        "annotations": "annotations/instances_train2017.json",
        "images": "images/train2017",
        "num_test": 2,
    }
    plain = open_dataset(DataConfig("coco", str(root), **more), "train")  # type: ignore[arg-type]
    both = DataConfig(
        "coco", str(root), stuff="annotations/stuff_train2017.json", mask_size=8, **more
    )  # type: ignore[arg-type]
    graph = open_dataset(both, "train")[0].graph
    assert len(graph) == len(plain[0].graph) + 1
    assert plain[0].graph.masks is None
    assert graph.masks is not None
    assert graph.masks.shape == (3, 8, 8)
    assert 0 < graph.masks.mean() < 1


def test_missing_images_are_told_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_coco_stuff(tmp_path, photos=False)
    assert len(open_coco_stuff(tmp_path, "train")) == 10  # none at all: graphs alone
    photo(tmp_path / "train2017" / f"{103:012d}.jpg", 60, 48)
    with caplog.at_level(logging.WARNING):
        train = open_coco_stuff(tmp_path, "train")
    assert train.image_ids == (103,)
    assert "9 of 10 images are missing and left out" in caplog.text


def test_bad_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"instances_train2017\.json: expected a JSON file"):
        open_coco_stuff(tmp_path, "train")
    root = write_coco_stuff(tmp_path, photos=False)
    with pytest.raises(InputError, match=r"val2017: expected images with 3 to 3 objects and stuff"):
        open_coco_stuff(root, "test", rules=CocoStuffRules(min_area=0.5, max_objects=3))
    path = root / "annotations" / "stuff_train2017.json"
    good = json.loads(path.read_text())
    save(path, {**good, "categories": [*good["categories"], {"id": 3, "name": "road"}]})
    with pytest.raises(InputError, match="that no other category has, got 3 'road'"):
        open_coco_stuff(root, "train")
    save(path, {**good, "categories": [*good["categories"], {"id": 2**31, "name": "road"}]})
    with pytest.raises(InputError, match=r"ids in 1\.\.10000 .*, got 2147483648 'road'"):
        open_coco_stuff(root, "train")
    good["annotations"][0]["segmentation"] = {"size": [48, 60], "counts": [1]}
    save(path, good)
    where = r"stuff_train2017\.json annotation 1005 'segmentation': expected polygons or RLE"
    with pytest.raises(InputError, match=where):
        open_coco_stuff(root, "train")
    del good["annotations"][0]["segmentation"]
    save(path, good)
    photo(root / "images" / "train2017" / f"{101:012d}.jpg", 48, 60)
    turned = open_coco_stuff(root, "train")
    with pytest.raises(InputError, match="expected an image of 60 x 48 pixels"):
        turned[0]
