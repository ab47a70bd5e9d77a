r"""Object accuracy: the share of generated objects that a small classifier recognizes.

    accuracy = share of objects whose crop the classifier assigns their class

    crop = RoIAlign of the object's box to S x S -> 4 x (conv 3x3, batch norm, ReLU, max pooling)
           -> mean over pixels -> linear

The classifier is trained on crops of real images of the train split, resized to the generator's
size. The measure is that of Odena et al. (2017) and Ashual and Wolf (2019); numbers of different
classifiers are not comparable.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torchmetrics
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import roi_align

from autoenc_sg.core.errors import bad_input, require
from autoenc_sg.core.images import as_float
from autoenc_sg.core.scene_graph_batch import SceneGraphBatch
from autoenc_sg.eval.base.compute_groups import prevent_compute_groups
from autoenc_sg.eval.images import check_images

CROP_SIZE = 32  # S, pixels
CHUNK = 1024  # crops classified at a time


@dataclass(frozen=True)
class CropTraining:
    """Training options (Adam, one-cycle learning rate, crops mirrored and shifted at random).

    Attributes:
        steps, batch_size: optimizer steps, and crops a step.
        lr: the cycle's largest learning rate.
        width: channels of the first convolution; the others have twice as many each.
        shift: largest shift of a crop in pixels, in each direction.
        seed: of initialization, order and augmentation.
    """

    steps: int = 300
    batch_size: int = 256
    lr: float = 4e-3
    width: int = 24
    shift: int = 2
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "width"):
            require(getattr(self, name) >= 1, f"crop training, {name}", ">= 1", getattr(self, name))
        require(self.lr > 0, "crop training, lr", "> 0", self.lr)
        require(0 <= self.shift < CROP_SIZE, "crop training, shift", "0..31", self.shift)


class CropClassifier(nn.Module):
    """The classifier of crops, architecture above.

    Args:
        num_classes: C, with the reserved 0, which is never predicted.
        width: channels of the first convolution.

    Shapes: crops `[N, 3, S, S]`, float in [0, 1] -> logits `[N, C]`.
    """

    def __init__(self, num_classes: int, width: int = 24) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        d_in = 3
        for d_out in (width, 2 * width, 4 * width, 4 * width):
            conv = nn.Conv2d(d_in, d_out, 3, padding=1, bias=False)
            layers += [conv, nn.BatchNorm2d(d_out), nn.ReLU(inplace=True), nn.MaxPool2d(2)]
            d_in = d_out
        self.cnn = nn.Sequential(*layers)
        self.classifier = nn.Linear(d_in, num_classes)

    def forward(self, crops: Tensor) -> Tensor:
        """Logits; that of class 0 is minus infinity."""
        logits: Tensor = self.classifier(self.cnn(crops * 2 - 1).mean((2, 3)))
        return logits.index_fill(
            1, torch.zeros(1, dtype=torch.int64, device=crops.device), -torch.inf
        )

    @torch.no_grad()
    def labels(self, crops: Tensor) -> Tensor:
        """Predicted class of each crop, float or uint8: `[N]`; in evaluation mode."""
        was_training = self.training
        self.eval()
        parts = [self(as_float(part)).argmax(1) for part in crops.split(CHUNK)]
        self.train(was_training)
        return torch.cat(parts)


def crop_boxes(images: Tensor, boxes: Tensor, image_index: Tensor) -> Tensor:
    """Crops `[N, 3, S, S]` of boxes, bilinear.

    Args:
        images: `[B, 3, H, W]`, float.
        boxes: `[N, 4]` xyxy, fractions of the image; outside, the image's edge is repeated.
        image_index: `[N]`.
    """
    height, width = images.shape[-2:]
    scale = boxes.new_tensor([width, height, width, height])
    rois = torch.cat([image_index[:, None].to(boxes), boxes * scale], 1)
    crops: Tensor = roi_align(images, rois.to(images), CROP_SIZE, sampling_ratio=2, aligned=True)
    return crops


def as_bytes(crops: Tensor) -> Tensor:
    """Crops in [0, 1] as uint8, a quarter of float32's memory."""
    return (crops.clamp(0, 1) * 255).round().to(torch.uint8)


