"""The loop: runs the phases in order on Lightning Fabric, logs, writes checkpoints, resumes."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning.fabric import Fabric
from lightning.fabric.strategies.ddp import DDPStrategy
from rich.console import Console
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from autoenc_sg.config.files import dump_config
from autoenc_sg.config.run import PHASES, PhaseName, RunConfig, RuntimeConfig
from autoenc_sg.core.atomic_files import make_folder, replacing
from autoenc_sg.core.errors import InputError
from autoenc_sg.core.images import resize_square
from autoenc_sg.core.progress import Reporter
from autoenc_sg.data.base.samples import Batch, GraphDataset, collate_samples
from autoenc_sg.data.loading import BatchPlan, training_loader
from autoenc_sg.data.open import open_dataset
from autoenc_sg.model.autoencoder import AutoEncoder
from autoenc_sg.training.phases import Phase, phase_settings
from autoenc_sg.training.validation import is_due, open_held_out, validate_phase
from autoenc_sg.weights.checkpoint import (
    DECODER,
    Checkpoint,
    check_vocabulary,
    is_decoder,
    read_checkpoint,
    write_checkpoint,
)
from autoenc_sg.weights.detector import load_detector_weights

CHECKPOINT = "checkpoint.pt"
HISTORY = "history.jsonl"
VALIDATION = "validation.jsonl"
SAMPLE_PICTURES = 4


@dataclass(frozen=True)
class Start:
    """Where a run begins: a checkpoint to continue or to take weights from, or nothing."""

    checkpoint: Checkpoint | None = None
    resume: bool = False

    def skips(self, phase: PhaseName) -> bool:
        """Whether a resumed run has left this phase behind."""
        if not self.resume or self.checkpoint is None or not self.checkpoint.phase:
            return False
        return PHASES.index(phase) < PHASES.index(self.checkpoint.phase)  # type: ignore[arg-type]

    def step(self, phase: PhaseName) -> int:
        """Steps of this phase that a resumed run has done."""
        if self.resume and self.checkpoint is not None and self.checkpoint.phase == phase:
            return self.checkpoint.step
        return 0


def find_start(
    config: RunConfig, phase: PhaseName | None, resume: bool, weights: Path | None = None
) -> Start:
    """Decide from the output folder and the options how to begin; nothing is lost unasked.

    Raises:
        InputError: the folder holds a run and neither `resume` nor a single phase was asked for, or
            there is nothing to resume.
    """
    own = Path(config.out) / CHECKPOINT
    if resume:
        if not own.is_file():
            raise InputError(f"--resume: expected a checkpoint at {own}, got no such file")
        return Start(read_checkpoint(own), resume=True)
    if weights is not None:
        return Start(read_checkpoint(weights))
    if not own.is_file():
        return Start()
    if phase is None:
        raise InputError(
            f"{own}: expected no earlier run in the output folder, got its checkpoint; "
            "use --resume, --phase or another --out"
        )
    return Start(read_checkpoint(own))


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


def make_fabric(config: RunConfig) -> Fabric:
    """Fabric as configured, launched.

    Where it would run DistributedDataParallel, that is told of our networks: a phase leaves some
    parameters without a gradient, and a discriminator runs twice before its backward, which
    buffers copied from process to process in between would spoil. The first one's are saved.
    """
    runtime = config.runtime
    if runtime.threads > 0:
        torch.set_num_threads(runtime.threads)
    fabric = _fabric(runtime, runtime.strategy)
    if isinstance(fabric.strategy, DDPStrategy) and runtime.strategy in ("auto", "ddp"):
        told = DDPStrategy(find_unused_parameters=True, broadcast_buffers=False)
        fabric = _fabric(runtime, told)
    fabric.launch()
    return fabric


def _fabric(runtime: RuntimeConfig, strategy: str | DDPStrategy) -> Fabric:
    return Fabric(
        accelerator=runtime.accelerator,
        devices=runtime.devices,
        num_nodes=runtime.num_nodes,
        strategy=strategy,
        precision=runtime.precision,
    )


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


def build_model(config: RunConfig, dataset: GraphDataset, start: Start) -> AutoEncoder:
    """The model with fresh, given or resumed weights."""
    checkpoint, weights = start.checkpoint, config.detector.weights
    begun = checkpoint is not None and not is_decoder(checkpoint.model)  # the encoder
    model = AutoEncoder(config, dataset.vocabulary, download=not begun and weights is None)
    if checkpoint is not None:
        check_vocabulary(checkpoint, dataset.vocabulary, "checkpoint")
        model.load(with_new_appearance(model, checkpoint.model), "checkpoint")
        model.has_encoder = True  # or will have: training from a decoder's weights begins it anew
    if weights is not None and not begun:
        load_detector_weights(model.detector, weights, model.vocabulary.objects)
    return model


def with_new_appearance(model: AutoEncoder, weights: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """The weights of a model without appearance codes, with this one's own for theirs.

    New ones change no picture of a graph without codes; other weights are returned as they are.
    """
    begin = ("appearance.", f"{DECODER}appearance_net.")
    own = {name: value for name, value in model.state_dict().items() if name.startswith(begin)}
    if any(name in weights for name in own):
        return weights
    decoder = is_decoder(weights)
    return {**weights, **{n: v for n, v in own.items() if n.startswith(DECODER) or not decoder}}


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
    runtime, held_out = config.runtime, open_held_out(phase)
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
        write_checkpoint(Path(config.out) / CHECKPOINT, checkpoint)
    fabric.barrier()


def random_state(fabric: Fabric) -> dict[str, Tensor]:
    """The random states of all processes: `[world, bytes]` uint8 each."""
    states = {"rng_cpu": torch.get_rng_state()}
    if fabric.device.type == "cuda":
        states["rng_cuda"] = torch.cuda.get_rng_state(fabric.device)
    return {name: _gather(fabric, state) for name, state in states.items()}


def _gather(fabric: Fabric, state: Tensor) -> Tensor:
    gathered = fabric.all_gather(state.to(fabric.device))
    assert isinstance(gathered, Tensor)
    return gathered.reshape(fabric.world_size, -1).cpu()


def restore_random_state(training: Mapping[str, Any], fabric: Fabric) -> None:
    """The inverse of `random_state`; a process that was not there before keeps its own seed."""
    if fabric.global_rank < len(training["rng_cpu"]):
        torch.set_rng_state(training["rng_cpu"][fabric.global_rank])
        if fabric.device.type == "cuda" and "rng_cuda" in training:
            torch.cuda.set_rng_state(training["rng_cuda"][fabric.global_rank], fabric.device)


class RunLog:
    """TensorBoard, the loss history beside it (JSON Lines), and the note of the progress bar."""

    def __init__(self, out: Path, active: bool, start: Start) -> None:
        self.out = out
        self.active = active
        self.note = ""
        self._sums: dict[str, Tensor] = {}
        self._count = 0
        self._since = time.monotonic()
        self._writer: SummaryWriter | None = None
        if active:
            make_folder(out)
            for name in (HISTORY, VALIDATION):
                _keep_history(out, name, start)
            self._writer = SummaryWriter(str(out / "logs"))

    def write_config(self, config: RunConfig) -> None:
        """The run's whole configuration beside its checkpoint."""
        if self.active:
            with replacing(self.out / "config.yaml") as temporary:
                temporary.write_text(dump_config(config), encoding="utf-8")

    def losses(
        self, phase: str, step: int, losses: Mapping[str, Tensor], state: Phase, every: int
    ) -> None:
        """Add a step's losses; every so often write their means, the rates and images/second."""
        for name, value in losses.items():
            self._sums[name] = self._sums.get(name, 0) + value
        self._count += 1
        if step % every != 0 and step != state.steps:
            return
        means = {name: float(value) / self._count for name, value in self._sums.items()}
        seconds = time.monotonic() - self._since
        speed = self._count * state.batch_size / max(seconds, 1e-9)
        self.note = (
            f"loss {sum(v for k, v in means.items() if not k.endswith('discriminator')):.3f}"
        )
        self._write(phase, step, means, state.rates(), speed)
        self._sums, self._count, self._since = {}, 0, time.monotonic()

    def _write(
        self,
        phase: str,
        step: int,
        means: Mapping[str, float],
        rates: Mapping[str, float],
        speed: float,
    ) -> None:
        if self._writer is None:
            return
        for name, value in means.items():
            self._writer.add_scalar(f"{phase}/{name}", value, step)
        for name, value in rates.items():
            self._writer.add_scalar(f"{phase}_lr/{name}", value, step)
        self._writer.add_scalar(f"{phase}/images_per_second", speed, step)
        line = {"phase": phase, "step": step, "images_per_second": speed, "losses": dict(means)}
        self._append(HISTORY, line)

    def validation(self, phase: str, step: int, scores: Mapping[str, float]) -> None:
        """Losses, or the detector's AP, on the validation split."""
        if self._writer is not None:
            for name, value in scores.items():
                self._writer.add_scalar(f"{phase}_validation/{name}", value, step)
            self._append(VALIDATION, {"phase": phase, "step": step, "scores": dict(scores)})

    def _append(self, name: str, row: Mapping[str, Any]) -> None:
        with (self.out / name).open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")

    def pictures(self, phase: str, step: int, model: AutoEncoder, dataset: GraphDataset) -> None:
        """The first images above what the model makes of them."""
        if self._writer is None or phase == "detector":
            return
        batch = collate_samples([dataset[i] for i in range(min(SAMPLE_PICTURES, len(dataset)))])
        self._writer.add_images(f"{phase}/reconstructions", sample_grid(phase, model, batch), step)

    def close(self) -> None:
        """Flush and close."""
        if self._writer is not None:
            self._writer.close()


