"""The loop: runs the phases in order on Lightning Fabric, logs, writes checkpoints, resumes."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from lightning.fabric import Fabric
from rich.console import Console

from autoenc_sg.config.phases import PHASES, PhaseName
from autoenc_sg.config.run import RunConfig
from autoenc_sg.data.base.samples import GraphDataset
from autoenc_sg.data.loading import BatchPlan, training_loader
from autoenc_sg.data.open import open_dataset
from autoenc_sg.model.autoencoder import AutoEncoder
from autoenc_sg.training.fabric import make_fabric, random_state, restore_random_state
from autoenc_sg.training.phases import Phase, phase_settings
from autoenc_sg.training.run_log import RunLog
from autoenc_sg.training.start import Start, build_model
from autoenc_sg.training.validation import is_due, open_validation_split, validate_phase
from autoenc_sg.visualization.progress import Reporter
from autoenc_sg.weights.checkpoint import CHECKPOINT, Checkpoint, save_checkpoint


def train(
    config: RunConfig,
    phases: Sequence[PhaseName] = PHASES,
    start: Start | None = None,
    reporter: Reporter | None = None,
) -> Path:
    """Run the phases; returns the path of the last checkpoint.

    Raises:
        InputError: data, configuration or checkpoint do not fit.
        TrainingDiverged: a loss is not finite.
    """
    start = start or Start()
    fabric = make_fabric(config)
    torch.manual_seed(config.seed + fabric.global_rank)
    if fabric.is_global_zero:  # the data set is drawn once, not by every process
        open_dataset(config.data, "train", config.seed)
    fabric.barrier()
    dataset = open_dataset(config.data, "train", config.seed)
    model = build_model(config, dataset, start).to(fabric.device)
    if config.runtime.compile:
        model.generator.refinement_net.compile()
    log = RunLog(Path(config.out), fabric.is_global_zero, start)
    log.write_config(config)
    pending = [phase for phase in phases if not start.skips(phase)]
    console = Console(file=sys.stderr, quiet=not fabric.is_global_zero)  # one bar, not one each
    reporter = reporter or Reporter(training_plan(config, pending, start), console)
    try:
        for phase in pending:
            run_phase(phase, fabric, model, config, dataset, start, log, reporter)
    finally:
        log.close()
        reporter.close()
    return Path(config.out) / CHECKPOINT


def training_plan(
    config: RunConfig, phases: Sequence[PhaseName], start: Start
) -> list[tuple[str, float]]:
    """Stages and their shares, by images to be seen."""
    plan: list[tuple[str, float]] = []
    for phase in phases:
        settings = phase_settings(config, phase)
        steps = max(settings.steps - start.step(phase), 0)
        plan.append((phase, float(steps * settings.batch_size)))
    return plan


def run_phase(
    name: PhaseName,
    fabric: Fabric,
    model: AutoEncoder,
    config: RunConfig,
    dataset: GraphDataset,
    start: Start,
    log: RunLog,
    reporter: Reporter,
) -> None:
    """One phase from its first (or resumed) step to its last, with a checkpoint at the end."""
    phase = Phase(name, fabric, model, config)
    first = start.step(name)
    if first > 0 and start.checkpoint is not None:
        phase.load_state(start.checkpoint.training)
        restore_random_state(start.checkpoint.training, fabric)
    plan = BatchPlan(
        len(dataset),
        phase.batch_size,
        phase.steps,
        config.seed,
        first,
        fabric.global_rank,
        fabric.world_size,
    )
    runtime, held_out = config.runtime, open_validation_split(phase)
    with reporter.stage(name, max(phase.steps - first, 1)):
        loader = training_loader(dataset, plan, config.data.workers)
        for step, batch in enumerate(loader, first):
            losses = phase.step(batch.to(fabric.device), step)
            done = step + 1
            log.losses(name, done, losses, phase, runtime.log_every)
            reporter.advance(note=log.note)
            if done % runtime.sample_every == 0 and fabric.is_global_zero:
                log.pictures(name, done, model, dataset)
            if held_out is not None and is_due(phase, done, len(dataset)):
                scores = validate_phase(phase, model, held_out, Path(config.out), done)
                log.validation(name, done, scores)
            if done % runtime.checkpoint_every == 0 and done < phase.steps:
                save(fabric, model, config, phase, done)
    phase.finish()
    save(fabric, model, config, phase, phase.steps)


def save(fabric: Fabric, model: AutoEncoder, config: RunConfig, phase: Phase, step: int) -> None:
    """Write the run's checkpoint (first process only; the others wait)."""
    training = phase.state() | random_state(fabric)
    if fabric.is_global_zero:
        checkpoint = Checkpoint(
            config, model.vocabulary, model.state_dict(), phase.name, step, training
        )
        save_checkpoint(Path(config.out), checkpoint, config.runtime.keep_last)
    fabric.barrier()
