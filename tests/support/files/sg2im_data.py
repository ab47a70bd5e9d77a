"""Tiny data sets in the two formats that sg2im trains on."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pycocotools import mask as mask_codec

# Small vocabularies of few images: the thresholds that go with `write_raw`.
SMALL = {"min_object_instances": 3, "min_attribute_instances": 2, "min_relationship_instances": 2}


def save(path: Path, value: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")
    return path


def photo(path: Path, width: int, height: int, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def thing(number: int, names: list[str], box: tuple[int, int, int, int]) -> dict[str, Any]:
    """A raw object of Visual Genome; the box is x, y, w, h."""
    return {"object_id": number, "names": names, **dict(zip("xywh", box)), "synsets": []}


def relation(number: int, subject: int, predicate: str, other: int) -> dict[str, Any]:
    ends = {"subject": {"object_id": subject}, "object": {"object_id": other}}
    return {"relationship_id": number, "predicate": predicate, "synsets": [], **ends}


def write_raw(root: Path, count: int = 14, size: int = 220, photos: bool = True) -> Path:
    """Visual Genome's raw files of `count` images, with aliases and splits."""
    rng = random.Random(0)
    names = ["man", "tree", "dog", "Dog", "guy"]
    predicates = ["on", "ON ", "next to", "beside"]
    lists: dict[str, list[Any]] = {"objects": [], "attributes": [], "relationships": []}
    data = []
    for i in range(1, count + 1):
        folder = "VG_100K" if i % 2 else "VG_100K_2"
        url = f"https://example.org/rak248/{folder}/{i}.jpg"
        data.append({"image_id": i, "width": size, "height": size, "url": url})
        objects = []
        for k in range(4 + i % 3):
            box = (rng.randrange(0, 120), rng.randrange(0, 120), 40 + k, 90 - k)
            objects.append(thing(100 * i + k, [rng.choice(names)], box))
        related = []
        for k in range(3):
            subject, other = rng.sample(range(len(objects)), 2)
            related.append(
                relation(10 * i + k, 100 * i + subject, rng.choice(predicates), 100 * i + other)
            )
        told = [{**o, "attributes": rng.sample(["red", "old", "tall"], 2)} for o in objects[::2]]
        lists["objects"].append({"image_id": i, "objects": objects})
        lists["relationships"].append({"image_id": i, "relationships": related})
        lists["attributes"].append({"image_id": i, "attributes": told})
        if photos:
            photo(root / "images" / folder / f"{i}.jpg", size, size, i)
    for name, value in lists.items():
        save(root / f"{name}.json", value)
    save(root / "image_data.json", data)
    (root / "object_alias.txt").write_text("man,guy\ndog,Dog\n")
    (root / "relationship_alias.txt").write_text("next to,beside\n")
    ids = list(range(1, count + 1))
    cut = [count * 6 // 10, count * 8 // 10]
    splits = {"train": ids[: cut[0]], "test": ids[cut[1] :], "val": ids[cut[0] : cut[1]]}
    save(root / "vg_splits.json", splits)
    return root


def write_coco_stuff(root: Path, count: int = 10, photos: bool = True) -> Path:
    """`count` images of 60 x 48 pixels in both parts, two instances and a stuff region each."""
    for part, first in (("train2017", 100), ("val2017", 200)):
        rng = random.Random(first)
        images, instances, stuff = [], [], []
        for i in range(first, first + count):
            images.append({"id": i, "file_name": f"{i:012d}.jpg", "width": 60, "height": 48})
            for k, category in enumerate((1, 3)):
                x, y = rng.randrange(0, 30), rng.randrange(0, 20)
                corners = [x, y, x + 24, y, x + 24, y + 20, x + 6, y + 20]
                instances.append(
                    {"id": 10 * i + k, "image_id": i, "category_id": category, "iscrowd": 0,
                     "bbox": [x, y, 24, 20], "area": 300, "segmentation": [corners]}
                )  # fmt: skip
            mask = np.zeros((48, 60), dtype=np.uint8, order="F")
            mask[30:, : rng.randrange(30, 60)] = 1
            code = mask_codec.encode(mask)
            box = mask_codec.toBbox(code).tolist()
            stuff.append(
                {"id": 10 * i + 5, "image_id": i, "category_id": 92 + i % 2, "iscrowd": 0,
                 "bbox": box, "area": 500,
                 "segmentation": {"size": [48, 60], "counts": code["counts"].decode()}}
            )  # fmt: skip
            if photos:
                photo(root / "images" / part / f"{i:012d}.jpg", 60, 48, i)
        categories = [{"id": 1, "name": "person"}, {"id": 3, "name": "car"}]
        stuffs = [{"id": 92, "name": "banner"}, {"id": 93, "name": "grass"}]
        other = [{"id": 183, "name": "other"}]
        for kind, entries, named in (
            ("instances", instances, categories),
            ("stuff", stuff, stuffs + other),
        ):
            save(
                root / "annotations" / f"{kind}_{part}.json",
                {"images": images, "annotations": entries, "categories": named},
            )
    return root
