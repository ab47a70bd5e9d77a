"""Class heads trained on another vocabulary: rows of equal names are copied, others kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from autoenc_sg.detector.published.state_dicts import Kind, Weights

ClassPairs = list[tuple[int, int]]


def coco_names(with_gaps: bool) -> tuple[str, ...]:
    """COCO's classes, background first: 91 with gaps (torchvision) or 81 (detectron2)."""
    from torchvision.models.detection import FasterRCNN_ResNet50_FPN_Weights as Published

    names: list[str] = Published.COCO_V1.meta["categories"]
    return tuple(name for name in names if with_gaps or name != "N/A")


def class_pairs(kind: Kind, count: int, names: Sequence[str]) -> ClassPairs:
    """Rows (in our class head, in theirs) of equal classes, background among them.

    COCO's classes are matched by name. The names of other weights are unknown: if they have as many
    classes as we do, they are assumed to be ours (VG150's); else only background is matched.

    Args:
        kind: the program of their weights.
        count: number of their classes, with background.
        names: our classes, with background.
    """
    coco = coco_names(kind == "torchvision") if kind in ("torchvision", "detectron2") else ()
    if len(coco) == count:
        coco_rows = {name: row for row, name in enumerate(coco)}
        matched = [(i, coco_rows[name]) for i, name in enumerate(names) if i and name in coco_rows]
        return [(0, 0), *matched]
    return [(i, i) for i in range(count)] if count == len(names) else [(0, 0)]


def take_classes(
    own_weights: Mapping[str, Tensor], theirs: Weights, kind: Kind, names: Sequence[str]
) -> tuple[Weights, int]:
    """Their weights with a class head of our classes, and how many classes were matched.

    Args:
        own_weights: our state dict; its rows are kept for classes without a match.
        theirs: by the names used here, with their number of classes.
        kind: the program of their weights; detectron2 has background last, and no boxes of it.
        names: our classes, with background.
    """
    prefix = "network." if kind == "detectron2" else ""
    scores, boxes = (f"{prefix}roi_heads.box_predictor.{n}" for n in ("cls_score", "bbox_pred"))
    first = f"{scores}.weight"
    if first not in theirs or first not in own_weights:
        return theirs, 0
    pairs = class_pairs(kind, len(theirs[first]), names)
    mixed = dict(theirs)
    for part in ("weight", "bias"):
        name = f"{scores}.{part}"
        mixed[name] = _rows(own_weights[name], theirs[name], pairs, 1, kind == "detectron2")
        name = f"{boxes}.{part}"
        if len(theirs[name]) > 4 < len(own_weights[name]):
            mixed[name] = _rows(own_weights[name], theirs[name], pairs[1:], 4, kind == "detectron2")
    return mixed, len(pairs) - 1


def _rows(
    own_rows: Tensor, theirs: Tensor, pairs: ClassPairs, size: int, background_last: bool
) -> Tensor:
    """`own_rows` with theirs at the pairs, `size` rows a class; all theirs if widths differ."""
    if own_rows.shape[1:] != theirs.shape[1:]:
        return theirs
    mixed, new_rows = (value.clone().unflatten(0, (-1, size)) for value in (own_rows, theirs))
    ours, others = torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2).unbind(1)
    if background_last:
        ours, others = (ours - 1) % len(mixed), (others - 1) % len(new_rows)
    mixed[ours] = new_rows[others].to(mixed)
    rows: Tensor = mixed.flatten(0, 1)
    return rows
