"""The log of a run: losses, validation scores and sample images."""

from __future__ import annotations

import json
import shutil
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from autoenc_sg.config.files import dump_config
from autoenc_sg.config.phases import PHASES, GanKind, PhaseName
from autoenc_sg.config.run import RunConfig
from autoenc_sg.core.atomic_files import make_folder, replacing
from autoenc_sg.core.errors import bad_input
from autoenc_sg.core.images import as_float, resize_square
from autoenc_sg.data.base.samples import Batch, GraphDataset, collate_samples
from autoenc_sg.model.autoencoder import AutoEncoder
from autoenc_sg.training.guards.collapse import CollapseWarnings
from autoenc_sg.training.phases import Phase
from autoenc_sg.training.start import Start

HISTORY = "history.jsonl"
VALIDATION = "validation.jsonl"
LOGS = "logs"
SAMPLE_IMAGES = 4


class RunLog:
    """TensorBoard, the history beside it (JSON Lines), and the note of the progress bar.

    Args:
        out: folder of the run.
        active: whether this process writes; the others only keep `note`.
        start: of the run; one that is resumed or goes on in place continues its history.
        phases: about to be trained; what will be written again is dropped.
        gan: kind of the GAN loss, for warnings.

    Attributes:
        note: the last mean loss, for the progress bar.
    """

    def __init__(
        self,
        out: Path,
        active: bool,
        start: Start,
        phases: Sequence[PhaseName] = (),
        gan: GanKind = "gan",
    ) -> None:
        self.out = out
        self.active = active
        self.note = ""
        self._sums: dict[str, Tensor] = {}
        self._counts: Counter[str] = Counter()
        self._steps = 0
        self._since = time.monotonic()
        self._collapse = CollapseWarnings(gan)
        self._start = start
        self._writers: dict[str, SummaryWriter] = {}
        if active:
            make_folder(out)
            for name in (HISTORY, VALIDATION):
                _begin_history(out, name, start, phases)
            _begin_logs(out / LOGS, start, phases)

    def write_config(self, config: RunConfig) -> None:
        """Write the whole configuration to `config.yaml`."""
        if self.active:
            with replacing(self.out / "config.yaml") as temporary:
                temporary.write_text(dump_config(config), encoding="utf-8")

    def losses(
        self, phase: str, step: int, losses: Mapping[str, Tensor], state: Phase, every: int
    ) -> None:
        """Add a step's losses; every `every` steps and at the end write their means.

        With the means go the learning rates and the images per second. They are those of the whole
        batches: of several processes the mean, so that all have to call this.
        """
        for name, value in losses.items():
            self._sums[name] = self._sums.get(name, 0) + value
            self._counts[name] += 1  # a skipped step has no losses
        self._steps += 1
        if step % every != 0 and step != state.steps:
            return
        means = self._means(state)
        seconds = time.monotonic() - self._since
        speed = self._steps * state.batch_size / max(seconds, 1e-9)
        self.note = f"loss {sum(v for k, v in means.items() if 'discriminator' not in k):.3f}"
        self._write(phase, step, means, state.rates(), speed)
        self._sums, self._counts, self._steps = {}, Counter(), 0
        self._since = time.monotonic()

    def _means(self, phase: Phase) -> dict[str, float]:
        names = list(self._sums)
        if not names:
            return {}
        means = torch.stack([self._sums[name] / self._counts[name] for name in names])
        return dict(zip(names, phase.processes.mean(means).tolist()))

    def _write(
        self,
        phase: str,
        step: int,
        means: Mapping[str, float],
        rates: Mapping[str, float],
        speed: float,
    ) -> None:
        if not self.active:
            return
        writer = self._writer(phase)
        for name, value in means.items():
            writer.add_scalar(f"{phase}/{name}", value, step)
        for name, value in rates.items():
            writer.add_scalar(f"{phase}_lr/{name}", value, step)
        writer.add_scalar(f"{phase}/images_per_second", speed, step)
        for line in self._collapse.of_losses(phase, step, means):
            writer.add_text(f"{phase}/warning", line, step)
        row = {"phase": phase, "step": step, "images_per_second": speed, "losses": dict(means)}
        self._append(HISTORY, row)

    def validation(self, phase: str, step: int, scores: Mapping[str, float]) -> None:
        """Write the scores on the validation split."""
        if self.active:
            for name, value in scores.items():
                self._writer(phase).add_scalar(f"{phase}_validation/{name}", value, step)
            self._append(VALIDATION, {"phase": phase, "step": step, "scores": dict(scores)})

    def _append(self, name: str, row: Mapping[str, Any]) -> None:
        with (self.out / name).open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")

    def samples(self, phase: str, step: int, model: AutoEncoder, dataset: GraphDataset) -> None:
        """Write a grid of the first images above their reconstructions (not of the detector)."""
        if not self.active or phase == "detector":
            return
        batch = collate_samples([dataset[i] for i in range(min(SAMPLE_IMAGES, len(dataset)))])
        grid, writer = sample_grid(phase, model, batch), self._writer(phase)
        writer.add_images(f"{phase}/reconstructions", grid, step)
        for line in self._collapse.of_images(phase, step, grid[:, :, grid.shape[-1] :]):
            writer.add_text(f"{phase}/warning", line, step)

    def close(self) -> None:
        """Flush and close TensorBoard's files."""
        for writer in self._writers.values():
            writer.close()

    def _writer(self, phase: str) -> SummaryWriter:
        """TensorBoard's writer of a phase; of points after a resumed run's checkpoint none count.

        Each phase has a folder of its own, since such a cut is by step, and each begins at 1.
        """
        if phase not in self._writers:
            step = self._start.step(phase)  # type: ignore[arg-type]
            purge = step + 1 if step > 0 else None
            self._writers[phase] = SummaryWriter(str(self.out / LOGS / phase), purge_step=purge)
        return self._writers[phase]


