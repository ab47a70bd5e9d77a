"""Triplet recall at Visual Genome's size: time against two other ways, and memory.

    python benchmarks/evaluation/recall.py time [--images 1000] [--loops 3] [--threads 2] \
        [--json OUT]
    python benchmarks/evaluation/recall.py memory [--images 26446] [--threads 2] [--json OUT] \
        [--plot PNG]

Every image has 64 boxes, 4,032 candidate pairs with 50 predicate scores each, and 12 true
relations; images are made up on the way and thrown away. `time` scores SGGen and PhrDet, with graph
constraint and without, in three ways on the same images, one after the other batch by batch:

- `ours`: `TripletRecall`, one ranking for both tasks, 32 images at a time;
- `numpy`: one image at a time, the way Neural Motifs' evaluator works: triplets of all pairs are
  compared with all true ones, boxes for each true triple, a list of found triples for each
  prediction, unions of those lists for each K; scores of all pairs and predicates are sorted
  whole without graph constraint. Under graph constraint the pairs come sorted, as from its model;
- `loops`: the tests' slow reference, on the first `--loops` images; its time is scaled to all.

The three must give the same recalls. `memory` shows what this process has resident as the images
go by (Linux): a line every 1/20 of the way, the images themselves included.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import sys
import time
from collections.abc import Callable, Iterator
from functools import reduce
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # a checkout, not installed

from autoenc_sg.core.scene_graph import SceneGraph
from autoenc_sg.core.structures import GraphPrediction
from autoenc_sg.eval import RecallConventions, TripletRecall

BOXES, CLASSES, PREDICATES, RELATIONS, SIDE = 64, 150, 50, 12, 1024
KS = (20, 50, 100)
TASKS = ("SGGen", "PhrDet")
BATCH = 32
Floats = npt.NDArray[np.float64]
Images = list[tuple[GraphPrediction, SceneGraph]]
Recalls = dict[str, float]


def images(count: int, seed: int = 0) -> Iterator[Images]:
    """Batches of predictions, pairs sorted by score, with their true graphs."""
    rng = torch.Generator().manual_seed(seed)
    for start in range(0, count, BATCH):
        yield [image(rng) for _ in range(min(BATCH, count - start))]


def image(rng: torch.Generator) -> tuple[GraphPrediction, SceneGraph]:
    """A prediction whose boxes are the true ones moved by some pixels, a fifth of the labels wrong.

    The scores of the true predicates are raised, so that about half of the triples are found.
    """
    corner = torch.rand(BOXES, 2, generator=rng) * (SIDE - 300)
    boxes = torch.cat([corner, corner + 40 + torch.rand(BOXES, 2, generator=rng) * 250], 1)
    labels = torch.randint(1, CLASSES + 1, (BOXES,), generator=rng)
    pairs = (~torch.eye(BOXES, dtype=torch.bool)).nonzero()
    true = torch.randperm(len(pairs), generator=rng)[:RELATIONS]
    predicates = torch.randint(1, PREDICATES + 1, (RELATIONS,), generator=rng)
    triples = torch.stack([pairs[true, 0], predicates, pairs[true, 1]], 1)
    truth = SceneGraph(labels, boxes, triples, (SIDE, SIDE))

    logits = torch.randn(len(pairs), PREDICATES + 1, generator=rng)
    logits[true, predicates] += 4
    scores = torch.rand(BOXES, generator=rng)
    rows = logits.softmax(1)[:, 1:].contiguous()
    order = (scores.double()[pairs].prod(1) * rows.amax(1)).argsort(descending=True)
    moved = boxes + torch.randn(BOXES, 4, generator=rng) * 10
    wrong = torch.rand(BOXES, generator=rng) < 0.2
    named = torch.where(wrong, labels % CLASSES + 1, labels)
    return GraphPrediction(moved, named, scores, pairs[order], rows[order]), truth


class Ours:
    """`TripletRecall` for both tasks on one ranking."""

    def __init__(self) -> None:
        self.metrics = {t: TripletRecall(PREDICATES + 1, RecallConventions(KS, t)) for t in TASKS}

    def __call__(self, batch: Images) -> None:
        """Count a batch."""
        predictions, truths = [p for p, _ in batch], [t for _, t in batch]
        ranked = self.metrics[TASKS[0]].rank(predictions, truths)
        for metric in self.metrics.values():
            metric.update(ranked, truths)

    def recalls(self) -> Recalls:
        """R@K and ngR@K of both tasks."""
        names = [f"{free}R@{k}" for free in ("", "ng") for k in KS]
        found = {task: metric.compute() for task, metric in self.metrics.items()}
        return {f"{task} {name}": float(found[task][name]) for task in TASKS for name in names}


class PerImage:
    """The mean over images of what a function says of one."""

    def __init__(self, recalls_of: Callable[[GraphPrediction, SceneGraph], Recalls]) -> None:
        self.recalls_of = recalls_of
        self.lists: dict[str, list[float]] = {}

    def __call__(self, batch: Images) -> None:
        """Count a batch."""
        for prediction, truth in batch:
            for name, value in self.recalls_of(prediction, truth).items():
                self.lists.setdefault(name, []).append(value)

    def recalls(self) -> Recalls:
        """R@K and ngR@K of both tasks."""
        return {name: float(np.mean(values)) for name, values in self.lists.items()}


def numpy_recalls(prediction: GraphPrediction, truth: SceneGraph) -> Recalls:
    """One image, in NumPy, one task and constraint after the other."""
    boxes, labels = prediction.boxes.double().numpy(), prediction.labels.numpy()
    scores, pairs = prediction.scores.double().numpy(), prediction.pairs.numpy()
    rows = prediction.predicate_scores.double().numpy()
    true, true_labels = truth.triples.numpy(), truth.labels.numpy()
    true_boxes = truth.boxes.double().numpy()
    wanted = np.column_stack([true_labels[true[:, 0]], true[:, 1], true_labels[true[:, 2]]])
    places = np.column_stack([true_boxes[true[:, 0]], true_boxes[true[:, 2]]])
    recalls: Recalls = {}
    for task in TASKS:
        for free in ("", "ng"):
            if free:
                products = scores[pairs].prod(1)[:, None] * rows
                best = np.argsort(-products.ravel())[:100]
                row, column = np.unravel_index(best, products.shape)
                chosen, predicates = pairs[row], column + 1
            else:
                chosen, predicates = pairs, rows.argmax(1) + 1
            triplets = np.column_stack([labels[chosen[:, 0]], predicates, labels[chosen[:, 1]]])
            ends = np.column_stack([boxes[chosen[:, 0]], boxes[chosen[:, 1]]])
            found = _found(wanted, places, triplets, ends, task)
            for k in KS:
                hits = reduce(np.union1d, found[:k])  # type: ignore[arg-type]
                recalls[f"{task} {free}R@{k}"] = len(hits) / len(true)
    return recalls


def _found(
    wanted: npt.NDArray[np.int64],
    places: Floats,
    triplets: npt.NDArray[np.int64],
    ends: Floats,
    task: str,
) -> list[list[int]]:
    """For each predicted triplet, the true triples that it is."""
    same = (wanted[:, :, None] == triplets.T[None]).all(1)
    found: list[list[int]] = [[] for _ in triplets]
    for i in np.flatnonzero(same.any(1)):
        columns = np.flatnonzero(same[i])
        near = ends[columns]
        if task == "PhrDet":
            inside = _overlaps(_around(places[i : i + 1]), _around(near)) >= 0.5
        else:
            inside = _overlaps(places[i : i + 1, :4], near[:, :4]) >= 0.5
            inside &= _overlaps(places[i : i + 1, 4:], near[:, 4:]) >= 0.5
        for column in columns[inside]:
            found[column].append(int(i))
    return found


def _around(ends: Floats) -> Floats:
    both = ends.reshape(-1, 2, 4)
    return np.concatenate([both.min(1)[:, :2], both.max(1)[:, 2:]], 1)


def _overlaps(one: Floats, others: Floats) -> Floats:
    """IoU of a box `[1, 4]` and others `[N, 4]`, +1 pixel."""
    sides = np.minimum(one[:, 2:], others[:, 2:]) - np.maximum(one[:, :2], others[:, :2]) + 1
    inside = sides.clip(min=0).prod(1)
    areas = [(x[:, 2:] - x[:, :2] + 1).prod(1) for x in (one, others)]
    return np.asarray(inside / (areas[0] + areas[1] - inside))


def loop_recalls(prediction: GraphPrediction, truth: SceneGraph) -> Recalls:
    """One image, in the nested loops of the tests."""
    from tests.eval.slow_recall import slow_recall

    recalls: Recalls = {}
    for task in TASKS:
        c = RecallConventions(KS, task)
        values = slow_recall([prediction], [truth], PREDICATES + 1, c, set(), {})
        recalls |= {
            f"{task} {free}R@{k}": values[f"{free}R@{k}"] for free in ("", "ng") for k in KS
        }
    return recalls


def compare(count: int, loops: int) -> list[dict[str, object]]:
    """Seconds of the three ways on the same images; ends the program if they do not agree."""
    ours, numpy, slow = Ours(), PerImage(numpy_recalls), PerImage(loop_recalls)
    few_ours = Ours()
    seconds = {"ours": 0.0, "numpy": 0.0, "loops": 0.0}
    done = 0
    for number, batch in enumerate(images(count)):
        if number == 0:
            Ours()(batch)  # libraries' first-call costs
            PerImage(numpy_recalls)(batch[:1])
        seconds["ours"] += _seconds(ours, batch)
        seconds["numpy"] += _seconds(numpy, batch)
        few = batch[: max(loops - done, 0)]
        done += len(few)
        if few:
            seconds["loops"] += _seconds(slow, few)
            few_ours(few)
    for name, theirs, own in (("numpy", numpy, ours), ("loops", slow, few_ours)):
        _check_equal(name, theirs.recalls(), own.recalls())
    show_recalls(ours.recalls())
    counts = {"ours": count, "numpy": count, "loops": done}
    return [
        {
            "way": name,
            "images": counts[name],
            "seconds": seconds[name],
            "ms_per_image": seconds[name] / counts[name] * 1000,
            "times_ours": seconds[name] / counts[name] / (seconds["ours"] / count),
        }
        for name in seconds
        if counts[name]
    ]


def _seconds(way: Callable[[Images], None], batch: Images) -> float:
    start = time.perf_counter()
    way(batch)
    return time.perf_counter() - start


def _check_equal(name: str, theirs: Recalls, own: Recalls) -> None:
    for key, value in theirs.items():
        if not math.isclose(value, own[key], abs_tol=1e-9):
            sys.exit(f"{key}: {name} {value}, ours {own[key]}")


def show_recalls(recalls: Recalls) -> None:
    """One line: what was found, the same in every way."""
    Console().print(", ".join(f"{name} {value:.4f}" for name, value in recalls.items()))


def memory_curve(count: int) -> list[dict[str, float]]:
    """What is resident (MiB) while `count` images go by, and the seconds of the scoring alone."""
    ours, rows, done, seconds = Ours(), [], 0, 0.0
    step = max(count // 20, 1)
    for batch in images(count):
        seconds += _seconds(ours, batch)
        done += len(batch)
        if done // step > (done - len(batch)) // step or done == count:
            row = {"images": done, "resident_mib": _status("VmRSS"), "peak_mib": _status("VmHWM")}
            rows.append(row | {"scoring_seconds": seconds})
            Console().print(f"{done:6d} images: {row['resident_mib']:.0f} MiB, {seconds:.1f} s")
    show_recalls(ours.recalls())
    return rows


def plot_memory(rows: list[dict[str, float]], path: Path) -> None:
    """The curve: resident MiB over images."""
    figure = Figure(figsize=(6, 3), dpi=150)
    axes = figure.subplots()
    axes.plot([row["images"] for row in rows], [row["resident_mib"] for row in rows], marker="o")
    axes.set(xlabel="images scored", ylabel="resident MiB")
    axes.set_ylim(0, 1.2 * max(row["resident_mib"] for row in rows))
    axes.set_title("64 boxes, 4,032 pairs, 50 predicates an image", fontsize=10)
    axes.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(path)


def _status(field: str) -> float:
    path = Path("/proc/self/status")
    lines = path.read_text(encoding="ascii").splitlines() if path.exists() else []
    return next((int(x.split()[1]) / 1024 for x in lines if x.startswith(field)), math.nan)


def show(rows: list[dict[str, object]]) -> None:
    """Print the times."""
    table = Table(title="SGGen and PhrDet, with graph constraint and without")
    for name in ("way", "images", "seconds", "ms an image", "times ours"):
        table.add_column(name)
    for row in rows:
        numbers = f"{row['seconds']:.2f}", f"{row['ms_per_image']:.2f}", f"{row['times_ours']:.1f}"
        table.add_row(str(row["way"]), str(row["images"]), *numbers)
    Console().print(table)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("time", "memory"))
    parser.add_argument("--images", type=int, help="default: 1000 for time, 26446 for memory")
    parser.add_argument("--loops", type=int, default=3, help="images for the nested loops")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path, help="picture of the memory curve")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    machine = {"torch": torch.__version__, "numpy": np.__version__, "threads": options.threads}
    machine["machine"] = f"{platform.system()} {platform.machine()}"
    if options.what == "time":
        rows: list[dict[str, object]] = compare(options.images or 1000, options.loops)
        show(rows)
    else:
        curve = memory_curve(options.images or 26446)
        rows = [dict(row) for row in curve]
        if options.plot:
            plot_memory(curve, options.plot)
    if options.json:
        report = {"machine": machine, "rows": rows}
        options.json.write_text(json.dumps(report, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
