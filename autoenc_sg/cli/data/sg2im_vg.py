"""The command `data sg2im-vg`: Visual Genome as sg2im preprocesses it."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path

from autoenc_sg.cli.options import Command


@dataclass(frozen=True)
class Sg2imVgCommand:
    """Options of `data sg2im-vg`; those of numbers are the fields of `Sg2imRules`.

    Attributes:
        root: folder of objects.json, relationships.json, attributes.json (or zips of them),
            image_data.json, object_alias.txt, relationship_alias.txt and vg_splits.json.
        out: folder to write to; ROOT by default.
        splits: JSON file of image ids by train, val and test; or the word random.
        object_aliases, relationship_aliases: file of lines name,alias,alias,…
        min_image_size: least side of an image in pixels.
        min_object_instances: least number of objects of a name in the train split.
        min_attribute_instances: least number of an attribute in the train split.
        min_relationship_instances: least number of a predicate in the train split.
        min_object_size: least width and height of an object in pixels.
        min_objects_per_image, min_relationships_per_image: images with fewer are left out.
        max_objects_per_image, max_relationships_per_image: images with more are left out.
        max_attributes_per_image: attributes of an object, the first ones.
        normalize_held_out: strip, lower and resolve the aliases of predicates in val and test, too
            (sg2im does not).
    """

    root: Path = field(kw_only=True)
    out: Path | None = None
    splits: Path | None = None
    object_aliases: Path | None = None
    relationship_aliases: Path | None = None
    min_image_size: int = 200
    min_object_instances: int = 2000
    min_attribute_instances: int = 2000
    min_relationship_instances: int = 500
    min_object_size: int = 32
    min_objects_per_image: int = 3
    max_objects_per_image: int = 30
    min_relationships_per_image: int = 1
    max_relationships_per_image: int = 30
    max_attributes_per_image: int = 30
    normalize_held_out: bool = False


def _sg2im_vg(options: Sg2imVgCommand) -> int:
    from rich.console import Console

    from autoenc_sg.data.sg2im_vg.build import build_sg2im_vg
    from autoenc_sg.data.sg2im_vg.rules import RawFiles, Sg2imRules

    rules = Sg2imRules(**{rule.name: getattr(options, rule.name) for rule in fields(Sg2imRules)})
    files = RawFiles(
        raw=options.root,
        splits=options.splits,
        object_aliases=options.object_aliases,
        relationship_aliases=options.relationship_aliases,
    )
    out = options.out or options.root
    counts = build_sg2im_vg(files, out, rules)
    Console().print(counts.table().to_rich())
    print(out / "train.h5")
    return 0


SG2IM_VG = Command(
    "sg2im-vg",
    "Visual Genome's raw JSON to sg2im's train.h5, val.h5, test.h5 and vocab.json",
    Sg2imVgCommand,
    _sg2im_vg,
)
