"""Tables, a plot and files of a comparison."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from autoenc_sg.core.atomic_files import replacing
from autoenc_sg.pipelines.compare.cells import CellResult, Scores
from autoenc_sg.pipelines.compare.published import published_table
from autoenc_sg.pipelines.compare.run import Comparison
from autoenc_sg.visualization.comparison import Spread, SystemScores, comparison_plot
from autoenc_sg.visualization.tables import Cell, Table

METRICS = ("R", "mR", "ngR", "zR")
_PARTS = (("R", "mR"), ("ngR", "zR"))  # a table each
PRIOR = "frequency prior"
CEILING = "ceiling"

References = Mapping[str, Mapping[str, float]]  # scores by name, by label


def systems_of(comparison: Comparison) -> list[SystemScores]:
    """Mean and spread of every head with and without the image loss, in the grid's order."""
    systems = []
    for head in comparison.grid.heads:
        for image_loss in comparison.grid.image_loss:
            results = [
                result
                for result in comparison.results
                if (result.cell.head, result.cell.image_loss) == (head, image_loss)
            ]
            group = f"image loss {'on' if image_loss else 'off'}"
            systems.append(SystemScores(head, group, _spreads([r.scores for r in results])))
    return systems


def prior_of(comparison: Comparison) -> dict[str, Spread]:
    """Mean and spread of the frequency prior, over the objects of all cells."""
    return _spreads([result.prior for result in comparison.results])


def comparison_tables(comparison: Comparison, ceiling: Mapping[str, float]) -> list[Table]:
    """Two tables for each task (R and mR; ngR and zR), and the published rows.

    Args:
        comparison: what came out.
        ceiling: the best scores that any head could reach, by names such as `R@20`, of any task;
            empty: not known.
    """
    options = comparison.grid.options
    systems, prior = systems_of(comparison), prior_of(comparison)
    tables = []
    for task in options.tasks:
        for metrics in _PARTS:
            names = [f"{metric}@{k}" for metric in metrics for k in options.conventions.ks]
            rows = [
                [s.name, s.group.rpartition(" ")[2], *_texts(s.scores, task, names)]
                for s in systems
            ]
            rows.append([PRIOR, "", *_texts(prior, task, names)])
            if any(name in ceiling for name in names):
                known = [ceiling.get(name) for name in names]
                rows.append(
                    [CEILING, "", *(None if v is None else f"{100 * v:.1f}" for v in known)]
                )
            title = f"{task}: {metrics[0]} and {metrics[1]} (%)"
            tables.append(Table(title, ["head", "image loss", *names], rows))
    if tables:
        last = tables[-1]
        tables[-1] = Table(last.title, last.columns, last.rows, _note(comparison, bool(ceiling)))
    published = published_table(comparison.grid.heads)
    return [*tables, published] if published is not None else tables


def comparison_figure(comparison: Comparison, ceiling: Mapping[str, float]) -> bytes:
    """The plot at the middle K as PNG."""
    import io

    options = comparison.grid.options
    k = sorted(options.conventions.ks)[len(options.conventions.ks) // 2]
    panels = [[f"{task} {metric}@{k}" for metric in METRICS] for task in options.tasks]
    prior = {name: spread.mean for name, spread in prior_of(comparison).items()}
    references: dict[str, Mapping[str, float]] = {PRIOR: prior}
    if ceiling:
        references[CEILING] = {
            f"{task} {name}": value for task in options.tasks for name, value in ceiling.items()
        }
    stream = io.BytesIO()
    comparison_plot(systems_of(comparison), references, panels).save(stream, format="PNG")
    return stream.getvalue()


def write_comparison(comparison: Comparison, ceiling: Mapping[str, float]) -> list[Path]:
    """`comparison.md`, `comparison.csv` and `comparison.png` in the folder, each atomically."""
    out = comparison.grid.out
    paths = [out / f"comparison.{suffix}" for suffix in ("md", "csv", "png")]
    text = "\n".join(table.to_markdown() for table in comparison_tables(comparison, ceiling))
    with replacing(paths[0]) as temporary:
        temporary.write_text(text, encoding="utf-8")
    with (
        replacing(paths[1]) as temporary,
        temporary.open("w", encoding="utf-8", newline="") as file,
    ):
        writer = csv.writer(file)
        writer.writerow(["head", "image_loss", "seed", "task", "metric", "value"])
        writer.writerows(_lines(comparison, ceiling))
    with replacing(paths[2]) as temporary:
        temporary.write_bytes(comparison_figure(comparison, ceiling))
    return paths


def _lines(comparison: Comparison, ceiling: Mapping[str, float]) -> Iterator[Sequence[object]]:
    """Every score of every cell and of its prior; then means and deviations; then the ceiling."""
    for result in comparison.results:
        cell = result.cell
        on = "on" if cell.image_loss else "off"
        yield from _of_scores(result.scores, cell.head, on, cell.seed)
        yield from _of_scores(result.prior, f"{PRIOR} of {cell.head}", on, cell.seed)
    for system in systems_of(comparison):
        on = system.group.rpartition(" ")[2]
        for what in ("mean", "std"):
            values = {name: getattr(spread, what) for name, spread in system.scores.items()}
            yield from _of_scores(values, system.name, on, what)
    for name, value in ceiling.items():
        yield CEILING, "", "", "", name, value


def _of_scores(
    scores: Scores, head: str, image_loss: str, seed: int | str
) -> Iterator[Sequence[object]]:
    for name, value in scores.items():
        task, _, metric = name.partition(" ")
        known = value is not None and value == value
        yield head, image_loss, seed, task, metric, value if known else ""


def _spreads(rows: Sequence[Scores]) -> dict[str, Spread]:
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: Spread.of(row.get(name) for row in rows) for name in names}


def _texts(scores: Mapping[str, Spread], task: str, names: Sequence[str]) -> list[Cell]:
    spreads = [scores.get(f"{task} {name}") for name in names]
    return [None if spread is None else spread.text() for spread in spreads]


def _note(comparison: Comparison, has_ceiling: bool) -> str:
    grid = comparison.grid
    parts = [f"mean ± sample standard deviation over {grid.seeds} seeds" if grid.seeds > 1 else ""]
    parts += [f"{PRIOR}: on the same objects, over all cells"]
    if has_ceiling:
        parts.append(
            f"{CEILING}: the best any head could reach, given the chances the scenes are drawn with"
        )
    if grid.head_options:
        parts.append(f"options of single heads: {', '.join(grid.head_options)}")
    if comparison.failures:
        parts.append(f"{len(comparison.failures)} of {len(grid.cells())} cells failed")
    return "; ".join(part for part in parts if part) + "."


__all__ = [
    "CellResult",
    "comparison_figure",
    "comparison_tables",
    "prior_of",
    "systems_of",
    "write_comparison",
]
