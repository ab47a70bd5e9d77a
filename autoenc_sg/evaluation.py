"""Evaluation of a model on a data set in one pass: graphs, detections, pictures, and what to beat.

SGGen and PhrDet R@K as Neural Motifs counts them (macro mean over images, IoU >= 0.5, graph
constraint; PhrDet: one IoU of the union boxes). The row to beat is the frequency prior on the same
detections; the picture to beat is the mean image of the train split.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from autoenc_sg.atomic import replacing
from autoenc_sg.checkpoint import check_vocabulary, load_weights, read_checkpoint
from autoenc_sg.config import DataConfig
from autoenc_sg.datasets import open_dataset
from autoenc_sg.detector import Detections
from autoenc_sg.errors import bad_input
from autoenc_sg.eval import (
    DetectionPrecision,
    ImageQuality,
    MeanImage,
    RecallConventions,
    Task,
    TripletRecall,
)
from autoenc_sg.frequency import FrequencyPrior
from autoenc_sg.loading import batches
from autoenc_sg.model import AutoEncoder
from autoenc_sg.objectives import target_images
from autoenc_sg.progress import Reporter
from autoenc_sg.relaxation import GraphLogits
from autoenc_sg.samples import Batch, GraphDataset
from autoenc_sg.structures import SceneGraph
from autoenc_sg.tables import Cell, Table

TASKS: tuple[Task, ...] = ("SGGen", "PhrDet")
KS = (20, 50, 100)
MEAN_IMAGE_SAMPLES = 5000


@dataclass(frozen=True)
class EvaluationOptions:
    """What to evaluate on.

    Attributes:
        split: `val` or `test`.
        limit: images at most, None: all.
        batch_size: images at a time.
        data_root: where the data set lies, None: where the checkpoint's config says.
        device: of the model.
    """

    split: Literal["val", "test"] = "test"
    limit: int | None = None
    batch_size: int = 8
    data_root: Path | None = None
    device: str = "cpu"

    def __post_init__(self) -> None:
        if self.limit is not None and self.limit < 1:
            raise bad_input("limit", ">= 1", self.limit)
        if self.batch_size < 1:
            raise bad_input("batch size", ">= 1", self.batch_size)


@dataclass(frozen=True)
class EvaluationResults:
    """All scores of a model; fractions, but PSNR in dB.

    Attributes:
        images: how many were scored.
        recall: `{"model" | "frequency prior": {"SGGen R@20": ...}}`.
        detection: `AP50` and the like, of the detector alone.
        pictures: `{"predicted graph" | "true graph" | "mean image": {"L1": ..., "PSNR", "SSIM"}}`.
    """

    images: int
    recall: Mapping[str, Mapping[str, float]]
    detection: Mapping[str, float]
    pictures: Mapping[str, Mapping[str, float]]
    extra: Mapping[str, float] = field(default_factory=dict)

    def to_dict(self) -> dict[str, float | int]:
        """Every number under a plain name, such as `frequency prior SGGen R@50`."""
        flat: dict[str, float | int] = {"images": self.images}
        flat |= {f"detection {name}": value for name, value in self.detection.items()}
        for row, values in self.recall.items():
            prefix = "" if row == "model" else f"{row} "
            flat |= {f"{prefix}{name}": value for name, value in values.items()}
        for row, values in self.pictures.items():
            flat |= {f"{row} {name}": value for name, value in values.items()}
        return flat | dict(self.extra)

    def write_json(self, path: Path) -> None:
        """`to_dict` as JSON; whole or not at all; NaN (nothing to score) as null."""
        content = {k: None if v != v else v for k, v in self.to_dict().items()}
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")

    def tables(self) -> list[Table]:
        """Graphs, and pictures, as tables."""
        names = [f"{task} R@{k}" for task in ("PhrDet", "SGGen") for k in KS]
        graph_rows: list[list[Cell]] = [
            [row, *(v[name] for name in names)] for row, v in self.recall.items()
        ]
        measures = ("L1", "PSNR", "SSIM")
        picture_rows: list[list[Cell]] = [
            [row, *(v[name] for name in measures)] for row, v in self.pictures.items()
        ]
        ap = ", ".join(f"{name} {value:.3f}" for name, value in self.detection.items())
        return [
            Table(
                f"Scene graphs of {self.images} images (recall, fractions)",
                ["", *names],
                graph_rows,
                f"Graph constraint, macro mean over images. Detection: {ap}.",
            ),
            Table(
                "Pictures",
                ["drawn from", "L1 (lower is better)", "PSNR in dB", "SSIM"],
                picture_rows,
                "At the generator's size, against the photo resized to it.",
            ),
        ]


def evaluate_checkpoint(path: Path, options: EvaluationOptions) -> EvaluationResults:
    """Load a checkpoint and evaluate it on its own data set.

    Raises:
        InputError: not a checkpoint, or its vocabulary is not the data set's.
    """
    checkpoint = read_checkpoint(path)
    config = checkpoint.config
    data = config.data
    if options.data_root is not None:
        if not options.data_root.is_dir():
            raise bad_input(options.data_root, "the folder of the data set", "no such folder")
        data = replace(data, root=str(options.data_root))
    train, test = open_splits(data, options.split, config.seed)
    check_vocabulary(checkpoint, test.vocabulary, path)
    model = AutoEncoder(config, checkpoint.vocabulary, download=False)
    load_weights(model, checkpoint.model, str(path))
    reporter = Reporter([("statistics", 1.0), ("evaluate", 6.0)])
    return evaluate_model(model.to(options.device).eval(), train, test, options, reporter)


def open_splits(
    data: DataConfig, split: Literal["val", "test"], seed: int
) -> tuple[GraphDataset, GraphDataset]:
    """The train split, for statistics, without augmentation; and the split to score."""
    return open_dataset(replace(data, flip=False), "train", seed), open_dataset(data, split, seed)


def evaluate_model(
    model: AutoEncoder,
    train: GraphDataset,
    test: GraphDataset,
    options: EvaluationOptions,
    reporter: Reporter,
) -> EvaluationResults:
    """Score a model on a data set; `train` gives the frequency prior and the mean image."""
    count = min(options.limit or len(test), len(test))
    with reporter.stage("statistics"):
        scores = _Scores(model, train)
    with reporter.stage("evaluate", count):
        for batch in batches(test, options.batch_size, options.limit):
            scores.update(batch)
            reporter.advance(len(batch))
    return scores.results(count)


class _Scores:
    """The metrics of one pass."""

    def __init__(self, model: AutoEncoder, train: GraphDataset) -> None:
        vocabulary = model.vocabulary
        self.model = model
        graphs = (train.annotated(i) for i in range(len(train)))
        self.prior = FrequencyPrior.fit(graphs, vocabulary.num_objects, vocabulary.num_predicates)
        self.mean_image = mean_image(train, model.config.generator.image_size)
        self.detection = DetectionPrecision()
        self.recall = {
            (row, task): TripletRecall(vocabulary.num_predicates, RecallConventions(KS, task))
            for row in ("model", "frequency prior")
            for task in TASKS
        }
        self.pictures = {
            row: ImageQuality() for row in ("predicted graph", "true graph", "mean image")
        }

    def update(self, batch: Batch) -> None:
        """Score a batch."""
        truths = batch.graphs.split()
        logits, found = detect_graphs(self.model, batch)
        self.detection.update(per_image(found, len(batch)), truths)
        predictions = [p.to("cpu") for p in logits.predictions()]
        rows = {
            "model": predictions,
            "frequency prior": [self.prior.predict(p) for p in predictions],
        }
        for row, answers in rows.items():
            ranked = self.recall[row, TASKS[0]].rank(answers, truths)
            for task in TASKS:
                self.recall[row, task].update(ranked, truths)
        self._draw(batch, logits, truths)

    def _draw(self, batch: Batch, logits: GraphLogits, truths: Sequence[SceneGraph]) -> None:
        """Score the pictures of a batch; the noise of an image follows from its id."""
        decode = self.model.config.decode
        graphs = logits.decode(decode.object_threshold, decode.edge_threshold).split()
        true = target_images(batch.images, self.model.config.generator.image_size)
        seeds = list(batch.image_ids)
        drawn = {
            "predicted graph": self.model.render_batch(graphs, seeds).cpu(),
            "true graph": self.model.render_batch(truths, seeds).cpu(),
            "mean image": self.mean_image.expand_as(true),
        }
        for row, images in drawn.items():
            self.pictures[row].update(images, true.clamp(0, 1))

    def results(self, images: int) -> EvaluationResults:
        """All scores so far."""
        recall: dict[str, dict[str, float]] = {}
        for (row, task), metric in self.recall.items():
            values = metric.compute()
            own = recall.setdefault(row, {})
            own |= {f"{task} R@{k}": float(values[f"R@{k}"]) for k in KS}
        detection = {name: float(v) for name, v in self.detection.compute().items()}
        pictures = {
            row: {name: float(v) for name, v in metric.compute().items()}
            for row, metric in self.pictures.items()
        }
        return EvaluationResults(images, recall, detection, pictures)


@torch.no_grad()
def detect_graphs(model: AutoEncoder, batch: Batch) -> tuple[GraphLogits, Detections]:
    """The graphs of a batch (SGGen) and the detector's own answer, one pass of the backbone."""
    model.eval()
    maps = model.detector.encode([image.to(model.device) for image in batch.images])
    found = model.detector.detect(maps)
    return model.graph_logits_of(maps, found.boxes, found.image_index), found


def mean_image(dataset: GraphDataset, size: int) -> Tensor:
    """The mean picture `[3, size, size]` of a data set (of its first 5,000 images)."""
    mean = MeanImage((size, size))
    for batch in batches(dataset, 32, MEAN_IMAGE_SAMPLES):
        mean.update(target_images(batch.images, size).clamp(0, 1))
    value: Tensor = mean.compute()
    return value


def per_image(found: Detections, num_images: int) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Boxes, labels and scores of each image, on the CPU."""
    counts = torch.bincount(found.image_index, minlength=num_images).tolist()
    parts = [found.boxes.cpu(), found.labels.cpu(), found.scores.cpu()]
    return list(zip(*(part.split(counts) for part in parts)))
