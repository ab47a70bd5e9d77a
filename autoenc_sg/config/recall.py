"""Conventions of triplet recall: the choices in which evaluators of scene graphs differ."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from autoenc_sg.core.errors import bad_input

Task = Literal["PredCls", "SGCls", "SGGen", "PhrDet"]
Average = Literal["macro", "micro"]
Matching = Literal["each", "best", "one_to_one"]
_MOST = 2**31 - 1
_OTHER_NAMES: dict[str, Task] = {"sgdet": "SGGen"}


def task_named(name: str, option: str = "task") -> Task:
    """The task of this name: PredCls, SGCls, SGGen (or SGDet) or PhrDet, in upper or lower case.

    Raises:
        InputError: no task has this name.
    """
    names = {task.lower(): task for task in get_args(Task)} | _OTHER_NAMES
    if not isinstance(name, str) or name.lower() not in names:
        raise bad_input(option, f"one of {', '.join(get_args(Task))}", repr(name))
    task: Task = names[name.lower()]
    return task


@dataclass(frozen=True)
class RecallConventions:
    """How triplet recall is counted; the defaults are the Neural-Motifs evaluator's.

    Where Motifs has no such metric (mR, zR) the default is Scene-Graph-Benchmark's (SGB).

    Attributes:
        ks: the K of R@K.
        task: what is taken from the truth, and how boxes are compared. `PredCls`: boxes and labels
            are those of the truth, object scores are 1. `SGCls`: boxes are those of the truth.
            `SGGen` (SGDet): nothing; subject box and object box must both overlap the true ones.
            `PhrDet`: nothing; the union box of the two must overlap the true one (Motifs'
            `phrdet`; the ranking and averages are the same).
        iou_threshold: least IoU of a match, inclusive (Motifs, SGB: 0.5).
        plus_one: a box is x2 - x1 + 1 pixels wide (Motifs, SGB); otherwise x2 - x1 (COCO).
        averages: `macro`: recall of each image, averaged over images (Motifs, SGB); `micro`: counts
            pooled over the data set (VRD, FactorizableNet). Results of the first have
            plain names, those of another the suffix `/micro` or `/macro`.
        order: triplets under graph constraint are sorted by their score (`score`; Motifs' and SGB's
            models do so before they evaluate), or taken as the pairs are listed (`given`, what
            Motifs' evaluator itself does with a dump).
        images_without_predictions: an image without a candidate pair scores 0 (`zero`, Motifs), or
            is left out of all means (`skip`, SGB).
        images_without_relations: such an image is left out (`skip`: the loaders of Motifs and
            SGB), or has recall 0 in the macro R (`zero`), or is an error (`refuse`: Motifs'
            evaluator asserts).
        ng_per_image_limit: without graph constraint, triplets ranked per image (Motifs, SGB: 100);
            0 or None: as many as the largest K.
        ng_predicates_per_pair: without graph constraint, best predicates of each pair that compete
            (FactorizableNet: 10); 0 or None: all (Motifs, SGB).
        matching: which true triples a triplet matches. `each`: all with its labels whose boxes it
            overlaps (Motifs, SGB). `best`: each detected object stands for the true object of its
            class with the greatest IoU, if that is enough, and the triplet for the triple of these
            objects (SGBench). `one_to_one`: the same, but a true object is taken by one detection
            only, best object scores first (COCO's rule for boxes), so that duplicates do not help.
            With `best` and `one_to_one` a true triple that is repeated counts once; not for PhrDet.
        metrics: `recall`, or `all`: also R-rel, wR, PR, InstR, PRank, precision, F1 and ECE.
        thresholds: of triplet scores, for precision and F1.
        absent_predicates: in mR a predicate that no true triple has counts 0 (`zero`, SGB: the sum
            is divided by P - 1) or is left out of the mean (`skip`).

    Raises:
        InputError: a value out of range.
    """

    ks: tuple[int, ...] = (20, 50, 100)
    task: Task = "SGGen"
    iou_threshold: float = 0.5
    plus_one: bool = True
    averages: tuple[Average, ...] = ("macro",)
    order: Literal["score", "given"] = "score"
    images_without_predictions: Literal["zero", "skip"] = "zero"
    images_without_relations: Literal["skip", "zero", "refuse"] = "skip"
    ng_per_image_limit: int | None = 100
    ng_predicates_per_pair: int | None = None
    absent_predicates: Literal["zero", "skip"] = "zero"
    matching: Matching = "each"
    metrics: Literal["recall", "all"] = "recall"
    thresholds: tuple[float, ...] = (0.1, 0.3, 0.5)

    def __post_init__(self) -> None:
        if not self.ks or min(self.ks) < 1 or len(set(self.ks)) < len(self.ks):
            raise bad_input("ks", "one or more different K >= 1", self.ks)
        if max(self.ks) > _MOST:
            raise bad_input("ks", f"K up to {_MOST}", max(self.ks))
        if not 0 < self.iou_threshold <= 1:
            raise bad_input("iou_threshold", "a number in (0, 1]", self.iou_threshold)
        if not self.averages or len(set(self.averages)) < len(self.averages):
            raise bad_input("averages", "macro, micro or both", self.averages)
        for average in self.averages:
            _check_choice("averages", average, get_args(Average))
        object.__setattr__(self, "task", task_named(self.task))
        _check_choice("matching", self.matching, get_args(Matching))
        _check_choice("metrics", self.metrics, ("recall", "all"))
        if self.task == "PhrDet" and self.matching != "each":
            raise bad_input("matching", "each (PhrDet matches no objects)", self.matching)
        if not all(0 <= t < float("inf") for t in self.thresholds):
            raise bad_input("thresholds", "finite numbers >= 0", self.thresholds)
        _check_choice("order", self.order, ("score", "given"))
        _check_choice(
            "images_without_predictions", self.images_without_predictions, ("zero", "skip")
        )
        _check_choice(
            "images_without_relations", self.images_without_relations, ("skip", "zero", "refuse")
        )
        _check_choice("absent_predicates", self.absent_predicates, ("zero", "skip"))
        for name in ("ng_per_image_limit", "ng_predicates_per_pair"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= _MOST:
                raise bad_input(name, f"0..{_MOST} or None", value)


def _check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise bad_input(name, f"one of {', '.join(choices)}", repr(value))


@dataclass(frozen=True)
class Resampling:
    """How to resample.

    Attributes:
        samples: R.
        seed: of the draws; equal seeds give equal intervals.

    Raises:
        InputError: fewer than 1 sample.
    """

    samples: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        if self.samples < 1:
            raise bad_input("samples", ">= 1", self.samples)
