"""Evaluation of a model on a data set in one pass: graphs, detections, pictures, and what to beat.

Recall is Neural Motifs' unless the options say otherwise (docs/evaluation.md). The row to beat is
the frequency prior on the same detections, the picture to beat the train split's mean image.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

import torch

from autoenc_sg.config.data import DataConfig
from autoenc_sg.core.errors import bad_input
from autoenc_sg.data.base.samples import GraphDataset
from autoenc_sg.data.loading import batches
from autoenc_sg.data.open import open_dataset
from autoenc_sg.model.autoencoder import AutoEncoder
from autoenc_sg.scoring.graph_scores import GraphScores
from autoenc_sg.scoring.image_scores import PictureScores, mean_image
from autoenc_sg.scoring.options import EvaluationOptions
from autoenc_sg.scoring.processes import in_processes, rank_and_world
from autoenc_sg.scoring.results import EvaluationResults
from autoenc_sg.visualization.progress import Reporter
from autoenc_sg.weights.checkpoint import (
    check_vocabulary,
    is_decoder,
    load_weights,
    read_checkpoint,
)

__all__ = [
    "EvaluationOptions",
    "EvaluationResults",
    "evaluate_checkpoint",
    "evaluate_model",
    "mean_image",
    "open_splits",
]


def evaluate_checkpoint(path: Path, options: EvaluationOptions) -> EvaluationResults:
    """Load a checkpoint and evaluate it on its own data set, in `options.processes` processes.

    Raises:
        InputError: not a checkpoint, one without an encoder, or of another vocabulary.
    """
    checkpoint = read_checkpoint(path)
    if is_decoder(checkpoint.model):
        raise bad_input(path, "a model with an encoder", "a decoder alone")
    data = _data(checkpoint.config.data, options)
    _, test = open_splits(data, options.split, checkpoint.config.seed)  # drawn before they share it
    check_vocabulary(checkpoint, test.vocabulary, path)
    count = min(options.processes, max(_count(test, options), 1))
    results = in_processes(_evaluate_checkpoint, (path, options), count)
    return replace(results, step=checkpoint.step)


def _evaluate_checkpoint(path: Path, options: EvaluationOptions) -> EvaluationResults:
    checkpoint = read_checkpoint(path)
    config = checkpoint.config
    train, test = open_splits(_data(config.data, options), options.split, config.seed)
    model = AutoEncoder(config, checkpoint.vocabulary, download=False)
    load_weights(model, checkpoint.model, str(path))
    rank, world = rank_and_world()
    device = options.device
    if device == "cuda" and world > 1:
        device = f"cuda:{rank % torch.cuda.device_count()}"
    reporter = Reporter([("statistics", 1.0), ("evaluate", 6.0)])
    reporter.console.quiet = rank > 0
    return evaluate_model(model.to(device).eval(), train, test, options, reporter)


def _data(data: DataConfig, options: EvaluationOptions) -> DataConfig:
    if options.data is None:
        return data
    if not options.data.is_dir():
        raise bad_input(options.data, "the folder of the data set", "no such folder")
    return replace(data, root=str(options.data))


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
    """Score a model on a data set; `train` gives the frequency prior and the mean image.

    Of several processes each scores its part of the images; all return the whole's numbers.
    """
    count = _count(test, options)
    rank, world = rank_and_world()
    with reporter.stage("statistics"):
        pictures = PictureScores(model, train, options)  # first: it may refuse a file of weights
        graphs = GraphScores(model.vocabulary, train, options)
    with reporter.stage("evaluate", len(range(rank, count, world))):
        for batch in batches(test, options.batch_size, options.limit, rank, world):
            truths = batch.graphs.split()
            logits = graphs.update(model, batch, truths)
            pictures.update(model, batch, logits, truths)
            reporter.advance(len(batch))
    return _results(count, graphs, pictures, max(options.conventions.ks))


def _count(test: GraphDataset, options: EvaluationOptions) -> int:
    return min(options.limit or len(test), len(test))


def _results(
    images: int, graphs: GraphScores, pictures: PictureScores, largest: int
) -> EvaluationResults:
    recall: dict[str, dict[str, float]] = {}
    predicates: dict[str, dict[str, dict[str, float]]] = {}
    for row, tasks in graphs.numbers().items():
        own = recall.setdefault(row, {})
        for task, values in tasks.items():
            own |= {f"{task} {n}": v for n, v in values.items() if isinstance(v, float)}
            each = values[f"R@{largest} per predicate"]
            assert isinstance(each, list)
            predicates.setdefault(row, {})[task] = graphs.by_name(each)
    rows = pictures.numbers()
    real = rows.pop("real picture", {})
    return EvaluationResults(
        images,
        recall,
        {name: float(value) for name, value in graphs.detection.compute().items()},
        rows,
        {f"real picture {name}": value for name, value in real.items()},
        predicates,
        graphs.training_counts(),
        pictures.round_trips(),
        pictures.networks(),
    )
