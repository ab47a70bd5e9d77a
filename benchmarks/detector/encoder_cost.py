"""What the encoder beyond the detector costs: relation proposals, unions, predictor.

    python benchmarks/detector/encoder_cost.py [demo | paper] [--batch 8] [--repeats 15]
    python benchmarks/detector/encoder_cost.py --run runs/demo [--batch 8]
    python benchmarks/detector/encoder_cost.py paper --batch 1 --memory plain | now

Milliseconds of processor time an image, one thread, inference; medians of the repeats, in each of
which the detector and both ways of the rest run once, in turn: *plain* (`plain_encoder.py`) and
*now*, what the product does. `ratio` is that of the three parts to the detector's three (maps;
detections; box features of the objects): the median of the repeats' ratios.

`demo` and `paper` (configs/vg150/joint.yaml) have random weights, on which no detection and no pair
is likelier than another: proposals are anchors, unmoved; 20 or 64 random boxes an image stand for
the detections; hardly two pairs share a union box. With `--run` the weights of a run see the first
test images of its data, with what they detect: pairs (i, j) and (j, i) are then mostly both kept.

`--memory` shows the peak of the process above what it had before the three parts, in MiB.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # a checkout, not installed

from autoenc_sg.config.files import load_config
from autoenc_sg.config.run import RunConfig
from autoenc_sg.core.structures import CandidatePairs, Regions
from autoenc_sg.data.open import open_dataset
from autoenc_sg.detector import FasterRCNN, FeatureMaps, build_detector
from autoenc_sg.model.autoencoder import AutoEncoder
from autoenc_sg.predictors.build import build_predictor
from autoenc_sg.predictors.gcn import GraphPredictor
from autoenc_sg.relpn import RelationProposalNetwork
from benchmarks.detector.plain_encoder import plain_graph, plain_relatedness, plain_unions

DETECTOR, ENCODER = ("maps", "detections", "box features"), ("relpn", "unions", "predictor")
WAYS = ("plain", "now")


@dataclass(frozen=True)
class Networks:
    """The encoder's parts."""

    detector: FasterRCNN
    relpn: RelationProposalNetwork
    predictor: GraphPredictor


@dataclass(frozen=True)
class Case:
    """Networks, images `[3, H, W]`, and the boxes and images of objects, None: those detected."""

    networks: Networks
    images: Sequence[Tensor]
    boxes: Tensor | None = None
    index: Tensor | None = None


Times = dict[str, float]


class Stopwatch:
    """Processor seconds of each part of a pass."""

    def __init__(self) -> None:
        self.times: Times = {}
        self.last = time.process_time()

    def lap(self, name: str) -> None:
        """The time since the last call belongs to `name`."""
        now = time.process_time()
        self.times[name], self.last = now - self.last, now


def random_case(config: RunConfig, objects: int, size: tuple[int, int], batch: int) -> Case:
    """Random weights, images and boxes."""
    torch.manual_seed(0)
    classes, predicates = (151, 51) if config.data.format == "vg150" else (13, 9)
    detector = build_detector(config.detector, classes, download=False)
    assert isinstance(detector, FasterRCNN)
    for parameter in detector.rpn.head.bbox_pred.parameters():
        nn.init.zeros_(parameter)
    width = detector.feature_dim
    relpn = RelationProposalNetwork(config.relpn, width, classes)
    predictor = build_predictor(config.predictor, width, detector.pooled_size, classes, predicates)
    assert isinstance(predictor, GraphPredictor)
    height_width = torch.tensor([size[1], size[0]])
    corners = torch.rand(batch * objects, 2) * height_width * 0.7
    sides = torch.rand(batch * objects, 2) * height_width * 0.25 + 4
    boxes = torch.cat([corners, corners + sides], 1)
    index = torch.arange(batch).repeat_interleave(objects)
    images = [torch.rand(3, *size) for _ in range(batch)]
    networks = Networks(detector.eval(), relpn.eval(), predictor.eval())
    return Case(networks, images, boxes, index)


def trained_case(run: Path, batch: int) -> Case:
    """A run's weights and the first test images of its data."""
    model = AutoEncoder.from_checkpoint(run)
    data = model.config.data
    beside = run / Path(data.root).name  # a run that was moved with its data
    test = open_dataset(replace(data, root=str(beside)) if beside.exists() else data, "test")
    assert isinstance(model.detector, FasterRCNN)
    assert isinstance(model.predictor, GraphPredictor)
    networks = Networks(model.detector, model.relpn, model.predictor)
    return Case(networks, [test[i].image for i in range(batch)])


