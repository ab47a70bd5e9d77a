"""Evaluation of a model on a data set in one pass: graphs, detections and generated images.

Recall is Neural Motifs' unless the options say otherwise (docs/evaluation.md). The baselines are
the frequency prior on the same detections, and the mean image of the train split.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal

import torch
from torch import distributed

from autoenc_sg.config.data import DataConfig
from autoenc_sg.core.errors import bad_input
from autoenc_sg.data.base.samples import GraphDataset
from autoenc_sg.data.loading import batches
from autoenc_sg.data.open import open_dataset
from autoenc_sg.data.vg150.counts import has_vg150_names
from autoenc_sg.data.vg150.dataset import check_human_relations
from autoenc_sg.eval import Ranges, Task, Value
from autoenc_sg.model.autoencoder import AutoEncoder
from autoenc_sg.model.region_reader import RegionReader
from autoenc_sg.scoring.graph_scores import GraphScores
from autoenc_sg.scoring.image_scores import ImageScores, mean_image
from autoenc_sg.scoring.options import EvaluationOptions
from autoenc_sg.scoring.processes import in_processes, rank_and_world
from autoenc_sg.scoring.results import EvaluationResults
from autoenc_sg.training.splits import cached_regions
from autoenc_sg.training.start import count_for_head, with_new_head
from autoenc_sg.visualization.progress import Reporter
from autoenc_sg.weights.checkpoint import check_vocabulary, is_decoder, read_checkpoint
from autoenc_sg.weights.state_dict import load_weights

__all__ = [
    "EvaluationOptions",
    "EvaluationResults",
    "evaluate_checkpoint",
    "evaluate_model",
    "mean_image",
    "open_splits",
]


def evaluate_checkpoint(
    path: Path, options: EvaluationOptions, quiet: bool = False
) -> EvaluationResults:
    """Load a checkpoint and evaluate it on its own data set, in `options.processes` processes.

    With `quiet` no progress is shown.

    Raises:
        InputError: not a checkpoint, one without an encoder, or of another vocabulary.
    """
    checkpoint = read_checkpoint(path)
    if is_decoder(checkpoint.model):
        raise bad_input(path, "a model with an encoder", "a decoder alone")
    data = _data(checkpoint.config.data, options)
    _, test = open_splits(data, options.split, checkpoint.config.seed)  # writes files
    check_human_relations(test)
    check_vocabulary(checkpoint, test.vocabulary, path)
    count = min(options.processes, max(_count(test, options), 1))
    results = in_processes(_evaluate_checkpoint, (path, options, quiet), count)
    return replace(results, step=checkpoint.step)


def _evaluate_checkpoint(path: Path, options: EvaluationOptions, quiet: bool) -> EvaluationResults:
    checkpoint = read_checkpoint(path)
    config = replace(checkpoint.config, predictor=options.predictor(checkpoint.config.predictor))
    train, test = open_splits(_data(config.data, options), options.split, config.seed)
    model = AutoEncoder(config, checkpoint.vocabulary, download=False)
    count_for_head(model, checkpoint, train)
    load_weights(model, with_new_head(model, checkpoint, checkpoint.model), str(path))
    rank, world = rank_and_world()
    device = options.device
    if device == "cuda" and world > 1:
        device = f"cuda:{rank % torch.cuda.device_count()}"
    reporter = Reporter([("statistics", 1.0), ("evaluate", 6.0)])
    reporter.console.quiet = quiet or rank > 0
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

    With several processes, each scores a part of the images; all return the scores of the whole.
    """
    count = _count(test, options)
    rank, world = rank_and_world()
    with reporter.stage("statistics"):
        images = (
            ImageScores(model, train, options) if options.images else None
        )  # first: it reads files, which may be bad
        graphs = GraphScores(model.vocabulary, train, options)
    regions = open_regions(model, test, options)
    with reporter.stage("evaluate", len(range(rank, count, world))):
        for batch in batches(test, options.batch_size, options.limit, rank, world):
            truths = batch.graphs.split()
            logits = graphs.update(model, batch, truths, regions)
            if images is not None:
                images.update(model, batch, logits, truths)
            reporter.advance(len(batch))
    results = _results(count, graphs, images, max(options.conventions.ks))
    if options.intervals:
        ranges = graphs.intervals(options.resampling())
        results = replace(results, intervals=_flat_intervals(ranges))
    return replace(results, visual_genome=has_vg150_names(test.vocabulary))


def _flat_intervals(
    ranges: Mapping[str, Mapping[Task, Ranges]],
) -> dict[str, dict[str, Sequence[Value]]]:
    """`{row: {"SGGen R@20": [low, high]}}`, without the lists for each predicate."""
    return {
        row: {
            f"{task} {name}": ends
            for task, values in tasks.items()
            for name, ends in values.items()
            if not isinstance(ends[0], list)
        }
        for row, tasks in ranges.items()
    }


def open_regions(
    model: AutoEncoder, test: GraphDataset, options: EvaluationOptions
) -> RegionReader | None:
    """The cached regions of the split, if the options name a folder of them.

    With several processes the first one computes them.

    Raises:
        InputError: see `splits.cached_regions`.
    """
    if options.region_cache is None:
        return None
    folder, precision = options.region_cache / options.split, options.region_precision
    read = partial(cached_regions, folder, model, test, options.limit, precision)
    rank, world = rank_and_world()
    if world == 1:
        return read()
    cache = read() if rank == 0 else None
    distributed.barrier()
    return cache or read()


def _count(test: GraphDataset, options: EvaluationOptions) -> int:
    return min(options.limit or len(test), len(test))


def _results(
    count: int, graphs: GraphScores, images: ImageScores | None, largest: int
) -> EvaluationResults:
    recall: dict[str, dict[str, float]] = {}
    predicates: dict[str, dict[str, dict[str, float]]] = {}
    for row, tasks in graphs.numbers().items():
        recall[row], predicates[row] = {}, {}
        for task, values in tasks.items():
            recall[row] |= {f"{task} {n}": v for n, v in values.items() if isinstance(v, float)}
            per_predicate = values[f"R@{largest} per predicate"]
            assert isinstance(per_predicate, list)
            predicates[row][task] = graphs.by_name(per_predicate)
    image_scores = {} if images is None else images.numbers()
    real = image_scores.pop("real picture", {})
    return EvaluationResults(
        images=count,
        recall=recall,
        detection={name: float(value) for name, value in graphs.detection.compute().items()},
        classes=graphs.class_precision(),
        image_scores=image_scores,
        extra={f"real picture {name}": value for name, value in real.items()},
        predicates=predicates,
        training_counts=graphs.training_counts(),
        round_trip={} if images is None else images.round_trips(),
        networks={} if images is None else images.networks(),
    )
