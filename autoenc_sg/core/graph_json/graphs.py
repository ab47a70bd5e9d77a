"""One scene graph as plain lists and names: written, read and checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from autoenc_sg.core.boxes import ImageSize
from autoenc_sg.core.errors import InputError, bad_input
from autoenc_sg.core.graph_json.tensors import (
    appearance,
    background,
    floats,
    masks,
    plain,
    plain_scores,
    scores,
)
from autoenc_sg.core.graph_json.values import is_int, is_list, kind, short
from autoenc_sg.core.scene_graph import SceneGraph
from autoenc_sg.core.scene_graph_views import translate
from autoenc_sg.core.vocabulary import Vocabulary, nearest

DEFAULT_SIZE: ImageSize = (256, 256)
MAX_SIDE = 100_000
NAMED_WORDS = 10  # unknown ones in an error


def graph_to_json(graph: SceneGraph, vocabulary: Vocabulary) -> dict[str, Any]:
    """The graph as plain lists and names, ready for `json.dumps`; what it returns can be read back.

    A graph of another vocabulary is translated by its names.

    Raises:
        InputError: a name or id is not in the vocabulary, a number is not finite or out of its
            range, a box has no area or lies outside the image.
    """
    graph = translate(graph, vocabulary)
    names, predicates = vocabulary.objects, vocabulary.predicates
    data: dict[str, Any] = {
        "objects": [_name(names, i, "object") for i in graph.labels.tolist()],
        "relationships": [
            [s, _name(predicates, p, "predicate"), o] for s, p, o in graph.triples.tolist()
        ],
        **({"boxes": plain(graph.boxes)} if graph.has_boxes else {}),
        "image_size": list(graph.image_size),
    }
    for key, values, as_list in (
        ("object_scores", graph.object_scores, plain_scores),
        ("relationship_scores", graph.triple_scores, plain_scores),
        ("masks", graph.masks, plain),
        ("appearance", graph.appearance, plain),
        ("background", graph.background, plain),
    ):
        if values is not None:
            data[key] = as_list(values)
    graph_from_json(data, vocabulary, "graph to write")
    return data


def graph_from_json(
    data: Mapping[str, Any], vocabulary: Vocabulary, where: str = "graph"
) -> SceneGraph:
    """Read one graph; `data` is left as it is.

    Without `boxes` every box is the whole image and `has_boxes` is False; without `image_size` too
    the image is 256 x 256 pixels. Boxes may reach beyond the image, and a graph may have no
    objects. Masks and appearance of a graph without objects have no width to be read from and
    become None.

    Args:
        data: the decoded JSON object.
        vocabulary: the names that are known.
        where: what errors call this graph.

    Raises:
        InputError: one line with `where`, the key, what was expected and what was got.
    """
    if not isinstance(data, Mapping):
        raise bad_input(where, "a graph: an object with 'objects' and 'relationships'", kind(data))
    _check_words(data, vocabulary, where)
    labels = _labels(data, vocabulary, where)
    triples = _triples(data, vocabulary, len(labels), where)
    size = _image_size(data, where)
    boxes = _boxes(data, len(labels), size, where)
    return SceneGraph(
        torch.tensor(labels, dtype=torch.int64),
        _whole_image(len(labels), size) if boxes is None else boxes,
        torch.tensor(triples, dtype=torch.int64).reshape(-1, 3),
        size,
        scores(data, "object_scores", len(labels), where),
        scores(data, "relationship_scores", len(triples), where),
        masks(data, len(labels), where),
        appearance(data, len(labels), where),
        vocabulary,
        boxes is not None,
        background(data, where),
    )


def _name(names: tuple[str, ...], index: int, kind: str) -> str:
    if index >= len(names):
        raise bad_input(f"{kind} id", f"1..{len(names) - 1} of the vocabulary", index)
    return names[index]


def _check_words(data: Mapping[str, Any], vocabulary: Vocabulary, where: str) -> None:
    """Refuse a graph with several unknown words, naming all; other entries are checked later."""
    objects = [name for name in _required(data, "objects", where) if isinstance(name, str)]
    rows = _relationships(data, where)
    predicates = [row[1] for row in rows if is_list(row) and len(row) == 3]
    unknown: list[str] = []
    for words, vocabulary_names in (
        (objects, vocabulary.objects),
        (predicates, vocabulary.predicates),
    ):
        names = set(vocabulary_names[1:])
        for word in dict.fromkeys(w for w in words if isinstance(w, str) and w not in names):
            near = nearest(word, vocabulary_names) if len(unknown) < NAMED_WORDS else []
            unknown.append(f"{short(word)} (nearest: {', '.join(near) or 'none'})")
    if len(unknown) > 1:
        more = len(unknown) - NAMED_WORDS
        rest = f" and {more} more" if more > 0 else ""
        raise bad_input(where, "known words", "; ".join(unknown[:NAMED_WORDS]) + rest)


def _labels(data: Mapping[str, Any], vocabulary: Vocabulary, where: str) -> list[int]:
    names = _required(data, "objects", where)
    return [
        _id(vocabulary.object_id, name, f"{where}, objects[{i}]") for i, name in enumerate(names)
    ]


def _triples(
    data: Mapping[str, Any], vocabulary: Vocabulary, count: int, where: str
) -> list[tuple[int, int, int]]:
    triples = []
    for i, row in enumerate(_relationships(data, where)):
        here = f"{where}, relationships[{i}]"
        if not is_list(row) or len(row) != 3:
            raise bad_input(here, '[subject, "predicate", object]', short(row))
        subject, predicate, other = row
        for end in (subject, other):
            if not is_int(end) or not 0 <= end < count:
                raise bad_input(here, f"object indices from 0 to {count - 1}", short(end))
        triples.append((subject, _id(vocabulary.predicate_id, predicate, here), other))
    return triples


def _relationships(data: Mapping[str, Any], where: str) -> Sequence[Any]:
    """The rows of `relationships`; none where the key is absent or null."""
    if data.get("relationships") is None:
        return []
    return _required(data, "relationships", where)


def _image_size(data: Mapping[str, Any], where: str) -> ImageSize:
    size = data.get("image_size")
    if size is None and data.get("boxes") is None:
        return DEFAULT_SIZE
    if size is None:
        raise bad_input(f"{where}, image_size", "[height, width] beside boxes", "none")
    sane = is_list(size) and len(size) == 2 and all(is_int(s) and 1 <= s <= MAX_SIDE for s in size)
    if not sane:
        raise bad_input(f"{where}, image_size", f"[height, width] in 1..{MAX_SIDE}", short(size))
    return size[0], size[1]


def _whole_image(count: int, size: ImageSize) -> Tensor:
    return torch.tensor([0.0, 0.0, size[1], size[0]]).repeat(count, 1)


def _boxes(data: Mapping[str, Any], count: int, size: ImageSize, where: str) -> Tensor | None:
    boxes = floats(data, "boxes", (count, 4), where)
    if boxes is None:
        return None
    x1, y1, x2, y2 = boxes.unbind(1)
    for wrong, expected in (
        ((x2 <= x1) | (y2 <= y1), "[x1, y1, x2, y2] with x1 < x2 and y1 < y2"),
        (
            (x1 >= size[1]) | (y1 >= size[0]) | (x2 <= 0) | (y2 <= 0),
            f"a box that meets the image of {size[0]} x {size[1]} (height x width)",
        ),
    ):
        for i in wrong.nonzero().flatten().tolist()[:1]:
            raise bad_input(f"{where}, boxes[{i}]", expected, short(data["boxes"][i]))
    return boxes


def _required(data: Mapping[str, Any], key: str, where: str) -> Sequence[Any]:
    if key not in data:
        raise bad_input(where, f"the key {key!r}", f"the keys {short(list(data))}")
    value = data[key]
    if not is_list(value):
        raise bad_input(f"{where}, {key}", "a list", kind(value))
    return list(value)


def _id(lookup: Callable[[str], int], name: Any, where: str) -> int:
    if not isinstance(name, str):
        raise bad_input(where, "a name", short(name))
    try:
        return lookup(name)
    except InputError as error:
        raise InputError(" ".join(f"{where}: {error}".split())) from error
