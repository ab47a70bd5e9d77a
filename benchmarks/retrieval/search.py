"""Nearest patches of one class: time a query, memory and recall, on synthetic vectors.

    python benchmarks/retrieval/search.py [--sizes 6000 600000] [--width 128] [--queries 200]

Vectors are drawn around 1,000 centres, as those of a network lie in groups; a query is a vector of
the class with noise, so its true neighbours are those of its group. Each query asks for 10 patches,
those of its own image left out (10 patches an image), one by one and 64 at a time; times are the
median of calls. Recall is the share of the 10 nearest by `ExactIndex` that are found.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from autoenc_sg.retrieval.neighbours import ExactIndex, Index, build_index
from autoenc_sg.retrieval.search import ClassPatches, ImageCounts, without_own

COUNT = 10
PER_IMAGE = 10
BATCH = 64


def synthetic(count: int, width: int, queries: int) -> tuple[Tensor, Tensor, Tensor]:
    """Vectors `[n, D]`, queries `[Q, D]` and the position each query is drawn near."""
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(1000, width, generator=generator)
    group = torch.randint(len(centres), (count,), generator=generator)
    vectors = centres[group] + 0.5 * torch.randn(count, width, generator=generator)
    near = torch.randint(count, (queries,), generator=generator)
    return vectors, vectors[near] + 0.2 * torch.randn(queries, width, generator=generator), near


def resident_mib() -> float:
    """Memory of this process now."""
    pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def milliseconds(patches: ClassPatches, queries: Tensor, own: list[int], batch: int) -> float:
    """Median time of a query."""
    times = []
    for start in range(0, len(queries) - batch + 1, batch):
        began = time.perf_counter()
        without_own(patches, queries[start : start + batch], own[start : start + batch], COUNT)
        times.append((time.perf_counter() - began) / batch * 1000)
    return statistics.median(times)


def measure(count: int, width: int, queries: int) -> list[list[str]]:
    """Rows of the table for a class of `count` patches: exact, and what `build_index` gives."""
    vectors, asked, near = synthetic(count, width, queries)
    rows = torch.arange(count).numpy()
    image_ids = rows // PER_IMAGE
    own = (near // PER_IMAGE).tolist()
    counts = ImageCounts.of_patches(image_ids)
    before = resident_mib()
    began = time.perf_counter()
    indices: list[tuple[str, Index]] = [("exact", ExactIndex(vectors)), ("", build_index(vectors))]
    built = time.perf_counter() - began
    table: list[list[str]] = []
    exact = None
    for name, index in indices:
        patches = ClassPatches(rows, image_ids, counts, vectors, index)
        found, _ = without_own(patches, asked, own, COUNT)
        exact = found if exact is None else exact
        shared = [len(set(a) & set(b)) for a, b in zip(found.tolist(), exact.tolist())]
        table.append(
            [
                f"{count:,}",
                name or type(index).__name__,
                f"{milliseconds(patches, asked, own, 1):.2f}",
                f"{milliseconds(patches, asked, own, BATCH):.2f}",
                f"{sum(shared) / (COUNT * queries):.3f}",
                "" if name else f"{built:.1f}",
                "" if name else f"{resident_mib() - before:.0f}",
            ]
        )
    return table


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[6000, 600_000])
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--queries", type=int, default=256)
    options = parser.parse_args()
    table = Table(title=f"{options.width} numbers a patch, load {os.getloadavg()[0]:.1f}")
    names = ("patches", "index", "ms, alone", f"ms, of {BATCH}", "recall", "build s", "index MiB")
    for name in names:
        table.add_column(name)
    for count in options.sizes:
        for row in measure(count, options.width, options.queries):
            table.add_row(*row)
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
