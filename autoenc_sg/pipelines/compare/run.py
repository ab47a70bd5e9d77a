"""Runs a comparison cell by cell; what is finished is not run again."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from autoenc_sg.core.atomic_files import replacing
from autoenc_sg.core.errors import one_line
from autoenc_sg.data.open import open_dataset
from autoenc_sg.pipelines.compare.base import base_checkpoint, base_digest, check_base
from autoenc_sg.pipelines.compare.cells import (
    RESULT,
    CellResult,
    cell_settings,
    finished_cell,
    run_cell,
)
from autoenc_sg.pipelines.compare.grid import Cell, Grid
from autoenc_sg.training.guards.run_folder import run_lock
from autoenc_sg.training.start import word_vectors
from autoenc_sg.weights.checkpoint import Checkpoint

ERROR = "error.txt"  # in the folder of a cell that failed: the traceback


@dataclass(frozen=True)
class Comparison:
    """What came out.

    Attributes:
        grid: what was compared.
        results: of the cells that are finished.
        failures: the reason of each cell that failed, in one line.
    """

    grid: Grid
    results: tuple[CellResult, ...]
    failures: Mapping[Cell, str]


def run_comparison(grid: Grid, init: Path | None = None, quiet: bool = False) -> Comparison:
    """Train and score all cells that have no result yet.

    A cell that fails is left out, with its error in its folder, and tried again by the next call;
    an interrupted one goes on from its last checkpoint.

    Args:
        grid: what to compare.
        init: a trained model to take detector and generator from; None: they are trained first.
        quiet: say nothing of the cells.

    Raises:
        InputError: the folder holds a comparison of other settings, or another one runs there,
            `init` does not fit, or a head that is not finished lacks its word vectors.
        TrainingInterrupted: a signal came.
    """
    with run_lock(grid.out):
        _check_word_vectors(grid)
        base = base_checkpoint(grid, init)
        vocabulary = open_dataset(grid.config.data, "test", grid.config.seed).vocabulary
        check_base(grid, base, vocabulary, init or grid.out)
        digest = base_digest(base)
        settings = {cell: cell_settings(grid, cell, digest) for cell in grid.cells()}
        finished = {cell: finished_cell(grid, cell, settings[cell]) for cell in grid.cells()}
        return _run_cells(grid, base, settings, finished, Console(stderr=True, quiet=quiet))


def _check_word_vectors(grid: Grid) -> None:
    """Raise InputError now, before anything is trained, if word vectors cannot be read."""
    unfinished = [c for c in grid.cells() if not (grid.folder(c) / RESULT).is_file()]
    for options in {grid.config_of(cell).predictor.motifs for cell in unfinished}:
        word_vectors(options)


def _run_cells(
    grid: Grid,
    base: Checkpoint,
    settings: Mapping[Cell, Mapping[str, Any]],
    finished: Mapping[Cell, CellResult | None],
    console: Console,
) -> Comparison:
    results: list[CellResult] = []
    failures: dict[Cell, str] = {}
    for number, (cell, result) in enumerate(finished.items(), 1):
        if result is not None:
            results.append(result)
            continue
        console.print(f"cell {number} of {len(finished)}: {cell}", highlight=False)
        try:
            results.append(run_cell(grid, cell, settings[cell], base, None))
            (grid.folder(cell) / ERROR).unlink(missing_ok=True)
        except Exception as error:  # whatever it is: the other cells do not depend on this one
            failures[cell] = one_line(f"{type(error).__name__}: {error}", 300)
            _write_error(grid.folder(cell) / ERROR)
            console.print(f"{cell}: {failures[cell]}", highlight=False, markup=False)
    return Comparison(grid, tuple(results), failures)


def _write_error(path: Path) -> None:
    with replacing(path) as temporary:
        temporary.write_text(traceback.format_exc(), encoding="utf-8")
