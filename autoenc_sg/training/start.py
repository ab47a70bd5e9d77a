"""How a run starts: with fresh weights, with those of a checkpoint, or resumed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from autoenc_sg.config.phases import PHASES, PhaseName
from autoenc_sg.config.predictor import MotifsConfig
from autoenc_sg.config.run import RunConfig
from autoenc_sg.core.errors import InputError, bad_input
from autoenc_sg.data.base.annotation import annotated_graphs
from autoenc_sg.data.base.samples import GraphDataset
from autoenc_sg.data.relate.names import WordVectors, read_word_vectors
from autoenc_sg.model.autoencoder import AutoEncoder
from autoenc_sg.predictors.motifs import MotifsPredictor
from autoenc_sg.weights.checkpoint import (
    CHECKPOINT,
    DECODER,
    Checkpoint,
    check_vocabulary,
    find_checkpoints,
    is_decoder,
    read_resumable,
    read_with_training,
)
from autoenc_sg.weights.detector import load_detector_weights

_HEAD = "predictor."
_CLASSIFIER = f"{_HEAD}relation_classifier."
_COUNTED = (f"{_HEAD}frequency_bias.", f"{_HEAD}predicate_counts")  # of the training split


@dataclass(frozen=True)
class Start:
    """How a run starts.

    Attributes:
        checkpoint: weights to start from, None: fresh ones.
        resume: continue the checkpoint's run: its phase, step, optimizers and random states.
        in_place: the checkpoint is of the run in the output folder; its history of the phases
            before those that are trained is kept.
        fresh_graph: what only scene graphs need begins anew, with the run's seed: relation
            proposals, relation head, and those layers of the detector.
    """

    checkpoint: Checkpoint | None = None
    resume: bool = False
    in_place: bool = False
    fresh_graph: bool = False

    def skips(self, phase: PhaseName) -> bool:
        """Whether a resumed run has finished this phase."""
        if not self.resume or self.checkpoint is None or not self.checkpoint.phase:
            return False
        return PHASES.index(phase) < PHASES.index(self.checkpoint.phase)  # type: ignore[arg-type]

    def step(self, phase: PhaseName) -> int:
        """Steps of this phase that a resumed run has done."""
        if self.resume and self.checkpoint is not None and self.checkpoint.phase == phase:
            return self.checkpoint.step
        return 0

    def earlier_state(self, phase: PhaseName) -> Mapping[str, Any]:
        """Training state of the checkpoint that a phase goes on with when it begins.

        The joint phase goes on with that of the reconstruction phase; both go on with imported
        discriminators. Empty otherwise.
        """
        earlier = {"reconstruction": ("",), "joint": ("", "reconstruction")}.get(phase, ())
        if self.checkpoint is None or self.checkpoint.phase not in earlier:
            return {}
        return self.checkpoint.training


def find_start(
    config: RunConfig,
    phase: PhaseName | None,
    resume: bool,
    weights: Path | None = None,
    overwrite: bool = False,
) -> Start:
    """How to start, from the output folder and the options; no run is overwritten unasked.

    Args:
        config: of the run.
        phase: the only phase to train; the run in the output folder, if any, goes on with it.
        resume: continue the run in the output folder.
        weights: checkpoint file or run's folder to start from, in place of that of the run.
        overwrite: replace the run in the output folder.

    Raises:
        InputError: the folder holds a run and none of `resume`, `overwrite` and a single phase was
            asked for, there is nothing to resume, or the options contradict each other.
    """
    out = Path(config.out)
    earlier = find_checkpoints(out)
    if resume:
        _check_resume(out, earlier, weights, overwrite)
        return Start(read_resumable(out), resume=True, in_place=True)
    if weights is not None:
        own_weights = phase is not None and out.resolve() in weights.resolve().parents
        if not (overwrite or own_weights):
            _check_no_run(earlier, "use --resume without --init, --overwrite or another --out")
        return Start(read_with_training(weights), in_place=own_weights and not overwrite)
    if not earlier or overwrite:
        return Start()
    if phase is None:
        _check_no_run(earlier, "use --resume, --phase, --overwrite or another --out")
    return Start(read_with_training(out), in_place=True)


def _check_resume(
    out: Path, earlier: Sequence[Path], weights: Path | None, overwrite: bool
) -> None:
    if weights is not None:
        raise bad_input("--resume", "no --init (the run's own weights are resumed)", weights)
    if overwrite:
        raise bad_input("--resume", "no --overwrite", "both")
    if not earlier:
        raise InputError(f"--resume: expected a checkpoint at {out / CHECKPOINT}, got none")


def _check_no_run(earlier: Sequence[Path], advice: str) -> None:
    if earlier:
        raise InputError(
            f"{earlier[0]}: expected no earlier run in the output folder, got its checkpoint; "
            f"{advice}"
        )


def build_model(config: RunConfig, dataset: GraphDataset, start: Start) -> AutoEncoder:
    """The model with fresh weights or those of the checkpoint and of `config.detector.weights`.

    Raises:
        InputError: the checkpoint or the detector's weights do not fit.
    """
    checkpoint, weights = start.checkpoint, config.detector.weights
    begins_anew = checkpoint is not None and starts_generator_anew(checkpoint, config, start.resume)
    if checkpoint is not None and not begins_anew:
        check_relation_layout(checkpoint, config)
    has_encoder = checkpoint is not None and not is_decoder(checkpoint.model)
    model = AutoEncoder(config, dataset.vocabulary, download=not has_encoder and weights is None)
    if start.fresh_graph or not _has_counts(checkpoint, model):
        model.predictor.fit_frequency(annotated_graphs(dataset))
    if not start.resume and isinstance(model.predictor, MotifsPredictor):
        start_words(model.predictor, config.predictor.motifs, dataset.vocabulary.objects)
    if checkpoint is not None:
        check_vocabulary(checkpoint, dataset.vocabulary, "checkpoint")
        weights_of_model = checkpoint.model
        if begins_anew:
            weights_of_model = with_new_generator(model, weights_of_model)
        weights_of_model = with_new_appearance(model, weights_of_model)
        if has_encoder and start.fresh_graph:
            weights_of_model = with_new_graph(model, weights_of_model)
        elif has_encoder and not start.resume:
            weights_of_model = with_new_head(model, checkpoint, weights_of_model)
        model.load(weights_of_model, "checkpoint")
        model.has_encoder = True  # after a decoder's checkpoint a fresh one, to be trained
    if weights is not None and not has_encoder:
        load_detector_weights(model.detector, weights, model.vocabulary.objects)
    return model


def starts_generator_anew(checkpoint: Checkpoint, config: RunConfig, resume: bool) -> bool:
    """Whether the checkpoint's generator gives way to a fresh one.

    It does where the checkpoint is of the detector phase, which trains no generator, and the run
    configures another one.
    """
    configured_alike = checkpoint.config.generator == config.generator
    return checkpoint.phase == "detector" and not resume and not configured_alike


def with_new_generator(model: AutoEncoder, weights: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Weights whose generator and appearance encoders are `model`'s."""
    anew = (DECODER, "appearance.", "background.")
    fresh = {n: value for n, value in model.state_dict().items() if n.startswith(anew)}
    return {**{n: v for n, v in weights.items() if not n.startswith(anew)}, **fresh}