def sample_grid(phase: str, model: AutoEncoder, batch: Batch) -> Tensor:
    """True images above reconstructions: `[B, 3, 2 S, S]` in [0, 1].

    Generated from true graphs in the reconstruction phase, from predicted ones in the joint phase.
    """
    size = model.config.generator.image_size
    images = [as_float(image) for image in batch.images]
    if phase == "reconstruction":
        graphs = model.with_appearance(images, batch.graphs).split()
    else:
        graphs = model.parse(images)
    generated = model.render_batch(graphs, list(range(len(graphs)))).cpu()
    true = torch.stack([resize_square(image, size).cpu() for image in images])
    return torch.cat([true, generated], 2)


def read_history(out: Path, name: str = HISTORY) -> list[dict[str, Any]]:
    """The loss history of a run (or its validation), oldest first.

    A last line that was cut, as when the machine went down while it was written, is dropped.

    Raises:
        InputError: another line is not JSON.
    """
    path = out / name
    if not path.is_file():
        return []
    text = path.read_text(encoding="utf-8", errors="replace")
    lines = [line for line in text.splitlines() if line.strip()]
    rows = []
    for number, line in enumerate(lines, 1):
        try:
            rows.append(json.loads(line))
        except ValueError as error:
            if number < len(lines):
                raise bad_input(f"{path}:{number}", "a line of JSON", error) from error
    return rows


def _begin_logs(folder: Path, start: Start, phases: Sequence[PhaseName]) -> None:
    """Remove TensorBoard's files of phases that begin anew, or of all in a new run."""
    if not (start.resume or start.in_place):
        phases = PHASES
        for file in folder.glob("events.*"):  # of version 1, all phases in one
            file.unlink()
    for phase in phases:
        if start.step(phase) == 0 and (folder / phase).is_dir():
            shutil.rmtree(folder / phase)


def _begin_history(out: Path, name: str, start: Start, phases: Sequence[PhaseName]) -> None:
    """Keep the rows of a run that goes on which will not be written again; empty that of another.

    Those are a resumed run's rows up to its checkpoint, or those of the phases before `phases`.
    """
    path, checkpoint = out / name, start.checkpoint
    if checkpoint is None or not (start.resume or start.in_place):
        path.write_text("", encoding="utf-8")
        return
    if not path.is_file():
        return
    if start.resume:
        end = (PHASES.index(checkpoint.phase), checkpoint.step)  # type: ignore[arg-type]
    else:
        end = (min((PHASES.index(phase) for phase in phases), default=len(PHASES)), 0)
    rows = [r for r in read_history(out, name) if (PHASES.index(r["phase"]), r["step"]) <= end]
    with replacing(path) as temporary:
        temporary.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
