"""Class heads of other vocabularies: rows of the same name are taken, others begin anew."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from autoenc_sg.detector.published import Kind, Weights

Pairs = list[tuple[int, int]]


def coco_names(with_gaps: bool) -> tuple[str, ...]:
    """COCO's classes, background first: 91 with gaps (torchvision) or 81 (detectron2)."""
    from torchvision.models.detection import FasterRCNN_ResNet50_FPN_Weights as Published

    names: list[str] = Published.COCO_V1.meta["categories"]
    return tuple(name for name in names if with_gaps or name != "N/A")


def class_pairs(kind: Kind, count: int, names: Sequence[str]) -> Pairs:
    """(our class, theirs) of one meaning, background among them.

    COCO's classes are found by name. Others' names are unknown: as many classes as ours are taken
    for ours (VG150's), of another number only the background is.

    Args:
        kind: whose weights.
        count: their classes, with background.
        names: ours, with background.
    """
    coco = coco_names(kind == "torchvision") if kind in ("torchvision", "detectron2") else ()
    if len(coco) == count:
        place = {name: row for row, name in enumerate(coco)}
        known = [(i, place[name]) for i, name in enumerate(names) if i and name in place]
        return [(0, 0), *known]
    return [(i, i) for i in range(count)] if count == len(names) else [(0, 0)]


def take_classes(
    own: Mapping[str, Tensor], theirs: Weights, kind: Kind, names: Sequence[str]
) -> tuple[Weights, int]:
    """Their weights with a class head of our classes, and how many of these are theirs.

    Args:
        own: our state dict; its rows stay where a class has none of theirs.
        theirs: by our names, with their own number of classes.
        kind: whose weights; detectron2 has background last, and no boxes of it.
        names: our classes, with background.
    """
    prefix = "network." if kind == "detectron2" else ""
    scores, boxes = (f"{prefix}roi_heads.box_predictor.{n}" for n in ("cls_score", "bbox_pred"))
    first = f"{scores}.weight"
    if first not in theirs or first not in own:
        return theirs, 0
    pairs = class_pairs(kind, len(theirs[first]), names)
    mixed = dict(theirs)
    for part in ("weight", "bias"):
        name = f"{scores}.{part}"
        mixed[name] = _rows(own[name], theirs[name], pairs, 1, kind == "detectron2")
        name = f"{boxes}.{part}"
        if len(theirs[name]) > 4 < len(own[name]):
            mixed[name] = _rows(own[name], theirs[name], pairs[1:], 4, kind == "detectron2")
    return mixed, len(pairs) - 1


def _rows(own: Tensor, theirs: Tensor, pairs: Pairs, size: int, background_last: bool) -> Tensor:
    """`own` with their rows at the pairs, `size` rows a class; theirs where widths differ."""
    if own.shape[1:] != theirs.shape[1:]:
        return theirs
    mixed, given = (value.clone().unflatten(0, (-1, size)) for value in (own, theirs))
    ours, others = torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2).unbind(1)
    if background_last:
        ours, others = (ours - 1) % len(mixed), (others - 1) % len(given)
    mixed[ours] = given[others].to(mixed)
    rows: Tensor = mixed.flatten(0, 1)
    return rows
