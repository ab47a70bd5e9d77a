"""The photographs as one list of rows with splits: boxes, relations and captions of people."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

Row = dict[str, Any]
COLUMNS = ("id", "split", "license", "address")


def free_rows(folder: Path) -> Iterator[Row]:
    """Photographs with relations and captions of people."""
    lines = (folder / "annotations.jsonl").read_text(encoding="utf-8").splitlines()
    for row in map(json.loads, lines):
        yield {
            "id": row["id"],
            "image": str((folder / row["image"]).resolve()),
            "labels": row["labels"],
            "boxes": row["boxes"],
            "triples": row["relationships"],
            "captions": row["captions"],
            "license": row["license"],
            "address": row["flickr_url"],
        }


def coco_rows(folder: Path) -> Iterator[Row]:
    """Photographs of COCO's `instances.json`, without their crowd boxes."""
    data = json.loads((folder / "instances.json").read_text(encoding="utf-8"))
    names = {category["id"]: category["name"] for category in data["categories"]}
    licenses = {entry["id"]: entry["name"] for entry in data["licenses"]}
    boxes: dict[int, list[tuple[str, list[float]]]] = {}
    for item in data["annotations"]:
        if not item["iscrowd"]:
            x, y, width, height = item["bbox"]
            box = [x, y, x + width, y + height]
            boxes.setdefault(item["image_id"], []).append((names[item["category_id"]], box))
    for image in data["images"]:
        objects = boxes.get(image["id"], [])
        yield {
            "id": image["id"],
            "image": str((folder / "images" / image["file_name"]).resolve()),
            "labels": [name for name, _ in objects],
            "boxes": [box for _, box in objects],
            "triples": [],
            "captions": [],
            "license": licenses[image["license"]],
            "address": image["flickr_url"],
        }


def in_splits(rows: list[Row]) -> list[Row]:
    """The rows in the order validation, train, test, each with its split."""
    related = [row for row in rows if row["triples"]]
    others = [row for row in rows if not row["triples"]]
    parts: dict[str, list[Row]] = {"val": [], "train": [], "test": []}
    for group, test_every, val_every in ((related, 3, 6), (others, 11, 11)):
        for place, row in enumerate(sorted(group, key=lambda row: row["id"])):
            if place % test_every == 1:
                parts["test"].append(row)
            else:
                parts["val" if place % val_every == 5 else "train"].append(row)
    return [
        {**row, "split": "test" if name == "test" else "train"}
        for name, part in parts.items()
        for row in part
    ]


def write_attribution(rows: Sequence[Row], path: Path) -> None:
    """Id, split, licence and address of every photograph, as CSV."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(sorted(rows, key=lambda row: row["id"]))
