"""Where Roboflow, CVAT and labelme2coco put the files of their COCO exports.

Roboflow:      `train|valid|test/_annotations.coco.json`, images beside it.
CVAT:          `annotations/instances_default.json`, images in `images/`.
labelme2coco:  `annotations.json`, images in `JPEGImages/`, which their names state.

Roboflow's first category is the root of the others (supercategory "none"), labelme2coco's is
`_background_`; no annotation uses them, and the root often has the name of a true class. In these
layouts the classes are therefore those that an annotation of any split uses.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autoenc_sg.core.errors import bad_input
from autoenc_sg.data.base.json_files import read_json
from autoenc_sg.data.base.samples import Split

_ROBOFLOW = "_annotations.coco.json"
_FOLDERS: Mapping[Split, tuple[str, ...]] = {
    "train": ("train",),
    "val": ("valid", "val"),
    "test": ("test",),
}
_SINGLE_FILES = (("annotations/instances_default.json", "images"), ("annotations.json", ""))


@dataclass(frozen=True)
class CocoExport:
    """The files of an export.

    Attributes:
        files: the annotation file of each split that has its own; one of `train` alone is cut into
            splits as `instances.json` is.
        images: the folder of the images; None: that of the annotation file.
    """

    files: Mapping[Split, Path]
    images: Path | None = None

    @property
    def is_split(self) -> bool:
        """Whether the splits have files of their own."""
        return len(self.files) > 1


def find_export(root: Path) -> CocoExport | None:
    """The export in a folder, or None; a plain `instances.json` goes before all of them."""
    if (root / "instances.json").is_file():
        return None
    files: dict[Split, Path] = {}
    for split, folders in _FOLDERS.items():
        paths = (root / folder / _ROBOFLOW for folder in folders)
        path = next((path for path in paths if path.is_file()), None)
        if path is not None:
            files[split] = path
    if "train" in files:
        return CocoExport(files)
    for name, images in _SINGLE_FILES:
        if (root / name).is_file():
            return CocoExport({"train": root / name}, root / images)
    return None


def has_relations(path: Path) -> bool:
    """Whether a COCO file has SGG-Benchmark's relations; False for one that cannot be read."""
    try:
        data = read_json(path)
    except ValueError:
        return False
    return isinstance(data, dict) and "rel_annotations" in data


def used_classes(contents: Sequence[Any], path: Path) -> list[str]:
    """Names of the categories that an annotation of any content uses, by category id.

    Raises:
        InputError: no annotation uses one.
    """
    names: dict[int, str] = {}
    for coco in contents:
        used = {annotation["category_id"] for annotation in coco.dataset["annotations"]}
        names |= {i: category["name"] for i, category in coco.cats.items() if i in used}
    if not names:
        raise bad_input(path, "annotations of one category or more", "none")
    return list(dict.fromkeys(name for _, name in sorted(names.items())))
