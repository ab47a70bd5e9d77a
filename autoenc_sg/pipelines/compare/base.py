"""What all cells of a comparison start from: one detector, and one generator if it is needed."""

from __future__ import annotations

from pathlib import Path

from autoenc_sg.config.phases import PhaseName
from autoenc_sg.core.errors import bad_input
from autoenc_sg.core.vocabulary import Vocabulary
from autoenc_sg.model.autoencoder import AutoEncoder
from autoenc_sg.model.region_cache.keys import weights_digest
from autoenc_sg.pipelines.compare.grid import Grid
from autoenc_sg.pipelines.compare.settings import claim, plain_settings
from autoenc_sg.training.loop import train
from autoenc_sg.training.phases import phase_settings
from autoenc_sg.training.start import (
    Start,
    check_relation_layout,
    starts_generator_anew,
    with_new_appearance,
    with_new_generator,
    with_new_graph,
)
from autoenc_sg.weights.checkpoint import (
    Checkpoint,
    check_vocabulary,
    find_checkpoints,
    is_decoder,
    read_resumable,
    read_with_training,
)
from autoenc_sg.weights.state_dict import check_weights


def base_checkpoint(grid: Grid, init: Path | None) -> Checkpoint:
    """The checkpoint that the cells start from, with its training state.

    Args:
        grid: the comparison; without `init` the first phases of its configuration are trained, or
            go on, in the folder `base`.
        init: a trained model in their place.

    Raises:
        InputError: `init` is no model with an encoder, or `base` was trained with other settings.
    """
    if init is None:
        return _trained(grid)
    checkpoint = read_with_training(init)
    if is_decoder(checkpoint.model):
        raise bad_input(init, "a model with an encoder", "a decoder alone")
    return checkpoint


def check_base(grid: Grid, checkpoint: Checkpoint, vocabulary: Vocabulary, where: Path) -> None:
    """Check that every cell can start from a checkpoint, which is of `where`.

    Raises:
        InputError: its vocabulary is not that of the data, or its weights do not fit the grid's
            configuration.
    """
    check_vocabulary(checkpoint, vocabulary, where)
    model = AutoEncoder(grid.config_of(grid.cells()[0]), vocabulary, download=False)
    weights = with_new_appearance(model, checkpoint.model)
    if starts_generator_anew(checkpoint, grid.config, resume=False):
        weights = with_new_generator(model, weights)
    else:
        check_relation_layout(checkpoint, grid.config)
    check_weights(model, with_new_graph(model, weights), str(where))


def base_digest(checkpoint: Checkpoint) -> str:
    """Of its weights."""
    return weights_digest(checkpoint.model)


def _trained(grid: Grid) -> Checkpoint:
    config = grid.base_config()
    folder = Path(config.out)
    phases: tuple[PhaseName, ...] = ("detector",)
    sections = ["seed", "data", "detector", "detector_training"]
    if True in grid.image_loss:
        phases = ("detector", "reconstruction")
        sections += ["generator", "reconstruction"]
    claim(folder, {"phases": phases, **plain_settings(config, sections)})
    if find_checkpoints(folder):
        checkpoint = read_resumable(folder)
        last = phases[-1]
        if checkpoint.phase == last and checkpoint.step >= phase_settings(config, last).steps:
            return checkpoint
        train(config, phases, Start(checkpoint, resume=True, in_place=True))
    else:
        train(config, phases)
    return read_resumable(folder)
