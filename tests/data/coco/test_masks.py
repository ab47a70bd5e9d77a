import math
from typing import Any

import pytest
import torch
from pycocotools import mask as mask_codec
from torch.testing import assert_close

from autoenc_sg.core.errors import InputError
from autoenc_sg.data.coco.masks import crop_masks, mask_centres, masks_over
from autoenc_sg.data.coco.segmentations import decode_segmentations, read_segmentation

LEFT = [[2.0, 1.0, 6.0, 1.0, 6.0, 5.0, 2.0, 5.0]]  # columns 2 to 5, rows 1 to 4
SIZE = (8, 10)


def left_half() -> torch.Tensor:
    mask = torch.zeros(1, 4, 6, dtype=torch.uint8)
    mask[:, :, :3] = 1
    return mask


def test_a_crop_by_hand() -> None:
    whole = torch.tensor([[0.0, 0.0, 6.0, 4.0]])
    assert_close(crop_masks(left_half(), whole, 2)[0], torch.tensor([[1.0, 0], [1, 0]]))
    # 4 columns from 2: cells of one pixel; only the first lies in the mask
    right = torch.tensor([[2.0, 0.0, 4.0, 4.0]])
    assert_close(crop_masks(left_half(), right, 4)[0, 0], torch.tensor([1.0, 0, 0, 0]))
    # 3 columns from 2 in 2 cells: at 0.25 and 1.75 of the pixels 1, 0, 0: 0.75 and 0
    assert_close(
        crop_masks(left_half(), torch.tensor([[2.0, 0.0, 3.0, 2.0]]), 2)[0, 0],
        torch.tensor([1.0, 0.0]),
    )


def test_boxes_are_rounded_half_to_even_and_never_empty() -> None:
    masks = left_half()
    assert_close(  # 2.5 and 3.5 round to 2 and 4: pixels 1, 0
        crop_masks(masks, torch.tensor([[2.5, 0.0, 1.0, 4.0]]), 2)[0, 0], torch.tensor([1.0, 0.0])
    )
    assert crop_masks(masks, torch.tensor([[2.0, 2.0, 0.2, 0.2]]), 3).min() == 1
    assert crop_masks(masks, torch.tensor([[3.0, 2.0, 0.2, 0.2]]), 3).max() == 0
    assert crop_masks(masks, torch.tensor([[5.7, 3.9, 3.0, 3.0]]), 3).max() == 0  # at the border


def test_a_box_full_of_mask_stays_full_where_it_is_enlarged() -> None:
    ones = torch.ones(1, 8, 8, dtype=torch.uint8)
    assert crop_masks(ones, torch.tensor([[2.0, 2.0, 3.0, 2.0]]), 16).min() == 1
    ones[0, 3, 3] = 0  # then the zeros around reach the corners: 0.59 x 0.56 of 1
    corner = crop_masks(ones, torch.tensor([[2.0, 2.0, 3.0, 2.0]]), 16)[0, 0, 0]
    assert corner == 0


def naive(mask: torch.Tensor, box: list[float], side: int) -> list[list[float]]:
    x, y, w, h = box
    x1, y1 = max(round(x) + 1, round(x + w)), max(round(y) + 1, round(y + h))
    crop = mask.tolist()[round(y) : y1]
    crop = [row[round(x) : x1] for row in crop]
    height, width = len(crop), len(crop[0])
    full = all(value for row in crop for value in row)

    def pixel(r: int, c: int) -> int:
        return crop[r][c] if 0 <= r < height and 0 <= c < width else 0

    out = []
    for i in range(side):
        row = []
        for j in range(side):
            v, u = (i + 0.5) * height / side - 0.5, (j + 0.5) * width / side - 0.5
            r, c = math.floor(v), math.floor(u)
            total = sum(
                pixel(r + a, c + b) * (1 - abs(v - r - a)) * (1 - abs(u - c - b))
                for a in (0, 1)
                for b in (0, 1)
            )
            row.append(float(full or 255 * total > 128))
        out.append(row)
    return out


