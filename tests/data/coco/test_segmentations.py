"""Segmentations are checked before anything is drawn: by hand, against pycocotools, and hostile."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from pycocotools import mask as mask_codec
from torch.testing import assert_close

from autoenc_sg.core.errors import InputError
from autoenc_sg.data.coco.polygons import clip_polygon
from autoenc_sg.data.coco.run_lengths import mask_of_runs, read_runs
from autoenc_sg.data.coco.segmentations import decode_segmentation, read_segmentation

SIZE = (8, 10)


def decoded(value: Any) -> torch.Tensor:
    segmentation = read_segmentation(value, SIZE, "here")
    assert segmentation is not None
    return decode_segmentation(segmentation)


def test_compressed_runs_are_read_as_pycocotools_reads_them() -> None:
    rng = np.random.default_rng(0)
    for fill in (0.0, 0.02, 0.5, 0.98, 1.0):
        for size in ((1, 1), (8, 10), (150, 170)):
            mask = (rng.random(size) < fill).astype(np.uint8)
            text = mask_codec.encode(np.asfortranarray(mask))["counts"]
            for counts in (text, text.decode()):
                runs = read_runs(counts)
                assert runs.sum() == size[0] * size[1]
                np.testing.assert_array_equal(mask_of_runs(runs, size), mask)


def test_a_polygon_within_the_image_is_itself() -> None:
    polygon = np.array([-0.5, 0, 10.9, 0, 10, 8.5])  # less than a pixel beyond
    assert clip_polygon(polygon, SIZE) is polygon


def test_a_polygon_is_cut_a_pixel_around_the_image() -> None:
    square = np.array([-50.0, 2, 4, 2, 4, 6, -50, 6])
    corners = clip_polygon(square, SIZE).reshape(-1, 2).tolist()
    assert sorted(corners) == [[-1, 2], [-1, 6], [4, 2], [4, 6]]
    # a triangle whose long side passes far from the image covers all of it
    huge = [0.0, 0.0, 1e300, 0.0, 0.0, 1e300]
    assert clip_polygon(np.array(huge), SIZE).max() <= 11
    assert decoded([huge]).min() == 1
    assert len(clip_polygon(np.array([20.0, 20, 30, 20, 30, 30]), SIZE)) == 0
    assert decoded([[20, 20, 30, 20, 30, 30]]).max() == 0  # nothing of it is in the image


def test_a_cut_polygon_has_the_same_mask() -> None:
    rng = np.random.default_rng(1)
    canvas = (40, 40)
    for _ in range(50):
        polygon = rng.integers(-10, 50, 12).astype(float)  # crosses itself, too
        code = mask_codec.frPyObjects([(polygon + 10).tolist()], 60, 60)
        whole = mask_codec.decode(code)[10:50, 10:50, 0]
        segmentation = read_segmentation([polygon.tolist()], canvas, "here")
        assert segmentation is not None
        part = decode_segmentation(segmentation).numpy()
        assert (part != whole).mean() < 0.01  # edges are rounded to fifths of a pixel


@pytest.mark.parametrize("number", [float("nan"), float("inf"), 10**400, "3", None, True, [1]])
def test_corners_are_finite_numbers(number: Any) -> None:
    with pytest.raises(InputError, match="here: expected polygons"):
        read_segmentation([[0, 0, 5, 0, 5, number]], SIZE, "here")


@pytest.mark.parametrize(
    "value",
    [
        [[1, 2, 3, 4]],  # pycocotools would read a box
        [[1, 2, 3, 4, 5]],
        [[1, 2, 3, 4, 5, 6, 7]],
        [1, 2, 3, 4, 5, 6],
        "0",
        {"size": [8, 10], "counts": "o"},  # goes on without an end
        {"size": [8, 10], "counts": "é"},
        {"size": [8, 10], "counts": "ooooooooooooooooooo0"},
        {"size": [8, 10], "counts": [1e300, 80]},
        {"size": [8, 10], "counts": [2**62, 2**62, 80]},
        {"size": [8, 10], "counts": [40.5, 39.5]},
        {"size": [8, 10], "counts": ["80"]},
        {"size": [8, 10], "counts": []},
        {"size": ["8", "10"], "counts": [80]},
        {"size": [100000, 100000], "counts": [10**10]},
        {"size": 8, "counts": [80]},
    ],
)
def test_what_is_no_segmentation(value: Any) -> None:
    with pytest.raises(InputError, match="here: expected polygons") as error:
        read_segmentation(value, SIZE, "here")
    assert len(str(error.value)) < 300


def test_a_mask_of_a_huge_image_is_refused_before_it_is_made() -> None:
    with pytest.raises(InputError, match="at most 89478485 pixels, got one of 1000000 x 1000000"):
        read_segmentation([[0, 0, 5, 0, 5, 5]], (10**6, 10**6), "here")


def test_whole_floats_are_run_lengths() -> None:
    half = torch.zeros(8, 10, dtype=torch.uint8)
    half[:, 5:] = 1
    assert_close(decoded({"size": [8.0, 10.0], "counts": [40.0, 40.0]}), half)
