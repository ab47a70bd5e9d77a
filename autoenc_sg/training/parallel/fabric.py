"""Lightning Fabric: set up as configured, how batches pass through it, and its random states."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from lightning.fabric import Fabric
from lightning.fabric.plugins import MixedPrecision, Precision
from lightning.fabric.strategies.ddp import DDPStrategy
from lightning.fabric.utilities.exceptions import MisconfigurationException
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from autoenc_sg.config.run import RunConfig
from autoenc_sg.core.errors import bad_input
from autoenc_sg.core.layers import ImageRandom
from autoenc_sg.data.base.samples import Batch
from autoenc_sg.training.parallel.precision import MixedKind, StepPrecision

# What Fabric raises of an accelerator, devices or a strategy that are not there.
_REFUSED = (ValueError, TypeError, RuntimeError, ImportError, MisconfigurationException)


def make_fabric(config: RunConfig) -> Fabric:
    """Fabric as configured, launched.

    DistributedDataParallel searches for unused parameters, see `SearchingDDP`. It does not
    broadcast buffers: they are batch norm's statistics, which are the same in every process, since
    `batch_norm` computes them over all of them. Mixed precision is `StepPrecision`.

    Raises:
        InputError: Lightning or PyTorch has no such accelerator, devices, strategy or precision.
    """
    runtime = config.runtime
    if runtime.threads > 0:
        torch.set_num_threads(runtime.threads)
    strategy: str | DDPStrategy = runtime.strategy
    try:
        default = Fabric(
            accelerator=runtime.accelerator,
            devices=runtime.devices,
            num_nodes=runtime.num_nodes,
            strategy=strategy,
            precision=runtime.precision,
        )
    except _REFUSED as error:
        reason = " ".join(str(error).split())
        names = ("accelerator", "devices", "strategy", "precision")
        got = ", ".join(f"{name} {getattr(runtime, name)!r}" for name in names)
        raise bad_input("runtime", "what this machine can run", f"{got} ({reason})") from error
    if isinstance(default.strategy, DDPStrategy) and strategy in ("auto", "ddp"):
        strategy = SearchingDDP(find_unused_parameters=True, broadcast_buffers=False)
    precision: Precision = default.strategy.precision
    if type(precision) is MixedPrecision:
        scaled = precision.scaler is not None
        kind: MixedKind = "16-mixed" if scaled else "bf16-mixed"
        precision = StepPrecision(kind, precision.device)
    fabric = Fabric(
        accelerator=runtime.accelerator,
        devices=runtime.devices,
        num_nodes=runtime.num_nodes,
        strategy=strategy,
        plugins=precision,
    )
    fabric.launch()
    return fabric


class SearchingDDP(DDPStrategy):
    """DistributedDataParallel that looks in each step for the parameters without a gradient.

    Which ones have none changes within a phase: biases before batch norm in training mode, heads
    that no loss of the batch reaches, a backbone that is frozen at first. PyTorch prints a warning
    where a step uses all; a parameter that none uses, beside those of the module, prevents it.
    """

    def setup_module(self, module: nn.Module) -> DistributedDataParallel:
        """The module as DistributedDataParallel, beside the unused parameter."""
        return super().setup_module(_WithUnusedParameter(module))


class _WithUnusedParameter(nn.Module):
    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        device = next(module.parameters()).device
        self.unused = nn.Parameter(torch.zeros(1, device=device))

    def forward(self, *arguments: Any) -> Any:
        return self.module(*arguments)


class OpaqueBatch:
    """Hides a batch from Fabric's tensor traversal, which refuses frozen dataclasses.

    `random` are the batch's random streams, or None.
    """

    def __init__(self, batch: Batch, random: ImageRandom | None = None) -> None:
        self.batch = batch
        self.random = random


class TakesOpaqueBatch(nn.Module):
    """An objective as Fabric wraps it: called with an `OpaqueBatch` instead of a `Batch`.

    Args:
        objective: a module from a `Batch` and its random streams to its losses.
    """

    def __init__(self, objective: nn.Module) -> None:
        super().__init__()
        self.objective = objective

    def forward(self, opaque: OpaqueBatch) -> Any:
        """The objective's output for the hidden batch."""
        return self.objective(opaque.batch, opaque.random)


def any_process(fabric: Fabric, condition: bool) -> bool:
    """Whether the condition holds in any process; all of them have to ask."""
    if fabric.world_size == 1:
        return condition
    count = fabric.all_reduce(torch.tensor(float(condition), device=fabric.device), reduce_op="sum")
    assert isinstance(count, Tensor)
    return bool(count > 0)


def random_state(fabric: Fabric) -> dict[str, Tensor]:
    """The random states of all processes: `rng_cpu` and on a GPU `rng_cuda`.

    Shapes: `[world, bytes]` uint8 each.
    """
    states = {"rng_cpu": torch.get_rng_state()}
    if fabric.device.type == "cuda":
        states["rng_cuda"] = torch.cuda.get_rng_state(fabric.device)
    return {name: _gather(fabric, state) for name, state in states.items()}


def _gather(fabric: Fabric, state: Tensor) -> Tensor:
    gathered = fabric.all_gather(state.to(fabric.device))
    assert isinstance(gathered, Tensor)
    return gathered.reshape(fabric.world_size, -1).cpu()


def restore_random_state(training: Mapping[str, Any], fabric: Fabric) -> None:
    """The inverse of `random_state`; processes without a saved state keep their own seed."""
    rank = fabric.global_rank
    if rank < len(training["rng_cpu"]):  # copies: PyTorch crashes with a view of a later row
        torch.set_rng_state(training["rng_cpu"][rank].clone())
        if fabric.device.type == "cuda" and "rng_cuda" in training:
            torch.cuda.set_rng_state(training["rng_cuda"][rank].clone(), fabric.device)