def fit_crop_classifier(
    crops: Tensor, labels: Tensor, num_classes: int, options: CropTraining | None = None
) -> CropClassifier:
    """Train a classifier on real crops; the global random state is not changed.

    Args:
        crops: `[N, 3, S, S]`, float in [0, 1] or uint8, on the device to train on.
        labels: `[N]`, 1..C-1.
        num_classes: C, with the reserved 0.
        options: see `CropTraining`.

    Returns:
        The classifier in evaluation mode.

    Raises:
        InputError: there is no crop, or shapes or labels are not as stated.
    """
    options = options or CropTraining()
    _check_crops(crops, labels, num_classes)
    rng = torch.Generator().manual_seed(options.seed)
    with torch.random.fork_rng():
        torch.manual_seed(options.seed)
        network = CropClassifier(num_classes, options.width).to(crops.device)
        optimizer = torch.optim.Adam(network.parameters(), options.lr)
        rate = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, options.lr, total_steps=max(options.steps, 2)
        )
        for _ in range(options.steps):
            rows = torch.randint(len(crops), (options.batch_size,), generator=rng)
            rows = rows.to(crops.device)
            augmented = _augmented(as_float(crops[rows]), options.shift, rng)
            loss = F.cross_entropy(network(augmented), labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            rate.step()
    return network.eval()


class ObjectAccuracy(torchmetrics.Metric):
    """Share of objects that a `CropClassifier` recognizes in images.

    `compute()` gives `object accuracy` (of all objects) and `object accuracy, mean of classes` (of
    the classes that occur); NaN before the first object. `per_class()` gives them by class.

    Args:
        classifier: trained on real crops.
        num_classes: C, with the reserved 0.
    """

    full_state_update = False
    is_differentiable = False

    right: Tensor
    count: Tensor

    def __init__(self, classifier: CropClassifier, num_classes: int) -> None:
        super().__init__()
        self.classifier = classifier
        for name in ("right", "count"):
            zeros = torch.zeros(num_classes, dtype=torch.float64)
            self.add_state(name, zeros, dist_reduce_fx="sum")
        prevent_compute_groups(self)

    def update(self, images: Tensor, graphs: SceneGraphBatch, boxes: Tensor | None = None) -> None:
        """Count the objects of some images.

        Args:
            images: `[B, 3, H, W]`, float in [0, 1].
            graphs: of the images.
            boxes: `[N, 4]`, fractions of the image, where objects were drawn; None: the graphs'.

        Raises:
            InputError: a shape or a value is not as stated.
        """
        check_images("images", images)
        if len(images) != graphs.num_images:
            raise bad_input("images", f"{graphs.num_images}, one a graph", len(images))
        if len(graphs.labels) == 0:
            return
        boxes = graphs.unit_boxes() if boxes is None else boxes
        images = images.to(self.device)
        index = graphs.image_index.to(images.device)
        predicted = self.classifier.labels(crop_boxes(images, boxes.to(images.device), index))
        self.add(predicted, graphs.labels)

    def add(self, predicted: Tensor, labels: Tensor) -> None:
        """Count predicted classes `[N]` of objects whose true classes are `labels [N]`."""
        labels = labels.to(self.count.device)
        right = (predicted.to(labels) == labels).to(self.right)
        self.right.index_add_(0, labels, right)
        self.count.index_add_(0, labels, torch.ones_like(right))

    def compute(self) -> dict[str, Tensor]:
        """Over all objects, and the mean over classes."""
        occurring = self.count > 0
        return {
            "object accuracy": self.right.sum() / self.count.sum(),
            "object accuracy, mean of classes": self.per_class()[occurring].mean(),
        }

    def per_class(self) -> Tensor:
        """`[C]`, NaN where a class does not occur."""
        return self.right / self.count


def _augmented(crops: Tensor, shift: int, rng: torch.Generator) -> Tensor:
    """Half of the crops mirrored, each moved by up to `shift` pixels (edges repeated)."""
    n, _, size, _ = crops.shape
    mirrored = (torch.rand(n, generator=rng) < 0.5).to(crops.device)
    crops = torch.where(mirrored[:, None, None, None], crops.flip(3), crops)
    moved = torch.randint(-shift, shift + 1, (2, n), generator=rng).to(crops.device)
    along = torch.arange(size, device=crops.device)
    rows, columns = ((along + m[:, None]).clamp(0, size - 1) for m in moved)
    each = torch.arange(n, device=crops.device)[:, None, None]
    picked = crops.permute(0, 2, 3, 1)[each, rows[:, :, None], columns[:, None, :]]
    return picked.permute(0, 3, 1, 2)


def _check_crops(crops: Tensor, labels: Tensor, num_classes: int) -> None:
    shape = (3, CROP_SIZE, CROP_SIZE)
    if crops.ndim != 4 or crops.shape[1:] != shape or len(crops) == 0:
        raise bad_input("crops", f"one or more of {list(shape)}", list(crops.shape))
    if labels.shape != (len(crops),):
        raise bad_input("labels of crops", f"shape [{len(crops)}]", list(labels.shape))
    least, most = int(labels.min()), int(labels.max())
    if least < 1 or most >= num_classes:
        raise bad_input("labels of crops", f"1..{num_classes - 1}", f"{least}..{most}")