def check_relation_layout(checkpoint: Checkpoint, config: RunConfig) -> None:
    """Raise InputError if one of the checkpoint's and the run's generators draws relations."""
    of_weights, of_run = (c.generator.relation_layout for c in (checkpoint.config, config))
    if of_weights != of_run:
        expected = f"{str(of_weights).lower()}, as the generator whose weights the run starts from"
        raise bad_input("generator.relation_layout", expected, str(of_run).lower())


def start_words(head: MotifsPredictor, options: MotifsConfig, classes: Sequence[str]) -> None:
    """Start label embeddings from the file of word vectors, if there is one.

    A name of several words has the direction of their mean; unknown words keep a random vector.

    Raises:
        InputError: as `word_vectors`.
    """
    words = word_vectors(options)
    if words is None:
        return
    vectors = {i: words.of_name(name) for i, name in enumerate(classes) if i > 0}
    head.start_words({i: torch.from_numpy(v) for i, v in vectors.items() if v is not None})


def word_vectors(options: MotifsConfig) -> WordVectors | None:
    """The word vectors of the options, None without a file.

    Raises:
        InputError: no such file, or vectors of another width than `embedding_dim`.
    """
    if options.word_vectors is None:
        return None
    words = read_word_vectors(Path(options.word_vectors))
    width = words.vectors.shape[1]
    if width != options.embedding_dim:
        expected = f"vectors of {options.embedding_dim} numbers (predictor.motifs.embedding_dim)"
        raise bad_input(options.word_vectors, expected, width)
    return words


