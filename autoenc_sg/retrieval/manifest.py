"""A bank's manifest: of what it was made, and its files with their checksums.

The file is written before the patches, without `shards`, and again after the last of them: a bank
without `shards` is unfinished.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

from autoenc_sg.core.atomic_files import replacing
from autoenc_sg.core.errors import InputError, bad_input
from autoenc_sg.core.vocabulary import Vocabulary

MANIFEST = "bank.json"
VERSION = 1

VectorKind = Literal["features", "graph"]  # of images, or of objects in their graphs


@dataclass(frozen=True)
class FeatureSource:
    """Where vectors of patches come from.

    Attributes:
        name: for messages, such as `detector` or `timm/resnet18`.
        digest: of weights and settings; vectors of two digests cannot be compared.
        width: numbers a patch.
    """

    name: str
    digest: str
    width: int


@dataclass(frozen=True)
class ShardEntry:
    """A file of a bank: how many patches it holds, and its `RecordFile.checksum`."""

    patches: int
    checksum: str


@dataclass(frozen=True)
class Manifest:
    """What a bank was made of.

    Attributes:
        vocabulary: the names behind the patches' classes.
        features: of the images' features.
        graph: of the graph-convolution vectors; None: the bank has none.
        crop_size: side of an object's crop in pixels.
        canvas_size: side of the whole photos, patches of class 0, in pixels; 0: there are none.
        data: digest of ids, graphs and sizes of the images.
        images: how many they are.
        images_per_shard: in a file.
        shards: the files; None: the bank is unfinished.
        version: of the files.
    """

    vocabulary: Vocabulary
    features: FeatureSource
    graph: FeatureSource | None
    crop_size: int
    canvas_size: int
    data: str
    images: int
    images_per_shard: int
    shards: tuple[ShardEntry, ...] | None = None
    version: int = VERSION

    @property
    def num_shards(self) -> int:
        """How many files the whole bank has."""
        return -(-self.images // self.images_per_shard)

    @property
    def patches(self) -> int:
        """How many patches the bank has; 0 if it is unfinished."""
        return sum(shard.patches for shard in self.shards or ())

    def source(self, kind: VectorKind) -> FeatureSource | None:
        """Where the vectors of a kind come from; None: the bank has none."""
        return self.features if kind == "features" else self.graph

    def write(self, folder: Path) -> None:
        """Write the file, atomically."""
        content = {**asdict(self), "vocabulary": self.vocabulary.to_dict()}
        with replacing(folder / MANIFEST) as temporary:
            temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")

    def check_same(self, other: Manifest, folder: Path) -> None:
        """Check that a bank in a folder is made of the same.

        Args:
            other: the manifest in the folder.
            folder: for messages.

        Raises:
            InputError: something differs, `shards` apart; the message says what.
        """
        for field in fields(self):
            if field.name == "shards":
                continue
            expected, got = getattr(self, field.name), getattr(other, field.name)
            if got != expected:
                difference = (_short(expected), f"{_short(got)}: a bank of something else")
                if _short(expected) == _short(got):
                    difference = ("the same", "another one: a bank of something else")
                what = f"bank {folder}: {field.name}"
                raise bad_input(what, difference[0], f"{difference[1]}; choose another folder")


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a bank, finished or not.

    Raises:
        InputError: there is none, it is damaged, or of another version.
    """
    path = folder / MANIFEST
    if not path.is_file():
        got = "a folder without it" if folder.is_dir() else "no such folder"
        raise bad_input(path, "the manifest of a patch bank (autoenc-sg bank build)", got)
    try:
        return _from_json(json.loads(path.read_text(encoding="utf-8")))
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise bad_input(path, "the manifest of a patch bank", f"another file ({error})") from None


def _from_json(data: Any) -> Manifest:
    if not isinstance(data, Mapping):
        raise bad_input("manifest", "an object", type(data).__name__)
    if data.get("version") != VERSION:
        raise bad_input("version", str(VERSION), data.get("version"))
    shards = data["shards"]
    manifest = Manifest(
        Vocabulary.from_dict(data["vocabulary"]),
        FeatureSource(**data["features"]),
        None if data["graph"] is None else FeatureSource(**data["graph"]),
        data["crop_size"],
        data["canvas_size"],
        data["data"],
        data["images"],
        data["images_per_shard"],
    )
    _check_numbers(manifest)
    if shards is not None:
        entries = tuple(ShardEntry(**entry) for entry in shards)
        if len(entries) != manifest.num_shards:
            raise bad_input("shards", str(manifest.num_shards), len(entries))
        manifest = replace(manifest, shards=entries)
    return manifest


def _check_numbers(manifest: Manifest) -> None:
    sources = [manifest.features, *([manifest.graph] if manifest.graph is not None else [])]
    least = {"crop_size": 1, "canvas_size": 0, "images": 0, "images_per_shard": 1}
    values = [(name, getattr(manifest, name), low) for name, low in least.items()]
    values += [(f"width of {source.name}", source.width, 1) for source in sources]
    for name, value, low in values:
        if type(value) is not int or value < low:
            raise bad_input(name, f"a whole number >= {low}", repr(value))


def _short(value: object) -> str:
    if isinstance(value, Vocabulary):
        return f"{value.num_objects - 1} classes and {value.num_predicates - 1} predicates"
    if isinstance(value, FeatureSource):
        return f"{value.name} ({value.width} numbers, {value.digest[:8]})"
    return str(value)
