"""The layout against torch's own sampling, object by object, at full size."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from autoenc_sg.generator.layout import factor_layout, factors


def build_layout(
    vectors: Tensor, boxes: Tensor, masks: Tensor | None, index: Tensor, images: int, size: int
) -> Tensor:
    return factor_layout(vectors, boxes, masks, index, images, size).maps(size)


def _scene(counts: list[int], mask: int | None, seed: int = 0) -> tuple[Tensor, ...]:
    rng = torch.Generator().manual_seed(seed)
    n = sum(counts)
    vectors = torch.randn(n, 6, generator=rng)
    corner = torch.rand(n, 2, generator=rng) * 1.2 - 0.2  # some reach outside the image
    boxes = torch.cat([corner, corner + 0.05 + torch.rand(n, 2, generator=rng) * 0.6], 1)
    masks = None if mask is None else torch.rand(n, mask, mask, generator=rng)
    index = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    return vectors, boxes, masks, index  # type: ignore[return-value]


def _by_objects(
    vectors: Tensor, boxes: Tensor, masks: Tensor | None, index: Tensor, images: int, size: int
) -> Tensor:
    """Each object's vector, spread over its mask and resampled with all its channels."""
    out = [torch.zeros(vectors.shape[1], size, size) for _ in range(images)]
    pixel = torch.linspace(0, 1, size)
    for i, (x0, y0, x1, y1) in enumerate(boxes):
        mask = torch.ones(8, 8) if masks is None else masks[i]
        x = (pixel - x0) / (x1 - x0) * 2 - 1
        y = (pixel - y0) / (y1 - y0) * 2 - 1
        grid = torch.stack([x.expand(size, size), y[:, None].expand(size, size)], -1)
        patch = vectors[i][None, :, None, None] * mask
        out[index[i]] = out[index[i]] + F.grid_sample(patch, grid[None], align_corners=True)[0]
    return torch.stack(out)


def test_hand_computed_object() -> None:
    # 5 pixels at 0, 1/4, 1/2, 3/4, 1; a 2x2 mask whose samples lie on pixels 1 and 3 of each axis.
    mask = torch.tensor([[[1.0, 0.0], [0.5, 1.0]]])
    box = torch.tensor([[0.25, 0.25, 0.75, 0.75]])
    got = build_layout(torch.tensor([[2.0]]), box, mask, torch.tensor([0]), 1, 5)
    expected = 2 * torch.tensor(
        [
            # half a sample's distance outside the box is still half seen: the linear bleed
            [0.25, 0.5, 0.25, 0.0, 0.0],
            [0.5, 1.0, 0.5, 0.0, 0.0],
            [0.375, 0.75, 0.625, 0.5, 0.25],
            [0.25, 0.5, 0.75, 1.0, 0.5],
            [0.125, 0.25, 0.375, 0.5, 0.25],
        ]
    )
    torch.testing.assert_close(got[0, 0], expected)


def test_a_filled_box_covers_what_sg2im_fills() -> None:
    # reference fact: box 0.25..0.75 at 64 px, 16x16 mask of ones, 36 columns, the edge at 0.17
    box, mask, index = torch.tensor([[0.25, 0.0, 0.75, 1.0]]), torch.ones(1, 16, 16), torch.zeros(1)
    row = build_layout(torch.ones(1, 1), box, mask, index.long(), 1, 64)[0, 0, 32]
    assert int((row > 0).sum()) == 36
    torch.testing.assert_close(row[14:17], torch.tensor([0.1667, 0.6429, 1.0]), atol=1e-4, rtol=0)


