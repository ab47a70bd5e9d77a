"""The part of a step that falls to one of several processes."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from lightning.fabric import Fabric
from torch import Tensor, nn

from autoenc_sg.core.layers import ImageRandom
from autoenc_sg.training.parallel.batch_norm import replace_batch_norm


class Processes:
    """The processes of a run, as seen by one of them in one phase.

    Process r of W has the images r, r + W, … of each batch. A process that has none, as there are
    fewer images than processes, computes with one of the others' that does not count.

    Args:
        fabric: of the run.
        batch_size: images a step, over all processes.
    """

    def __init__(self, fabric: Fabric, batch_size: int) -> None:
        self.fabric = fabric
        self.rank, self.world = fabric.global_rank, fabric.world_size
        self.batch_size = batch_size
        self.is_counted = self.rank < batch_size

    def prepare(self, module: nn.Module) -> None:
        """Batch norms inside a module shall see the whole batch; in place."""
        if self.world > 1:
            replace_batch_norm(module, self.is_counted)

    def shares(self, counts: Sequence[int]) -> list[float]:
        """The shares of `loss_terms` from the numbers of terms; every process asks alike."""
        if self.world == 1:
            return [1.0] * len(counts)
        own = torch.tensor(counts, dtype=torch.float64) * float(self.is_counted)
        copy = own.clone().to(self.fabric.device)  # reduced in place
        total = self.fabric.all_reduce(copy, reduce_op="sum")
        assert isinstance(total, Tensor)
        shares: list[float] = (self.world * own / total.cpu().clamp(min=1)).tolist()
        return shares

    def mean(self, values: Tensor) -> Tensor:
        """The mean over the processes; every process asks alike."""
        if self.world == 1:
            return values
        mean = self.fabric.all_reduce(values.clone(), reduce_op="mean")  # reduced in place
        assert isinstance(mean, Tensor)
        return mean

    def random(self, key: str, num_images: int, num_unannotated: int = 0) -> ImageRandom:
        """Random streams that follow from the key and each image's place in the whole batch.

        The last `num_unannotated` images have places of their own, which `loading.MixedPlan` gives
        them, so that the streams of the others do not depend on them.
        """
        count, sharing = num_images - num_unannotated, min(self.world, self.batch_size)
        places = [str(self.rank + self.world * i) for i in range(count)]
        places += [f"unannotated/{self.rank + sharing * i}" for i in range(num_unannotated)]
        return ImageRandom([key_seed(f"{key}/{place}") for place in places], self.fabric.device)


def key_seed(key: str) -> int:
    """A seed in 0..2^62 - 1 that follows from a text."""
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "big") >> 2
