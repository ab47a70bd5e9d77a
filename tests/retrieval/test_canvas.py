"""Pasted canvases, pixel by pixel."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from autoenc_sg.core.errors import InputError
from autoenc_sg.retrieval.canvas import paste_canvas


def plain(value: float, side: int = 2) -> Tensor:
    return torch.full((3, side, side), value)


def test_small_ones_lie_above_large_ones() -> None:
    boxes = torch.tensor([[0.25, 0, 0.5, 0.5], [0, 0, 0.75, 1.0]])
    canvas = paste_canvas([plain(0.2), plain(0.9)], boxes, (2, 4))
    assert_close(canvas[1], torch.tensor([[0.9, 0.2, 0.9, 0.5], [0.9, 0.9, 0.9, 0.5]]))
    assert_close(canvas, paste_canvas([plain(0.9), plain(0.2)], boxes.flip(0), (2, 4)))


def test_equal_areas_are_pasted_in_order() -> None:
    boxes = torch.tensor([[0, 0, 1.0, 1], [0, 0, 1, 1]])
    assert_close(paste_canvas([plain(0.1), plain(0.2)], boxes, (1, 1)), torch.full((3, 1, 1), 0.2))


def test_a_crop_of_its_size_is_pasted_as_it_is() -> None:
    crop = torch.arange(12, dtype=torch.uint8).reshape(3, 2, 2) * 20
    canvas = paste_canvas([crop], torch.tensor([[0.5, 0.5, 1, 1]]), (4, 4))
    assert torch.equal(canvas[:, 2:, 2:], crop / 255)
    assert (canvas[:, :2] == 0.5).all()
    assert (canvas[:, 2:, :2] == 0.5).all()


def test_edges_are_rounded_and_a_pixel_is_the_least() -> None:
    boxes = torch.tensor([[0.12, 0.1, 0.88, 0.9], [0.99, 0.99, 0.99, 0.99], [0.3, 0.3, 0.3, 0.4]])
    canvas = paste_canvas([plain(0.0), plain(1.0), plain(0.8)], boxes, (4, 4))
    expected = torch.zeros(4, 4)  # 0.12 * 4 rounds to 0, 0.88 * 4 to 4
    expected[3, 3] = 1
    expected[1, 1] = 0.8
    assert_close(canvas[0], expected)


def test_boxes_that_reach_outside_are_cut() -> None:
    boxes = torch.tensor([[-5.0, 0.5, 0.5, 7.0], [2.0, 2.0, 3.0, 3.0]])
    canvas = paste_canvas([plain(0.0), plain(1.0)], boxes, (2, 2))
    assert_close(canvas[0], torch.tensor([[0.5, 0.5], [0.0, 1.0]]))


def test_background_and_nothing_to_paste() -> None:
    empty = torch.zeros(0, 4)
    assert torch.equal(paste_canvas([], empty, (2, 3)), torch.full((3, 2, 3), 0.5))
    photo = torch.tensor([0.0, 1.0]).expand(3, 4, 2)
    canvas = paste_canvas([], empty, (2, 2), photo)
    assert_close(canvas, photo[:, :2])
    pasted = paste_canvas([plain(0.3)], torch.tensor([[0, 0, 0.5, 1]]), (2, 2), photo)
    assert_close(pasted[0], torch.tensor([[0.3, 1.0], [0.3, 1.0]]))
    assert photo[0, 0, 0] == 0  # the photo itself is not drawn on


def test_bad_boxes() -> None:
    for boxes in (torch.zeros(2, 4), torch.full((1, 4), torch.nan)):
        with pytest.raises(InputError, match="boxes of a canvas: expected 1 finite ones"):
            paste_canvas([plain(0)], boxes, (2, 2))
