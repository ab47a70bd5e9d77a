"""Several processes that share the images give the numbers of one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import distributed, multiprocessing

from autoenc_sg.eval import (
    DetectionPrecision,
    Features,
    GenerativeQuality,
    ImageQuality,
    PairRecall,
    RecallConventions,
    TripletRecall,
)
from tests.eval.test_detection import random_images
from tests.support.eval_graphs import P, random_batch

PROCESSES = 4
Results = list[dict[str, torch.Tensor]]


def score(first: int, step: int) -> Results:
    """All metrics of every `step`-th image; of the detections only those of the first process."""
    conventions = RecallConventions(averages=("macro", "micro"))
    recall, pairs = TripletRecall(P, conventions), PairRecall(conventions)
    predictions, truths, _ = random_batch(3, images=20)
    for metric in (recall, pairs):
        metric.update(predictions[first::step], truths[first::step])
    detection, unequal = DetectionPrecision(), DetectionPrecision()
    images = random_images(13)
    detection.update([d for d, _ in images[first::step]], [t for _, t in images[first::step]])
    if first == 0:
        unequal.update([d for d, _ in images], [t for _, t in images])
    quality = ImageQuality()
    photos = torch.rand(5, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    quality.update(photos[first::step], photos.flip(0)[first::step])
    generative = GenerativeQuality(3)
    drawn, real = photos.mean((2, 3)), photos.amax((2, 3))
    for i in range(first, 5, step):  # the first process has two batches, the others have one
        generative.update(*(Features(x[i : i + 1], x[i : i + 1]) for x in (drawn, real)))
    metrics = (recall, pairs, detection, unequal, quality, generative)
    return [metric.compute() for metric in metrics]


def process(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo", f"file://{folder}/meeting", rank=rank, world_size=PROCESSES
    )
    torch.save(score(rank, PROCESSES), f"{folder}/{rank}.pt")
    distributed.destroy_process_group()


@pytest.mark.slow
@pytest.mark.skipif(not distributed.is_available(), reason="PyTorch without distributed")
def test_several_processes_give_the_numbers_of_one(tmp_path: Path) -> None:
    multiprocessing.spawn(process, (str(tmp_path),), nprocs=PROCESSES)
    alone = score(0, 1)
    for rank in range(PROCESSES):
        together = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        torch.testing.assert_close(together, alone, equal_nan=True)
