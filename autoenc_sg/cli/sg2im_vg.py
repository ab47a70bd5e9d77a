"""The command `data sg2im-vg`: Visual Genome as sg2im preprocesses it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

_RULES = (
    ("min_image_size", "least side of an image in pixels (200)"),
    ("min_object_instances", "of a name in the train split (2000)"),
    ("min_attribute_instances", "likewise (2000)"),
    ("min_relationship_instances", "likewise (500)"),
    ("min_object_size", "least width and height in pixels (32)"),
    ("min_objects_per_image", "(3)"),
    ("max_objects_per_image", "(30)"),
    ("min_relationships_per_image", "(1)"),
    ("max_relationships_per_image", "(30)"),
    ("max_attributes_per_image", "of an object (30)"),
)


def add_sg2im_vg(parts: argparse._SubParsersAction[Any]) -> None:
    """`sg2im-vg`."""
    command = parts.add_parser(
        "sg2im-vg",
        help="Visual Genome's raw JSON to sg2im's train.h5, val.h5, test.h5 and vocab.json",
    )
    command.add_argument(
        "--root",
        type=Path,
        required=True,
        help="folder of objects.json, relationships.json, attributes.json (or zips of them), "
        "image_data.json, object_alias.txt, relationship_alias.txt, vg_splits.json",
    )
    command.add_argument("--out", type=Path, help="folder to write to; default: ROOT")
    command.add_argument(
        "--splits", type=Path, help="JSON of image ids by train, val, test; or the word random"
    )
    for name in ("object-aliases", "relationship-aliases"):
        command.add_argument(f"--{name}", type=Path, help="file of lines name,alias,alias,…")
    for name, text in _RULES:
        flag = "--" + name.replace("_", "-")
        command.add_argument(flag, type=int, default=argparse.SUPPRESS, help=text)
    command.add_argument(
        "--normalize-held-out",
        action="store_true",
        help="strip, lower and resolve the aliases of predicates in val and test too (sg2im: no)",
    )
    command.set_defaults(run=_sg2im_vg)


def _sg2im_vg(options: argparse.Namespace) -> int:
    from rich.console import Console

    from autoenc_sg.data.sg2im_vg.build import build_sg2im_vg
    from autoenc_sg.data.sg2im_vg.rules import RawFiles, Sg2imRules

    given = {name: getattr(options, name) for name, _ in _RULES if hasattr(options, name)}
    rules = Sg2imRules(**given, normalize_held_out=options.normalize_held_out)
    files = RawFiles(
        options.root, options.splits, options.object_aliases, options.relationship_aliases
    )
    out = options.out or options.root
    counts = build_sg2im_vg(files, out, rules)
    Console().print(counts.table().to_rich())
    print(out / "train.h5")
    return 0
