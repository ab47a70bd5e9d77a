"""What the grid varies: how much is annotated, how well, and what the joint phase learns from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

from autoenc_sg.config.files import load_config
from autoenc_sg.config.predictor import HeadName
from autoenc_sg.config.run import RunConfig
from autoenc_sg.core.errors import bad_input, require

# Noise of the training relations; scenes are drawn alike, and boxes and classes are true.
NOISES: Mapping[str, Sequence[str]] = {
    "clean": (),
    "noisy": ("--data.scenes.drop_relations=0.3", "--data.scenes.wrong_predicates=0.2"),
    "biased": ("--data.scenes.biased_predicates=0.3",),
}
# A generator that draws relations, and losses that see them.
RELATIONS = (
    "--generator.relation_layout=true",
    *(
        f"--{phase}.image_losses.{name}_weight={weight}"
        for phase in ("reconstruction", "joint")
        for name, weight in (
            ("relation_adversarial", 0.01),
            ("feature", 0.1),
            ("relation_feature", 0.1),
        )
    ),
)
# Of all runs, unless overridden: validated in steps that do not depend on how much is annotated.
DEFAULTS = (
    "--reconstruction.steps=1200",
    *("--joint.steps=6000", "--joint.validate_epochs=1", "--joint.validate_min_steps=250"),
    "--joint.best_metric=SGGen mR@50",
)
_NO_IMAGE_LOSS = ("--joint.image_loss_weight=0", "--joint.true_graph_weight=0")
_TEACHER = "--joint.unannotated.pseudo_labels=teacher"
BASELINE = "graph-only"


@dataclass(frozen=True)
class Way:
    """What the joint phase learns from.

    Attributes:
        options: of the configuration.
        draws_relations: with `RELATIONS`; its generator is another one.
        uses_unannotated: images without annotated relations, beside the annotated ones.
    """

    options: Sequence[str] = ()
    draws_relations: bool = False
    uses_unannotated: bool = False


WAYS: Mapping[str, Way] = {
    BASELINE: Way(_NO_IMAGE_LOSS),
    "image-loss": Way(),
    "relations": Way(draws_relations=True),
    "unannotated": Way(draws_relations=True, uses_unannotated=True),
    "pseudo-labels": Way((*_NO_IMAGE_LOSS, _TEACHER), uses_unannotated=True),
    "pseudo-labels-image-loss": Way((_TEACHER,), draws_relations=True, uses_unannotated=True),
    "straight-through": Way(("--joint.mode=straight_through",)),
    "no-gradient": Way(("--joint.mode=detached",)),
}
GRID_WAYS = tuple(WAYS)[:6]  # the other two: how gradient crosses the graph


@dataclass(frozen=True)
class Setting:
    """What is annotated, and which head learns it.

    Attributes:
        fraction: of the training images that keep their relations.
        noise: of `NOISES`.
        head: the relation head.
    """

    fraction: float
    noise: str
    head: HeadName

    def __str__(self) -> str:
        return f"{100 * self.fraction:g} % {self.noise}, {self.head}"

    @property
    def data(self) -> str:
        """Name of folders of what depends on the annotation alone."""
        return f"{self.fraction:g}-{self.noise}"


@dataclass(frozen=True)
class Cell:
    """One training: a setting, a way, and the seed of its fresh layers and batches."""

    setting: Setting
    way: str
    seed: int

    @property
    def name(self) -> str:
        """Of its folder."""
        return f"{self.setting.data}/{self.setting.head}-{self.way}-seed-{self.seed}"


# Named before anything was run, see benchmarks/image_loss.py.
REGISTERED = Setting(0.05, "clean", "gcn")
REGISTERED_WAY, REGISTERED_SCORE = "unannotated", "SGGen mR@50"


@dataclass(frozen=True)
class Grid:
    """The cells, and the configuration of each.

    Attributes:
        out: folder of everything.
        config: file or packaged name that all runs have in common.
        overrides: of it.
        fractions, noises, heads, ways: what is varied, in the order in which it is run.
        seeds: runs of each; 0, 1, ...
        unannotated: a folder of photos or data set in place of the images whose relations are left
            out (or beside them); None: these alone.

    Raises:
        InputError: an unknown noise or way, or a fraction outside (0, 1].
    """

    out: Path
    config: str = "demo"
    overrides: tuple[str, ...] = ()
    fractions: tuple[float, ...] = (0.05, 0.2, 1.0)
    noises: tuple[str, ...] = tuple(NOISES)
    heads: tuple[HeadName, ...] = ("gcn", "motifs")
    ways: tuple[str, ...] = GRID_WAYS
    seeds: int = 5
    unannotated: Path | None = None

    def __post_init__(self) -> None:
        for name, values, known in (
            ("--noises", self.noises, NOISES), ("--ways", self.ways, WAYS)
        ):  # fmt: skip
            unknown = [value for value in values if value not in known]
            require(not unknown, name, f"some of {', '.join(known)}", " ".join(unknown))
        for fraction in self.fractions:
            require(0 < fraction <= 1, "--fractions", "in (0, 1]", fraction)
        require(self.seeds >= 1, "--seeds", ">= 1", self.seeds)
        if not self.cells():
            raise bad_input("grid", "a way for one of the fractions", "none: all is annotated")

    def settings(self) -> list[Setting]:
        """The registered one's fraction first, all seeds of a setting before the next."""
        axes = product(self.fractions, self.noises, self.heads)
        return [Setting(fraction, noise, head) for fraction, noise, head in axes]

    def cells(self) -> list[Cell]:
        """Setting by setting, in each seed by seed."""
        return [
            Cell(setting, way, seed)
            for setting in self.settings()
            for seed in range(self.seeds)
            for way in self.ways
            if self._has_unannotated(setting) or not WAYS[way].uses_unannotated
        ]

    def _has_unannotated(self, setting: Setting) -> bool:
        return setting.fraction < 1 or self.unannotated is not None

    def folder(self, cell: Cell) -> Path:
        """Of a cell's run and results."""
        return self.out / "cells" / cell.name

    def regions(self, setting: Setting) -> Path:
        """What the one frozen detector sees of the images that have relations under a noise."""
        return self.out / "regions" / setting.noise

    def detector_config(self) -> RunConfig:
        """The run whose detector all cells have; it sees boxes and classes, which are all true."""
        return self._config(self.out / "detector", "clean")

    def generator_config(self, setting: Setting, draws_relations: bool) -> RunConfig:
        """The reconstruction phase that the joint phase goes on with."""
        name = f"{setting.data}-{'relations' if draws_relations else 'objects'}"
        options = (*self._annotation(setting), *(RELATIONS if draws_relations else ()))
        return self._config(self.out / "generators" / name, setting.noise, options)

    def config_of(self, cell: Cell) -> RunConfig:
        """The joint phase of a cell, on cached regions, validated, at a constant rate."""
        way, setting = WAYS[cell.way], cell.setting
        frozen = ("--joint.freeze_backbone=true", "--joint.freeze_detector=true")
        cached = (f"--joint.region_cache={self.regions(setting)}", "--joint.decay_at=[]")
        relations = RELATIONS if way.draws_relations else ()
        options = [*self._annotation(setting), *frozen, *cached, *relations, *way.options]
        if way.uses_unannotated and self.unannotated is not None:
            options.append(f"--data.unannotated={self.unannotated}")
        if not way.uses_unannotated and setting.fraction < 1:
            options.append("--joint.unannotated.per_batch=0")
        config = self._config(self.folder(cell), setting.noise, options)
        head = config.predictor.of_head(setting.head)
        return replace(config, seed=cell.seed, predictor=head)

    def _annotation(self, setting: Setting) -> Sequence[str]:
        fraction = setting.fraction
        return (f"--data.annotated_fraction={fraction}",) if fraction < 1 else ()

    def _config(self, out: Path, noise: str, options: Sequence[str] = ()) -> RunConfig:
        """The common configuration with more options; the scenes of a noise lie in `out`."""
        places = (f"--out={out}", f"--data.root={self.out / 'scenes' / noise}")
        return load_config(
            self.config, [*DEFAULTS, *self.overrides, *NOISES[noise], *places, *options]
        )
