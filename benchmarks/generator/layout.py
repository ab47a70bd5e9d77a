"""The layout by one matrix product per image against the plain `[N, D, H, W]` way.

    python benchmarks/generator/layout.py [--threads 2] [--repeats 9] [--json OUT]

Equality, shortest time of the repeats and peak memory, forward and with backward, at batch 8, 9
objects an image, 128 channels and 16 x 16 masks. Memory is what a fresh process adds to its
resident set while it does the work, the result included (Linux only: its own high-water mark;
`ru_maxrss` would be inherited from this process). Both plain ways spread each vector over its mask
and resample all D channels; they differ in the sum over objects: `sg2im` takes `scatter_add` with
an index of the maps' full size, as google/sg2im does, `plain` takes `index_add`. Leave the machine
to it: on a busy one the times, not the memory, are off by large factors.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # a checkout, not installed

from autoenc_sg.generator.layout import factor_layout

BATCH, OBJECTS, CHANNELS, MASK = 8, 9, 128, 16
SIZES = (64, 128)
Layout = Callable[[Tensor, Tensor, Tensor, Tensor, int, int], Tensor]


def resampled(vectors: Tensor, boxes: Tensor, masks: Tensor, size: int) -> Tensor:
    """Every channel of every object warped to its box: `[N, D, size, size]`."""
    pixel = torch.linspace(0, 1, size, device=boxes.device)
    x0, y0, x1, y1 = (side[:, None] for side in boxes.unbind(1))
    x = ((pixel - x0) / (x1 - x0))[:, None, :].expand(-1, size, -1)
    y = ((pixel - y0) / (y1 - y0))[:, :, None].expand(-1, -1, size)
    grid = torch.stack([x, y], 3) * 2 - 1
    return F.grid_sample(vectors[:, :, None, None] * masks[:, None], grid, align_corners=True)


def plain_scatter(
    vectors: Tensor, boxes: Tensor, masks: Tensor, image_index: Tensor, num_images: int, size: int
) -> Tensor:
    """The sum over objects as sg2im takes it."""
    maps = resampled(vectors, boxes, masks, size)
    total = maps.new_zeros(num_images, *maps.shape[1:])
    return total.scatter_add(0, image_index[:, None, None, None].expand_as(maps), maps)


def plain_index(
    vectors: Tensor, boxes: Tensor, masks: Tensor, image_index: Tensor, num_images: int, size: int
) -> Tensor:
    """The same with torch's faster sum."""
    maps = resampled(vectors, boxes, masks, size)
    return maps.new_zeros(num_images, *maps.shape[1:]).index_add(0, image_index, maps)


def from_factors(
    vectors: Tensor, boxes: Tensor, masks: Tensor, image_index: Tensor, num_images: int, size: int
) -> Tensor:
    """This project's: one matrix product for each image."""
    return factor_layout(vectors, boxes, masks, image_index, num_images, size).maps(size)


WAYS: dict[str, Layout] = {
    "sg2im": plain_scatter,
    "plain": plain_index,
    "ours": from_factors,
}
OURS = "ours"


def inputs(seed: int = 0) -> list[Tensor]:
    """Vectors, boxes and masks with gradient, and the image index."""
    rng = torch.Generator().manual_seed(seed)
    n = BATCH * OBJECTS
    corner = torch.rand(n, 2, generator=rng) * 0.6
    boxes = torch.cat([corner, corner + 0.1 + torch.rand(n, 2, generator=rng) * 0.4], 1)
    tensors = [
        torch.randn(n, CHANNELS, generator=rng),
        boxes,
        torch.rand(n, MASK, MASK, generator=rng),
    ]
    index = torch.arange(BATCH).repeat_interleave(OBJECTS)
    return [*(t.requires_grad_() for t in tensors), index]


def draw(way: Layout, data: list[Tensor], size: int) -> Tensor:
    """The layout of `inputs`."""
    vectors, boxes, masks, index = data
    return way(vectors, boxes, masks, index, BATCH, size)


def forward(way: Layout, data: list[Tensor], size: int) -> Tensor:
    """Without gradient."""
    with torch.no_grad():
        return draw(way, data, size)


def with_backward(way: Layout, data: list[Tensor], size: int) -> tuple[Tensor, ...]:
    """The gradients of half the squared layout."""
    out = draw(way, data, size)
    return torch.autograd.grad(out, data[:3], out.detach())


