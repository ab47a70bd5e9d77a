"""Time and memory of each relation head, beside the detector of the same configuration.

    python benchmarks/heads/cost.py [--cases demo/20/48 demo/64/256 ...] [--repeats 5] [--json OUT]

A case has widths and image size of a configuration, and a number of objects and of candidate pairs
an image: 20 and 48 (8 images), 64 and 256, or 64 and all 4,032 (one image). `demo` are the widths
of that configuration and 128 x 128 pixels, `paper` those of `vg150/joint` and 600 x 800 pixels. 151
classes and 51 predicates with the reserved ones, random weights, random boxes and pairs, each head
with the options of its own at their defaults. Pairs without a choice, as in `paper/64/4032`, take
minutes a round.

`detector` is what comes before relations without gradients: the maps, the detections, and the
features of the objects' boxes. `union features` are those of the pairs' union boxes, which all
heads are given. `forward` is a head in evaluation mode without gradients; `training` forward and
backward, to its weights and to the features. All run in turn, round by round, in one thread, after
a pass on a small batch that does not count; a ratio is the median over the rounds of the head's
processor time by that of the detector in the same round. Memory is what the process has resident at
most in a pass of the first round, beyond what it had before it, when weights and inputs were there
(Linux with glibc).
"""

from __future__ import annotations

import argparse
import ctypes
import json
import math
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from rich.console import Console
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # a checkout, not installed

from autoenc_sg.config.files import load_config
from autoenc_sg.config.predictor import HEADS, HeadName, PredictorConfig
from autoenc_sg.config.run import RunConfig
from autoenc_sg.core.structures import CandidatePairs, Regions
from autoenc_sg.detector import Detector, build_detector
from autoenc_sg.predictors.build import build_predictor
from autoenc_sg.predictors.contract import RelationPredictor
from autoenc_sg.relpn.pairs import all_pairs
from autoenc_sg.visualization.tables import Cell, Table

CLASSES, PREDICATES = 151, 51
DETECTOR, UNIONS = "detector", "union features"
WORK = ("forward", "training")
Run = Callable[[], object]


@dataclass(frozen=True)
class Case:
    """What is measured: a configuration and a batch.

    Attributes:
        config: name of the configuration that has the sizes of all networks.
        images: in the batch.
        height, width: of the images, pixels.
        objects: an image.
        pairs: an image.
    """

    config: str
    images: int
    height: int
    width: int
    objects: int
    pairs: int

    def run_config(self) -> RunConfig:
        """The configuration, without weights from elsewhere."""
        return load_config(self.config, ["--detector.pretrained", "false"])


CASES = {
    "demo/20/48": Case("demo", 8, 128, 128, 20, 48),
    "demo/64/256": Case("demo", 1, 128, 128, 64, 256),
    "demo/64/4032": Case("demo", 1, 128, 128, 64, 4032),
    "paper/64/256": Case("vg150/joint", 1, 600, 800, 64, 256),
    "paper/64/4032": Case("vg150/joint", 1, 600, 800, 64, 4032),
}


def random_regions(case: Case, feature_dim: int) -> Regions:
    """Objects of an eighth to a half of the image's sides."""
    generator = torch.Generator().manual_seed(0)
    count = case.images * case.objects
    size = torch.tensor([case.width, case.height])
    sides = (1 / 8 + 3 / 8 * torch.rand(count, 2, generator=generator)) * size
    corners = torch.rand(count, 2, generator=generator) * (size - sides)
    return Regions(
        torch.cat([corners, corners + sides], 1),
        3 * torch.randn(count, CLASSES, generator=generator),
        torch.randn(count, feature_dim, generator=generator),
        torch.arange(case.images).repeat_interleave(case.objects),
        ((case.height, case.width),) * case.images,
        (),
        ((case.height, case.width),) * case.images,
    )


def random_candidates(case: Case, regions: Regions) -> CandidatePairs:
    """`case.pairs` of each image's pairs."""
    generator = torch.Generator().manual_seed(1)
    pairs = all_pairs(regions.image_index, case.images)
    per_image = pairs.view(case.images, -1, 2)
    rows = torch.randperm(per_image.shape[1], generator=generator)[: case.pairs]
    chosen = per_image[:, rows].flatten(0, 1)
    return CandidatePairs(chosen, torch.full((len(chosen),), 0.5))


def detector_runs(case: Case) -> dict[str, Run]:
    """The detector, and the union features of its maps; no gradients."""
    detector = build_detector(case.run_config().detector, CLASSES).eval()
    images = list(torch.rand(case.images, 3, case.height, case.width))
    regions = random_regions(case, 1)
    pairs = random_candidates(case, regions).pairs
    described = detect(detector, images, regions)

    def unions() -> Tensor:
        with torch.no_grad():
            return detector.union_features(described, pairs)

    return {DETECTOR: lambda: detect(detector, images, regions), UNIONS: unions}


@torch.no_grad()
def detect(detector: Detector, images: list[Tensor], regions: Regions) -> Regions:
    """Maps, detections, and the features of the regions' boxes."""
    maps = detector.encode(images)
    detector.detect(maps)
    return detector.describe(maps, regions.boxes, regions.image_index)