@pytest.mark.parametrize("mask", [16, 4, None])
@settings(max_examples=15, deadline=None)
@given(counts=st.lists(st.integers(0, 4), min_size=1, max_size=4), seed=st.integers(0, 99))
def test_equals_the_loop_over_objects(mask: int | None, counts: list[int], seed: int) -> None:
    scene = _scene(counts, mask, seed)
    got = build_layout(*scene, len(counts), 32)
    torch.testing.assert_close(got, _by_objects(*scene, len(counts), 32), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("mask", [8, None])
def test_levels_are_the_pooled_layout(mask: int | None) -> None:
    scene = _scene([3, 0, 5], mask)
    full, layout = build_layout(*scene, 3, 64), factor_layout(*scene, 3, 64)
    for side in (4, 16, 64):
        pooled = F.avg_pool2d(full, 64 // side)
        torch.testing.assert_close(layout.maps(side), pooled, atol=1e-5, rtol=1e-5)


def test_many_objects_are_summed_in_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, boxes, masks, index = _scene([7, 2], 4)
    inputs = [vectors.requires_grad_(), boxes.requires_grad_(), masks.requires_grad_()]
    results = []
    for most in (128, 3):
        monkeypatch.setattr(factors, "MAX_OBJECTS", most)
        out = build_layout(*inputs, index, 2, 16)
        results.append((out, *torch.autograd.grad(out.square().sum(), inputs)))
    for at_once, in_turns in zip(*results):
        torch.testing.assert_close(in_turns, at_once, atol=1e-5, rtol=1e-5)


def test_order_within_an_image_does_not_matter() -> None:
    vectors, boxes, masks, index = _scene([4, 3], 4)
    order = torch.tensor([2, 0, 3, 1, 6, 4, 5])
    again = build_layout(vectors[order], boxes[order], masks[order], index, 2, 16)
    torch.testing.assert_close(again, build_layout(vectors, boxes, masks, index, 2, 16))


def test_batched_equals_one_by_one() -> None:
    vectors, boxes, masks, index = _scene([2, 0, 3], 4)
    batched = build_layout(vectors, boxes, masks, index, 3, 16)
    for image in range(3):
        in_image = index == image
        zeros = torch.zeros(int(in_image.sum()), dtype=torch.int64)
        single = build_layout(vectors[in_image], boxes[in_image], masks[in_image], zeros, 1, 16)
        torch.testing.assert_close(single[0], batched[image])


@pytest.mark.parametrize("mask", [4, None])
def test_no_object_at_all_with_backward(mask: int | None) -> None:
    vectors, boxes, masks, index = _scene([0, 0], mask)
    out = build_layout(vectors.requires_grad_(), boxes.requires_grad_(), masks, index, 2, 16)
    out.sum().backward()
    torch.testing.assert_close(out, torch.zeros(2, 6, 16, 16))
    assert vectors.grad is not None
    assert boxes.grad is not None


def test_gradients_are_those_of_the_formula() -> None:
    rng = torch.Generator().manual_seed(3)
    vectors = torch.randn(3, 2, dtype=torch.float64, generator=rng).requires_grad_()
    masks = torch.rand(3, 3, 3, dtype=torch.float64, generator=rng).requires_grad_()
    boxes = torch.tensor(
        [[0.11, 0.07, 0.63, 0.9], [0.31, 0.23, 1.13, 0.77], [0.57, 0.7, 0.17, 0.13]],
        dtype=torch.float64,
    ).requires_grad_()
    index = torch.tensor([0, 0, 1])
    assert torch.autograd.gradcheck(
        lambda v, b, m: build_layout(v, b, m, index, 2, 6), (vectors, boxes, masks)
    )


@pytest.mark.parametrize("mask", [4, None])
def test_boxes_without_area_show_nothing(mask: int | None) -> None:
    vectors, _, masks, index = _scene([3], mask)
    boxes = torch.tensor([[0.5, 0.2, 0.5, 0.8], [0.0, 0.0, 0.0, 0.0], [0.3, 1.0, 0.6, 1.0]])
    out = build_layout(vectors, boxes.requires_grad_(), masks, index, 1, 17)
    out.square().sum().backward()
    torch.testing.assert_close(out, torch.zeros(1, 6, 17, 17))
    torch.testing.assert_close(boxes.grad, torch.zeros(3, 4))


def test_a_box_of_negative_width_is_mirrored() -> None:
    vectors, _, masks, index = _scene([1], 4)
    box, mirrored = torch.tensor([[0.2, 0.1, 0.7, 0.9]]), torch.tensor([[0.7, 0.1, 0.2, 0.9]])
    torch.testing.assert_close(
        build_layout(vectors, mirrored, masks, index, 1, 16),
        build_layout(vectors, box, masks.flip(2), index, 1, 16),
    )
