"""The commands `demo` and `scenes`: the drawn data set, and the whole method on it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from autoenc_sg.cli.options import Command
from autoenc_sg.config.data import ScenesConfig


@dataclass(frozen=True)
class DemoCommand:
    """Options of `demo`.

    Attributes:
        out: folder to write to.
        seed: of the scenes, the initial weights and the training.
    """

    out: Path = Path("runs/demo")
    seed: int = 0


@dataclass(frozen=True)
class ScenesCommand:
    """Options of `scenes`.

    Attributes:
        out: folder to write to.
        scenes: what to draw.
    """

    out: Path = Path("runs/scenes")
    scenes: ScenesConfig = ScenesConfig()  # noqa: RUF009 (frozen)


def _demo(options: DemoCommand) -> int:
    from autoenc_sg.pipelines.demo import run_demo

    run_demo(options.out, options.seed)
    return 0


def _scenes(options: ScenesCommand) -> int:
    from autoenc_sg.data.scenes.files import write_scenes
    from autoenc_sg.visualization.progress import Reporter

    scenes = options.scenes
    reporter = Reporter([("scenes", 1.0)])
    with reporter.stage("scenes", scenes.num_train + scenes.num_test):
        write_scenes(options.out, scenes, lambda done, total: reporter.advance())
    print(options.out)
    return 0


DEMO = Command(
    "demo", "draw scenes, train all phases, evaluate and report, in minutes", DemoCommand, _demo
)
SCENES = Command("scenes", "draw the built-in data set as VG150 files", ScenesCommand, _scenes)
