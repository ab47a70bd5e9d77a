"""One cell of a comparison: trained, scored, and its result in a file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from autoenc_sg.core.errors import bad_input
from autoenc_sg.model.autoencoder import AutoEncoder
from autoenc_sg.pipelines.compare.grid import Cell, Grid
from autoenc_sg.pipelines.compare.settings import claim, plain_settings, read_object
from autoenc_sg.scoring.evaluate import evaluate_model, open_splits
from autoenc_sg.scoring.results import write_numbers
from autoenc_sg.training.loop import train
from autoenc_sg.training.start import Start
from autoenc_sg.visualization.progress import Reporter
from autoenc_sg.weights.checkpoint import Checkpoint, find_checkpoints, read_resumable

RESULT = "result.json"

Scores = Mapping[str, float | None]


@dataclass(frozen=True)
class CellResult:
    """The scores of a cell.

    Attributes:
        cell: which one.
        scores: `PredCls R@20` and the like; fractions, None for a mean over nothing.
        prior: the same of the frequency prior on the same objects.
        detection: AP of the detector.
    """

    cell: Cell
    scores: Scores
    prior: Scores
    detection: Scores


def cell_settings(grid: Grid, cell: Cell, base: str) -> dict[str, Any]:
    """What decides the result of a cell; `base` is the digest of the weights it starts from."""
    options = grid.options
    return {
        **plain_settings(grid.config_of(cell)),
        "base": base,
        "evaluation": {
            "split": options.split,
            "limit": options.limit,
            "tasks": options.tasks,
            "conventions": vars(options.conventions),
        },
    }


def finished_cell(grid: Grid, cell: Cell, settings: Mapping[str, Any]) -> CellResult | None:
    """The result of a cell that is finished; None of one that is not.

    Raises:
        InputError: the cell was trained with other settings, or its result is damaged.
    """
    folder = grid.folder(cell)
    if folder.is_dir():
        claim(folder, settings)
    path = folder / RESULT
    return _read(path, cell) if path.is_file() else None


def run_cell(
    grid: Grid, cell: Cell, settings: Mapping[str, Any], base: Checkpoint, reporter: Reporter | None
) -> CellResult:
    """Train a cell, or go on with it, score it on the test split, and write its result.

    The scored weights are the last ones; none are chosen by their scores.

    Raises:
        InputError, TrainingDiverged, TrainingInterrupted: as `train` and `evaluate_model`.
    """
    folder = grid.folder(cell)
    claim(folder, settings)
    if find_checkpoints(folder):
        start = Start(read_resumable(folder), resume=True, in_place=True)
    else:
        start = Start(base, fresh_graph=True)
    train(grid.config_of(cell), ("joint",), start, reporter)
    result = _scored(grid, cell)
    content = {"scores": result.scores, "prior": result.prior, "detection": result.detection}
    about = {"head": cell.head, "image_loss": cell.image_loss, "seed": cell.seed}
    write_numbers(folder / RESULT, {**about, **content})
    return _read(folder / RESULT, cell)


def _scored(grid: Grid, cell: Cell) -> CellResult:
    config = grid.config_of(cell)
    options = replace(
        grid.options,
        images=False,
        region_cache=Path(config.joint.region_cache),
        region_precision=config.joint.region_precision,
    )
    model = AutoEncoder.from_checkpoint(grid.folder(cell), options.device)
    train_images, test = open_splits(config.data, options.split, config.seed)
    reporter = Reporter([("statistics", 1.0), ("evaluate", 6.0)])
    results = evaluate_model(model, train_images, test, options, reporter)
    recall = results.recall
    return CellResult(cell, recall["model"], recall["frequency prior"], results.detection)


def _read(path: Path, cell: Cell) -> CellResult:
    content = read_object(path)
    parts = [content.get(name) for name in ("scores", "prior", "detection")]
    for part in parts:
        if not isinstance(part, dict) or not all(_is_score(value) for value in part.values()):
            raise bad_input(path, "the result of a cell", "something else; remove its folder")
    return CellResult(cell, *parts)  # type: ignore[arg-type]


def _is_score(value: object) -> bool:
    return value is None or (isinstance(value, (int, float)) and not isinstance(value, bool))
