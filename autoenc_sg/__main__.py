"""`python -m autoenc_sg`: the command line."""

import sys
<<<<<<< HEAD
=======
import warnings
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import NoReturn

from autoenc_sg import __version__
from autoenc_sg.cli.data import add_data_commands
from autoenc_sg.cli.evaluate import add_evaluation_commands
from autoenc_sg.cli.generate import (
    add_drawing_commands,
    add_weights_commands,
    usable_device,
)
from autoenc_sg.config.data import ScenesConfig
from autoenc_sg.config.phases import PHASES
from autoenc_sg.core.errors import InputError, TrainingDiverged


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """One line instead of the usage text."""
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    parser = build_parser()
    options, rest = parser.parse_known_args(arguments)
    if rest and options.run is not _train:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    options.overrides = rest
    _quiet()
    try:
        status: int = options.run(options)
    except InputError as error:
        print(f"autoenc-sg: {error}", file=sys.stderr)
        return 2
    except TrainingDiverged as error:
        print(f"autoenc-sg: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("autoenc-sg: interrupted", file=sys.stderr)
        return 130
    return status


def build_parser() -> argparse.ArgumentParser:
    """All commands and their options."""
    parser = _Parser(prog="autoenc-sg", description="Photo -> scene graph -> photo.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True, parser_class=_Parser)

    demo = commands.add_parser("demo", help="the whole way on drawn scenes, in some minutes")
    demo.add_argument("--out", type=Path, default=Path("runs/demo"))
    demo.add_argument("--seed", type=int, default=0)
    demo.set_defaults(run=_demo)

    train = commands.add_parser(
        "train",
        help="run the training phases of a configuration",
        epilog="Any value of the configuration can be overridden: --joint.steps 1000; "
        "--print-config and docs/configuration.md show them all",
    )
    train.add_argument("config", help="a YAML file, or a packaged name such as `scenes`")
    train.add_argument("--phase", choices=PHASES, help="only this one")
    train.add_argument(
        "--resume", action="store_true", help="continue the run in the output folder"
    )
    train.add_argument("--init", type=Path, metavar="CHECKPOINT", help="take weights from here")
    train.add_argument(
        "--print-config", action="store_true", help="show the whole configuration, run nothing"
    )
    train.set_defaults(run=_train)

    add_evaluation_commands(commands)

    reconstruct = commands.add_parser("reconstruct", help="photos to graphs and reconstructions")
    reconstruct.add_argument("checkpoint", type=Path)
    reconstruct.add_argument("photos", type=Path, nargs="+")
    _add_drawing(reconstruct)
    reconstruct.set_defaults(run=_reconstruct)

    add_drawing_commands(commands)
    add_weights_commands(commands)
    add_data_commands(commands)
    _add_scenes(commands)
    return parser


def _add_drawing(command: argparse.ArgumentParser) -> None:
    command.add_argument("--out", type=Path, default=Path("out"))
    command.add_argument("--seed", type=int, default=0, help="of the noise")
    command.add_argument("--device", default="auto")


def _add_scenes(commands: argparse._SubParsersAction[_Parser]) -> None:
    defaults = ScenesConfig()
    scenes = commands.add_parser("scenes", help="draw the embedded data set as VG150 files")
    scenes.add_argument("--out", type=Path, default=Path("runs/scenes"))
    for name in ("num_train", "num_test", "image_size", "seed", "tint"):
        scenes.add_argument(_flag(name), type=int, default=getattr(defaults, name))
    for name in ("drop_relations", "wrong_predicates", "wrong_labels"):
        text = "fraction of the train split's annotation"
        scenes.add_argument(_flag(name), type=float, default=0.0, help=text)
    scenes.set_defaults(run=_scenes)


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


# The commands import what they need when they run: `--help` stays quick.


def _demo(options: argparse.Namespace) -> int:
    from autoenc_sg.pipelines.demo import run_demo

    run_demo(options.out, options.seed)
    return 0


def _train(options: argparse.Namespace) -> int:
    from lightning.fabric.utilities import rank_zero_only

    from autoenc_sg.config.files import dump_config, load_config
    from autoenc_sg.training.loop import train
    from autoenc_sg.training.start import find_start

    config = load_config(options.config, options.overrides)
    if options.print_config:
        print(dump_config(config), end="")
        return 0
    phases = PHASES if options.phase is None else (options.phase,)
    start = find_start(config, options.phase, options.resume, options.init)
    rank_zero_only(print)(train(config, phases, start))
    return 0


def _reconstruct(options: argparse.Namespace) -> int:
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


def _scenes(options: argparse.Namespace) -> int:
    from autoenc_sg.data.scenes.files import write_scenes
    from autoenc_sg.visualization.progress import Reporter

    config = ScenesConfig(*(getattr(options, field.name) for field in fields(ScenesConfig)))
    reporter = Reporter([("scenes", 1.0)])
    with reporter.stage("scenes", config.num_train + config.num_test):
        write_scenes(options.out, config, lambda done, total: reporter.advance())
    print(options.out)
    return 0


def _quiet() -> None:
    """Libraries' chatter that says nothing to the user."""
    logging.getLogger("lightning").setLevel(logging.WARNING)
    logging.getLogger("lightning.fabric").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", module="lightning")
    warnings.filterwarnings("ignore", "Image size .* exceeds limit")  # it is an error here
>>>>>>> 38a574e (Tables and progress are what people look at: from core/ to visualization/)

from autoenc_sg.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
