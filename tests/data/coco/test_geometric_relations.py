import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from autoenc_sg.data.coco.geometric_relations import (
    GEOMETRIC_PREDICATES,
    geometric_predicates,
    random_partners,
)


def name(subject: list[float], other: list[float], centres: Tensor | None = None) -> str:
    boxes = torch.tensor([subject, other])
    if centres is None:
        centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    (place,) = geometric_predicates(boxes, centres, torch.tensor([[0, 1]])).tolist()
    return GEOMETRIC_PREDICATES[place - 1]


MIDDLE = [0.4, 0.4, 0.6, 0.6]


@pytest.mark.parametrize(
    ("subject", "wanted"),
    [
        ([0.0, 0.4, 0.2, 0.6], "left of"),
        ([0.8, 0.4, 1.0, 0.6], "right of"),
        ([0.4, 0.0, 0.6, 0.2], "above"),
        ([0.4, 0.8, 0.6, 1.0], "below"),
        ([0.45, 0.45, 0.55, 0.55], "inside"),
        ([0.3, 0.3, 0.7, 0.7], "surrounding"),
        ([0.4, 0.3, 0.7, 0.7], "right of"),  # one side is shared: not strictly around
        (MIDDLE, "right of"),  # angle 0
    ],
)
def test_hand_made_pairs(subject: list[float], wanted: str) -> None:
    assert name(subject, MIDDLE) == wanted


@pytest.mark.parametrize(
    ("dx", "dy", "wanted"),
    [(-1, -1, "left of"), (1, -1, "right of"), (1, 1, "below"), (-1, 1, "left of")],
)
def test_diagonals_are_sg2im_s(dx: float, dy: float, wanted: str) -> None:
    """Its conditions, of which the first that holds wins, on `math.atan2`."""
    assert name(MIDDLE, MIDDLE, torch.tensor([[0.5 + dx / 4, 0.5 + dy / 4], [0.5, 0.5]])) == wanted
    angle = math.atan2(dy, dx)
    assert (wanted == "left of") == (angle >= 3 * math.pi / 4 or angle <= -3 * math.pi / 4)
    assert (wanted == "right of") == (-math.pi / 4 <= angle < math.pi / 4)


def test_ids_are_sg2im_s() -> None:
    assert GEOMETRIC_PREDICATES == (
        "left of", "right of", "above", "below", "inside", "surrounding",
    )  # fmt: skip


def test_the_centres_may_differ_from_the_boxes() -> None:
    centres = torch.tensor([[0.5, 0.9], [0.5, 0.5]])
    assert name([0.8, 0.4, 1.0, 0.6], MIDDLE, centres) == "below"


def naive(subject: list[float], other: list[float]) -> str:
    (sx0, sy0, sx1, sy1), (ox0, oy0, ox1, oy1) = subject, other
    if sx0 < ox0 and sx1 > ox1 and sy0 < oy0 and sy1 > oy1:
        return "surrounding"
    if sx0 > ox0 and sx1 < ox1 and sy0 > oy0 and sy1 < oy1:
        return "inside"
    angle = math.degrees(math.atan2((sy0 + sy1) - (oy0 + oy1), (sx0 + sx1) - (ox0 + ox1)))
    if angle >= 135 or angle <= -135:
        return "left of"
    if angle < -45:
        return "above"
    return "right of" if angle < 45 else "below"


box = st.tuples(*[st.integers(0, 97)] * 2, *[st.integers(1, 41)] * 2).map(
    lambda b: [b[0] / 97, b[1] / 97, (b[0] + b[2] * 1.37) / 97, (b[1] + b[3] * 1.61) / 97]
)


@given(box, box)
def test_against_a_plain_version(a: list[float], b: list[float]) -> None:
    dx, dy = (a[0] + a[2]) - (b[0] + b[2]), (a[1] + a[3]) - (b[1] + b[3])
    if abs(abs(dx) - abs(dy)) > 1e-4 or naive(a, b) in ("inside", "surrounding"):
        assert name(a, b) == naive(a, b)


@given(box, box)
def test_swapping_the_pair_gives_the_opposite(a: list[float], b: list[float]) -> None:
    opposite = {"left of": "right of", "above": "below", "inside": "surrounding"}
    opposite |= {v: k for k, v in opposite.items()}
    dx, dy = (a[0] + a[2]) - (b[0] + b[2]), (a[1] + a[3]) - (b[1] + b[3])
    if dx and dy and abs(abs(dx) - abs(dy)) > 1e-4:  # each diagonal belongs to one quarter
        assert name(b, a) == opposite[name(a, b)]


def test_no_pairs() -> None:
    none = torch.zeros(0, 2, dtype=torch.int64)
    assert_close(geometric_predicates(torch.zeros(0, 4), torch.zeros(0, 2), none), none[:, 0])


@pytest.mark.parametrize("count", [2, 3, 9])
def test_partners_are_others_in_either_direction(count: int) -> None:
    generator = torch.Generator().manual_seed(0)
    drawn = torch.stack([random_partners(count, generator) for _ in range(400)])
    objects = torch.arange(count).expand(400, -1)
    swapped = drawn[..., 1] == objects
    assert ((drawn[..., 0] == objects) ^ swapped).all()
    assert 0.4 < float(swapped.float().mean()) < 0.6
    partner = torch.where(swapped, drawn[..., 0], drawn[..., 1])[:, 0]
    counts = torch.bincount(partner, minlength=count)
    assert counts[0] == 0
    assert (counts[1:] > 400 / (count - 1) * 0.5).all()
