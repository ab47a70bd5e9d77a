"""Presentation of evaluation results: tables beside the paper's, a plot, TensorBoard."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image
from torch.utils.tensorboard import SummaryWriter

from autoenc_sg.config.recall import RecallConventions
from autoenc_sg.core.atomic_files import replacing
from autoenc_sg.eval import further_names, table_names
from autoenc_sg.scoring.options import ALL_TASKS, KS
from autoenc_sg.scoring.results import EvaluationResults
from autoenc_sg.visualization.graph import DPI, figure_image, sans
from autoenc_sg.visualization.tables import Cell, Table

# Tan 2019, "Auto-Encoding Scene Graphs with Image Reconstruction", Table 1, as printed there:
# PhrDet R@20, R@50, R@100, SGGen R@20, R@50, R@100 in percent on Visual Genome.
PUBLISHED: tuple[tuple[str, tuple[float | None, ...]], ...] = (
    ("IMP", (None, 15.87, 19.45, None, 8.23, 10.88)),
    ("MotifNet", (None, 23.8, 27.2, None, 23.5, 27.6)),
    ("Graph R-CNN", (None, None, None, 19.4, 25.5, 28.5)),
    ("FactorizableNet", (None, 26.03, 30.77, None, 18.32, 21.20)),
    ("Tan 2019", (24.1, 30.5, 33.1, 23.8, 28.2, 32.6)),
)
_SOURCE = (
    "Published: K. Tan 2019, Auto-Encoding Scene Graphs with Image Reconstruction, Table 1, on "
    "Visual Genome."
)
MEASURES = ("L1", "PSNR", "SSIM", "FID", "IS", "LPIPS diversity", "object accuracy")
_MODEL, _PRIOR, _INK = "#1f5fa8", "#d08a3c", "#333333"
_ROW = 0.2  # inches of a predicate


def report_tables(
    results: EvaluationResults, conventions: RecallConventions, data: str
) -> list[Table]:
    """The paper's Table 1 with this run, every recall, and the scores of generated images.

    Args:
        results: of the run.
        conventions: K and metrics.
        data: what it was evaluated on, for the note.
    """
    ks = conventions.ks
    tables = [comparison_table(results, data), recall_table(results, ks)]
    if conventions.metrics == "all":
        tables.append(_scores_table(results, ks, further_names(conventions), "Further metrics", ""))
    return [*tables, image_table(results, ks)] if results.image_scores else tables


def comparison_table(results: EvaluationResults, data: str) -> Table:
    """Rows as published, where the data is Visual Genome, and rows of this run, in percent."""
    names = [f"{task} R@{k}" for task in ("PhrDet", "SGGen") for k in KS]
    rows: list[list[Cell]] = []
    if results.visual_genome:
        rows = [[f"{name} (published)", *values] for name, values in PUBLISHED]
    for row, values in results.recall.items():
        label = "this checkpoint" if row == "model" else row
        rows.append([label, *(_percent(values.get(name)) for name in names)])
    note = f"This run: {results.images} images of {data}."
    if not results.visual_genome:
        return Table("This run (recall, %)", ["", *names], rows, note)
    title = "Table 1 of the paper, and this run (recall, %)"
    return Table(title, ["", *names], rows, f"{_SOURCE} {note}")


def recall_table(results: EvaluationResults, ks: Sequence[int]) -> Table:
    """Every recall of every task, the prior's beside it."""
    ap = ", ".join(f"{name} {value:.4f}" for name, value in results.detection.items())
    note = f"prior: the frequency prior on the same objects. Detection: {ap}."
    return _scores_table(results, ks, table_names(ks), "Recall (fractions)", note)


def _scores_table(
    results: EvaluationResults, ks: Sequence[int], names: Sequence[str], title: str, note: str
) -> Table:
    """Those of these figures that the model has, by task, with the prior's beside them."""
    recalls = results.recall
    tasks = [t for t in ALL_TASKS if f"{t} R@{ks[0]}" in recalls["model"]]
    names = [
        name
        for name in names
        if any(_is_number(recalls["model"].get(f"{task} {name}")) for task in tasks)
    ]
    rows: list[list[Cell]] = [
        [name, *(_cell(results, row, f"{task} {name}") for task in tasks for row in recalls)]
        for name in names
    ]
    heads = [t if row == "model" else f"{t}, prior" for t in tasks for row in recalls]
    if results.intervals:
        note += " In brackets: 95 % intervals over images."
    return Table(title, ["", *heads], rows, note)


