"""What a comparison trains: each head, with and without the image loss, from several seeds."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

from autoenc_sg.config.files import changed_config
from autoenc_sg.config.predictor import HEADS, HeadName
from autoenc_sg.config.run import RunConfig
from autoenc_sg.core.errors import bad_input, require
from autoenc_sg.pipelines.compare.head_options import overrides_of
from autoenc_sg.scoring.options import EvaluationOptions


@dataclass(frozen=True)
class Cell:
    """One training of a comparison.

    Attributes:
        head: the relation head.
        image_loss: whether the joint phase has image losses.
        seed: of the run.
    """

    head: HeadName
    image_loss: bool
    seed: int

    @property
    def name(self) -> str:
        """Of its folder."""
        return f"{self.head}-image-loss-{'on' if self.image_loss else 'off'}-seed-{self.seed}"

    def __str__(self) -> str:
        return f"{self.head}, image loss {'on' if self.image_loss else 'off'}, seed {self.seed}"


@dataclass(frozen=True)
class Grid:
    """A comparison in the folder `config.out`.

    Attributes:
        config: of all runs; each cell replaces head, seed and image loss, and freezes the detector.
        heads: one or more.
        image_loss: with it, without it, or both.
        seeds: runs of each; their seeds count from `config.seed`.
        options: of the evaluation on the test split; images are not scored.
        head_options: options of single heads, see `head_options`.

    Raises:
        InputError: nothing or something twice to compare, no image loss to turn on, a detector
            that the configuration trains, several processes, or options that do not fit a head.
    """

    config: RunConfig
    heads: tuple[HeadName, ...] = HEADS
    image_loss: tuple[bool, ...] = (True, False)
    seeds: int = 3
    options: EvaluationOptions = EvaluationOptions()  # noqa: RUF009 (frozen)
    head_options: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, values in (("--heads", self.heads), ("--image-loss", self.image_loss)):
            require(0 < len(set(values)) == len(values), name, "one or more different ones", values)
        unknown = [head for head in self.heads if head not in HEADS]
        require(not unknown, "--heads", f"some of {', '.join(HEADS)}", " ".join(unknown))
        require(self.seeds >= 1, "--seeds", ">= 1", self.seeds)
        joint = self.config.joint
        if True in self.image_loss and joint.image_loss_weight == 0:
            raise bad_input("joint.image_loss_weight", "> 0 with --image-loss on", 0)
        if joint.detection_weight > 0:
            expected = "0 in a comparison on one frozen detector"
            raise bad_input("joint.detection_weight", expected, joint.detection_weight)

        overrides_of(self.head_options, self.heads)  # raises

        devices = self.config.runtime.devices
        require(devices in (1, "1", "auto"), "runtime.devices", "1 in a comparison", devices)
        for cell in self.cells():
            self.config_of(cell)  # raises before anything is trained

    @property
    def out(self) -> Path:
        """The folder of the comparison."""
        return Path(self.config.out)

    @property
    def regions(self) -> Path:
        """The folder of the cached regions that all cells share."""
        return self.out / "regions"

    def cells(self) -> list[Cell]:
        """Seed by seed, so that an interrupted grid has all heads of the first seeds."""
        seeds = range(self.config.seed, self.config.seed + self.seeds)
        return [Cell(h, on, s) for s, h, on in product(seeds, self.heads, self.image_loss)]

    def folder(self, cell: Cell) -> Path:
        """Of a cell's run and result."""
        return self.out / "cells" / cell.name

    def config_of(self, cell: Cell) -> RunConfig:
        """The run of a cell."""
        joint = replace(
            self.config.joint,
            freeze_backbone=True,
            freeze_detector=True,
            region_cache=self.config.joint.region_cache or str(self.regions),
            image_loss_weight=self.config.joint.image_loss_weight if cell.image_loss else 0.0,
        )
        config = replace(
            self.config,
            out=str(self.folder(cell)),
            seed=cell.seed,
            predictor=self.config.predictor.of_head(cell.head),
            joint=joint,
            runtime=replace(self.config.runtime, devices=1),
        )
        overrides = overrides_of(self.head_options, self.heads).get(cell.head)
        return changed_config(config, overrides, "--head-options") if overrides else config

    def base_config(self) -> RunConfig:
        """The run that trains what the cells start from."""
        runtime = replace(self.config.runtime, devices=1)
        return replace(self.config, out=str(self.out / "base"), runtime=runtime)
