r"""Boxes: units, clipping, unions, overlap, and the regression deltas of Fast R-CNN.

A box is `xyxy`: (x1, y1, x2, y2), x to the right and y downwards, in pixels of its image or as
fractions of it in [0, 1] ("unit boxes"). Boxes of a batch come with their image's index and the
images' sizes.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import index

import torch
from torch import Tensor

from autoenc_sg.core.errors import bad_input

ImageSize = tuple[int, int]  # height, width in pixels

DELTA_WEIGHTS = (10.0, 10.0, 5.0, 5.0)  # Fast R-CNN's weights of (dx, dy, dw, dh)
MAX_LOG_GROWTH = 1.386  # a side is multiplied by 4 at most


def checked_size(size: object) -> ImageSize:
    """A user's (height, width) as plain numbers; raises InputError unless both are 1 or more."""
    try:
        height, width = (index(side) for side in size)  # type: ignore[attr-defined]
    except (TypeError, ValueError) as error:
        expected = "(height, width), whole numbers of pixels"
        raise bad_input("image_size", expected, repr(size)) from error
    if height < 1 or width < 1:
        raise bad_input("image_size", "a height and a width of 1 or more", (height, width))
    return height, width


def box_scale(image_sizes: Sequence[ImageSize], image_index: Tensor) -> Tensor:
    """Width, height, width, height of each object's image: `[N, 4]`, pixels."""
    sizes = torch.tensor(
        [(w, h, w, h) for h, w in image_sizes], dtype=torch.float32, device=image_index.device
    )
    return sizes.reshape(-1, 4)[image_index]


def to_unit_boxes(boxes: Tensor, image_sizes: Sequence[ImageSize], image_index: Tensor) -> Tensor:
    """Boxes `[N, 4]` in pixels of their image to fractions of it in [0, 1]."""
    return boxes / box_scale(image_sizes, image_index).to(boxes)


def to_pixel_boxes(boxes: Tensor, image_sizes: Sequence[ImageSize], image_index: Tensor) -> Tensor:
    """The inverse of `to_unit_boxes`."""
    return boxes * box_scale(image_sizes, image_index).to(boxes)


def rescale_boxes(
    boxes: Tensor,
    old_sizes: Sequence[ImageSize],
    new_sizes: Sequence[ImageSize],
    image_index: Tensor,
) -> Tensor:
    """Boxes in pixels of images of the old sizes, in pixels of the same images of the new sizes.

    Shapes: `boxes [N, 4]` or, a box for each class, `[N, C, 4]`; the same is returned.
    """
    scale = box_scale(new_sizes, image_index) / box_scale(old_sizes, image_index)
    return boxes * (scale[:, None] if boxes.ndim == 3 else scale)


def clip_to_image(boxes: Tensor, size: ImageSize) -> Tensor:
    """Boxes `[N, 4]` of one image in pixels, clipped at its borders."""
    height, width = size
    return boxes.clamp(min=0).minimum(boxes.new_tensor([width, height, width, height]))


def clip_to_images(boxes: Tensor, image_sizes: Sequence[ImageSize], image_index: Tensor) -> Tensor:
    """Boxes `[N, 4]` or `[N, C, 4]` in pixels, each clipped at the borders of its own image."""
    limit = box_scale(image_sizes, image_index).to(boxes)
    return boxes.clamp(min=0).minimum(limit[:, None] if boxes.ndim == 3 else limit)


def check_boxes(boxes: Tensor) -> None:
    """Raise InputError unless boxes `[N, 4]` are finite floats with x1 <= x2 and y1 <= y2."""
    if not boxes.is_floating_point():
        raise bad_input("boxes", "floating-point pixels", boxes.dtype)
    ordered = (boxes[:, :2] <= boxes[:, 2:]).all(1) & boxes.isfinite().all(1)  # NaN compares false
    if not bool(ordered.all()):
        wrong = boxes[~ordered][0].tolist()
        raise bad_input("boxes", "finite (x1, y1, x2, y2), x1 <= x2 and y1 <= y2", wrong)


def box_like(box: Sequence[float] | Tensor, like: Tensor) -> Tensor:
    """A user's box as `[4]`, of the type and on the device of `like`.

    Raises:
        InputError: it is not four numbers.
    """
    try:
        values = torch.as_tensor(box, dtype=like.dtype, device=like.device)
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise bad_input("box", "four numbers", repr(box)) from error
    if values.shape != (4,):
        raise bad_input("box", "[x1, y1, x2, y2]", list(values.shape))
    return values


def has_area(boxes: Tensor) -> Tensor:
    """Whether x1 < x2 and y1 < y2: `[N, 4] -> [N]`; false where a coordinate is NaN."""
    return (boxes[:, 2:] > boxes[:, :2]).all(1)


