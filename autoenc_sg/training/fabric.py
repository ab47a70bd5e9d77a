"""Lightning Fabric as configured, and the random state of its processes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from lightning.fabric import Fabric
from lightning.fabric.strategies.ddp import DDPStrategy
from torch import Tensor

from autoenc_sg.config.run import RunConfig
from autoenc_sg.config.runtime import RuntimeConfig


def make_fabric(config: RunConfig) -> Fabric:
    """Fabric as configured, launched.

    Where it would run DistributedDataParallel, that is told of our networks: a phase leaves some
    parameters without a gradient, and a discriminator runs twice before its backward, which
    buffers copied from process to process in between would spoil. The first one's are saved.
    """
    runtime = config.runtime
    if runtime.threads > 0:
        torch.set_num_threads(runtime.threads)
    fabric = _fabric(runtime, runtime.strategy)
    if isinstance(fabric.strategy, DDPStrategy) and runtime.strategy in ("auto", "ddp"):
        told = DDPStrategy(find_unused_parameters=True, broadcast_buffers=False)
        fabric = _fabric(runtime, told)
    fabric.launch()
    return fabric


def _fabric(runtime: RuntimeConfig, strategy: str | DDPStrategy) -> Fabric:
    return Fabric(
        accelerator=runtime.accelerator,
        devices=runtime.devices,
        num_nodes=runtime.num_nodes,
        strategy=strategy,
        precision=runtime.precision,
    )


def random_state(fabric: Fabric) -> dict[str, Tensor]:
    """The random states of all processes: `[world, bytes]` uint8 each."""
    states = {"rng_cpu": torch.get_rng_state()}
    if fabric.device.type == "cuda":
        states["rng_cuda"] = torch.cuda.get_rng_state(fabric.device)
    return {name: _gather(fabric, state) for name, state in states.items()}


def _gather(fabric: Fabric, state: Tensor) -> Tensor:
    gathered = fabric.all_gather(state.to(fabric.device))
    assert isinstance(gathered, Tensor)
    return gathered.reshape(fabric.world_size, -1).cpu()


def restore_random_state(training: Mapping[str, Any], fabric: Fabric) -> None:
    """The inverse of `random_state`; a process that was not there before keeps its own seed."""
    if fabric.global_rank < len(training["rng_cpu"]):
        torch.set_rng_state(training["rng_cpu"][fabric.global_rank])
        if fabric.device.type == "cuda" and "rng_cuda" in training:
            torch.cuda.set_rng_state(training["rng_cuda"][fabric.global_rank], fabric.device)
