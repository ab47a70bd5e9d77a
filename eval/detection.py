"""Average precision and recall of object detections, by pycocotools."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
import torchmetrics
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torch import Tensor

from autoenc_sg.core.errors import bad_input
from autoenc_sg.core.scene_graph import SceneGraph

ImageDetections = tuple[Tensor, Tensor, Tensor]  # boxes [N, 4] xyxy, labels [N], scores [N]
MEASURES = ("AP", "AP50", "AP75", "AR", "micro AP50")
_Rows = npt.NDArray[np.float64]


class DetectionPrecision(torchmetrics.Metric):
    """COCO's AP and AR of detected boxes, over all areas and the best `max_detections` of an image.

    `compute()` gives `AP` (mean over IoU 0.50:0.05:0.95 and classes), `AP50`, `AP75` and `AR` (the
    same mean of the recall), and `micro AP50`, for which the detections of all classes are one
    ranking (each is still matched within its class), so that a class weighs as many boxes as it
    has; fractions in [0, 1]. Classes without a true box do not count; all are NaN if there is none
    at all. Widths are x2 - x1, without the +1 of triplet recall.

    Ignored regions of the true graphs are pycocotools' crowds: a detection of their class that
    matches no true box and overlaps one by the threshold (intersection over the detection's area)
    counts neither way.

    Average precision needs all scores at once: 7 numbers a detection and 6 a true box are stored.

    Args:
        max_detections: best detections of an image that count, per class (COCO: 100).
        sync_on_compute: gather the states of all processes; False if only one process computes.
    """

    full_state_update = False
    higher_is_better = True
    is_differentiable = False

    detected: list[Tensor]
    detected_counts: list[Tensor]
    true: list[Tensor]
    true_counts: list[Tensor]

    def __init__(self, max_detections: int = 100, sync_on_compute: bool = True) -> None:
        super().__init__(sync_on_compute=sync_on_compute)
        if max_detections < 1:
            raise bad_input("max_detections", ">= 1", max_detections)
        self.max_detections = max_detections
        # Rows of all images, and their number for each image: such states can be concatenated.
        for name in ("detected", "detected_counts", "true", "true_counts"):
            self.add_state(name, [], dist_reduce_fx="cat")
        self.reset()

    def reset(self) -> None:
        """Drop all images; each list starts with an empty tensor, of the type to gather."""
        super().reset()
        for name in ("detected", "true"):
            empty = torch.zeros(0, 6, dtype=torch.float64, device=self.device)
            getattr(self, name).append(empty)
            getattr(self, f"{name}_counts").append(_counts([], self.device))

    def update(self, detections: Sequence[ImageDetections], truths: Sequence[SceneGraph]) -> None:
        """Add the detections of some images.

        Args:
            detections: boxes `[N, 4]` xyxy in pixels, labels `[N]` and scores `[N]` of each image.
            truths: the true graph of each, in the same order.

        Raises:
            InputError: numbers of images or lengths differ, or a number is not finite.
        """
        if len(detections) != len(truths):
            raise bad_input("detections", f"one for each of {len(truths)} graphs", len(detections))
        for i, (boxes, labels, scores) in enumerate(detections):
            if not len(boxes) == len(labels) == len(scores):
                got = (len(boxes), len(labels), len(scores))
                raise bad_input(f"detections {i}", "as many labels and scores as boxes", got)
            if not bool(boxes.isfinite().all() & scores.isfinite().all()):
                raise bad_input(f"detections {i}", "finite boxes and scores", "nan or inf")
        detected = [_columns(boxes, scores, labels) for boxes, labels, scores in detections]
        true = [_true_rows(truth) for truth in truths]
        for name, rows in (("detected", detected), ("true", true)):
            if rows:
                getattr(self, name).append(torch.cat(rows).to(self.device))
                counts = _counts([len(r) for r in rows], self.device)
                getattr(self, f"{name}_counts").append(counts)

    def compute(self) -> dict[str, Tensor]:
        """AP, AP50, AP75, AR and micro AP50."""
        evaluation = self._evaluation()
        if evaluation is None:
            return {name: torch.tensor(torch.nan, dtype=torch.float64) for name in MEASURES}
        precision = evaluation.eval["precision"][..., 0, 0].mean(1)  # [IoU, class]
        recall = evaluation.eval["recall"][..., 0, 0]
        values = (precision.mean(), precision[0].mean(), precision[5].mean(), recall.mean())
        numbers = (*values, _micro_precision(evaluation))
        return {
            name: torch.tensor(float(value), dtype=torch.float64)
            for name, value in zip(MEASURES, numbers)
        }

    def by_class(self) -> dict[int, float]:
        """AP50 of each label that has a true box, over the images of all processes."""
        with self.sync_context(should_sync=self.sync_on_compute):
            evaluation = self._evaluation()
        if evaluation is None:
            return {}
        precision = evaluation.eval["precision"][0, :, :, 0, 0].mean(0)  # [class]
        return {int(c): float(v) for c, v in zip(evaluation.params.catIds, precision)}

    def _evaluation(self) -> COCOeval | None:
        """Pycocotools' evaluation of all images so far; None without a true box."""
        true, detected = _joined(self.true).numpy(), _joined(self.detected).numpy()
        true_counts, detected_counts = _joined(self.true_counts), _joined(self.detected_counts)
        labels = np.unique(true[true[:, 4] == 0, -1].astype(np.int64)).tolist()
        if not labels:
            return None
        with contextlib.redirect_stdout(io.StringIO()):
            evaluation = COCOeval(
                _coco(true, true_counts, labels, "iscrowd"),
                _coco(detected, detected_counts, labels, "score"),
                "bbox",
            )
            evaluation.params.maxDets = [self.max_detections]
            evaluation.params.areaRng = [[0, 1e10]]
            evaluation.params.areaRngLbl = ["all"]
            evaluation.evaluate()
            evaluation.accumulate()
        return evaluation


def _micro_precision(evaluation: COCOeval) -> float:
    """AP at IoU 0.5 of all classes' detections in one ranking, at COCO's 101 recalls."""
    images = [image for image in evaluation.evalImgs if image is not None]
    positives = sum(int((~image["gtIgnore"].astype(bool)).sum()) for image in images)
    counted = [~image["dtIgnore"][0].astype(bool) for image in images]
    scores = np.concatenate([np.array(i["dtScores"])[c] for i, c in zip(images, counted)])
    matched = np.concatenate([i["dtMatches"][0][c] > 0 for i, c in zip(images, counted)])
    hits = np.cumsum(matched[np.argsort(-scores, kind="mergesort")])
    precision = hits / np.arange(1, len(hits) + 1)
    best = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0.0)  # at this rank or later
    ranks = np.searchsorted(hits / positives, evaluation.params.recThrs, side="left")
    return float(best[ranks].mean())


