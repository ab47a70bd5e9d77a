"""Boxes: units, clipping, unions, overlap, grid coverage and regression deltas."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from autoenc_sg.core.boxes import (
    box_scale,
    clip_to_image,
    clip_to_images,
    decode_deltas,
    enclosing_boxes,
    encode_deltas,
    grid_coverage,
    has_area,
    paired_iou,
    rescale_boxes,
    to_pixel_boxes,
    to_unit_boxes,
    union_boxes,
)
from tests.support.graphs import random_boxes, seeded

NO_ROWS = torch.zeros(0, dtype=torch.int64)


def test_unit_boxes_by_hand() -> None:
    boxes = torch.tensor([[5.0, 2, 10, 4], [1, 1, 2, 2]])
    image_index = torch.tensor([0, 2])
    sizes = [(4, 10), (7, 7), (2, 4)]
    scale = box_scale(sizes, image_index)
    assert_close(scale, torch.tensor([[10.0, 4, 10, 4], [4, 2, 4, 2]]))
    unit = to_unit_boxes(boxes, sizes, image_index)
    assert_close(unit, torch.tensor([[0.5, 0.5, 1, 1], [0.25, 0.5, 0.5, 1]]))
    assert_close(to_pixel_boxes(unit, sizes, image_index), boxes)
    none = torch.zeros(0, 4)
    assert to_unit_boxes(none, sizes, NO_ROWS).shape == (0, 4)


def test_union_boxes_by_hand_and_without_pairs() -> None:
    boxes = torch.tensor([[0.0, 0, 2, 2], [1, 1, 5, 3]], requires_grad=True)
    pairs = torch.tensor([[0, 1], [1, 0], [0, 0]])
    expected = torch.tensor([[0.0, 0, 5, 3], [0, 0, 5, 3], [0, 0, 2, 2]])
    assert_close(union_boxes(boxes, pairs), expected)
    nothing = union_boxes(boxes, torch.zeros(0, 2, dtype=torch.int64))
    assert nothing.shape == (0, 4)
    nothing.sum().backward()
    assert_close(boxes.grad, torch.zeros(2, 4))


def test_boxes_of_one_class_and_of_all_are_rescaled_by_hand() -> None:
    boxes = torch.tensor([[1.0, 2, 3, 4], [1, 1, 2, 2]])
    old, new, index = [(10, 20), (4, 4)], [(20, 20), (2, 8)], torch.tensor([0, 1])
    expected = torch.tensor([[1.0, 4, 3, 8], [2, 0.5, 4, 1]])
    assert_close(rescale_boxes(boxes, old, new, index), expected)
    by_class = torch.stack([boxes, boxes * 2], 1)
    got = rescale_boxes(by_class, old, new, index)
    assert_close(got, torch.stack([expected, expected * 2], 1))
    assert rescale_boxes(torch.zeros(0, 4), old, new, NO_ROWS).shape == (0, 4)


def test_boxes_of_an_image_are_clipped_and_some_keep_no_area() -> None:
    boxes = torch.tensor([[-3.0, -1, 50, 90], [60, 1, 70, 5], [1, 2, 3, 4], [2, 2, 5, 2]])
    clipped = clip_to_image(boxes, (40, 60))
    assert_close(
        clipped, torch.tensor([[0.0, 0, 50, 40], [60, 1, 60, 5], [1, 2, 3, 4], [2, 2, 5, 2]])
    )
    assert has_area(clipped).tolist() == [True, False, True, False]
    assert has_area(torch.tensor([[0.0, 0, torch.nan, 1]])).tolist() == [False]
    assert clip_to_image(torch.zeros(0, 4), (4, 6)).shape == (0, 4)


def test_boxes_are_clipped_to_their_own_image() -> None:
    boxes = torch.tensor([[-3.0, -1, 50, 90], [-3, -1, 50, 90], [1, 2, 3, 4]])
    got = clip_to_images(boxes, ((40, 60), (80, 20)), torch.tensor([0, 1, 1]))
    assert_close(got, torch.tensor([[0.0, 0, 50, 40], [0, 0, 20, 80], [1, 2, 3, 4]]))


def test_enclosing_boxes_broadcast() -> None:
    first = torch.tensor([[[0.0, 0, 2, 2]], [[4, 4, 5, 9]]])
    second = torch.tensor([[1.0, 1, 6, 3], [0, 0, 1, 1]])
    got = enclosing_boxes(first, second)
    expected = [[[0, 0, 6, 3], [0, 0, 2, 2]], [[1, 1, 6, 9], [0, 0, 5, 9]]]
    assert_close(got, torch.tensor(expected, dtype=torch.float32))


@pytest.mark.parametrize(
    ("first", "second", "with_one", "without"),
    [
        ((0, 0, 9, 9), (0, 0, 9, 9), 1.0, 1.0),
        ((0, 0, 9, 9), (5, 0, 14, 9), 50 / 150, 36 / 126),  # 5 of 15 columns; 4 of 14
        ((0, 0, 4, 4), (4, 0, 8, 4), 5 / 45, 0.0),  # they share a column of pixels, or an edge
        ((0, 0, 1, 1), (5, 5, 6, 6), 0.0, 0.0),
        ((3, 3, 3, 3), (3, 3, 3, 3), 1.0, 0.0),  # one pixel, or no area
    ],
)
def test_iou_by_hand_with_and_without_the_one(
    first: tuple[int, ...], second: tuple[int, ...], with_one: float, without: float
) -> None:
    a, b = torch.tensor([first]).float(), torch.tensor([second]).float()
    assert_close(paired_iou(a, b), torch.tensor([with_one]))
    assert_close(paired_iou(a, b, plus_one=False), torch.tensor([without]))
    assert paired_iou(a[:0], b[:0]).shape == (0,)


def test_coverage_by_hand() -> None:
    frame = torch.tensor([[0.0, 0, 4, 2]])
    # cells are 2 wide and 1 high
    box = torch.tensor([[1.0, 0, 4, 1.25]])
    assert_close(grid_coverage(box, frame, 2), torch.tensor([[[0.5, 1.0], [0.125, 0.25]]]))
    assert_close(grid_coverage(frame, frame, 3), torch.ones(1, 3, 3))
    outside = torch.tensor([[10.0, 10, 12, 12]])
    assert_close(grid_coverage(outside, frame, 2), torch.zeros(1, 2, 2))
    flat = torch.tensor([[1.0, 1, 1, 1]])
    assert_close(grid_coverage(flat, flat, 2), torch.zeros(1, 2, 2))
    assert grid_coverage(torch.zeros(0, 4), torch.zeros(0, 4), 5).shape == (0, 5, 5)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 6))
def test_coverage_sums_to_the_area(seed: int, size: int) -> None:
    boxes = random_boxes(6, 50, 80, seed)
    pairs = torch.tensor([[0, 1], [2, 3], [4, 5]])
    frames = union_boxes(boxes, pairs)
    share = grid_coverage(boxes[pairs[:, 0]], frames, size).mean((1, 2))
    area = (boxes[pairs[:, 0], 2:] - boxes[pairs[:, 0], :2]).prod(1)
    whole = (frames[:, 2:] - frames[:, :2]).prod(1)
    assert_close(share, area / whole, atol=1e-5, rtol=1e-4)


def test_coverage_against_a_loop_over_cells() -> None:
    boxes, size = random_boxes(4, 30, 30, 3), 4
    frames = random_boxes(4, 30, 30, 4)
    got = grid_coverage(boxes, frames, size)
    for k in range(4):
        x1, y1, x2, y2 = frames[k].tolist()
        w, h = (x2 - x1) / size, (y2 - y1) / size
        bx1, by1, bx2, by2 = boxes[k].tolist()
        for y in range(size):
            for x in range(size):
                left, top = x1 + x * w, y1 + y * h
                wide = max(0.0, min(bx2, left + w) - max(bx1, left))
                high = max(0.0, min(by2, top + h) - max(by1, top))
                assert abs(float(got[k, y, x]) - wide * high / (w * h)) < 1e-4


def test_deltas_by_hand() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 20]])
    target = torch.tensor([[5.0, 0, 25, 20]])
    # centre moves by one width, the width doubles
    expected = torch.tensor([[10.0, 0, 5 * 0.6931472, 0]])
    assert_close(encode_deltas(target, boxes), expected)
    assert_close(decode_deltas(expected, boxes), target)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000))
def test_decode_inverts_encode(seed: int) -> None:
    boxes = random_boxes(5, 40, 60, seed)
    scale = 0.3 + 3.5 * torch.rand(5, 2, generator=seeded(seed))  # at most 3.8 a side
    centre = torch.rand(5, 2, generator=seeded(seed + 1)) * 40
    half = (boxes[:, 2:] - boxes[:, :2]) * scale / 2
    target = torch.cat([centre - half, centre + half], 1)
    assert_close(decode_deltas(encode_deltas(target, boxes), boxes), target, atol=1e-3, rtol=1e-4)


def test_growth_is_limited_and_nothing_moves_nothing() -> None:
    boxes = torch.tensor([[4.0, 4, 6, 8]])
    assert_close(decode_deltas(torch.zeros(1, 4), boxes), boxes)
    grown = decode_deltas(torch.full((1, 4), 1e4) * torch.tensor([0.0, 0, 1, 1]), boxes)
    assert_close(grown, torch.tensor([[1.0, -2, 9, 14]]), atol=2e-2, rtol=0)
    none = torch.zeros(0, 4)
    assert decode_deltas(none, none).shape == encode_deltas(none, none).shape == (0, 4)