def enclosing_boxes(first: Tensor, second: Tensor) -> Tensor:
    """The smallest box around both, row by row: `[*, 4], [*, 4] -> [*, 4]`."""
    low = torch.minimum(first[..., :2], second[..., :2])
    return torch.cat([low, torch.maximum(first[..., 2:], second[..., 2:])], -1)


def union_boxes(boxes: Tensor, pairs: Tensor) -> Tensor:
    """The union box of each pair, `enclosing_boxes` of its two: `[N, 4], [M, 2] -> [M, 4]`."""
    return enclosing_boxes(boxes[pairs[:, 0]], boxes[pairs[:, 1]])


def paired_iou(first: Tensor, second: Tensor, plus_one: bool = True) -> Tensor:
    """Intersection over union of boxes taken row by row.

    With `plus_one` a box of corners x1, x2 is x2 - x1 + 1 pixels wide: the `bbox_overlaps` of Fast
    R-CNN, which the evaluators derived from Neural Motifs use. The one is a pixel of whatever scale
    the boxes are in (Motifs: long side 1024; Scene-Graph-Benchmark: the photo).

    Shapes: `[*, 4], [*, 4] -> [*]`, broadcast; xyxy in pixels; 0 where both boxes have no area.
    """
    one = float(plus_one)
    low = torch.maximum(first[..., :2], second[..., :2])
    high = torch.minimum(first[..., 2:], second[..., 2:])
    width, height = (high - low + one).clamp(min=0).unbind(-1)
    intersection = width * height
    union = _area(first, one) + _area(second, one) - intersection
    return torch.where(union > 0, intersection / union, torch.zeros_like(union))


def covered_shares(boxes: Tensor, regions: Tensor) -> Tensor:
    """Intersection over the box's own area: `[N, 4], [K, 4] -> [N, K]` in [0, 1]; 0 of no area."""
    low = torch.maximum(boxes[:, None, :2], regions[None, :, :2])
    high = torch.minimum(boxes[:, None, 2:], regions[None, :, 2:])
    intersection = (high - low).clamp(min=0).prod(-1)
    area = _area(boxes, 0.0)[:, None]
    return torch.where(area > 0, intersection / area, torch.zeros_like(intersection))


def grid_coverage(boxes: Tensor, frames: Tensor, size: int) -> Tensor:
    r"""The share of each cell of a frame's `size x size` grid that a box covers.

        m(y, x) = |[x_1, x_2] \cap cell_x| |[y_1, y_2] \cap cell_y| / |cell|

    Differentiable in boxes and frames. A frame is a box too, e.g. the union box of a pair.

    Shapes: `boxes [M, 4], frames [M, 4] -> [M, size, size]` in [0, 1]; a frame of no area gives 0.
    """
    extent = (frames[:, 2:] - frames[:, :2]).clamp(min=1e-6)
    low = ((boxes[:, :2] - frames[:, :2]) / extent * size)[:, :, None]  # [M, 2, 1] in cells
    high = ((boxes[:, 2:] - frames[:, :2]) / extent * size)[:, :, None]
    cells = torch.arange(size, device=boxes.device, dtype=boxes.dtype)
    share = (torch.minimum(high, cells + 1) - torch.maximum(low, cells)).clamp(0, 1)  # [M, 2, size]
    return share[:, 1, :, None] * share[:, 0, None, :]


def encode_deltas(target: Tensor, boxes: Tensor) -> Tensor:
    r"""Fast R-CNN's regression deltas that move `boxes [N, 4]` onto `target [N, 4]`: `[N, 4]`.

    (10 (x_t - x) / w, 10 (y_t - y) / h, 5 \log(w_t / w), 5 \log(h_t / h)),  (x, y) the centre
    """
    weights = boxes.new_tensor(DELTA_WEIGHTS)
    size, centre = _size_centre(boxes)
    target_size, target_centre = _size_centre(target)
    return weights * torch.cat([(target_centre - centre) / size, (target_size / size).log()], 1)


def decode_deltas(deltas: Tensor, boxes: Tensor) -> Tensor:
    """Boxes moved by deltas, the inverse of `encode_deltas`; a side grows by a factor of 4 at most.

    Shapes: `[N, 4], [N, 4] -> [N, 4]`.
    """
    deltas = deltas / boxes.new_tensor(DELTA_WEIGHTS)
    size, centre = _size_centre(boxes)
    centre = centre + deltas[:, :2] * size
    half = size * deltas[:, 2:].clamp(max=MAX_LOG_GROWTH).exp() / 2
    return torch.cat([centre - half, centre + half], 1)


def _size_centre(boxes: Tensor) -> tuple[Tensor, Tensor]:
    size = (boxes[:, 2:] - boxes[:, :2]).clamp(min=1e-3)
    return size, (boxes[:, :2] + boxes[:, 2:]) / 2


def _area(boxes: Tensor, one: float) -> Tensor:
    width, height = (boxes[..., 2:] - boxes[..., :2] + one).unbind(-1)
    return width * height