WORK = {"forward": forward, "with backward": with_backward}


def difference(size: int) -> dict[str, float]:
    """Largest difference to sg2im's way: of the layout; of gradients, relative to the largest."""
    data = inputs()
    wanted, got = forward(plain_scatter, data, size), forward(from_factors, data, size)
    pairs = zip(with_backward(from_factors, data, size), with_backward(plain_scatter, data, size))
    gradients = [float((a - b).abs().max() / b.abs().max()) for a, b in pairs]
    return {"layout": float((got - wanted).abs().max()), "gradients": max(gradients)}


def times(size: int, work: str, repeats: int) -> dict[str, float]:
    """Shortest milliseconds of each way, after two runs that do not count."""
    data, shortest = inputs(), {}
    for name, way in WAYS.items():
        taken = []
        for _ in range(repeats + 2):
            start = time.perf_counter()
            WORK[work](way, data, size)
            taken.append((time.perf_counter() - start) * 1e3)
        shortest[name] = min(taken[2:])
    return shortest


def peak_of_this_process(name: str, size: int, work: str) -> float:
    """MiB that this process adds to its resident set at most while it does the work twice."""
    data = inputs()
    with_backward(WAYS[name], data, 8)  # threads and kernels are set up before the measurement
    before = _resident("VmRSS")
    for _ in range(2):
        WORK[work](WAYS[name], data, size)
    return _resident("VmHWM") - before


def peak(name: str, size: int, work: str, threads: int) -> float:
    """`peak_of_this_process` of a fresh process."""
    job = ["--job", name, str(size), work]
    command = [sys.executable, __file__, "--threads", str(threads), *job]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def _resident(field: str) -> float:
    """MiB resident now (`VmRSS`) or at most so far (`VmHWM`); NaN where that is unknown."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((int(x.split()[1]) / 1024 for x in lines if x.startswith(field)), math.nan)


def measure(threads: int, repeats: int) -> list[dict[str, object]]:
    """One row per size, work and way."""
    rows: list[dict[str, object]] = []
    for size in SIZES:
        for work in WORK:
            milliseconds = times(size, work, repeats)
            memory = {name: peak(name, size, work, threads) for name in WAYS}
            rows += [
                {
                    "size": size,
                    "work": work,
                    "way": name,
                    "ms": milliseconds[name],
                    "times_faster_here": milliseconds[name] / milliseconds[OURS],
                    "peak_mib": memory[name],
                    "our_peak_ratio": memory[OURS] / memory[name],
                }
                for name in WAYS
            ]
    return rows


def show(rows: list[dict[str, object]], differences: dict[int, dict[str, float]]) -> None:
    """Print the table."""
    title = f"Layout: batch {BATCH}, {OBJECTS} objects, {CHANNELS} channels, {MASK}x{MASK} masks"
    table = Table(title=title)
    for name in ("px", "work", "way", "ms", "ours faster", "MiB", "our share"):
        table.add_column(name, no_wrap=True)
    for row in rows:
        numbers = f"{row['ms']:.1f}", f"{row['times_faster_here']:.1f}x"
        memory = f"{row['peak_mib']:.0f}", f"{row['our_peak_ratio']:.2f}x"
        table.add_row(str(row["size"]), str(row["work"]), str(row["way"]), *numbers, *memory)
    console = Console(soft_wrap=True)
    console.print(table)
    for size, found in differences.items():
        console.print(
            f"{size} px: largest difference of the layout {found['layout']:.1e}, "
            f"of gradients {found['gradients']:.1e} of their largest"
        )


def main() -> None:
    """Measure, print, and fail if the layouts differ by more than 1e-5."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--job", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.job:
        name, size, work = options.job
        print(peak_of_this_process(name, int(size), work))
        return
    differences = {size: difference(size) for size in SIZES}
    rows = measure(options.threads, options.repeats)
    show(rows, differences)
    if options.json:
        machine = {"torch": torch.__version__, "threads": options.threads}
        machine["machine"] = f"{platform.system()} {platform.machine()}"
        report = {"machine": machine, "rows": rows, "differences": differences}
        options.json.write_text(json.dumps(report, indent=2), encoding="utf-8")
    if any(found["layout"] > 1e-5 for found in differences.values()):
        sys.exit("the layouts differ by more than 1e-5")


if __name__ == "__main__":
    main()