def sample_grid(phase: str, model: AutoEncoder, batch: Batch) -> Tensor:
    """True pictures above reconstructions: `[B, 3, 2 S, S]` in [0, 1].

    Drawn from true graphs in the reconstruction phase, from predicted ones in the joint phase.
    """
    size = model.config.generator.image_size
    images = [image.float() / 255 for image in batch.images]
    if phase == "reconstruction":
        graphs = model.with_appearance(images, batch.graphs).split()
    else:
        graphs = model.parse_batch(images)
    drawn = model.render_batch(graphs, list(range(len(graphs)))).cpu()
    true = torch.stack([resize_square(image, size).cpu() for image in images])
    return torch.cat([true, drawn], 2)


def read_history(out: Path, name: str = HISTORY) -> list[dict[str, Any]]:
    """The loss history of a run (or its validation), oldest first."""
    path = out / name
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines if line.strip()]


def _keep_history(out: Path, name: str, start: Start) -> None:
    """Drop what a resumed run will write again; a fresh run begins an empty history."""
    path = out / name
    if start.checkpoint is None:
        path.write_text("", encoding="utf-8")
        return
    if not start.resume or not path.is_file():
        return
    done = (PHASES.index(start.checkpoint.phase), start.checkpoint.step)  # type: ignore[arg-type]
    kept = [r for r in read_history(out, name) if (PHASES.index(r["phase"]), r["step"]) <= done]
    with replacing(path) as temporary:
        temporary.write_text("".join(json.dumps(row) + "\n" for row in kept), encoding="utf-8")
