"""The commands around data sets: `data vg150`, `data verify`, `data stats`, `data from-jsonl`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from autoenc_sg.cli.sg2im_vg import add_sg2im_vg
from autoenc_sg.core.errors import bad_input

if TYPE_CHECKING:
    from autoenc_sg.config.data import DataConfig
    from autoenc_sg.data.vg150.from_raw.build import BuildRules


def add_data_commands(commands: argparse._SubParsersAction[Any]) -> None:
    """`data` and what follows it."""
    data = commands.add_parser("data", help="data sets: make, check and look at them")
    parts = data.add_subparsers(dest="part", required=True, parser_class=type(data))
    _add_vg150(parts)
    _add_from_jsonl(parts)
    _add_verify(parts)
    _add_stats(parts)
    add_sg2im_vg(parts)


def _add_vg150(parts: argparse._SubParsersAction[Any]) -> None:
    vg150 = parts.add_parser(
        "vg150",
        help="Visual Genome: read the VG150 files, or build them from the raw JSON",
        epilog="Without --raw, files that are in ROOT are read; where there is no h5, they are "
        "built from the raw JSON in ROOT.",
    )
    vg150.add_argument("--root", type=Path, required=True, help="folder of the VG150 files")
    vg150.add_argument("--images", type=Path, help="folder, zip or imdb_1024.h5 of the images")
    vg150.add_argument("--missing", type=Path, help="write the ids of missing images to this file")
    vg150.add_argument("--raw", type=Path, help="folder of objects.json, relationships.json, …")
    vg150.add_argument("--objects", type=int, default=150, help="commonest names kept; 0: all")
    vg150.add_argument("--predicates", type=int, default=50, help="as --objects")
    for name in ("object-list", "predicate-list"):
        vg150.add_argument(f"--{name}", type=Path, help="file of the only names to choose from")
    for name in ("object-aliases", "predicate-aliases"):
        vg150.add_argument(f"--{name}", type=Path, help="file of lines name,alias,alias,…")
    vg150.add_argument("--min-area", type=float, default=0.002, help="of the image, of a box")
    vg150.add_argument("--train-fraction", type=float, default=0.7)
    vg150.set_defaults(run=_vg150)


def _add_from_jsonl(parts: argparse._SubParsersAction[Any]) -> None:
    lines = parts.add_parser("from-jsonl", help="your own annotated photos to VG150 files")
    lines.add_argument("file", type=Path, help="a JSON object a line, see docs/own_data.md")
    lines.add_argument("--out", type=Path, required=True, help="folder to make")
    lines.add_argument(
        "--vocabulary", type=Path, help="VG-SGG-dicts.json of the only names to allow, in order"
    )
    lines.add_argument("--train-fraction", type=float, default=0.7, help="if no line has a split")
    lines.add_argument("--link", action="store_true", help="link photos instead of copying them")
    lines.set_defaults(run=_from_jsonl)


def _add_verify(parts: argparse._SubParsersAction[Any]) -> None:
    verify = parts.add_parser("verify", help="is everything there and right, and what to do")
    add_source(verify)
    verify.add_argument(
        "--quick", action="store_true", help="only look at the images' headers, do not decode them"
    )
    verify.add_argument("--json", type=Path, help="also write the findings to this file")
    verify.set_defaults(run=_verify)


def _add_stats(parts: argparse._SubParsersAction[Any]) -> None:
    stats = parts.add_parser("stats", help="a page of counts, plots and graphs drawn on photos")
    add_source(stats)
    stats.add_argument("--out", type=Path, default=Path("stats"), help="folder to write to")
    stats.add_argument("--samples", type=int, default=8, help="graphs to draw")
    stats.add_argument("--seed", type=int, default=0, help="of which ones")
    stats.set_defaults(run=_stats)


def add_source(command: argparse.ArgumentParser) -> None:
    """Which data set."""
    command.add_argument("--root", type=Path, required=True, help="folder of the data set")
    command.add_argument("--format", default="auto", help="data.format of docs/data.md")
    command.add_argument("--annotations", default="", help="JSON in ROOT, see data.annotations")
    command.add_argument("--images", default="", help="in ROOT, see data.images")


# The commands import what they need when they run: `--help` stays quick.


def _vg150(options: argparse.Namespace) -> int:
    from rich.console import Console

    from autoenc_sg.data.images.store import find_images
    from autoenc_sg.data.vg150.counts import count_images, missing_images
    from autoenc_sg.data.vg150.files import file_paths, read_annotations
    from autoenc_sg.data.vg150.from_raw.build import build_vg150

    root = options.root
    if options.raw is not None or _only_raw(root):
        counts = build_vg150(options.raw or root, root, _rules(options))
        Console().print(counts.table().to_rich())
    data, places = read_annotations(root), find_images(root, options.images)
    Console().print(count_images(data, places).to_rich())
    missing = missing_images(data, places)
    if options.missing is not None:
        _write_lines(options.missing, missing)
    elif missing and places:
        some = ", ".join(map(str, missing[:10])) + (", …" if len(missing) > 10 else "")
        print(f"missing images, which are left out: {some} (all of them: --missing FILE)")
    print(file_paths(root)[0])
    return 0


def _only_raw(root: Path) -> bool:
    from autoenc_sg.data.vg150.files import file_paths

    raw = any((root / name).is_file() for name in ("objects.json", "objects.json.zip"))
    return raw and not file_paths(root)[0].exists()


def _rules(options: argparse.Namespace) -> BuildRules:
    from autoenc_sg.data.vg150.from_raw.build import BuildRules

    return BuildRules(
        options.objects,
        options.predicates,
        options.object_list,
        options.predicate_list,
        options.object_aliases,
        options.predicate_aliases,
        options.min_area,
        options.train_fraction,
    )


def _write_lines(path: Path, lines: list[int]) -> None:
    from autoenc_sg.core.atomic_files import replacing

    with replacing(path) as temporary:
        temporary.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def _from_jsonl(options: argparse.Namespace) -> int:
    from autoenc_sg.data.vg150.files import read_vocabulary
    from autoenc_sg.data.vg150.from_jsonl import convert_lines

    vocabulary = None if options.vocabulary is None else read_vocabulary(options.vocabulary)
    count = convert_lines(
        options.file, options.out, vocabulary, options.train_fraction, options.link
    )
    print(f"{count} photos -> {options.out}")
    return 0


def data_source(options: argparse.Namespace) -> DataConfig:
    """The data set that the options of `add_source` name."""
    from autoenc_sg.config.data import DataConfig, FormatName
    from autoenc_sg.data.open import find_format

    if not options.root.is_dir():
        raise bad_input(options.root, "the folder of a data set", "no such folder")
    known = get_args(FormatName)
    if options.format not in ("auto", *known):
        raise bad_input("--format", f"auto, {', '.join(known)}", repr(options.format))
    found = find_format(options.root) if options.format == "auto" else options.format
    return DataConfig(
        found, str(options.root), annotations=options.annotations, images=options.images
    )


def _verify(options: argparse.Namespace) -> int:
    from rich.console import Console

    from autoenc_sg.data.inspect.verify import verify

    outcome = verify(data_source(options), not options.quick)
    console = Console()
    console.print(outcome.counts.to_rich())
    if outcome.findings:
        console.print(outcome.table().to_rich())
    for finding in outcome.findings:
        print(f"{finding.kind}: {finding.remedy}")
    if options.json is not None:
        outcome.write_json(options.json)
    print(f"{options.root}: {outcome.verdict}")
    return 0 if outcome.ready else 2


def _stats(options: argparse.Namespace) -> int:
    from rich.console import Console

    from autoenc_sg.data.inspect.report import PAGE, write_data_report

    report = write_data_report(data_source(options), options.out, options.samples, options.seed)
    for table in report.tables[:2]:
        Console().print(table.to_rich())
    print(options.out / PAGE)
    return 0
