"""The training loop: runs the phases on Lightning Fabric, logs, writes checkpoints, resumes.

Training on images that are not in files, with a callback:

    images = PairsDataset(pairs, vocabulary, augment=True)  # pairs of an image and its SceneGraph
    checkpoint = train(config, dataset=images, on_step=lambda report: print(report.losses))
    model = AutoEncoder.from_checkpoint(checkpoint)
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning.fabric import Fabric
from rich.console import Console
from torch import Tensor

from autoenc_sg.config.phases import PHASES, PhaseName
from autoenc_sg.config.run import RunConfig
from autoenc_sg.core.errors import bad_input
from autoenc_sg.data.base.samples import GraphDataset
from autoenc_sg.data.loading import training_loader
from autoenc_sg.model.autoencoder import AutoEncoder
from autoenc_sg.model.region_cache import RegionCaches
from autoenc_sg.model.region_reader import RegionReader
from autoenc_sg.training.guards.interrupts import StopSignals
from autoenc_sg.training.guards.nonfinite import NonFiniteSteps, check_weights
from autoenc_sg.training.guards.random_features import warn_of_random_features
from autoenc_sg.training.guards.run_folder import run_folder
from autoenc_sg.training.parallel.fabric import make_fabric, random_state, restore_random_state
from autoenc_sg.training.parallel.processes import key_seed
from autoenc_sg.training.phases import Phase, phase_settings
from autoenc_sg.training.run_log import VALIDATION, RunLog, read_history
from autoenc_sg.training.splits import (
    PhaseImages,
    Splits,
    cached_regions,
    make_splits,
    phase_images,
)
from autoenc_sg.training.start import Start, build_model
from autoenc_sg.training.validation import (
    Validation,
    criterion,
    is_due,
    open_validation_split,
    validate_phase,
)
from autoenc_sg.visualization.progress import Reporter
from autoenc_sg.weights.checkpoint import CHECKPOINT, Checkpoint, save_checkpoint
from autoenc_sg.weights.manifest import write_manifest


@dataclass(frozen=True)
class StepReport:
    """The argument of `on_step` after a training step.

    Attributes:
        phase: `detector`, `reconstruction` or `joint`.
        step: steps of the phase that are done, from 1.
        losses: weighted losses of this step's batch; those of the discriminators under their names.
            With several processes each has its part: their mean is the loss. Empty if the step
            was skipped (`runtime.on_nonfinite`).
        learning_rates: rate of each optimizer (`graph`, `generator`) in this step, of its first
            parameter group.
    """

    phase: PhaseName
    step: int
    losses: Mapping[str, float]
    learning_rates: Mapping[str, float]


OnStep = Callable[[StepReport], None]


@dataclass(frozen=True)
class Run:
    """What the phases of a run share; see `train`."""

    config: RunConfig
    fabric: Fabric
    model: AutoEncoder
    splits: Splits
    start: Start
    log: RunLog
    reporter: Reporter
    on_step: OnStep | None = None


def train(
    config: RunConfig,
    phases: Sequence[PhaseName] = PHASES,
    start: Start | None = None,
    reporter: Reporter | None = None,
    *,
    dataset: GraphDataset | None = None,
    val_dataset: GraphDataset | None = None,
    on_step: OnStep | None = None,
) -> Path:
    """Run the phases; returns the path of the last checkpoint.

    Args:
        config: of the run; `config.out` is the folder of checkpoint, history and logs.
        phases: which ones, in this order.
        start: what `find_start` gives; None: fresh weights, and a run in `config.out` is replaced.
        reporter: shows the progress; None: on standard error.
        dataset: training images; None: those of `config.data`. A `GraphDataset`: one of
            `open_dataset`, a `PairsDataset`, or your own. The checkpoint does not record it.
        val_dataset: validation images; None: those of `config.data`, but if `dataset` is given, no
            phase is validated and no best weights are kept.
        on_step: called after every step, in every process with its own part of the losses. An
            exception it raises ends the run: the checkpoint of this step is written, then the
            exception propagates, and a resumed run goes on after this step. With several processes
            all of them must raise it.

    Raises:
        InputError: data, configuration or checkpoint do not fit, another process trains in the
            folder, or the system refuses to read or write (a full disk, an image that is gone).
        TrainingDiverged: losses, gradients or weights are not finite.
        TrainingInterrupted: SIGINT or SIGTERM came; the step was finished and a checkpoint written.
            A second one ends at once.
    """
    _check_phases(phases)
    start = start or Start()
    with run_folder(Path(config.out)):
        return _train(config, phases, start, reporter, (dataset, val_dataset), on_step)


def _train(
    config: RunConfig,
    phases: Sequence[PhaseName],
    start: Start,
    reporter: Reporter | None,
    images: tuple[GraphDataset | None, GraphDataset | None],
    on_step: OnStep | None,
) -> Path:
    fabric = make_fabric(config)
    splits = make_splits(config, fabric, *images)
    torch.manual_seed(config.seed)  # the same weights in every process, also those not trained
    model = build_model(config, splits.train, start).to(fabric.device)
    if config.runtime.compile:
        model.generator.refinement_net.compile()
    pending = [phase for phase in phases if not start.skips(phase)]
    if fabric.is_global_zero:
        warn_of_random_features(config, pending, start.checkpoint)
    gan = config.reconstruction.gan
    log = RunLog(Path(config.out), fabric.is_global_zero, start, pending, gan)
    log.write_config(config)
    console = Console(file=sys.stderr, quiet=not fabric.is_global_zero)  # one bar for all processes
    reporter = reporter or Reporter(training_plan(config, pending, start), console)
    run = Run(config, fabric, model, splits, start, log, reporter, on_step)
    try:
        state: Mapping[str, Any] = {}
        with StopSignals(fabric) as stop:
            for phase in pending:
                state = run_phase(run, phase, state or start.earlier_state(phase), stop)
    finally:
        log.close()
        reporter.close()
    return Path(config.out) / CHECKPOINT


def _check_phases(phases: Sequence[PhaseName]) -> None:
    unknown = [name for name in phases if name not in PHASES]
    if isinstance(phases, str) or unknown:
        raise bad_input("phases", f"a sequence of {', '.join(PHASES)}", repr(phases))


def training_plan(
    config: RunConfig, phases: Sequence[PhaseName], start: Start
) -> list[tuple[str, float]]:
    """The phases and their shares of the work, measured in images."""
    plan: list[tuple[str, float]] = []
    for phase in phases:
        settings = phase_settings(config, phase)
        steps = max(settings.steps - start.step(phase), 0)
        plan.append((phase, float(steps * settings.batch_size)))
    return plan


def run_phase(
    run: Run, name: PhaseName, earlier: Mapping[str, Any], stop: StopSignals
) -> Mapping[str, Any]:
    """One phase from its first (or resumed) step to its last, with a checkpoint at the end.

    Args:
        run: what the phases share.
        name: the phase.
        earlier: training state that it goes on with unless it is resumed; see
            `Phase.continue_from`.
        stop: says when a signal ends the run.

    Returns:
        The state that a joint phase goes on with; empty if this is not the reconstruction phase.
    """
    config, fabric = run.config, run.fabric
    torch.manual_seed(key_seed(f"{config.seed}/{name}") + fabric.global_rank)
    images = phase_images(run.splits, config, name)
    phase = Phase(name, fabric, run.model, config, _training_regions(run, images, name))
    first = run.start.step(name)
    if first > 0 and run.start.checkpoint is not None:
        phase.load_state(run.start.checkpoint.training)
        if criterion(run.start.checkpoint.config, name) != criterion(config, name):
            phase.best = math.inf  # by another criterion
        phase.set_rates(first - 1)  # those saved again, if no step is left
        restore_random_state(run.start.checkpoint.training, fabric)
    else:
        phase.continue_from(earlier)
    _run_steps(run, phase, images, first, stop)
    phase.finish()
    with stop.unhurried():  # a signal in the last step is asked for below
        save(fabric, run.model, config, phase, phase.steps)
    if stop.is_due():
        raise stop.interruption(f"phase {name}", Path(config.out) / CHECKPOINT)
    return phase.state() if name == "reconstruction" else {}


def _training_regions(run: Run, images: PhaseImages, name: PhaseName) -> RegionReader | None:
    """The cached regions of the phase's images, if it reads some; written by one process.

    Raises:
        InputError: see `splits.cached_regions`.
    """
    joint = run.config.joint
    if name != "joint" or not joint.region_cache:
        return None
    parts = {"train": run.splits.train}
    if run.splits.unannotated is not None and images.per_batch > 0:
        parts["unannotated"] = run.splits.unannotated
    caches = []
    for part, dataset in parts.items():
        folder, precision = Path(joint.region_cache) / part, joint.region_precision
        read = partial(cached_regions, folder, run.model, dataset, None, precision)
        cache = read() if run.fabric.is_global_zero else None
        run.fabric.barrier()
        caches.append(cache or read())
    return RegionCaches(caches)


def _run_steps(run: Run, phase: Phase, images: PhaseImages, first: int, stop: StopSignals) -> None:
    """The steps from `first` on; a signal ends them with a checkpoint."""
    config, fabric = run.config, run.fabric
    plan = images.plan(phase.batch_size, phase.steps, config.seed, first, fabric)
    num_images = len(images.annotated)
    validation = open_validation_split(phase, run.splits)
    guard = NonFiniteSteps(Path(config.out), fabric, config.runtime.on_nonfinite)
    with run.reporter.stage(phase.name, max(phase.steps - first, 1)):
        loader = training_loader(images.dataset, plan, config.data.workers)
        for step, batch in enumerate(loader, first):
            losses = guard.step(phase, batch.to(fabric.device), step)
            with stop.unhurried():
                is_validated = validation is not None and is_due(phase, step + 1, num_images)
                _after_step(run, phase, step + 1, losses, validation if is_validated else None)
            if step + 1 < phase.steps and stop.is_due():
                save(fabric, run.model, config, phase, step + 1)
                place = f"{phase.name} step {step + 1}"
                raise stop.interruption(place, Path(config.out) / CHECKPOINT)


def _after_step(
    run: Run,
    phase: Phase,
    done: int,
    losses: Mapping[str, Tensor],
    validation: Validation | None,
) -> None:
    """Log, show, report and save, each when it is due after `done` steps.

    `validation` is what to validate on now, or None.
    """
    runtime, name = run.config.runtime, phase.name
    run.log.losses(name, done, losses, phase, runtime.log_every)
    run.reporter.advance(note=run.log.note)
    if done % runtime.sample_every == 0 and run.fabric.is_global_zero:
        run.log.samples(name, done, run.model, run.splits.train)
    if validation is not None:
        scores = validate_phase(phase, run.model, validation, Path(run.config.out), done)
        run.log.validation(name, done, scores)
    if run.on_step is not None:
        _report_step(run, run.on_step, phase, done, losses)
    if done % runtime.checkpoint_every == 0 and done < phase.steps:
        save(run.fabric, run.model, run.config, phase, done)


def _report_step(
    run: Run, on_step: OnStep, phase: Phase, done: int, losses: Mapping[str, Tensor]
) -> None:
    """Call `on_step`; if it raises, write the checkpoint of this step first."""
    values = {name: float(loss) for name, loss in losses.items()}
    report = StepReport(phase.name, done, values, phase.rates())
    try:
        on_step(report)
    except BaseException:
        save(run.fabric, run.model, run.config, phase, done)
        raise


def save(fabric: Fabric, model: AutoEncoder, config: RunConfig, phase: Phase, step: int) -> None:
    """Write the run's checkpoint (first process only; the others wait).

    Raises:
        TrainingDiverged: a weight is not finite; the checkpoint before stays.
    """
    training, weights = phase.state() | random_state(fabric), model.state_dict()
    check_weights(fabric, weights, training)
    if fabric.is_global_zero:
        checkpoint = Checkpoint(config, model.vocabulary, weights, phase.name, step, training)
        save_checkpoint(Path(config.out), checkpoint, config.runtime.keep_last)
        write_manifest(Path(config.out), read_history(Path(config.out), VALIDATION))
    fabric.barrier()
