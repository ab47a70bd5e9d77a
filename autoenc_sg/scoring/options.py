"""Options of `evaluate` and `score`, checked when made; also the command line's help texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from autoenc_sg.config.phases import RegionPrecision
from autoenc_sg.config.predictor import Effect, PredictorConfig
from autoenc_sg.config.recall import RecallConventions, Resampling, Task, task_named
from autoenc_sg.core.errors import bad_input

KS = (20, 50, 100)
DETECTED: tuple[Task, ...] = ("SGGen", "PhrDet")  # tasks with detected boxes
ALL_TASKS: tuple[Task, ...] = ("PredCls", "SGCls", "SGGen", "PhrDet")
PredictionFormat = Literal["auto", "jsonl", "sgb", "motifs"]


@dataclass(frozen=True)
class EvaluationOptions:
    """What to evaluate, and on which images; the defaults are the short evaluation of `demo`.

    Attributes:
        data: folder of the data set, if it is not where the checkpoint's configuration says.
        split: which split to score.
        limit: score at most this many images, the first ones.
        batch_size: images in a batch.
        device: of the model, such as cpu or cuda; with several processes, cuda is one GPU each.
        processes: number of processes that share the images.
        tasks: of scene graph generation.
        conventions: how recall is counted; `conventions.task` is ignored.
        round_trip: parse the generated images and score those graphs against the drawn ones.
        object_accuracy: train a classifier on real crops and classify the generated objects.
        inception: weights of Inception v3, for FID and IS; without it, neither is computed.
        lpips: weights of AlexNet, VGG-16 or SqueezeNet, for LPIPS diversity; without it, none.
        region_cache: folder for what the detector sees of the images; made if missing, and read
            when the same detector is evaluated again.
        region_precision: of the maps and features in these files.
        images: draw the graphs and score the images; without, graphs and detections alone.
        effect: of a relation head with branches (`predictor.causal`), instead of the checkpoint's.
        logit_adjustment: tau log(share of the training triples) taken from the predicates' logits,
            instead of what the checkpoint's configuration says.
        intervals: 95 % bootstrap intervals of the graphs' scores over the images.
        samples: number of resamples for intervals.
        seed: of the resamples.
    """

    data: Path | None = None
    split: Literal["val", "test"] = "test"
    limit: int | None = None
    batch_size: int = 8
    device: str = "cpu"
    processes: int = 1
    tasks: tuple[Task, ...] = DETECTED
    conventions: RecallConventions = RecallConventions(KS)  # noqa: RUF009 (frozen)
    round_trip: bool = False
    object_accuracy: bool = False
    inception: Path | None = None
    lpips: Path | None = None
    region_cache: Path | None = None
    region_precision: RegionPrecision = "float16"
    images: bool = True
    effect: Effect | None = None
    logit_adjustment: float | None = None
    intervals: bool = False
    samples: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        if self.limit is not None and self.limit < 1:
            raise bad_input("limit", ">= 1", self.limit)
        if self.batch_size < 1:
            raise bad_input("batch size", ">= 1", self.batch_size)
        if self.processes < 1:
            raise bad_input("processes", ">= 1", self.processes)
        object.__setattr__(self, "tasks", _named_tasks(self.tasks))
        self.resampling()

    def resampling(self) -> Resampling:
        """How to resample the images for intervals.

        Raises:
            InputError: fewer than 1 sample.
        """
        return Resampling(self.samples, self.seed)

    def predictor(self, config: PredictorConfig) -> PredictorConfig:
        """A relation head's options with `effect` and `logit_adjustment` if they are given.

        Raises:
            InputError: the head has no branches, or tau is below 0.
        """
        if self.effect is not None:
            config = replace(config, effect=self.effect)
        if self.logit_adjustment is not None:
            tau = self.logit_adjustment
            loss = replace(config.loss, logit_adjustment=tau, adjusted="use")
            config = replace(config, loss=loss)
        return config


@dataclass(frozen=True)
class ScoreOptions:
    """How to score a file of predictions.

    Attributes:
        tasks: the tasks to score; the same predictions are scored for each.
        conventions: how recall is counted; `conventions.task` is ignored.
        training: file of the training graphs, for zR and the head, body and tail mR.
        per_predicate: also write the recall of each predicate to the JSON.
        skip_invalid: count invalid predictions and go on, instead of stopping at the first.
        format: of the predictions; auto: by the first bytes of the file.
        allow_pickle: read a pickle file (motifs).
        data_info: custom_data_info.json beside the predictions (sgb).
        resized: the predicted boxes are in pixels of the image resized to these (shorter, longer)
            sides (sgb: 600 1000); the truth must state image_size.
        intervals: 95 % bootstrap intervals over the images.
        samples: number of resamples for intervals and comparisons.
        seed: of the resamples.
    """

    tasks: tuple[Task, ...] = DETECTED
    conventions: RecallConventions = RecallConventions()  # noqa: RUF009 (frozen)
    training: Path | None = None
    per_predicate: bool = False
    skip_invalid: bool = False
    format: PredictionFormat = "auto"
    allow_pickle: bool = False
    data_info: Path | None = None
    resized: tuple[int, int] | None = None
    intervals: bool = False
    samples: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "tasks", _named_tasks(self.tasks))
        self.resampling()
        if self.resized is not None and not 1 <= self.resized[0] <= self.resized[1]:
            raise bad_input("resized", "sides 1 <= shorter <= longer", self.resized)

    def resampling(self) -> Resampling:
        """How to resample the images.

        Raises:
            InputError: fewer than 1 sample.
        """
        return Resampling(self.samples, self.seed)


def _named_tasks(names: Sequence[str]) -> tuple[Task, ...]:
    tasks = tuple(task_named(name, "tasks") for name in names)
    if not tasks or len(set(tasks)) < len(tasks):
        raise bad_input("tasks", "one or more different ones", tasks)
    return tasks