def run_detector(case: Case, watch: Stopwatch) -> tuple[FeatureMaps, Regions]:
    """Maps, detections, and the regions of the objects."""
    detector = case.networks.detector
    maps = detector.encode(case.images)
    watch.lap("maps")
    detections = detector.detect(maps)
    watch.lap("detections")
    boxes, index = case.boxes, case.index
    if boxes is None or index is None:
        boxes, index = detections.boxes, detections.image_index
    regions = detector.describe(maps, boxes, index)
    watch.lap("box features")
    return maps, regions


def run_rest(case: Case, regions: Regions, way: str, watch: Stopwatch) -> CandidatePairs:
    """Relation proposals, unions and predictor."""
    nets, is_plain = case.networks, way == "plain"
    pairs, logits = plain_relatedness(nets.relpn, regions) if is_plain else nets.relpn(regions)
    chosen = nets.relpn.select(regions, pairs, logits)
    watch.lap("relpn")
    unions_of: Callable[..., Tensor] = nets.detector.union_features
    if is_plain:
        unions_of = lambda *rows: plain_unions(nets.detector, *rows)  # noqa: E731
    unions = unions_of(regions, chosen.pairs)
    watch.lap("unions")
    if is_plain:
        plain_graph(nets.predictor, regions, chosen.pairs, unions)
    else:
        nets.predictor(regions, chosen, unions)
    watch.lap("predictor")
    return chosen


@torch.inference_mode()
def measure(case: Case, repeats: int) -> dict[str, list[Times]]:
    """Times of the repeats by way; those of the detector are under both."""
    times: dict[str, list[Times]] = {way: [] for way in WAYS}
    for repeat in range(repeats + 1):  # the first warms up
        watch = Stopwatch()
        _, regions = run_detector(case, watch)
        for way in WAYS if repeat % 2 else WAYS[::-1]:
            rest = Stopwatch()
            run_rest(case, regions, way, rest)
            if repeat:
                times[way].append(watch.times | rest.times)
    return times


@torch.inference_mode()
def show_pairs(case: Case) -> None:
    """Objects, pairs and different union boxes an image."""
    _, regions = run_detector(case, Stopwatch())
    pairs = run_rest(case, regions, "now", Stopwatch()).pairs
    boxes, batch = pairs.sort(1).values.unique(dim=0), len(case.images)
    counts = [f"{len(rows) / batch:.1f}" for rows in (regions.boxes, pairs, boxes)]
    print(f"an image: {counts[0]} objects, {counts[1]} pairs, {counts[2]} union boxes")


@torch.inference_mode()
def peak_memory(case: Case, way: str) -> float:
    """MiB that the three parts add to the peak of the process."""
    _, regions = run_detector(case, Stopwatch())
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    run_rest(case, regions, way, Stopwatch())
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024


def total(times: Times, names: Sequence[str]) -> float:
    """Seconds of these parts."""
    return sum(times[name] for name in names)


def show(times: Mapping[str, Sequence[Times]], batch: int) -> None:
    """A row a way: milliseconds an image of each part, and the ratio."""
    table = Table("way", *DETECTOR, *ENCODER, "detector", "rest", "ratio", "lowest", "highest")
    for way, repeats in times.items():
        parts = [statistics.median(t[name] for t in repeats) for name in DETECTOR + ENCODER]
        sums = [
            statistics.median(sum(t[n] for n in part) for t in repeats)
            for part in (DETECTOR, ENCODER)
        ]
        ratios = sorted(total(t, ENCODER) / total(t, DETECTOR) for t in repeats)
        cells = [f"{seconds / batch * 1000:.2f}" for seconds in (*parts, *sums)]
        shares = [f"{value:.3f}" for value in (statistics.median(ratios), ratios[0], ratios[-1])]
        table.add_row(way, *cells, *shares)
    Console(width=160).print(table)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("size", nargs="?", choices=("demo", "paper"), default="demo")
    parser.add_argument("--run", type=Path, help="a run's folder: its weights and test images")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--memory", choices=WAYS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.run is not None:
        case = trained_case(options.run, options.batch)
    elif options.size == "demo":
        case = random_case(load_config("demo", []), 20, (128, 128), options.batch)
    else:
        config = load_config("vg150/joint", ["--detector.pretrained", "false"])
        case = random_case(config, 64, (600, 800), options.batch)
    if options.memory:
        print(f"{options.memory}: {peak_memory(case, options.memory):.0f} MiB")
        return
    show_pairs(case)
    show(measure(case, options.repeats), options.batch)
    print(f"torch {torch.__version__}, one thread, load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
