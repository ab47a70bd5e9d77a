"""The commands `reconstruct` and `parse`: photos in; graphs, and reconstructions, out."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from autoenc_sg.cli.model import split_model, usable_device
from autoenc_sg.cli.options import Command
from autoenc_sg.core.errors import InputError
from autoenc_sg.pipelines.options import ParseOptions


@dataclass(frozen=True)
class ReconstructCommand:
    """Options of `reconstruct`.

    Attributes:
        photos: image files. A model may stand before them: a run's folder, a checkpoint file, or
            the name of weights that come with the package (see the command weights); by default
            photos.
        out: folder to write to, with a folder for each photo.
        seed: of the noise.
        device: of the model, such as cpu or cuda; auto: a GPU where there is one.
        options: how photos are parsed.
    """

    photos: tuple[Path, ...]
    out: Path = Path("out")
    seed: int = 0
    device: str = "auto"
    options: ParseOptions = field(
        default=ParseOptions(), metadata={"without": ("features", "batch_size")}
    )


@dataclass(frozen=True)
class ParseCommand:
    """Options of `parse`.

    Attributes:
        photos: image files, and folders, whose image files at any depth are taken. A model may
            stand before them: a run's folder, a checkpoint file, or the name of weights that come
            with the package (see the command weights); by default photos.
        out: JSON Lines file to write, a graph a line.
        device: of the model, such as cpu or cuda; auto: a GPU where there is one.
        options: how photos are parsed.
    """

    photos: tuple[Path, ...]
    out: Path = Path("graphs.jsonl")
    device: str = "auto"
    options: ParseOptions = ParseOptions()  # noqa: RUF009 (frozen)


def _reconstruct(options: ReconstructCommand) -> int:
    from autoenc_sg.model.autoencoder import AutoEncoder
    from autoenc_sg.pipelines.reconstruct import reconstruct_photos
    from autoenc_sg.visualization.progress import Reporter

    checkpoint, photos = split_model(options.photos, "photos")
    model = AutoEncoder.from_checkpoint(checkpoint, usable_device(options.device))
    reporter, out = Reporter([("reconstruct", 1.0)]), options.out
    failures = reconstruct_photos(model, photos, out, options.seed, reporter, options.options)
    return _report(len(photos) - len(failures), failures, out)


def _parse(command: ParseCommand) -> int:
    from autoenc_sg.model.autoencoder import AutoEncoder
    from autoenc_sg.pipelines.parse import parse_photos_to_file
    from autoenc_sg.visualization.progress import Reporter

    checkpoint, photos = split_model(command.photos, "photos or folders")
    model = AutoEncoder.from_checkpoint(checkpoint, usable_device(command.device))
    reporter = Reporter([("parse", 1.0)])
    result = parse_photos_to_file(model, photos, command.out, command.options, reporter)
    return _report(result.done, result.failures, command.out)


def _report(done: int, failures: Sequence[InputError], out: Path) -> int:
    """Say what was done and what could not be; returns the exit status."""
    print(f"{done} of {done + len(failures)} photos -> {out}")
    for failure in failures:
        print(f"autoenc-sg: {failure}", file=sys.stderr)
    return 2 if failures else 0


RECONSTRUCT = Command(
    "reconstruct", "photos to scene graphs and reconstructions", ReconstructCommand, _reconstruct
)
PARSE = Command("parse", "photos to scene graphs, in one file", ParseCommand, _parse)
