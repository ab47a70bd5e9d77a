"""Detectors: time per image of each backbone, and AP50 on the drawn scenes.

    python benchmarks/detector/detectors.py [--threads 2] [--json OUT] time [--size 320] \
        [--repeats 9]
    python benchmarks/detector/detectors.py time --device cuda --size 600 --max-size 1000 \
        --precision bf16
    python benchmarks/detector/detectors.py ap resnet18 | mobilenet_v3 | vgg16 [--scenes DIR] \
        [--out DIR]

`time` feeds one random 4:3 image to a detector with random weights and shows the shortest time of
the repeats, for the maps alone and for maps, proposals and detections together. Random weights of a
deep network move boxes anywhere, so the proposals are anchors, unmoved: all 256 of them are pooled.
Hardly a class reaches the threshold: the suppression of classes, a small part, is left out.

`ap` trains the detector phase alone on 1,800 drawn scenes of 128 pixels, from random weights (no
ImageNet weights come with this project), and scores the 300 test scenes. The recipes, one a
backbone, are below; each takes some minutes on 2 CPU cores. Leave the machine to it.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # a checkout, not installed

from autoenc_sg.config.files import load_config
from autoenc_sg.config.model import DetectorConfig
from autoenc_sg.data.open import open_dataset
from autoenc_sg.detector import Detector, build_detector
from autoenc_sg.detector.faster_rcnn import FasterRCNN
from autoenc_sg.model.autoencoder import AutoEncoder
from autoenc_sg.training.loop import train
from autoenc_sg.training.validation import detector_precision

CLASSES = 151
PYRAMID = (32, 64, 128, 256, 512)
ANCHORS = {"mobilenet_v3": (32, 64, 128, 256)}
BACKBONES = (
    "small",
    "resnet18",
    "resnet50",
    "resnet101",
    "resnet101_c4",
    "mobilenet_v3",
    "vgg16",
)
# Options of the detector and of its training, for `ap`. In trials on one core of a busy machine 150
# steps of resnet18 and mobilenet_v3 gave AP50 0.65 and 0.49, 60 steps of vgg16 0.11.
RECIPES = {
    "resnet18": "--detector.channels 64 --detector.anchor_sizes [8,16,32,64,128] "
    "--detector_training.steps 600",
    "mobilenet_v3": "--detector.channels 64 --detector.anchor_sizes [16,32,64,128] "
    "--detector_training.steps 600",
    "vgg16": "--detector.anchor_sizes [16,32,64,120] --detector_training.steps 600 "
    "--detector_training.batch_size 4 --detector_training.lr 0.01",
}


def timed_config(name: str, size: int, max_size: int) -> DetectorConfig:
    """The paper's sizes; VGG-16 with its own two layers, the others with heads of width 1,024."""
    config = DetectorConfig(
        backbone=name,  # type: ignore[arg-type]
        min_size=size,
        max_size=max_size,
        anchor_sizes=ANCHORS.get(name, PYRAMID),
        box_head_dim=1024,
        box_pooled_size=7,
    )
    if name == "vgg16":
        return replace(config, box_head_dim=4096)
    return replace(config, box_pooled_size=14) if name == "resnet101_c4" else config


@torch.no_grad()
def propose_anchors(detector: FasterRCNN) -> None:
    """Let the best anchors be the proposals, as they are."""
    for parameter in detector.rpn.head.bbox_pred.parameters():
        parameter.zero_()


@torch.no_grad()
def count_proposals(detector: FasterRCNN, image: torch.Tensor) -> int:
    """Regions that are pooled and classified."""
    return len(detector._propose(detector.encode([image]))[0])


@torch.no_grad()
def times(detector: Detector, image: torch.Tensor, repeats: int) -> tuple[float, float]:
    """Shortest seconds of the maps, and of maps and detections."""
    encoding, whole = [], []
    for _ in range(repeats + 1):  # the first warms up
        _wait(image)
        start = time.perf_counter()
        maps = detector.encode([image])
        _wait(image)
        encoding.append(time.perf_counter() - start)
        detector.detect(maps)
        _wait(image)
        whole.append(time.perf_counter() - start)
    return min(encoding[1:]), min(whole[1:])


def _wait(image: torch.Tensor) -> None:
    if image.is_cuda:
        torch.cuda.synchronize(image.device)


def run_times(options: argparse.Namespace) -> list[dict[str, object]]:
    """Time every backbone."""
    rows: list[dict[str, object]] = []
    image = torch.rand(3, options.size, min(options.size * 4 // 3, options.max_size))
    image = image.to(options.device)
    lower = options.precision == "bf16"
    for name in options.backbones:
        torch.manual_seed(0)
        detector = build_detector(timed_config(name, options.size, options.max_size), CLASSES)
        assert isinstance(detector, FasterRCNN)
        propose_anchors(detector)
        detector.to(options.device).eval()
        parameters = sum(p.numel() for p in detector.parameters()) / 1e6
        with torch.autocast(options.device, torch.bfloat16, enabled=lower):
            maps, whole = times(detector, image, options.repeats)
        rows.append(
            {
                "backbone": name,
                "parameters_millions": round(parameters, 1),
                "proposals": count_proposals(detector, image),
                "maps_ms": round(maps * 1000, 1),
                "detections_ms": round(whole * 1000, 1),
            }
        )
        print(f"{name}: {whole * 1000:.0f} ms", file=sys.stderr)
    return rows


def run_ap(options: argparse.Namespace) -> list[dict[str, object]]:
    """Train one backbone's detector on scenes and score the test split."""
    recipe = RECIPES[options.backbone].split()
    with tempfile.TemporaryDirectory() as folder:
        out = options.out or Path(folder)
        own = ["--out", str(out), "--data.root", str(options.scenes or out / "scenes")]
        size = ["--detector.backbone", options.backbone, "--runtime.threads", str(options.threads)]
        config = load_config("demo", [*own, *size, *recipe, *options.rest])
        start = time.perf_counter()
        checkpoint = train(config, ("detector",))
        seconds = time.perf_counter() - start
        test = open_dataset(config.data, "test")
        settings = replace(config.detector_training, validation_images=len(test))
        scores = detector_precision(AutoEncoder.from_checkpoint(checkpoint), test, settings)
    row: dict[str, object] = {"backbone": options.backbone, "steps": config.detector_training.steps}
    return [row | {k: round(v, 4) for k, v in scores.items()} | {"seconds": round(seconds)}]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    commands = parser.add_subparsers(required=True)
    timing = commands.add_parser("time")
    timing.add_argument("--size", type=int, default=320)
    timing.add_argument("--max-size", type=int, default=1000)
    timing.add_argument("--device", default="cpu")
    timing.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    timing.add_argument("--repeats", type=int, default=9)
    timing.add_argument("--backbones", nargs="+", choices=BACKBONES, default=BACKBONES)
    timing.set_defaults(run=run_times)
    learning = commands.add_parser("ap", epilog="Further options go to the configuration.")
    learning.add_argument("backbone", choices=tuple(RECIPES))
    learning.add_argument("--scenes", type=Path, help="folder of scenes already drawn")
    learning.add_argument("--out", type=Path, help="keep the run here")
    learning.set_defaults(run=run_ap)
    options, options_rest = parser.parse_known_args()
    options.rest = options_rest
    torch.set_num_threads(options.threads)
    rows = options.run(options)
    table = Table(*rows[0])
    for row in rows:
        table.add_row(*map(str, row.values()))
    Console().print(table)
    machine = {"torch": torch.__version__, "machine": platform.machine(), "rows": rows}
    if options.json:
        options.json.write_text(json.dumps(machine, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
