import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from autoenc_sg.eval.geometry import FAMILIES, families_of, relations_hold, spatial_tests

MIDDLE = [40.0, 40.0, 60.0, 60.0]


def which(subject: list[float], other: list[float] = MIDDLE) -> set[str]:
    results = spatial_tests(torch.tensor([subject]), torch.tensor([other]))
    assert list(results) == list(FAMILIES)
    return {name for name, holds in results.items() if holds.item()}


@pytest.mark.parametrize(
    ("subject", "expected"),
    [
        ([0, 45, 30, 55], {"left of"}),  # at one height, apart
        ([70, 40, 80, 62], {"right of", "below"}),
        ([40, 0, 60, 39], {"above"}),  # a gap of one: not on
        ([40, 0, 60, 40], {"above", "on"}),  # touching from above
        ([45, 30, 65, 60], {"right of", "above", "on", "in", "around"}),  # 300 of 600, 400
        ([45, 29, 65, 60], {"right of", "above", "on", "around"}),  # 300 of 620, 400
        ([45, 50, 55, 61], {"below", "in"}),  # ends lower
        ([45, 45, 55, 55], {"on", "in"}),  # inside, the same centre
        ([30, 30, 70, 70], {"around"}),
        (MIDDLE, {"on", "in", "around"}),
        ([60, 60, 80, 80], {"right of", "below"}),  # touches at a corner, ends lower
        ([50, 50, 50, 50], {"on"}),  # of no area: in nothing
    ],
)
def test_by_hand(subject: list[float], expected: set[str]) -> None:
    assert which(subject) == expected


def test_families_of_names() -> None:
    names = ["__background__", "on", "sit on", "under", "wear", "behind", "inside", "over"]
    order = list(FAMILIES)
    expected = [None, "on", "on", "below", None, None, "in", "above"]
    assert families_of(names).tolist() == [-1 if w is None else order.index(w) for w in expected]
    assert len({n for own in FAMILIES.values() for n in own}) == sum(map(len, FAMILIES.values()))


def test_triples() -> None:
    families = families_of(["__background__", "above", "wear", "in"])
    boxes = torch.tensor([MIDDLE, [40.0, 0, 60, 39], [45.0, 45, 55, 55]])
    triples = torch.tensor([[1, 1, 0], [0, 1, 1], [1, 2, 0], [2, 3, 0], [0, 3, 2]])
    assert relations_hold(boxes, triples, families).tolist() == [True, False, False, True, False]
    assert relations_hold(boxes, triples[:0], families).shape == (0,)


coordinate = st.integers(0, 30)
box = st.tuples(coordinate, coordinate, st.integers(1, 20), st.integers(1, 20)).map(
    lambda b: [float(b[0]), float(b[1]), float(b[0] + b[2]), float(b[1] + b[3])]
)


def cells(b: list[float]) -> set[tuple[int, int]]:
    return {(x, y) for x in range(int(b[0]), int(b[2])) for y in range(int(b[1]), int(b[3]))}


@given(box, box)
def test_areas_against_counted_cells(s: list[float], o: list[float]) -> None:
    common = len(cells(s) & cells(o))
    holds = which(s, o)
    assert ("in" in holds) == (2 * common >= len(cells(s)))
    assert ("around" in holds) == (2 * common >= len(cells(o)))
    if common:
        assert ("on" in holds) == (s[3] <= o[3])


@given(box, box)
def test_opposites(s: list[float], o: list[float]) -> None:
    opposite = {"left of": "right of", "above": "below", "in": "around"}
    for name, other in opposite.items():
        assert (name in which(s, o)) == (other in which(o, s))


def test_units_do_not_matter() -> None:
    torch.manual_seed(0)
    low = torch.rand(60, 2)
    boxes = torch.cat([low, low + torch.rand(60, 2)], 1)
    scale = torch.tensor([640.0, 480, 640, 480])
    one, other = (
        spatial_tests(boxes[:30], boxes[30:]),
        spatial_tests(boxes[:30] * scale, boxes[30:] * scale),
    )
    for name in FAMILIES:
        assert_close(one[name], other[name])
