"""Writing graphs as others' files, independently of the readers under test."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from autoenc_sg.core.scene_graph import SceneGraph
from autoenc_sg.core.vocabulary import Vocabulary
from autoenc_sg.data.base.samples import GraphDataset, Split

Annotated = dict[int, SceneGraph]  # by image id
Splits = dict[Split, Annotated]


def annotated(dataset: GraphDataset, limit: int | None = None) -> Annotated:
    """The first graphs of a data set, with all their relations."""
    count = len(dataset) if limit is None else min(limit, len(dataset))
    return {dataset.image_ids[i]: dataset.annotated(i) for i in range(count)}


def save(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")


def write_reltr(root: Path, splits: Splits, names: Vocabulary) -> None:
    """Annotations of the images interleaved, so that order within an image is all that counts."""
    relations: dict[str, Any] = {"rel_categories": list(names.predicates)}
    for split, graphs in splits.items():
        save(root / f"{split}.json", _coco(graphs, names, 1)[0])
        relations[split] = {
            str(i): [[s, o, p] for s, p, o in g.triples.tolist()] for i, g in graphs.items()
        }
    save(root / "rel.json", relations)


def write_benchmark(root: Path, splits: Splits, names: Vocabulary) -> None:
    """SGG-Benchmark's: ids of annotations from 7 on, of categories from 0."""
    for split, graphs in splits.items():
        content, first = _coco(graphs, names, 0)
        content["rel_categories"] = [
            {"id": i, "name": name} for i, name in enumerate(names.predicates[1:])
        ]
        content["rel_annotations"] = [
            {"id": 0, "image_id": i, "subject_id": first[i][s], "predicate_id": p - 1,
             "object_id": first[i][o]}
            for i, g in graphs.items()
            for s, p, o in g.triples.tolist()
        ]  # fmt: skip
        save(root / ("valid" if split == "val" else split) / "_annotations.coco.json", content)


def _coco(
    graphs: Annotated, names: Vocabulary, first_category: int
) -> tuple[dict[str, Any], dict[int, list[int]]]:
    """COCO's content, and the annotation ids of each image's objects."""
    images = [
        {"id": i, "file_name": f"{i}.jpg", "height": g.image_size[0], "width": g.image_size[1]}
        for i, g in graphs.items()
    ]
    rows = sorted((k, i) for i, g in graphs.items() for k in range(len(g)))
    ids: dict[int, list[int]] = {i: [] for i in graphs}
    annotations = []
    for number, (k, i) in enumerate(rows, start=7):
        x1, y1, x2, y2 = graphs[i].boxes[k].tolist()
        label = int(graphs[i].labels[k]) - 1 + first_category
        ids[i].append(number)
        annotations.append(
            {"id": number, "image_id": i, "category_id": label, "bbox": [x1, y1, x2 - x1, y2 - y1],
             "area": (x2 - x1) * (y2 - y1), "iscrowd": 0}
        )  # fmt: skip
    categories = [
        {"id": k, "name": name} for k, name in enumerate(names.objects[1:], start=first_category)
    ]
    return {"images": images, "annotations": annotations, "categories": categories}, ids


def write_vrd(root: Path, splits: Splits, names: Vocabulary) -> None:
    """Boxes in whole pixels; objects without relations cannot be told of."""
    save(root / "objects.json", list(names.objects[1:]))
    save(root / "predicates.json", list(names.predicates[1:]))
    for part, members in (("train", ("train", "val")), ("test", ("test",))):
        graphs = {i: g for m in members for i, g in splits.get(m, {}).items()}  # type: ignore[call-overload]
        save(
            root / f"annotations_{part}.json",
            {f"{i:09}.jpg": _vrd_relations(graph) for i, graph in graphs.items()},
        )


def _vrd_relations(graph: SceneGraph) -> list[dict[str, Any]]:
    def end(row: int) -> dict[str, Any]:
        x1, y1, x2, y2 = graph.boxes[row].round().int().tolist()
        return {"category": int(graph.labels[row]) - 1, "bbox": [y1, y2, x1, x2]}

    return [
        {"subject": end(s), "predicate": p - 1, "object": end(o)}
        for s, p, o in graph.triples.tolist()
    ]


def write_psg(root: Path, splits: Splits, names: Vocabulary) -> None:
    """Half of the classes are stuff; every other image tells x, y, width, height."""
    half = names.num_objects // 2
    data = []
    for number, (i, graph) in enumerate(
        (i, g) for graphs in splits.values() for i, g in graphs.items()
    ):
        boxes = graph.boxes.clone()
        if number % 2:
            boxes[:, 2:] -= boxes[:, :2]
        data.append(
            {"file_name": f"{i}.jpg", "image_id": str(i), "height": graph.image_size[0],
             "width": graph.image_size[1],
             "segments_info": [{"category_id": label - 1} for label in graph.labels.tolist()],
             "annotations": [{"bbox": b, "bbox_mode": number % 2} for b in boxes.tolist()],
             "relations": [[s, o, p - 1] for s, p, o in graph.triples.tolist()]}
        )  # fmt: skip
    save(
        root / "psg.json",
        {"data": data, "thing_classes": list(names.objects[1:half]),
         "stuff_classes": list(names.objects[half:]),
         "predicate_classes": list(names.predicates[1:]),
         "test_image_ids": [str(i) for i in splits.get("test", {})]},
    )  # fmt: skip


def write_jsonl(
    path: Path, splits: Splits, names: Vocabulary, image: Callable[[int], Path]
) -> None:
    """`image` tells where an image's photo is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [
        json.dumps(
            {"image": str(image(i)), "labels": [names.objects[k] for k in g.labels.tolist()],
             "boxes": g.boxes.tolist(),
             "triples": [[s, names.predicates[p], o] for s, p, o in g.triples.tolist()],
             "image_size": list(g.image_size), "split": "test" if split == "test" else "train"}
        )
        for split, graphs in splits.items()
        for i, g in graphs.items()
    ]  # fmt: skip
    path.write_text("\n".join(lines), encoding="utf-8")


def write_raw(root: Path, splits: Splits, names: Vocabulary) -> None:
    """Visual Genome's raw files, all splits in order."""
    graphs = {i: g for part in splits.values() for i, g in part.items()}
    objects, relationships, sizes = [], [], []
    for i, g in graphs.items():
        height, width = g.image_size
        sizes.append({"image_id": i, "width": width, "height": height})
        things = []
        for k, (x1, y1, x2, y2) in enumerate(g.boxes.tolist()):
            box = {"x": x1 + 1, "y": y1 + 1, "w": x2 - x1, "h": y2 - y1}
            things.append({"object_id": 1000 * i + k, "names": [_name(names, g, k)], **box})
        objects.append({"image_id": i, "objects": things})
        relations = [
            {
                "predicate": names.predicates[p],
                "subject": _end(things[s]),
                "object": _end(things[o]),
            }
            for s, p, o in g.triples.tolist()
        ]
        relationships.append({"image_id": i, "relationships": relations})
    save(root / "objects.json", objects)
    save(root / "relationships.json", relationships)
    save(root / "image_data.json", sizes)


def _name(names: Vocabulary, graph: SceneGraph, row: int) -> str:
    return names.objects[int(graph.labels[row])]


def _end(thing: dict[str, Any]) -> dict[str, Any]:
    return {**{k: v for k, v in thing.items() if k != "names"}, "name": thing["names"][0]}