def count_for_head(
    model: AutoEncoder, checkpoint: Checkpoint | None, dataset: GraphDataset
) -> None:
    """Count the training split for the relation head, unless the checkpoint has all its counts."""
    if not _has_counts(checkpoint, model):
        model.predictor.fit_frequency(annotated_graphs(dataset))


def _has_counts(checkpoint: Checkpoint | None, model: AutoEncoder) -> bool:
    """Whether the checkpoint is of the same relation head, with all that is counted for it."""
    name = model.config.predictor.name
    if checkpoint is None or checkpoint.config.predictor.name != name:
        return False
    counted = (n for n in model.state_dict() if n.startswith(_COUNTED))
    return all(n in checkpoint.model for n in counted)


def with_new_graph(model: AutoEncoder, weights: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Weights whose relation proposals, head and `Detector.graph_layers` are `model`'s."""
    layers = tuple(f"detector.{prefix}" for prefix in model.detector.graph_layers)
    anew = (_HEAD, "relpn.", *layers)
    fresh = {n: value for n, value in model.state_dict().items() if n.startswith(anew)}
    return {**{n: v for n, v in weights.items() if not n.startswith(anew)}, **fresh}


def with_new_head(
    model: AutoEncoder, checkpoint: Checkpoint, weights: Mapping[str, Tensor]
) -> Mapping[str, Tensor]:
    """Weights whose relation head is `model`'s own, if the checkpoint's has another name.

    Of a head of the same name what is counted and the checkpoint has not is `model`'s, too; what
    `model` does not count is left out. The predicates' classifier is `model`'s
    if it is to start at the prior and the checkpoint's was not.
    """
    fresh = {n: value for n, value in model.state_dict().items() if n.startswith(_HEAD)}
    if checkpoint.config.predictor.name == model.config.predictor.name:
        starts = model.config.predictor.start_at_prior
        starts &= not checkpoint.config.predictor.start_at_prior
        anew = {n: v for n, v in fresh.items() if starts and n.startswith(_CLASSIFIER)}
        counted = {n: v for n, v in fresh.items() if n.startswith(_COUNTED)}
        rest = {n: v for n, v in weights.items() if n in fresh or not n.startswith(_COUNTED)}
        return {**counted, **rest, **anew}
    return {**{n: v for n, v in weights.items() if not n.startswith(_HEAD)}, **fresh}


def with_new_appearance(model: AutoEncoder, weights: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Weights of a model without appearance codes, completed by `model`'s fresh appearance modules.

    Those of objects and those of the background, each where the weights have none of them; of the
    others the layers of colours, which start at 0, where they have none. Images of graphs without
    codes do not change.
    """
    added: dict[str, Tensor] = {}
    for kind in ("appearance", "background"):
        prefixes = (f"{kind}.", f"{DECODER}{kind}_net.")
        fresh = {n: value for n, value in model.state_dict().items() if n.startswith(prefixes)}
        if any(name in weights for name in fresh):
            fresh = {n: v for n, v in fresh.items() if ".color_net." in n and n not in weights}
        added |= {
            n: v for n, v in fresh.items() if n.startswith(DECODER) or not is_decoder(weights)
        }
    return {**weights, **added} if added else weights
