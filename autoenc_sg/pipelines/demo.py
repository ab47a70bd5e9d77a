"""The demo: draw scenes, train all phases of a small model, evaluate it, write a report."""

from __future__ import annotations

import platform
import resource
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from autoenc_sg.config.files import load_config
from autoenc_sg.config.phases import PHASES
from autoenc_sg.config.run import RunConfig
from autoenc_sg.core.errors import InputError
from autoenc_sg.core.scene_graph import SceneGraph
from autoenc_sg.data.base.samples import GraphDataset
from autoenc_sg.data.open import open_dataset
from autoenc_sg.data.scenes.files import write_scenes
from autoenc_sg.model.autoencoder import AutoEncoder
from autoenc_sg.scoring.evaluate import (
    EvaluationOptions,
    EvaluationResults,
    evaluate_model,
    open_splits,
)
from autoenc_sg.training.loop import train
from autoenc_sg.training.run_log import read_history
from autoenc_sg.training.start import Start
from autoenc_sg.visualization.figures import (
    GrowthStep,
    Reconstruction,
    figure_2,
    figure_3,
    loss_curves,
)
from autoenc_sg.visualization.html_report import Figure, Report, write_report
from autoenc_sg.visualization.progress import Reporter, duration
from autoenc_sg.weights.checkpoint import find_checkpoints, read_resumable

ROWS = 8  # of figure 2
GROWTH = 8  # objects of figure 3
# Shares of the run time, measured on 2 CPU cores; only for the progress display.
PLAN = (
    ("scenes", 0.01),
    ("detector", 0.17),
    ("reconstruction", 0.17),
    ("joint", 0.60),
    ("statistics", 0.01),
    ("evaluate", 0.02),
    ("report", 0.02),
)


def run_demo(out: Path, seed: int = 0, overrides: Sequence[str] = ()) -> EvaluationResults:
    """Run the demo into `out`; an interrupted demo continues from its checkpoint.

    Writes `scenes/`, `checkpoint.safetensors`, `config.yaml`, `history.jsonl`, `logs/`,
    `results.json` and `report.html`.

    Raises:
        InputError: `out` holds a finished demo, or one of another seed.
    """
    started = time.monotonic()
    start = _start(out, seed)
    config = demo_config(out, seed, overrides)
    reporter = Reporter(PLAN)
    try:
        _draw_scenes(config, reporter)
        checkpoint = train(config, PHASES, start, reporter)
        model = AutoEncoder.from_checkpoint(checkpoint)
        train_split, test = open_splits(config.data, "test", config.seed)
        scores = evaluate_model(model, train_split, test, EvaluationOptions(), reporter)
        with reporter.stage("report"):
            results = _with_cost(scores, seed, time.monotonic() - started)
            write_report(out / "report.html", build_report(model, test, results, out))
            results = _with_cost(scores, seed, time.monotonic() - started)  # now with the report
            results.write_json(out / "results.json")
    finally:
        reporter.close()
    _print_summary(results, out)
    return results


def demo_config(out: Path, seed: int, overrides: Sequence[str] = ()) -> RunConfig:
    """The packaged configuration `demo` with this output folder and seed."""
    run = ["--out", str(out), "--seed", str(seed)]
    data = ["--data.root", str(out / "scenes"), "--data.scenes.seed", str(seed)]
    return load_config("demo", [*run, *data, *overrides])


def _start(out: Path, seed: int) -> Start:
    if (out / "results.json").is_file():
        raise InputError(f"{out}: expected no finished demo there, got one; use another --out")
    if not find_checkpoints(out):
        return Start()
    checkpoint = read_resumable(out)
    if checkpoint.config.seed != seed:
        got = checkpoint.config.seed
        raise InputError(f"{out}: expected an interrupted demo of seed {seed}, got seed {got}")
    return Start(checkpoint, resume=True)


def _draw_scenes(config: RunConfig, reporter: Reporter) -> None:
    scenes, root = config.data.scenes, Path(config.data.root)
    with reporter.stage("scenes", scenes.num_train + scenes.num_test):
        if not root.exists():
            write_scenes(root, scenes, lambda done, total: reporter.advance())
        open_dataset(config.data, "test", config.seed)  # raises for scenes of other settings


