"""The drawn scenes as a VG150 data set, written atomically."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from autoenc_sg.config.data import ScenesConfig
from autoenc_sg.config.typed_values import NotTyped, build
from autoenc_sg.core.atomic_files import new_folder
from autoenc_sg.core.errors import InputError, bad_input
from autoenc_sg.data.base.json_files import read_json, write_json
from autoenc_sg.data.scenes.builder import TINT, VOCABULARY
from autoenc_sg.data.scenes.noise import add_noise
from autoenc_sg.data.scenes.random_scene import random_scene
from autoenc_sg.data.scenes.render import draw_scene
from autoenc_sg.data.vg150.files import IMAGE_FOLDERS, TEST, TRAIN
from autoenc_sg.data.vg150.writing import write_annotations

SETTINGS = "scenes.json"
_VERSION = 1  # of the drawings: raised whenever the same settings draw other pictures


def write_scenes(
    root: Path, config: ScenesConfig, progress: Callable[[int, int], None] | None = None
) -> None:
    """Draw all images; `root` is made whole or not at all (`atomic_files.new_folder`).

    Image ids are 1, 2, ... with the train split first. A picture is a function of the seed, its
    split and its index in the split; annotation noise has its own random numbers.

    Args:
        root: the folder to make; it may exist if it is empty.
        config: how many, how large, and the train split's annotation noise.
        progress: called after each image with (images done, images in all).

    Raises:
        InputError: `root` exists and is not an empty folder, or cannot be written.
    """
    with new_folder(root) as folder:
        _write(folder, config, progress)


def ensure_scenes(
    root: Path, config: ScenesConfig, progress: Callable[[int, int], None] | None = None
) -> None:
    """Draw the scenes unless `root` has them already.

    Raises:
        InputError: `root` has scenes of other settings, or something else.
    """
    if not (root / SETTINGS).exists():
        try:
            write_scenes(root, config, progress)
        except InputError:
            if not (root / SETTINGS).exists():  # else another process was first
                raise
    stored, settings = _stored_settings(root), _settings(config)
    differing = [key for key in settings if stored.get(key) != settings[key]]
    if differing:
        key = differing[0]
        got = f"scenes drawn with {stored.get(key)}; choose another root or remove the folder"
        raise bad_input(f"scenes in {root}", f"{key} {settings[key]}", got)


def read_settings(root: Path) -> ScenesConfig:
    """How the scenes of a folder were drawn.

    Raises:
        InputError: it has none, or those of another version.
    """
    stored = _stored_settings(root)
    version = stored.pop("version", None)
    if version != _VERSION:
        raise bad_input(f"scenes in {root}", f"version {_VERSION}", version)
    try:
        return build(ScenesConfig, stored)
    except NotTyped as error:
        raise bad_input(root / SETTINGS, "settings of drawn scenes", f"{error}") from None


def _stored_settings(root: Path) -> dict[str, Any]:
    stored = read_json(root / SETTINGS)
    if not isinstance(stored, dict):
        raise bad_input(root / SETTINGS, "an object of settings", type(stored).__name__)
    return {"tint": TINT, "biased_predicates": 0.0, **stored}  # that older scenes do not have


def _settings(config: ScenesConfig) -> dict[str, object]:
    return {"version": _VERSION, **asdict(config)}


def _write(folder: Path, config: ScenesConfig, progress: Callable[[int, int], None] | None) -> None:
    images = folder / IMAGE_FOLDERS[0]
    images.mkdir()
    total = config.num_train + config.num_test
    graphs = []
    for position in range(total):
        train = position < config.num_train
        index = position if train else position - config.num_train
        scene = random_scene(config.seed, "train" if train else "test", index, config.tint)
        image, graph = draw_scene(scene, config.image_size)
        image.save(images / f"{position + 1}.jpg", quality=92, subsampling=0)
        graphs.append(add_noise(graph, config, index) if train else graph)
        if progress is not None:
            progress(position + 1, total)
    split = [TRAIN] * config.num_train + [TEST] * config.num_test
    write_annotations(folder, graphs, range(1, total + 1), split, VOCABULARY)
    write_json(folder / SETTINGS, _settings(config), indent=1)
