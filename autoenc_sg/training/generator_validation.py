"""Validation of the reconstruction phase: losses without a discriminator, on held-out images."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import torch

from autoenc_sg.config.phases import ReconstructionPhase
from autoenc_sg.core.errors import bad_input
from autoenc_sg.core.images import target_images
from autoenc_sg.data.base.samples import GraphDataset
from autoenc_sg.data.loading import batches
from autoenc_sg.model.autoencoder import AutoEncoder
from autoenc_sg.model.modes import eval_mode
from autoenc_sg.training.objectives import reconstruction_losses
from autoenc_sg.training.phases import Phase
from autoenc_sg.weights.checkpoint import Checkpoint, write_checkpoint

BEST = "best.pt"


@torch.no_grad()
def validation_losses(
    model: AutoEncoder, dataset: GraphDataset, config: ReconstructionPhase
) -> dict[str, float]:
    """Weighted losses, means over the first `validation_images`.

    The generator is in evaluation mode, the noise of an image follows from its id, and the global
    random state is left alone: training goes on as if nothing had happened.

    Raises:
        InputError: the data set is empty.
    """
    if len(dataset) == 0:
        raise bad_input("validation split", "one image or more (data.num_val)", 0)
    generator, count = model.generator, 0
    sums: dict[str, float] = {}
    with eval_mode(model):
        for batch in batches(dataset, config.batch_size, config.validation_images):
            images = [image.to(model.device) for image in batch.images]
            graph = model.relax(model.with_appearance(images, batch.graphs))
            target = target_images(images, generator.config.image_size)
            made = generator(graph, generator.seeded_noise(batch.image_ids))
            for name, loss in reconstruction_losses(made, graph, target, config).items():
                sums[name] = sums.get(name, 0.0) + float(loss) * len(batch)
            count += len(batch)
    return {name: total / count for name, total in sums.items()}


def validate(
    phase: Phase, model: AutoEncoder, dataset: GraphDataset, out: Path, step: int
) -> dict[str, float]:
    """Validate with the averaged weights, if there are any; keep `best.pt` where that is better."""
    applied = nullcontext() if phase.average is None else phase.average.applied()
    with applied:
        losses = validation_losses(model, dataset, phase.config.reconstruction)
        total = sum(losses.values())
        if total < phase.best:
            phase.best = total
            weights = model.state_dict()
            checkpoint = Checkpoint(phase.config, model.vocabulary, weights, phase.name, step)
            write_checkpoint(out / BEST, checkpoint)
    return losses