def _cell(results: EvaluationResults, row: str, name: str) -> Cell:
    """A figure, with its interval if there is one."""
    value, ends = results.recall[row].get(name), results.intervals.get(row, {}).get(name)
    if value is None or ends is None:
        return value
    return f"{value:.4f} [{ends[0]:.4f}, {ends[1]:.4f}]"


def image_table(results: EvaluationResults, ks: Sequence[int]) -> Table:
    """Images by the graph they were drawn from; round trip: R@K of the graph parsed from them."""
    names = [m for m in MEASURES if any(m in values for values in results.image_scores.values())]
    trips = [f"R@{k}" for k in ks] if results.round_trip else []
    rows: list[list[Cell]] = [
        [
            row,
            *(values.get(name) for name in names),
            *(results.round_trip.get(row, {}).get(name) for name in trips),
        ]
        for row, values in results.image_scores.items()
    ]
    accuracy = results.extra.get("real picture object accuracy")
    if accuracy is not None:
        real = [accuracy if name == "object accuracy" else None for name in names]
        rows.append(["(real picture)", *real, *(None for _ in trips)])
    notes = [f"{name}: {network}" for name, network in results.networks.items()]
    heads = ["drawn from", *names, *(f"round trip {name}" for name in trips)]
    return Table("Generated images", heads, rows, "; ".join(notes))


def predicate_bars(results: EvaluationResults, k: int, task: str = "SGGen") -> Image.Image:
    """R@K of each predicate, the model's above the prior's, most frequent predicates first."""
    names = sorted(results.training_counts, key=lambda n: -results.training_counts[n])
    height = _ROW * max(len(names), 1) + 0.9
    figure = Figure(figsize=(7.0, height), dpi=DPI, facecolor="white")
    axes = figure.add_axes((0.3, 0.5 / height, 0.66, 1 - 0.8 / height), facecolor="white")
    places = np.arange(len(names))
    for row, shift, colour in (("model", -0.2, _MODEL), ("frequency prior", 0.2, _PRIOR)):
        values = [results.predicates[row][task][name] for name in names]
        axes.barh(places + shift, np.nan_to_num(values), 0.38, color=colour, label=row)
    title = f"R@{k} of each predicate, {task}"
    axes.set_title(title, fontproperties=sans(9), color=_INK, loc="left", parse_math=False)
    counted = [f"{name} ({results.training_counts[name]:,})" for name in names]
    axes.set_yticks(places, counted)
    _style_axes(axes)
    return figure_image(figure)


def _style_axes(axes: Axes) -> None:
    axes.invert_yaxis()
    axes.margins(y=0.01)
    axes.set_xlim(0, 1)
    axes.set_xlabel("recall; in brackets: triples of the train split", fontproperties=sans(8))
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="x", color="#e4e4e4", linewidth=0.5)
    axes.set_axisbelow(True)
    axes.legend(prop=sans(8), frameon=False, loc="lower right", bbox_to_anchor=(1, 0.99), ncol=2)
    for label in (*axes.get_xticklabels(), *axes.get_yticklabels()):
        label.set_fontproperties(sans(7.5))


def write_files(results: EvaluationResults, path: Path, k: int, logs: Path) -> list[Path]:
    """`path` (JSON), the same as CSV, the plot of predicates, and TensorBoard's log in `logs`.

    Returns:
        The files, without the log.
    """
    results.write_json(path)
    results.write_csv(path.with_suffix(".csv"))
    written = [path, path.with_suffix(".csv")]
    plot = None
    scored = results.predicates.get("model", {})
    if scored and results.training_counts:
        plot = predicate_bars(results, k, "SGGen" if "SGGen" in scored else next(iter(scored)))
        written.append(path.with_name(f"{path.stem}_predicates.png"))
        with replacing(written[-1]) as temporary:
            plot.save(temporary)
    with SummaryWriter(str(logs)) as writer:
        for name, value in results.to_dict().items():
            if math.isfinite(value):
                writer.add_scalar(f"evaluation/{name}", value, results.step)
        if plot is not None:
            pixels = np.asarray(plot.convert("RGB"))
            writer.add_image("evaluation/predicates", pixels, results.step, dataformats="HWC")
    return written


def _is_number(value: float | None) -> bool:
    return value is not None and not math.isnan(value)


def _percent(value: float | None) -> float | None:
    return None if value is None else 100 * value
