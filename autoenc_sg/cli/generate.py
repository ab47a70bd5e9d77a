"""The commands around the generator: `generate`, `sample`, `import` and `export`."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

from autoenc_sg.core.errors import InputError, bad_input


def add_drawing_commands(commands: argparse._SubParsersAction[Any]) -> None:
    """`generate` and `sample`: pictures of graphs."""
    generate = commands.add_parser("generate", help="a graph file to pictures")
    generate.add_argument("checkpoint", type=Path)
    generate.add_argument("graph", type=Path, help="JSON with one graph or a list")
    generate.add_argument("--samples", type=int, default=1, help="pictures of each graph")
    generate.add_argument("--boxes", choices=("given", "predicted"), help="default: given, if any")
    generate.add_argument(
        "--masks",
        nargs="?",
        const="drawn",
        choices=("drawn", "given", "predicted"),
        help="also write the masks; which to draw (given ones, if any)",
    )
    generate.add_argument("--size", type=int, help="side of the pictures in pixels (resampled)")
    generate.add_argument("--grow", action="store_true", help="also draw it object by object")
    _add_common(generate, Path("out"))
    generate.set_defaults(run=_generate)

    sample = commands.add_parser("sample", help="draw the graphs of the test split")
    sample.add_argument("checkpoint", type=Path)
    sample.add_argument("--data", type=Path, help="folder of the data set, if it has moved")
    sample.add_argument("--split", choices=("val", "test"), default="test")
    sample.add_argument("--limit", type=int, help="graphs at most")
    for name in ("--boxes", "--masks"):
        sample.add_argument(name, choices=("given", "predicted"), default="given")
    sample.add_argument("--photos", action="store_true", help="also write the true pictures")
    text = "draw objects with the codes of their looks in the true pictures"
    sample.add_argument("--appearance", action="store_true", help=text)
    _add_common(sample, Path("samples"))
    sample.set_defaults(run=_sample)


def _add_common(command: argparse.ArgumentParser, out: Path) -> None:
    command.add_argument("--seed", type=int, default=0, help="of the noise")
    command.add_argument("--temperature", type=float, default=1.0, help="factor of the noise")
    command.add_argument("--out", type=Path, default=out)
    command.add_argument("--device", default="auto")


def add_weights_commands(commands: argparse._SubParsersAction[Any]) -> None:
    """`import` and `export`: other programs' weights."""
    reading = commands.add_parser("import", help="weights of another program as ours")
    kinds = ("sg2im", "motifs-detector", "graph-rcnn-detector")
    reading.add_argument("kind", choices=kinds)
    reading.add_argument("file", type=Path, help="its weights: vg64.pt, vg-faster-rcnn.tar, a .pth")
    reading.add_argument("--out", type=Path, required=True, help="folder of our files")
    reading.set_defaults(run=_import)

    writing = commands.add_parser("export", help="a checkpoint as another program reads it")
    writing.add_argument("kind", choices=("sg2im",))
    writing.add_argument("checkpoint", type=Path)
    writing.add_argument("--out", type=Path, required=True, help="file to write")
    writing.set_defaults(run=_export)


def _generate(options: argparse.Namespace) -> int:
    from autoenc_sg.model.autoencoder import AutoEncoder
    from autoenc_sg.pipelines.generate import GenerateOptions, generate_pictures
    from autoenc_sg.visualization.progress import Reporter

    how = GenerateOptions(
        options.seed,
        options.samples,
        options.boxes,
        None if options.masks == "drawn" else options.masks,
        options.masks is not None,
        options.temperature,
        options.size,
        options.grow,
    )
    model = AutoEncoder.from_checkpoint(options.checkpoint, usable_device(options.device))
    reporter = Reporter([("generate", 1.0)])
    for path in generate_pictures(model, options.graph, options.out, how, reporter):
        print(path)
    return 0


def _sample(options: argparse.Namespace) -> int:
    from autoenc_sg.data.open import find_format, open_dataset
    from autoenc_sg.model.autoencoder import AutoEncoder
    from autoenc_sg.pipelines.sample import SampleOptions, write_samples
    from autoenc_sg.visualization.progress import Reporter
    from autoenc_sg.weights.checkpoint import check_vocabulary, is_decoder, read_checkpoint

    how = SampleOptions(
        options.limit,
        options.seed,
        options.boxes,
        options.masks,
        options.temperature,
        options.photos,
        options.appearance,
    )
    checkpoint = read_checkpoint(options.checkpoint)
    data = checkpoint.config.data
    if options.data is not None:
        if not options.data.is_dir():
            raise bad_input(options.data, "the folder of the data set", "no such folder")
        data = replace(data, root=str(options.data))
        if is_decoder(checkpoint.model):  # imported: it was trained elsewhere
            data = replace(data, format=find_format(options.data))
    dataset = open_dataset(data, options.split, checkpoint.config.seed)
    check_vocabulary(checkpoint, dataset.vocabulary, options.checkpoint)
    model = AutoEncoder.from_checkpoint(options.checkpoint, usable_device(options.device))
    print(write_samples(model, dataset, options.out, how, Reporter([("sample", 1.0)])))
    return 0


def _import(options: argparse.Namespace) -> int:
    from autoenc_sg.training.run_log import HISTORY
    from autoenc_sg.weights.import_detector import import_detector
    from autoenc_sg.weights.sg2im import import_file

    if (options.out / HISTORY).is_file():
        raise bad_input(f"--out {options.out}", "a folder without a run", f"one with {HISTORY}")
    if options.kind != "sg2im":
        for path in import_detector(options.kind, options.file, options.out):
            print(path)
        return 0
    path = options.out / "checkpoint.pt"
    for note in import_file(options.file, path):
        print(f"note: {note}")
    print(path)
    return 0


def _export(options: argparse.Namespace) -> int:
    from autoenc_sg.weights.sg2im import export_file

    for note in export_file(options.checkpoint, options.out):
        print(f"note: {note}")
    print(options.out)
    return 0


def usable_device(name: str) -> str:
    """`auto`: CUDA where there is one.

    Raises:
        InputError: a device that PyTorch does not have.
    """
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.zeros(1, device=name).item()  # a `meta` tensor has no value
    except (RuntimeError, AssertionError) as error:
        reason = str(error).split("\n")[0]
        raise InputError(
            f"--device: expected one PyTorch can use, got {name!r} ({reason})"
        ) from error
    return name
