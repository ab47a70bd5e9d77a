"""The commands around the generator: `generate`, `sample`, `import` and `export`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add_weights_commands(commands: argparse._SubParsersAction[Any]) -> None:
    """`import` and `export`: other programs' weights."""
    reading = commands.add_parser("import", help="weights of another program as a checkpoint")
    reading.add_argument("kind", choices=("sg2im",))
    reading.add_argument("file", type=Path, help="its checkpoint, such as vg64.pt")
    reading.add_argument("--out", type=Path, required=True, help="folder of our checkpoint.pt")
    reading.set_defaults(run=_import)

    writing = commands.add_parser("export", help="a checkpoint as another program reads it")
    writing.add_argument("kind", choices=("sg2im",))
    writing.add_argument("checkpoint", type=Path)
    writing.add_argument("--out", type=Path, required=True, help="file to write")
    writing.set_defaults(run=_export)


def _import(options: argparse.Namespace) -> int:
    from autoenc_sg.sg2im_weights import import_file

    path = options.out / "checkpoint.pt"
    for note in import_file(options.file, path):
        print(f"note: {note}")
    print(path)
    return 0


def _export(options: argparse.Namespace) -> int:
    from autoenc_sg.sg2im_weights import export_file

    for note in export_file(options.checkpoint, options.out):
        print(f"note: {note}")
    print(options.out)
    return 0
