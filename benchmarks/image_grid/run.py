"""Training and scoring of the cells; what is finished is not run again.

Everything lies in the grid's folder: `scenes/NOISE`, `detector`, `generators/…`, `regions`, and
`cells/…` with a run's files and its `result-SPLIT.json`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from autoenc_sg.config.phases import PhaseName
from autoenc_sg.config.recall import RecallConventions
from autoenc_sg.config.run import RunConfig
from autoenc_sg.core.errors import one_line
from autoenc_sg.pipelines.compare.base import base_digest
from autoenc_sg.pipelines.compare.settings import claim, plain_settings, read_object
from autoenc_sg.scoring.evaluate import evaluate_checkpoint
from autoenc_sg.scoring.options import EvaluationOptions
from autoenc_sg.scoring.results import write_numbers
from autoenc_sg.training.guards.run_folder import run_lock
from autoenc_sg.training.loop import StepReport, train
from autoenc_sg.training.phases import phase_settings
from autoenc_sg.training.run_log import VALIDATION, read_history
from autoenc_sg.training.start import Start
from autoenc_sg.training.validation import BEST_JOINT
from autoenc_sg.weights.checkpoint import (
    Checkpoint,
    find_checkpoints,
    read_checkpoint,
    read_resumable,
)
from benchmarks.generator.drawn_relations import with_detector
from benchmarks.image_grid.ways import WAYS, Cell, Grid

KS = (20, 50)
Scores = Mapping[str, float | None]


class Converged(Exception):
    """The score on `val` has stopped to rise."""


def best_is_past(config: RunConfig, patience: int) -> bool:
    """Whether the last `patience` validations of a joint phase are no better than one before."""
    rows = read_history(Path(config.out), VALIDATION)
    metric = config.joint.best_metric
    scores = [row["scores"].get(metric) for row in rows if row["phase"] == "joint"]
    values = [-math.inf if v is None or math.isnan(v) else v for v in scores]
    return len(values) > patience and max(values[-patience:]) <= max(values[:-patience])


def train_joint(config: RunConfig, base: Checkpoint, patience: int) -> None:
    """The joint phase until `val` recall has stopped to rise, or what is left of it."""
    folder, sizes = Path(config.out), [0]

    def stop_when_converged(report: StepReport) -> None:
        file = folder / VALIDATION
        sizes.append(file.stat().st_size if file.is_file() else 0)
        if sizes[-1] != sizes[-2] and best_is_past(config, patience):
            raise Converged

    start = Start(base, fresh_graph=True)
    if find_checkpoints(folder):
        start = Start(read_resumable(folder), resume=True, in_place=True)
        if best_is_past(config, patience) or start.step("joint") >= config.joint.steps:
            return
    with suppress(Converged):
        train(config, ("joint",), start, on_step=stop_when_converged)


def trained(config: RunConfig, phase: PhaseName, start: Start, base: str = "") -> Checkpoint:
    """The run of one phase, begun, gone on with or finished before.

    Raises:
        InputError: the folder holds a run of other settings; as `train`.
    """
    folder = Path(config.out)
    claim(folder, {**plain_settings(config), "base": base})
    if find_checkpoints(folder):
        start = Start(read_resumable(folder), resume=True, in_place=True)
    if start.step(phase) < phase_settings(config, phase).steps:
        train(config, (phase,), start)
    return read_resumable(folder)


class GridRun:
    """Runs the cells of a grid.

    Args:
        grid: which ones.
        init: a checkpoint whose detector is taken; None: one is trained.
        patience: validations without a better one after which a cell ends.
        split: that the results are of.
    """

    def __init__(self, grid: Grid, init: Path | None, patience: int, split: str) -> None:
        self.grid = grid
        self._init = init
        self._patience = patience
        self._split = split
        self._detector: Checkpoint | None = None

    def run(self) -> dict[Cell, str]:
        """Run every cell without a result; returns why each that failed has failed.

        Raises:
            TrainingInterrupted: a signal came.
        """
        failures: dict[Cell, str] = {}
        cells = self.grid.cells()
        with run_lock(self.grid.out):
            for number, cell in enumerate(cells, 1):
                if self.result_file(cell).is_file():
                    continue
                print(f"cell {number} of {len(cells)}: {cell.name}", flush=True)
                try:
                    self.run_cell(cell)
                except Exception as error:  # the other cells do not depend on this one
                    failures[cell] = one_line(f"{type(error).__name__}: {error}", 300)
                    print(f"{cell.name}: {failures[cell]}", flush=True)
        return failures

    def run_cell(self, cell: Cell) -> None:
        """Train and score one cell; the weights of the best validation are scored."""
        config, base = self.grid.config_of(cell), self._generator(cell)
        claim(Path(config.out), {**plain_settings(config), "base": base_digest(base)})
        train_joint(config, base, self._patience)
        options = EvaluationOptions(
            split=self._split,  # type: ignore[arg-type]
            tasks=("PredCls", "SGGen"),
            conventions=RecallConventions(KS),
            round_trip=True,
            region_cache=self.grid.regions(cell.setting),
            region_precision=config.joint.region_precision,
        )
        results = evaluate_checkpoint(Path(config.out) / BEST_JOINT, options, quiet=True)
        write_numbers(self.result_file(cell), {**results.to_dict(), "best step": results.step})

    def result_file(self, cell: Cell) -> Path:
        """Of the split's scores."""
        return self.grid.folder(cell) / f"result-{self._split}.json"

    def results(self) -> dict[Cell, Scores]:
        """The scores of the cells that are finished."""
        files = ((cell, self.result_file(cell)) for cell in self.grid.cells())
        return {cell: read_object(file) for cell, file in files if file.is_file()}

    def _generator(self, cell: Cell) -> Checkpoint:
        relations = WAYS[cell.way].draws_relations
        config = self.grid.generator_config(cell.setting, relations)
        detector = self._trained_detector()
        start = Start(with_detector(config, detector))
        return trained(config, "reconstruction", start, base_digest(detector))

    def _trained_detector(self) -> Checkpoint:
        if self._detector is None:
            if self._init is not None:
                self._detector = read_checkpoint(self._init)
            else:
                self._detector = trained(self.grid.detector_config(), "detector", Start())
        return self._detector