def build_head(case: Case, name: HeadName) -> tuple[RelationPredictor, PredictorConfig, int, int]:
    """The head with fresh weights; its configuration, D and S."""
    config = case.run_config()
    detector = config.detector
    sizes = (detector.feature_dim, detector.pooled_size)
    options = config.predictor.of_head(name)
    return build_predictor(options, *sizes, CLASSES, PREDICATES), options, *sizes


def head_run(case: Case, name: HeadName, work: str) -> Run:
    """One pass of a head as a function."""
    head, _, feature_dim, side = build_head(case, name)
    regions = random_regions(case, feature_dim)
    pairs = random_candidates(case, regions)
    unions = torch.randn(len(pairs), feature_dim, side, side)
    if work == "forward":
        head.eval()

        def forward() -> object:
            with torch.no_grad():
                return head(regions, pairs, unions)

        return forward
    inputs = (regions.features.requires_grad_(), unions.requires_grad_())

    def train() -> object:
        graph = head(regions, pairs, unions)
        loss = graph.predicate_logits.square().mean() + graph.object_logits.square().mean()
        loss.backward()
        for tensor in (*inputs, *head.parameters()):
            tensor.grad = None

    return train


@dataclass
class Measured:
    """Passes of one run: seconds of processor time of each, and MiB that the first one added."""

    seconds: list[float]
    mib: float = math.nan


def measure_case(case: Case, repeats: int) -> dict[str, Measured]:
    """All runs in turn, `repeats` rounds."""
    for run in all_runs(replace(case, images=1, objects=3, pairs=4)).values():
        run()
    runs = all_runs(case)
    measured = {name: Measured([]) for name in runs}
    for round_ in range(repeats):
        for name, run in runs.items():
            forget_peak()
            before, start = resident("VmRSS"), time.process_time()
            run()
            measured[name].seconds.append(time.process_time() - start)
            if round_ == 0:
                measured[name].mib = resident("VmHWM") - before
    return measured


def all_runs(case: Case) -> dict[str, Run]:
    """The detector, the union features, and each head forward and in training."""
    runs = detector_runs(case)
    for name in HEADS:
        for work in WORK:
            runs[f"{name} {work}"] = head_run(case, name, work)
    return runs


def resident(field: str) -> float:
    """MiB resident now (`VmRSS`) or at most since the last `forget_peak` (`VmHWM`)."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((int(x.split()[1]) / 1024 for x in lines if x.startswith(field)), math.nan)


def forget_peak() -> None:
    """Give freed memory back, and set the peak of this process to what is resident now (Linux)."""
    counters = Path("/proc/self/clear_refs")
    if counters.exists():
        ctypes.CDLL("libc.so.6").malloc_trim(0)
        counters.write_text("5")


def parameters(case: Case, name: HeadName) -> float:
    """Millions of weights of a head."""
    return sum(p.numel() for p in build_head(case, name)[0].parameters()) / 1e6


def rows_of(case: str, repeats: int) -> list[dict[str, float | str | None]]:
    """A row a head, below those of the detector and of the union features."""
    measured = measure_case(CASES[case], repeats)
    images, detector = CASES[case].images, measured[DETECTOR].seconds

    def numbers(name: str) -> tuple[float, float, float]:
        own = measured[name].seconds
        ratio = statistics.median(a / b for a, b in zip(own, detector))
        return 1e3 * statistics.median(own) / images, ratio, measured[name].mib

    rows: list[dict[str, float | str | None]] = []
    for name in (DETECTOR, UNIONS):
        rows.append({"name": name, "parameters": None, **_named("forward", numbers(name))})
    for head in HEADS:
        row: dict[str, float | str | None] = {"name": head}
        row["parameters"] = parameters(CASES[case], head)
        for work in WORK:
            row |= _named(work, numbers(f"{head} {work}"))
        rows.append(row)
    return rows


def _named(work: str, values: tuple[float, float, float]) -> Mapping[str, float]:
    return dict(zip((f"{work}_ms", f"{work}_ratio", f"{work}_mib"), values))


def table_of(case: str, rows: list[dict[str, float | str | None]]) -> Table:
    """Milliseconds an image, ratios to the detector, MiB a batch."""
    columns = ["parameters"] + [f"{w}_{what}" for w in WORK for what in ("ms", "ratio", "mib")]
    forms = ["{:.2f}"] + ["{:.1f}", "{:.3f}", "{:.0f}"] * len(WORK)
    lines: list[list[Cell]] = []
    for row in rows:
        values = [row.get(column) for column in columns]
        cells = [None if v is None else form.format(v) for v, form in zip(values, forms)]
        lines.append([str(row["name"]), *cells])
    heading = ["", "million weights"]
    heading += [f"{w}, {what}" for w in WORK for what in ("ms an image", "by detector", "MiB")]
    return Table(case, heading, lines)


def main() -> None:
    """Measure and print, case by case."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    report = {}
    for case in options.cases:
        report[case] = rows_of(case, options.repeats)
        Console(width=150).print(table_of(case, report[case]).to_rich())
        if options.json is not None:
            content = {"torch": torch.__version__, "repeats": options.repeats, "cases": report}
            options.json.write_text(json.dumps(content, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
