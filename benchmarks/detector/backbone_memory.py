"""How much of a detector's training step the memory of its frozen layers saves, as a ratio.

    python benchmarks/detector/backbone_memory.py [--config photos] [--steps 5] [--threads 2]

Steps of the detector phase (losses and gradients) on the same 8 random images of 320 x 427 pixels
with 8 boxes each, backbone frozen: without a memory and with one that has seen them.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # a checkout, not installed

from autoenc_sg.config.files import load_config
from autoenc_sg.core.scene_graph import SceneGraph
from autoenc_sg.core.scene_graph_batch import SceneGraphBatch
from autoenc_sg.detector import FasterRCNN, build_detector

IMAGES, OBJECTS, CLASSES, SIZE = 8, 8, 81, (320, 427)


def graph(seed: int) -> SceneGraph:
    """Random boxes of 20 to 220 pixels without relations."""
    generator = torch.Generator().manual_seed(seed)
    corners = torch.rand(OBJECTS, 2, generator=generator) * 100
    boxes = torch.cat(
        [corners, corners + 20 + 200 * torch.rand(OBJECTS, 2, generator=generator)], 1
    )
    labels = torch.randint(1, CLASSES, (OBJECTS,), generator=generator)
    return SceneGraph(labels, boxes, torch.zeros(0, 3, dtype=torch.int64), SIZE)


def seconds(detector: FasterRCNN, images: list[torch.Tensor], truth: SceneGraphBatch) -> float:
    """One step's time."""
    started = time.perf_counter()
    torch.stack(list(detector.losses(images, truth).values())).sum().backward()
    return time.perf_counter() - started


def main() -> None:
    """Time, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--config", default="photos")
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    detector = build_detector(load_config(arguments.config).detector, CLASSES).train()
    assert isinstance(detector, FasterRCNN)
    detector.backbone.trunk.requires_grad_(False)
    images = [torch.rand(3, *SIZE) for _ in range(IMAGES)]
    truth = SceneGraphBatch.collate([graph(seed) for seed in range(IMAGES)])
    times: dict[int, list[float]] = {0: [], 1000: []}
    for megabytes, part in times.items():
        for _ in range(2):  # warm up, and fill
            detector.remember_backbone(megabytes)
            seconds(detector, images, truth)
        memory = detector.backbone.memory
        for _ in range(arguments.steps):
            part.append(seconds(detector, images, truth))
        if memory is not None:
            print(f"memory: {memory.size / len(memory) / 2**20:.2f} MiB an image")
    without, with_memory = (statistics.median(part) for part in times.values())
    print(f"without {without:.2f} s, with {with_memory:.2f} s: {without / with_memory:.2f} times")


if __name__ == "__main__":
    main()
