"""Float32: how far the weights of two processes and of one come apart, and why.

    python benchmarks/training/two_processes.py [--steps 8] [--phases reconstruction joint]
        [--epsilons 1e-8 1e-3] [--reconstruction.eval_mode_after 0 ...]

The tests' tiny configuration with object discriminator, appearance codes and `eval_mode_after` 4
(further options change it) is trained from fresh weights, each phase for itself, `--steps` steps of
4 images on the CPU, in one process and in two. Printed for each phase and each epsilon of Adam
(1e-8 is PyTorch's default):

- weights: |a - b| / |a| over all tensors together;
- change: the same relative to what training changed, |a - b| / |a - a_0|;
- perturbed: |a - c| / |a| of c, trained in one process from weights that are off by 1.2e-7, each by
  a sign of its own: how much of a difference training itself makes of rounding;
- gradients of the first step, from Adam's moments: |g - h| / |g| over all tensors together;
- tiny: of the squared difference of the generator's weights after one step the share that lies in
  elements whose gradient is below 1e-6, and the share of elements that these are.

Adam's first step is lr g / (|g| + epsilon): where |g| is below 1e-6, an error of rounding of 1e-9
in g moves the weight by a thousandth of a step and more; with a large epsilon it does not.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # a checkout, not installed

from autoenc_sg.config.phases import PHASES, PhaseName
from autoenc_sg.data.open import open_dataset
from autoenc_sg.model import AutoEncoder
from autoenc_sg.training import discriminators, loop, phases
from autoenc_sg.weights.checkpoint import read_checkpoint, read_training_state
from tests.support.tiny import tiny_config

TINY_GRADIENT = 1e-6
ROUNDING = 2**-23  # of float32
OPTIONS = (
    "--reconstruction.object_adversarial_weight=0.01",
    "--reconstruction.eval_mode_after=4",
    "--generator.appearance_dim=4",
    *(f"--{name}.batch_size=4" for name in ("detector_training", "reconstruction", "joint")),
    *(f"--runtime.{name}=1000" for name in ("checkpoint_every", "sample_every")),
)
Weights = Mapping[str, Tensor]
build_model = loop.build_model


def perturbed_model(*arguments: Any) -> AutoEncoder:
    """A model whose initial weights are off by about a rounding error, each by its own sign."""
    model, random = build_model(*arguments), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in model.parameters():
            sign = torch.randint(2, weight.shape, generator=random) * 2 - 1
            weight.mul_(1 + ROUNDING * sign)
    return model


@dataclass(frozen=True)
class Training:
    """A phase from fresh weights.

    Attributes:
        phase, steps, devices: which, how long, in how many processes.
        epsilon: Adam's.
        options: of the configuration.
        is_perturbed: whether the initial weights are those of `perturbed_model`.
    """

    phase: PhaseName
    steps: int
    devices: int
    epsilon: float
    options: tuple[str, ...] = ()
    is_perturbed: bool = False

    def run_here(self, folder: Path) -> None:
        """Train in this process and those that it starts."""
        if self.is_perturbed:
            loop.build_model = perturbed_model
        for module in (phases, discriminators):
            module.Adam = partial(module.Adam, eps=self.epsilon)  # type: ignore[attr-defined]
        section = "detector_training" if self.phase == "detector" else self.phase
        given = (f"--{section}.steps={self.steps}", f"--runtime.devices={self.devices}")
        loop.train(tiny_config(folder, *OPTIONS, *given, *self.options), (self.phase,))

    def run(self, scenes: Path) -> Path:
        """Train in processes of their own, beside `scenes`; the checkpoint.

        Raises:
            RuntimeError: it fails.
        """
        folder = Path(tempfile.mkdtemp(dir=scenes.parent))
        (folder / "scenes").symlink_to(scenes, target_is_directory=True)
        done = subprocess.run(
            [sys.executable, __file__, "--one", str(folder), json.dumps(asdict(self))],
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise RuntimeError(done.stderr[-2000:])
        return folder / "run" / "checkpoint.safetensors"


def difference(first: Weights, second: Weights) -> float:
    """|a - b| over all tensors together."""
    squares = [(first[name].double() - second[name].double()).square().sum() for name in first]
    return float(torch.stack(squares).sum().sqrt())


def norm(weights: Weights) -> float:
    """|a| over all tensors together."""
    return difference(weights, {name: torch.zeros_like(value) for name, value in weights.items()})


def first_gradient(path: Path) -> Tensor:
    """The gradient of the generator's parameters, from Adam's first moments after one step."""
    state: Any = read_training_state(path)
    moments = state["optimizer_generator"]["state"]
    return torch.cat([moments[i]["exp_avg"].double().flatten() / 0.1 for i in sorted(moments)])


def compare_gradients(first: Tensor, second: Tensor, epsilon: float) -> tuple[float, float, float]:
    """Of two gradients `[N]` of the same weights, what Adam's first step makes of them.

    Returns:
        |g - h| / |g|; of the squared difference of the steps g / (|g| + epsilon) the share in
        elements with |g| below `TINY_GRADIENT`; the share of elements that these are.
    """
    steps = [each / (each.abs() + epsilon) for each in (first, second)]
    squares = (steps[0] - steps[1]).square()
    is_tiny = first.abs() < TINY_GRADIENT
    share = squares[is_tiny].sum() / squares.sum().clamp(min=1e-300)
    apart = (first - second).norm() / first.norm()
    return float(apart), float(share), float(is_tiny.double().mean())


def report(training: Training, scenes: Path) -> list[str]:
    """The cells of the row of a training in one process."""
    in_two = replace(training, devices=2)
    one, two, start, perturbed = (
        dict(read_checkpoint(each.run(scenes)).model)
        for each in (
            training,
            in_two,
            replace(training, steps=0),
            replace(training, is_perturbed=True),
        )
    )
    apart = difference(one, two)
    shares = (
        apart / norm(one),
        apart / difference(one, start),
        difference(one, perturbed) / norm(one),
    )
    cells = [training.phase, f"{training.epsilon:.0e}", *(f"{share:.1e}" for share in shares)]
    if training.phase == "detector":
        return [*cells, "", "", ""]
    pair = [first_gradient(replace(each, steps=1).run(scenes)) for each in (training, in_two)]
    gradient, share, elements = compare_gradients(*pair, training.epsilon)
    return [*cells, f"{gradient:.1e}", f"{share:.2f}", f"{elements:.2f}"]


def main() -> None:
    """Train and print the table."""
    if sys.argv[1:2] == ["--one"]:
        Training(**json.loads(sys.argv[3])).run_here(Path(sys.argv[2]))
        return
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], epilog="Further options go to the configuration."
    )
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--phases", nargs="+", default=list(PHASES), choices=PHASES)
    parser.add_argument("--epsilons", nargs="+", type=float, default=[1e-8])
    options, rest = parser.parse_known_args()
    columns = ("weights", "change", "perturbed", "gradients", "tiny: share", "tiny: elements")
    print("| phase | epsilon |", " | ".join(columns), "|")
    print("|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        open_dataset(tiny_config(folder).data, "train")  # draws the scenes
        for phase in options.phases:
            for epsilon in options.epsilons:
                training = Training(phase, options.steps, 1, epsilon, tuple(rest))
                print("|", " | ".join(report(training, folder / "scenes")), "|", flush=True)


if __name__ == "__main__":
    main()
