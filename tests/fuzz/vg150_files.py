"""VG150's three files: the HDF5, the names, the image sizes."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from PIL import Image

from autoenc_sg.config.data import DataConfig
from autoenc_sg.data.inspect.verify import verify
from autoenc_sg.data.vg150.writing import write_annotations
from tests.data.vg150.test_files import GRAPHS, NAMES
from tests.fuzz.annotation_files import read_all
from tests.support.mutations import mutated_binary, mutated_json

NUMBERS = (-1, 0, 1, 2, 3, 7, 512, 1024, 2**31 - 1, -(2**31), 2**40, 2**62)
DTYPES = ("int8", "uint8", "int64", "uint64", "float32", "float64", "bool", "S5", "int32")


class VG150Files:
    """One of the three files is damaged, by its values or its bytes."""

    def __init__(self, root: Path) -> None:
        self.root, self.good = root / "data", root / "good"
        self.good.mkdir()
        write_annotations(self.good, GRAPHS, [11, 12, 13, 14], [0, 0, 2, 2], NAMES)
        (self.good / "images").mkdir()
        for number in (11, 12, 13, 14):
            Image.new("RGB", (128, 64)).save(self.good / "images" / f"{number}.jpg")
        shutil.copytree(self.good, self.root)
        self.config = DataConfig("vg150", str(self.root), filter_empty_relations=False)

    def turn(self, rng: random.Random) -> None:
        name = rng.choice(("VG-SGG.h5", "VG-SGG.h5", "VG-SGG-dicts.json", "image_data.json"))
        path = self.root / name
        if name == "VG-SGG.h5" and rng.random() < 0.6:
            change_tables(path, rng)
        elif name == "VG-SGG.h5":
            path.write_bytes(mutated_binary(path.read_bytes(), rng, header=4000))
        else:
            path.write_bytes(mutated_json(json.loads(path.read_text()), rng))
        try:
            if rng.random() < 0.05:
                verify(self.config, decode=False)
            read_all(self.config)
        finally:
            shutil.copyfile(self.good / name, path)


def change_tables(path: Path, rng: random.Random) -> None:
    """Change one to three data sets: numbers, dtype, shape, storage."""
    with h5py.File(path, "r+") as file:
        for _ in range(rng.choice((1, 1, 2, 3))):
            name = rng.choice(sorted(file))
            values = _values(file, name)
            del file[name]
            kind = rng.randrange(8)
            if kind == 0:
                continue
            if kind == 1:
                file.create_group(name)
            elif kind == 2:
                file[name] = h5py.SoftLink(rng.choice(("/labels", f"/{name}", "/nowhere")))
            elif kind == 3:
                shape = rng.choice(((10**9, 4), (2**31, 2**31), (0,), (5, 0), (), (2**26, 4)))
                file.create_dataset(name, shape=shape, chunks=_chunks(shape), dtype="int32")
            elif kind == 4:
                file[name] = values.astype(rng.choice(DTYPES))
            elif kind == 5:
                file[name] = np.concatenate([values.ravel(), values.ravel()])[rng.randrange(4) :]
            else:
                wide = np.atleast_1d(values).astype("int64")
                if wide.size:
                    wide.flat[rng.randrange(wide.size)] = rng.choice(NUMBERS)
                file[name] = wide


def _values(file: h5py.File, name: str) -> np.ndarray[Any, Any]:
    """The numbers of a data set; [0.0] after an earlier change that left a link or a large one."""
    try:
        item = file[name]
    except (KeyError, RuntimeError):  # links to nowhere and to themselves
        return np.zeros(1)
    is_small = isinstance(item, h5py.Dataset) and item.size < 10_000
    return np.asarray(item[()]) if is_small else np.zeros(1)


def _chunks(shape: tuple[int, ...]) -> tuple[int, ...] | None:
    """Chunks, so that nothing is stored, where a shape can have some."""
    return tuple(min(1024, side) for side in shape) if shape and min(shape) > 0 else None
