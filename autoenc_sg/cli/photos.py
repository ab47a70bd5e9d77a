"""The command `reconstruct`: photos in, graphs and reconstructions out."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from autoenc_sg.cli.device import usable_device
from autoenc_sg.cli.options import Command


@dataclass(frozen=True)
class ReconstructCommand:
    """Options of `reconstruct`.

    Attributes:
        checkpoint: a checkpoint of a trained model.
        photos: image files.
        out: folder to write to, with a folder for each photo.
        seed: of the noise.
        device: of the model, such as cpu or cuda; auto: a GPU where there is one.
    """

    checkpoint: Path
    photos: tuple[Path, ...]
    out: Path = Path("out")
    seed: int = 0
    device: str = "auto"


def _reconstruct(options: ReconstructCommand) -> int:
    from autoenc_sg.model.autoencoder import AutoEncoder
    from autoenc_sg.pipelines.reconstruct import reconstruct_photos
    from autoenc_sg.visualization.progress import Reporter

    model = AutoEncoder.from_checkpoint(options.checkpoint, usable_device(options.device))
    reporter = Reporter([("reconstruct", 1.0)])
    failures = reconstruct_photos(model, options.photos, options.out, options.seed, reporter)
    done = len(options.photos) - len(failures)
    print(f"{done} of {len(options.photos)} photos -> {options.out}")
    for failure in failures:
        print(f"autoenc-sg: {failure}", file=sys.stderr)
    return 2 if failures else 0


RECONSTRUCT = Command(
    "reconstruct", "photos to scene graphs and reconstructions", ReconstructCommand, _reconstruct
)