def test_against_a_plain_version() -> None:
    generator = torch.Generator().manual_seed(0)
    masks = (torch.rand(40, 19, 23, generator=generator) < 0.7).byte()
    low = torch.rand(40, 2, generator=generator, dtype=torch.float64) * torch.tensor([22.0, 18])
    extent = torch.rand(40, 2, generator=generator, dtype=torch.float64)
    boxes = torch.cat([low, extent * (torch.tensor([23.0, 19]) - low)], 1)
    wanted = [naive(mask, box, 7) for mask, box in zip(masks, boxes.tolist())]
    assert_close(crop_masks(masks, boxes, 7), torch.tensor(wanted))


def forms(mask: torch.Tensor) -> list[Any]:
    """A mask as compressed runs in bytes and in a string, and as runs."""
    code = mask_codec.encode(mask.t().contiguous().t().numpy())
    runs, last = [0], 0
    for value in mask.t().flatten().tolist():
        if value != last:
            runs.append(0)
            last = value
        runs[-1] += 1
    text = {"size": list(mask.shape), "counts": code["counts"].decode()}
    return [dict(code), text, {"size": list(mask.shape), "counts": runs}]


def test_polygons_and_every_form_of_runs() -> None:
    mask = torch.zeros(SIZE, dtype=torch.uint8)
    mask[1:5, 2:6] = 1
    segmentations = [read_segmentation(value, SIZE, "here") for value in (LEFT, *forms(mask))]
    decoded = decode_segmentations([f for f in segmentations if f is not None], SIZE)
    assert_close(decoded, mask.expand(4, -1, -1))


def test_objects_without_a_segmentation_are_full() -> None:
    boxes = torch.tensor([[2.0, 1.0, 4.0, 4.0], [0.0, 0.0, 8.0, 5.0]] * 2)
    shapes = [None, read_segmentation(LEFT, SIZE, "here")] * 2
    masks = masks_over(boxes, shapes, SIZE, 8)
    assert masks[[0, 2]].min() == 1
    assert_close(masks[1], masks[3])
    assert 0 < masks[1].mean() < 1
    assert masks_over(boxes[:0], [], SIZE, 4).shape == (0, 4, 4)
    assert read_segmentation([], SIZE, "here") is None


def test_centres_by_hand() -> None:
    masks = torch.zeros(3, 3, 3)
    masks[0, 0, 1:] = 1  # first row, columns 1 and 2: x at 1/2 and 1
    masks[1, 2, 0] = 1
    boxes = torch.tensor([[0.0, 0.0, 1.0, 1.0], [0.2, 0.4, 0.6, 0.8], [0.2, 0.4, 0.6, 0.8]])
    wanted = torch.tensor([[0.75, 0.0], [0.2, 0.8], [0.4, 0.6]])  # the last is empty
    assert_close(mask_centres(masks, boxes), wanted)
    assert mask_centres(masks[:0], boxes[:0]).shape == (0, 2)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("none", "polygons"),
        ([[1, 2, 3, 4]], "polygons of three or more x, y or RLE"),
        ([[1, 2, 3, "a", 5, 6]], "of numbers, got .1, 2, 3, 'a'"),
        ({"size": [8, 10]}, "got KeyError 'counts'"),
        ({"size": [8, 10], "counts": [80, -1, 1]}, "of 10 x 8 pixels, got runs of 80"),
        ({"size": [8, 10], "counts": [79]}, "of 10 x 8 pixels, got runs of 79"),
        ({"size": [9, 10], "counts": [90]}, r"of 10 x 8 pixels, got RLE of .* \[9, 10\]"),
        (
            {"size": [8, 10], "counts": "zzz!"},
            "RLE, got ValueError counts that are no compressed run lengths",
        ),
    ],
)
def test_bad_segmentations(value: Any, message: str) -> None:
    with pytest.raises(InputError, match=f"annotation 4: expected .*{message}") as error:
        read_segmentation(value, SIZE, "annotation 4")
    assert "\n" not in str(error.value)
