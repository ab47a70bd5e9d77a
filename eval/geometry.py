"""Geometric tests of spatial predicates: does a relation hold for two boxes?

For a subject box s and an object box o, xyxy with y downwards, of positive area:

    left of, right of   c_x(s) < c_x(o), c_x(s) > c_x(o)        centres
    above, below        c_y(s) < c_y(o), c_y(s) > c_y(o)
    on                  the boxes overlap or touch, and s ends no lower than o: y2(s) <= y2(o)
    in                  |s and o| >= |s| / 2                    areas
    around              |s and o| >= |o| / 2

`FAMILIES` lists the predicate names of the common vocabularies that have each test. Predicates of
depth (behind, in front of), nearness and actions have none: two boxes do not decide them.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

FAMILIES: dict[str, tuple[str, ...]] = {
    "left of": ("left of", "to the left of"),
    "right of": ("right of", "to the right of"),
    "above": ("above", "over"),
    "below": ("below", "under", "beneath", "underneath"),
    "on": (
        "on", "on a", "be on", "on top of", "sit on", "sitting on", "stand on", "standing on",
        "lay on", "laying on", "lying on", "walk on", "walking on", "parked on", "mounted on",
    ),
    "in": ("in", "in a", "be in", "inside", "inside of", "sit in", "sitting in", "stand in"),
    "around": ("surrounding", "around"),
}  # fmt: skip


def families_of(predicates: Sequence[str]) -> Tensor:
    """For each predicate its index in `FAMILIES`, or -1: `[P]` int64."""
    index = {name: i for i, names in enumerate(FAMILIES.values()) for name in names}
    return torch.tensor([index.get(name, -1) for name in predicates], dtype=torch.int64)


def relations_hold(boxes: Tensor, triples: Tensor, families: Tensor) -> Tensor:
    """Whether each triple's boxes pass the test of its predicate.

    Args:
        boxes: `[N, 4]` xyxy in any unit, x1 <= x2 and y1 <= y2.
        triples: `[M, 3]` subject, predicate, object.
        families: `[P]`, from `families_of`.

    Returns:
        `[M]` bool; False for predicates of no family.
    """
    subjects, objects = boxes[triples[:, 0]], boxes[triples[:, 2]]
    holds = torch.stack(
        [*spatial_tests(subjects, objects).values(), torch.zeros(len(triples)).bool()]
    )
    family = families.to(triples.device)[triples[:, 1]]
    return holds.to(triples.device)[family, torch.arange(len(triples), device=triples.device)]


def spatial_tests(subjects: Tensor, objects: Tensor) -> dict[str, Tensor]:
    """All tests of the module's docstring, in the order of `FAMILIES`.

    Shapes: `[M, 4], [M, 4] -> [M]` bool each.
    """
    (x_s, y_s), (x_o, y_o) = (
        ((boxes[:, :2] + boxes[:, 2:]) / 2).unbind(1) for boxes in (subjects, objects)
    )
    low = torch.maximum(subjects[:, :2], objects[:, :2])
    extent = torch.minimum(subjects[:, 2:], objects[:, 2:]) - low
    common = extent.clamp(min=0).prod(1)
    area_s, area_o = ((boxes[:, 2:] - boxes[:, :2]).prod(1) for boxes in (subjects, objects))
    touch = (extent >= 0).all(1)
    return {
        "left of": x_s < x_o,
        "right of": x_s > x_o,
        "above": y_s < y_o,
        "below": y_s > y_o,
        "on": touch & (subjects[:, 3] <= objects[:, 3]),
        "in": (2 * common >= area_s) & (area_s > 0),
        "around": (2 * common >= area_o) & (area_o > 0),
    }
