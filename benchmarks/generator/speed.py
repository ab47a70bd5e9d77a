"""The generator against a plain implementation of sg2im's own layout, side by side.

    python benchmarks/generator/speed.py [--threads 2] [--repeats 15] [--gains] [--compile] \
        [--json OUT]
    python benchmarks/generator/speed.py --threads 1 --cpu-time --gains     # on a busy machine
    python benchmarks/generator/speed.py --device cuda --batch 32 --gains --compile

Default sizes (128 channels, CRN 1024-512-256-128-64, 64 px), batch 8, 9 objects an image, the same
weights, graphs and noise; `generator_ways` says what the two ways are. The pictures and boxes must
agree to 1e-4, else the benchmark fails. The ways take turns, so that what else the machine does
meets them alike; a ratio is that of two neighbouring runs, and its median is reported beside that
of the shortest times.

Memory on the CPU is what a fresh process adds to its resident set while it does the work (Linux
only); in training that includes gradients and Adam's moments, 3 numbers for each weight, which is
also given by itself. On CUDA it is the allocator's peak above the weights (and, in training, with
gradients and moments).

`--gains` adds what each step from one way to the other is worth. "of the matrix rate" is the
products that the way takes, counted, each second, by those of a product of large matrices in the
same precision. On CUDA nothing here has been run yet.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # a checkout, not installed

from autoenc_sg.generator import convolutions, refinement
from benchmarks.generator.layout import _resident as resident
from benchmarks.generator.ways import OURS, SG2IM, Networks, Task, Training, Way, networks, task

TOLERANCE = 1e-4
WAYS = {"sg2im": SG2IM, "ours": OURS}
WORK = ("forward", "training step")
NEVER = 1 << 60  # a threshold that nothing reaches
MATRIX = 4096  # side of the matrices that the rate is measured with, half of it on a CPU
MEASURED_TWICE = 2  # rounds that do not count


class Step(NamedTuple):
    """A stage between the two ways.

    Attributes:
        without: names in `convolutions` and `refinement`, as they are without what comes later.
        fused: Adam in one pass.
        bfloat16: mixed precision.
        compiled: `torch.compile` of the refinement network.
    """

    without: Mapping[str, object]
    fused: bool = True
    bfloat16: bool = False
    compiled: bool = False


def _not_folded(layers: nn.Sequential, pixels: int) -> tuple[object, object, nn.Sequential]:
    return layers[0].weight, layers[0].bias, layers[1:]


SWITCHES: tuple[tuple[str, str, object], ...] = (
    ("convolutions over masks", "WORTHWHILE", 0),
    ("enlarged maps: 4 products an output", "LEAST_PIXELS", NEVER),
    ("where wide: 9/4 products", "WIDE", NEVER),
    ("few pixels: one product of matrices", "CHANNELS_A_PIXEL", NEVER),
    ("channels last", "CHANNELS_LAST_SIDE", NEVER),
    ("fixed normalization folded", "_folded", _not_folded),
)
ALL = Step({})
LAST = "+ Adam in one pass = ours"
OPTIONS = {
    "ours in bfloat16": Step({}, bfloat16=True),
    "ours compiled": Step({}, compiled=True),
}


def stages(compiled: bool) -> dict[str, Step]:
    """From pooled masks alone to all that this project does, one thing more each; then options."""
    left = {name: off for _, name, off in SWITCHES}
    made = {"layout as masks, pooled for each scale": Step(dict(left), fused=False)}
    for title, name, _ in SWITCHES:
        del left[name]
        made[f"+ {title}"] = Step(dict(left), fused=False)
    made[LAST] = ALL
    return made | {k: v for k, v in OPTIONS.items() if compiled or not v.compiled}


@contextmanager
def switched(values: Mapping[str, object]) -> Iterator[None]:
    """The generator with other thresholds between its cheaper and its plain ways."""
    with ExitStack() as stack:
        for name, value in values.items():
            home = convolutions if name in vars(convolutions) else refinement
            stack.enter_context(patch.object(home, name, value))
        yield


class Machine(NamedTuple):
    """Where it runs and by which clock; the clock stops when all that was asked for is done."""

    device: str
    clock: Callable[[], float] = time.perf_counter

    def wait(self) -> None:
        """Until all that was asked for is done."""
        if self.device == "cuda":
            torch.cuda.synchronize()

    def precision(self, bfloat16: bool) -> AbstractContextManager[Any]:
        """Mixed precision, or none."""
        return torch.autocast(self.device, torch.bfloat16) if bfloat16 else nullcontext()

    def seconds(self, run: Callable[[], object]) -> float:
        """How long one run takes."""
        self.wait()
        start = self.clock()
        run()
        self.wait()
        return self.clock() - start

    def matrix_rate(self, dtype: torch.dtype) -> float:
        """Operations a second of a product of large matrices, at best of five."""
        side = MATRIX if self.device == "cuda" else MATRIX // 2
        a, b = (torch.randn(side, side, device=self.device, dtype=dtype) for _ in range(2))
        shortest = min(self.seconds(lambda: a @ b) for _ in range(6))
        return 2 * side**3 / shortest


Run = Callable[[], Any]


def runner(way: Way, step: Step, work: str, nets: Networks, batch: Task, on: Machine) -> Run:
    """One run of a way, as a function; the networks are copied."""
    training = Training(nets, way, way.ours and step.fused)
    generator = training.nets.generator
    if step.compiled:
        generator.refinement_net = torch.compile(generator.refinement_net)
    generator.train(work != "forward")

    def forward() -> tuple[Tensor, Tensor]:
        with switched(step.without), on.precision(step.bfloat16), torch.no_grad():
            return way.draw(generator, batch.graph, batch.noise)

    def train() -> Tensor:
        with switched(step.without):
            return training.step(batch, on.precision(step.bfloat16))

    return forward if work == "forward" else train


def taking_turns(runs: Mapping[str, Run], repeats: int, on: Machine) -> dict[str, list[float]]:
    """Milliseconds of each run, round by round."""
    taken: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repeats + MEASURED_TWICE):
        for name, run in runs.items():
            taken[name].append(1e3 * on.seconds(run))
    return {name: values[MEASURED_TWICE:] for name, values in taken.items()}


def ratios(slow: Sequence[float], fast: Sequence[float]) -> tuple[float, float]:
    """How many times faster: by the shortest times, and the median of neighbours."""
    return min(slow) / min(fast), statistics.median(a / b for a, b in zip(slow, fast))


def differences(nets: Networks, batch: Task) -> dict[str, float]:
    """Largest difference between the ways, as networks are used and as they are trained.

    That of gradients is the norm of the difference of all by the norm of all.
    """
    found: dict[str, float] = {}
    for mode in ("eval", "train"):
        made = []
        for way in WAYS.values():
            training = Training(nets, way)
            training.nets.generator.train(mode == "train")
            image, boxes = way.draw(training.nets.generator, batch.graph, batch.noise)
            training.generator_loss(image, boxes, batch).backward()
            image, boxes = image.detach(), boxes.detach()
            weights = training.nets.generator.parameters()
            made.append((image, boxes, [p.grad for p in weights if p.grad is not None]))
        (image, boxes, plain), (own_image, own_boxes, own) = made
        found[f"image, {mode}"] = float((image - own_image).abs().max())
        found[f"boxes, {mode}"] = float((boxes - own_boxes).abs().max())
        off = sum(float((a - b).double().square().sum()) for a, b in zip(plain, own))
        whole = sum(float(a.double().square().sum()) for a in plain)
        found[f"gradients, {mode}"] = math.sqrt(off / whole)
    return found


def products(run: Run) -> float:
    """Multiplications and additions of convolutions and products of matrices in one run."""
    with FlopCounterMode(display=False) as counter:
        run()
    return float(counter.get_total_flops())


def peak_of_this_process(way: Way, work: str, options: argparse.Namespace) -> float:
    """MiB that this process, or its part of the GPU, adds at most while it does the work twice."""
    on = Machine(options.device)
    nets = networks(options.size, device=options.device)
    small = task(nets.generator, 1, 1)
    runner(way, ALL, "forward", nets, small, on)()  # threads and kernels are set up
    run = runner(way, ALL, work, nets, task(nets.generator, options.batch, options.objects), on)
    if options.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated() / 2**20
    else:
        before = resident("VmRSS")
    run()
    run()
    on.wait()
    cuda = options.device == "cuda"
    return (torch.cuda.max_memory_allocated() / 2**20 if cuda else resident("VmHWM")) - before


def peak(name: str, work: str, options: argparse.Namespace) -> float:
    """`peak_of_this_process` of a fresh process."""
    shape = ("threads", "device", "batch", "objects", "size")
    same = [x for key in shape for x in (f"--{key}", str(getattr(options, key)))]
    command = [sys.executable, __file__, *same, "--job", name, work]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def compare(options: argparse.Namespace, nets: Networks, batch: Task) -> list[dict[str, object]]:
    """One row per work and way."""
    on, rows = machine(options), []
    rate = on.matrix_rate(torch.float32)
    for work in WORK:
        runs = {name: runner(way, ALL, work, nets, batch, on) for name, way in WAYS.items()}
        counted = {name: products(run) for name, run in runs.items()}
        taken = taking_turns(runs, options.repeats, on)
        memory = {name: peak(name, work, options) for name in WAYS}
        for name in WAYS:
            shortest, median = ratios(taken["sg2im"], taken[name])
            rows.append(
                {
                    "work": work,
                    "way": name,
                    "ms": min(taken[name]),
                    "median_ms": statistics.median(taken[name]),
                    "times_faster": shortest,
                    "times_faster_median": median,
                    "images_per_second": options.batch * 1e3 / min(taken[name]),
                    "gflop": counted[name] / 1e9,
                    "of_matrix_rate": counted[name] / min(taken[name]) * 1e3 / rate,
                    "peak_mib": memory[name],
                    "peak_share": memory[name] / memory["sg2im"],
                }
            )
    return rows


def gains(options: argparse.Namespace, nets: Networks, batch: Task) -> list[dict[str, object]]:
    """One row per stage: milliseconds, and times faster than sg2im's way and the stage before.

    Options on top (another precision, compilation) are compared with all stages together.
    """
    on, chosen = machine(options), stages(options.compile)
    rates = {half: on.matrix_rate(torch.bfloat16 if half else torch.float32) for half in (0, 1)}
    steps = {"sg2im": (SG2IM, ALL), **{name: (OURS, step) for name, step in chosen.items()}}
    table: dict[str, dict[str, object]] = {name: {"stage": name} for name in steps}
    for work in WORK:
        runs = {name: runner(*step, work, nets, batch, on) for name, step in steps.items()}
        counted = {k: products(run) for k, run in runs.items() if not steps[k][1].compiled}
        taken = taking_turns(runs, options.repeats, on)
        before = "sg2im"
        for name, values in taken.items():
            each = counted.get(name, counted[LAST])
            rate = each / min(values) * 1e3 / rates[steps[name][1].bfloat16]
            first, gain = (ratios(taken[other], values)[1] for other in ("sg2im", before))
            found = (min(values), first, gain, rate)
            table[name] |= {f"{work}_{key}": value for key, value in zip(STAGE, found)}
            before = name if name not in OPTIONS else LAST
    return list(table.values())


def show(title: str, rows: Sequence[Mapping[str, object]], formats: Mapping[str, str]) -> None:
    """Print rows as a table; `formats` are those of the columns by key, headed by it."""
    table = Table(title=title)
    for key in formats:
        table.add_column(key.replace("_", " "))
    for row in rows:
        table.add_row(*(format(row[key], pattern) for key, pattern in formats.items()))
    Console(soft_wrap=True, width=150).print(table)


COMPARED = {
    "work": "", "way": "", "ms": ".1f", "median_ms": ".1f", "times_faster": ".2f",
    "times_faster_median": ".2f", "images_per_second": ".1f", "gflop": ".1f",
    "of_matrix_rate": ".0%", "peak_mib": ".0f", "peak_share": ".2f",
}  # fmt: skip
STAGE = {"ms": ".1f", "times_faster": ".2f", "gain": ".2f", "of_matrix_rate": ".0%"}
GAINED = {
    "stage": "",
    **{f"{work}_{key}": pattern for work in WORK for key, pattern in STAGE.items()},
}


def command_line(documentation: str) -> argparse.ArgumentParser:
    """The options of this benchmark and of those that are built on it."""
    parser = argparse.ArgumentParser(description=documentation.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--objects", type=int, default=9, help="an image, beside its own node")
    parser.add_argument("--size", type=int, default=64, help="side of the images in pixels")
    parser.add_argument("--cpu-time", action="store_true", help="for a busy machine: 1 thread's")
    parser.add_argument("--json", type=Path)
    return parser


def parsed(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """What was asked for, if it has a meaning."""
    options = parser.parse_args()
    if options.cpu_time and (options.threads > 1 or options.device != "cpu"):
        parser.error("--cpu-time is one thread's: give --threads 1 and no other device")
    return options


def main() -> None:
    """Measure, print, and fail if the pictures or boxes differ by more than 1e-4."""
    parser = command_line(__doc__)
    parser.add_argument("--gains", action="store_true", help="what each stage is worth")
    parser.add_argument("--compile", action="store_true", help="with --gains: torch.compile too")
    parser.add_argument("--job", nargs=2, help=argparse.SUPPRESS)
    options = parsed(parser)
    torch.set_num_threads(options.threads)
    torch.backends.cudnn.allow_tf32 = False  # else the pictures agree to three digits only
    if options.job:
        name, work = options.job
        print(peak_of_this_process(WAYS[name], work, options))
        return
    nets = networks(options.size, device=options.device)
    batch = task(nets.generator, options.batch, options.objects)
    found = differences(nets, batch)
    report: dict[str, object] = {"conditions": conditions(options), "differences": found}
    report["ways"] = compare(options, nets, batch)
    shape = f"batch {options.batch}, {options.objects} objects, {options.size} px"
    show(f"Generator: {shape}, {options.device}", report["ways"], COMPARED)
    print("largest differences:", ", ".join(f"{k} {v:.1e}" for k, v in found.items()))
    if options.gains:
        report["stages"] = gains(options, nets, batch)
        show("Stages: times faster than sg2im, and than the stage before", report["stages"], GAINED)
    if options.json:
        options.json.write_text(json.dumps(report, indent=2), encoding="utf-8")
    if any(v > TOLERANCE for k, v in found.items() if not k.startswith("gradients")):
        sys.exit(f"the ways differ by more than {TOLERANCE}")


def machine(options: argparse.Namespace) -> Machine:
    """As the command line says.

    Processor time is that of the calling thread, so with `--threads 1` it is all the work's, and a
    busy machine hardly changes it.
    """
    return Machine(options.device, time.thread_time if options.cpu_time else time.perf_counter)


def conditions(options: argparse.Namespace) -> dict[str, object]:
    """What was measured on, and how."""
    name = torch.cuda.get_device_name() if options.device == "cuda" else platform.machine()
    keys = ("threads", "repeats", "batch", "objects", "size", "cpu_time")
    return {
        "torch": torch.__version__,
        "device": f"{platform.system()} {name}",
        "matrix_gflops": machine(options).matrix_rate(torch.float32) / 1e9,
        **{key: getattr(options, key) for key in keys},
    }


if __name__ == "__main__":
    main()
