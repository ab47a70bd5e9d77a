"""Options and statistics of sg2im's preprocessing of Visual Genome."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, NamedTuple

from numpy.typing import NDArray

from autoenc_sg.core.errors import bad_input
from autoenc_sg.data.sg2im_vg.padded_tables import Flags
from autoenc_sg.data.sg2im_vg.raw_json import Ints
from autoenc_sg.visualization.tables import Table

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Sg2imRules:
    """The thresholds, named as in sg2im's script and with its defaults.

    Attributes:
        min_image_size: least side of an image in pixels.
        min_object_instances, min_attribute_instances, min_relationship_instances: of the train
            split, for a name to be in the vocabulary.
        min_object_size: least width and height of an object in pixels.
        min_objects_per_image, max_objects_per_image: images with fewer or more are left out.
        min_relationships_per_image, max_relationships_per_image: likewise.
        max_attributes_per_image: attributes of an object at most, the first ones.
        normalize_held_out: rule 2 for predicates in all splits.
    """

    min_image_size: int = 200
    min_object_instances: int = 2000
    min_attribute_instances: int = 2000
    min_object_size: int = 32
    min_objects_per_image: int = 3
    max_objects_per_image: int = 30
    max_attributes_per_image: int = 30
    min_relationship_instances: int = 500
    min_relationships_per_image: int = 1
    max_relationships_per_image: int = 30
    normalize_held_out: bool = False

    def __post_init__(self) -> None:
        for threshold in fields(self):
            if getattr(self, threshold.name) < 0:
                raise bad_input(threshold.name, ">= 0", getattr(self, threshold.name))

    def enough(self, objects: Ints, relationships: Ints) -> Flags:
        """Rule 5, by the images' numbers of objects and relationships."""
        few = (objects < self.min_objects_per_image) | (
            relationships < self.min_relationships_per_image
        )
        many = (objects > self.max_objects_per_image) | (
            relationships > self.max_relationships_per_image
        )
        return ~few & ~many


class RawFiles(NamedTuple):
    """Paths of the raw files; `None` means the usual name in the folder `raw`.

    Attributes:
        raw: the folder of objects.json, relationships.json, attributes.json (or zips of them),
            image_data.json, object_alias.txt and relationship_alias.txt.
        splits: a JSON of image ids by `train`, `val` and `test`, such as sg2im's `vg_splits.json`;
            the word `random`: 80, 10 and 10 % of all images, always the same.
        object_aliases, relationship_aliases: alias files.
    """

    raw: Path
    splits: Path | None = None
    object_aliases: Path | None = None
    relationship_aliases: Path | None = None


@dataclass
class Sg2imCounts:
    """Images by split and reason of exclusion, and the vocabulary's size."""

    images: dict[str, int] = field(default_factory=dict)
    unknown: dict[str, int] = field(default_factory=dict)
    small: dict[str, int] = field(default_factory=dict)
    kept: dict[str, int] = field(default_factory=dict)
    objects: dict[str, int] = field(default_factory=dict)
    relationships: dict[str, int] = field(default_factory=dict)
    names: str = ""

    def add(self, split: str, tables: Mapping[str, NDArray[Any]]) -> None:
        """Count what is kept."""
        self.kept[split] = len(tables["image_ids"])
        self.objects[split] = int(tables["objects_per_image"].sum())
        self.relationships[split] = int(tables["relationships_per_image"].sum())

    def name(self, vocab: Mapping[str, Any]) -> None:
        """Count the vocabulary, without the two reserved names."""
        objects, predicates = (len(vocab[f"{k}_idx_to_name"]) - 1 for k in ("object", "pred"))
        attributes = len(vocab["attribute_idx_to_name"])
        self.names = f"{objects} classes, {predicates} predicates, {attributes} attributes"

    def table(self) -> Table:
        """For the terminal."""
        rows: list[list[str | int]] = [
            [text, *counts.values()]
            for text, counts in (
                ("images listed", self.images),
                ("not in image_data.json", self.unknown),
                ("too small", self.small),
                ("images kept", self.kept),
                ("objects", self.objects),
                ("relationships", self.relationships),
            )
        ]
        return Table(f"Visual Genome as sg2im has it: {self.names}", ["what", *SPLITS], rows)
