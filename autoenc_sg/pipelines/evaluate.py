"""Evaluation from Python: a model or a checkpoint, on its own data set or on the user's."""

from __future__ import annotations

from pathlib import Path

from autoenc_sg.core.errors import bad_input
from autoenc_sg.data.base.samples import GraphDataset
from autoenc_sg.model.autoencoder import AutoEncoder
from autoenc_sg.scoring.evaluate import evaluate_checkpoint, evaluate_model, open_splits
from autoenc_sg.scoring.options import EvaluationOptions
from autoenc_sg.scoring.results import EvaluationResults
from autoenc_sg.visualization.progress import Reporter


def evaluate(
    model: AutoEncoder | Path | str,
    test: GraphDataset | None = None,
    train: GraphDataset | None = None,
    options: EvaluationOptions | None = None,
    quiet: bool = False,
) -> EvaluationResults:
    """Score a model: recall of all tasks beside the frequency prior, detection, images.

    Args:
        model: a model, or the path of a checkpoint.
        test: the data set to score; by default `options.split` of the one it was trained on.
        train: the data set whose statistics give the frequency prior and the mean image; wanted
            with `test`.
        options: tasks, conventions and limits.
        quiet: show no progress.

    Raises:
        InputError: one of `test` and `train` alone, a decoder alone, or another vocabulary.
    """
    options = options or EvaluationOptions()
    if (test is None) != (train is None):
        expected = "both (train's statistics give the frequency prior), or neither"
        raise bad_input("test and train", expected, "one of them")
    if test is None and not isinstance(model, AutoEncoder):
        return evaluate_checkpoint(Path(model), options, quiet)
    if not isinstance(model, AutoEncoder):
        model = AutoEncoder.from_checkpoint(model)
    if not model.has_encoder:
        raise bad_input("evaluate", "a model with an encoder", "a decoder alone")
    if test is None or train is None:
        train, test = open_splits(model.config.data, options.split, model.config.seed)
    for name, dataset in (("train", train), ("test", test)):
        if dataset.vocabulary != model.vocabulary:
            raise bad_input(f"{name} data set", "the model's vocabulary", "another one")
    reporter = Reporter([("statistics", 1.0), ("evaluate", 6.0)])
    reporter.console.quiet = quiet
    return evaluate_model(model, train, test, options, reporter)