def _with_cost(results: EvaluationResults, seed: int, seconds: float) -> EvaluationResults:
    unit = 1024**3 if sys.platform == "darwin" else 1024**2
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
    better = results.recall["model"]["SGGen R@50"] - results.recall["frequency prior"]["SGGen R@50"]
    scores = results.image_scores
    mean = scores["mean image"]["L1"]
    return EvaluationResults(
        images=results.images,
        recall=results.recall,
        detection=results.detection,
        image_scores=scores,
        extra={
            "SGGen R@50 above the frequency prior": better,
            "predicted graph L1 / mean image L1": scores["predicted graph"]["L1"] / mean,
            "true graph L1 / mean image L1": scores["true graph"]["L1"] / mean,
            "seed": seed,
            "seconds": seconds,
            "peak memory GiB": memory,
            "threads": torch.get_num_threads(),
        },
    )


def build_report(
    model: AutoEncoder, test: GraphDataset, results: EvaluationResults, out: Path
) -> Report:
    """The report: tables and figures."""
    extra = results.extra
    summary = [
        "A photo goes in; a detector, relation proposals and a graph convolution turn it into a "
        "scene graph; the generator turns the graph back into an image, and the image loss trains "
        "the graph.",
        f"{results.images} test scenes, seed {extra['seed']:g}; everything from drawing the scenes "
        f"to this evaluation took {duration(extra['seconds'])} and "
        f"{extra['peak memory GiB']:.1f} GiB with {extra['threads']:g} CPU threads "
        f"({platform.machine()}, PyTorch {torch.__version__}).",
    ]
    curves: dict[str, list[tuple[int, float]]] = {}
    for row in read_history(out):
        for name, value in row["losses"].items():
            curves.setdefault(f"{row['phase']}/{name}", []).append((row["step"], value))
    vocabulary = model.vocabulary
    figures = [
        Figure(
            "Photo, graph, photo",
            figure_2(reconstructions(model, test, ROWS), vocabulary),
            "Test images, as the paper's figure 2: the photo with the detected objects, the "
            "predicted graph, the image drawn from it, and the one drawn from the true graph.",
        ),
        Figure(
            "A graph that grows",
            figure_3(growth(model, test), vocabulary),
            "As the paper's figure 3: one object of a true graph more in each step, largest first, "
            "and the image drawn from the graph so far.",
        ),
        Figure("Losses", loss_curves(curves), "Training losses, weighted as they were summed."),
    ]
    return Report("autoenc-sg: demo", summary, results.tables(), figures)


def reconstructions(model: AutoEncoder, test: GraphDataset, count: int) -> list[Reconstruction]:
    """Rows of figure 2: the first `count` images of a data set."""
    samples = [test[i] for i in range(min(count, len(test)))]
    seeds = [sample.image_id for sample in samples]
    predicted = model.parse([sample.image for sample in samples])
    from_predicted = model.render_batch(predicted, seeds).cpu()
    from_truth = model.render_batch([sample.graph for sample in samples], seeds).cpu()
    return [
        Reconstruction(sample.image, predicted[i], from_predicted[i], sample.graph, from_truth[i])
        for i, sample in enumerate(samples)
    ]


def growth(model: AutoEncoder, test: GraphDataset) -> list[GrowthStep]:
    """Figure 3: the richest of the first test graphs, object by object, largest first."""
    graphs = [test.graph(i) for i in range(min(50, len(test)))]
    graph = max((g for g in graphs if len(g) <= GROWTH), key=_richness, default=graphs[0])
    area = (graph.boxes[:, 2:] - graph.boxes[:, :2]).prod(1)
    order = area.argsort(descending=True, stable=True)
    steps = [graph.select(order[:count]) for count in range(1, len(graph) + 1)]
    images = model.render_batch(steps, [0] * len(steps)).cpu()
    return [GrowthStep(step, image) for step, image in zip(steps, images)]


def _richness(graph: SceneGraph) -> int:
    return len(graph) + len(graph.triples)


def _print_summary(results: EvaluationResults, out: Path) -> None:
    from rich.console import Console

    console = Console()
    for table in results.tables():
        console.print(table.to_rich())
    console.print(f"{out / 'report.html'}\n{out / 'results.json'}", highlight=False)