def _columns(boxes: Tensor, *others: Tensor) -> Tensor:
    """Boxes `[N, 4]` and vectors `[N]` as one float64 matrix."""
    return torch.cat([boxes.double(), *(values[:, None].double() for values in others)], 1)


def _true_rows(truth: SceneGraph) -> Tensor:
    """Boxes, 0 (1 for an ignored region) and labels: `[N + K, 6]`."""
    rows = _columns(truth.boxes, torch.zeros_like(truth.labels), truth.labels)
    if truth.ignored is None:
        return rows
    labels, boxes = truth.ignored[:, 0], truth.ignored[:, 1:]
    return torch.cat([rows, _columns(boxes, torch.ones_like(labels), labels)])


def _counts(counts: list[int], device: torch.device) -> Tensor:
    return torch.tensor(counts, dtype=torch.int64, device=device)


def _joined(state: list[Tensor] | Tensor) -> Tensor:
    """A list state (one tensor after synchronization) as one tensor on the CPU."""
    return (state if isinstance(state, Tensor) else torch.cat(state)).cpu()


def _coco(rows: _Rows, counts: Tensor, labels: list[int], fifth: str) -> COCO:
    """Pycocotools' index of rows (x1, y1, x2, y2, `fifth`, label), `counts` of them an image."""
    dataset = COCO()
    corners = rows[:, :4].copy()
    corners[:, 2:] -= corners[:, :2]
    images = torch.repeat_interleave(torch.arange(len(counts)), counts)
    columns = zip(images.tolist(), corners.tolist(), rows[:, 4].tolist(), rows[:, 5].tolist())
    dataset.dataset = {
        "images": [{"id": i} for i in range(len(counts))],
        "categories": [{"id": label} for label in labels],
        "annotations": [
            {
                "id": i,
                "image_id": image,
                "category_id": int(label),
                "bbox": box,
                "area": box[2] * box[3],
                "iscrowd": 0,
                fifth: value,
            }
            for i, (image, box, value, label) in enumerate(columns, start=1)  # 0 means unmatched
        ],
    }
    dataset.createIndex()
    return dataset
