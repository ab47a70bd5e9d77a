"""Images a second from JPEG files to uint8 tensors: ours, ours cached, and a plain PIL loop.

    python benchmarks/data/loading.py [--photos FOLDER] [--sizes 0 256 64] [--images 300]

`--photos` is any folder of pictures; without it drawn scenes are taken. They are copied, enlarged
to a short side of `--side` pixels (500, about Visual Genome's), as JPEGs of quality 90 into a
temporary folder. Each figure is the best of `--rounds` epochs after a first one that warms caches
and starts workers. `decoder alone` is the same work on bytes in memory without files, data set or
loader: the difference is what is lost to Python.
"""

from __future__ import annotations

import argparse
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from autoenc_sg.data.images.cache import open_cache
from autoenc_sg.data.images.decode import decode_pixels, shrunk_size
from autoenc_sg.data.images.store import ImageStore, find_images
from autoenc_sg.data.scenes.random_scene import random_scene
from autoenc_sg.data.scenes.render import draw_scene
from autoenc_sg.visualization.tables import Cell, Table

WORKERS = (0, 1, 2, 4)
BATCH = 8


class PlainImages(Dataset[Tensor]):
    """What most published loaders do: open, convert, resize and copy, all by PIL and NumPy."""

    def __init__(self, paths: list[Path], side: int | None) -> None:
        self.paths, self.side = paths, side

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Tensor:
        image = Image.open(self.paths[index]).convert("RGB")
        height, width = shrunk_size((image.height, image.width), self.side)
        if (width, height) != image.size:
            image = image.resize((width, height), Image.Resampling.BILINEAR)
        return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()


class StoredImages(Dataset[Tensor]):
    """Ours, with the cache or without."""

    def __init__(self, store: ImageStore) -> None:
        self.store, self.ids = store, sorted(store.places)

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Tensor:
        return self.store.read(self.ids[index]).image


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--photos", type=Path)
    parser.add_argument("--sizes", type=int, nargs="+", default=[0, 256, 64], help="0: as they are")
    parser.add_argument("--images", type=int, default=300)
    parser.add_argument("--side", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_photos(root, options.photos, options.images, options.side)
        table = measure(root, options.sizes, options.rounds)
    from rich.console import Console

    Console(width=110).print(table.to_rich())
    print(f"{platform.machine()}, torch {torch.__version__}, {torch.get_num_threads()} thread each")


def write_photos(root: Path, photos: Path | None, count: int, side: int) -> None:
    """`1.jpg`, `2.jpg`, ... of this short side."""
    for number, image in zip(range(1, count + 1), pictures(photos)):
        scale = side / min(image.size)
        size = (round(image.width * scale), round(image.height * scale))
        image.resize(size, Image.Resampling.BICUBIC).save(root / f"{number}.jpg", quality=90)


def pictures(photos: Path | None) -> Iterable[Image.Image]:
    """Photos of a folder, or drawn scenes; without end."""
    paths = sorted(p for p in photos.iterdir() if p.suffix == ".jpg") if photos else []
    number = 0
    while True:
        if paths:
            yield Image.open(paths[number % len(paths)]).convert("RGB")
        else:
            yield draw_scene(random_scene(0, "benchmark", number), 256)[0]
        number += 1


def measure(root: Path, sizes: list[int], rounds: int) -> Table:
    """A row for each size and way."""
    rows: list[list[Cell]] = []
    paths = [Path(place.member) for place in find_images(root).values()]
    for size in sizes:
        side = size or None
        store = ImageStore(find_images(root), side)
        cached = ImageStore(store.places, side, open_cache(root / f"{size}.cache", store))
        name = "as they are" if side is None else f"short side {side}"
        rows.append([f"{name}: decoder alone", decoder_alone(paths, side, rounds), *[None] * 3])
        for what, dataset in (
            ("plain PIL loop", PlainImages(paths, side)),
            ("ours", StoredImages(store)),
            ("ours, cached", StoredImages(cached)),
        ):
            rates = [loader_rate(dataset, workers, rounds) for workers in WORKERS]
            rows.append([f"{name}: {what}", *rates])
    columns = ["images a second", *(f"{n} workers" if n != 1 else "1 worker" for n in WORKERS)]
    return Table(f"{len(paths)} JPEGs to uint8 tensors", columns, rows)


def decoder_alone(paths: list[Path], side: int | None, rounds: int) -> float:
    """Images a second of `decode_pixels` on bytes in memory."""
    data = [path.read_bytes() for path in paths]
    return best_rate(lambda: [decode_pixels(d, "x", side) for d in data], len(data), rounds)


def loader_rate(dataset: Dataset[Tensor], workers: int, rounds: int) -> float:
    """Images a second of a DataLoader over all images."""
    loader = DataLoader(
        dataset,
        batch_size=BATCH,
        collate_fn=list,
        num_workers=workers,
        persistent_workers=workers > 0,
    )
    return best_rate(lambda: sum(len(batch) for batch in loader), len(dataset), rounds)  # type: ignore[arg-type]


def best_rate(work: Callable[[], object], count: int, rounds: int) -> float:
    """The most units a second of some rounds, after one that warms up."""
    work()
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return count / min(seconds)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    main()
