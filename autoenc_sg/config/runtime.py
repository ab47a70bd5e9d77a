"""Options of the machine a run uses: devices, precision, and how often it logs and saves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from autoenc_sg.core.errors import require, require_at_least


@dataclass(frozen=True)
class RuntimeConfig:
    """Where and how a run runs.

    Attributes:
        accelerator: Lightning Fabric's: `auto`, `cpu`, `gpu`.
        devices: Lightning Fabric's: how many processes, a list of devices, or `auto`.
        num_nodes: Lightning Fabric's: machines.
        strategy: Lightning Fabric's; `auto` is DistributedDataParallel where there are several.
        precision: Lightning Fabric's.
        threads: CPU threads of PyTorch; 0: its own choice.
        log_every: steps between TensorBoard's scalars.
        checkpoint_every: steps between checkpoints; a phase's end is one, too.
        keep_last: newest checkpoints that are kept; an older one serves if the newest is damaged.
        sample_every: steps between TensorBoard's sample images.
        on_nonfinite: where losses or gradients are not finite, `stop` the run or `skip` the step
            (and stop after 20 in a row); the batch is saved in the run's folder.
        backbone_memory: MiB for the maps of the detector's ImageNet layers, kept by image while
            these layers are not trained (`detector_training.frozen_backbone_steps`,
            `joint.freeze_backbone`): they cost one pass an image, and one mirrored. Each image is
            seen alone then. 0: none.
        compile: `torch.compile` of the refinement network in training; needs a C++ compiler.
    """

    accelerator: str = "auto"
    devices: int | str = "auto"
    num_nodes: int = 1
    strategy: str = "auto"
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    threads: int = 0
    log_every: int = 20
    checkpoint_every: int = 1000
    keep_last: int = 2
    sample_every: int = 1000
    on_nonfinite: Literal["stop", "skip"] = "stop"
    backbone_memory: int = 0
    compile: bool = False

    def __post_init__(self) -> None:
        for name in ("log_every", "checkpoint_every", "keep_last", "sample_every"):
            require(getattr(self, name) > 0, f"runtime.{name}", "> 0", getattr(self, name))
        require_at_least(1, self, "runtime", "num_nodes")
        require_at_least(0, self, "runtime", "threads", "backbone_memory")
