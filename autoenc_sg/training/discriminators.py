"""Adversarial training: each discriminator with its optimizer, and the losses of both sides."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from autoenc_sg.config.model import GeneratorConfig
from autoenc_sg.config.phases import GanKind
from autoenc_sg.core.vocabulary import Vocabulary
from autoenc_sg.generator import (
    ObjectDiscriminator,
    PatchDiscriminator,
    RelationDiscriminator,
    class_loss,
    gan_discriminator_loss,
    gan_generator_loss,
)
from autoenc_sg.training.guards.step_checks import check_step, load_optimizer
from autoenc_sg.training.objectives import Objects, Outcome, Relations
from autoenc_sg.training.parallel.loss_terms import Term, total_losses
from autoenc_sg.training.parallel.processes import Processes

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class AdversarialLossWeights:
    """Weights of the generator's adversarial losses.

    Attributes:
        gan: kind of the GAN loss, for the generator and the discriminators.
        image, objects, relations: of the GAN loss against the patch, the object and the relation
            discriminator; 0: there is no such discriminator.
        auxiliary: of the cross entropy of the generated objects' classes.
        relation_auxiliary: of the cross entropy of the generated relations' predicates.
    """

    gan: GanKind = "gan"
    image: float = 0.0
    objects: float = 0.0
    auxiliary: float = 0.0
    relations: float = 0.0
    relation_auxiliary: float = 0.0


class Adversary(Protocol):
    """A discriminator in training.

    Attributes:
        name: key of its loss and of its state in checkpoints.
        plain: the network, without Fabric's wrapper.
    """

    name: str
    plain: nn.Module

    def generator_losses(self, outcome: Outcome) -> dict[str, Tensor]:
        """The generator's weighted losses; the discriminator's parameters get no gradient."""

    def discriminator_step(self, outcome: Outcome) -> dict[str, Tensor]:
        """One optimizer step on a batch's true and generated images; the losses, detached.

        Returns:
            The loss, by `name`; if it has other terms than the GAN loss, that one too, by the name
            with `_adversarial`.

        Raises:
            NonFiniteStep: loss or gradients are not finite; the optimizer has not stepped.
        """

    def set_rate(self, rate: float) -> None:
        """Set the learning rate of the steps that follow."""

    def state(self) -> dict[str, Any]:
        """What a checkpoint holds of it."""

    def load_state(self, state: Mapping[str, Any]) -> None:
        """The inverse of `state`."""

    def continue_from(self, state: Mapping[str, Any]) -> None:
        """Take the weights and Adam's moments of an earlier phase, where `state` has them."""


def make_adversaries(
    config: GeneratorConfig,
    vocabulary: Vocabulary,
    weights: AdversarialLossWeights,
    lr: float,
    processes: Processes,
) -> list[Adversary]:
    """The discriminators whose weight is not 0, the object discriminator first, as in sg2im."""
    adversaries: list[Adversary] = []
    if weights.objects > 0:
        objects = ObjectDiscriminator(config, vocabulary.num_objects)
        adversaries.append(ObjectAdversary(processes, objects, weights, lr))
    if weights.relations > 0:
        relations = RelationDiscriminator(config, vocabulary.num_predicates)
        adversaries.append(RelationAdversary(processes, relations, weights, lr))
    if weights.image > 0:
        adversaries.append(ImageAdversary(processes, PatchDiscriminator(config), weights, lr))
    return adversaries


class _TrainedNetwork:
    """A discriminator set up by Fabric, with Adam.

    Attributes:
        name: key of its loss and of its state in checkpoints.
        network: the module that Fabric returned, for the discriminator's own steps.
        plain: the same without Fabric's wrapper, for the generator's losses.
    """

    name = ""

    def __init__(
        self, processes: Processes, network: nn.Module, weights: AdversarialLossWeights, lr: float
    ) -> None:
        fabric = processes.fabric
        processes.prepare(network)
        self.shares = processes.shares
        self.network, self.optimizer = fabric.setup(
            network, Adam(network.parameters(), lr, fused=True)
        )
        self.plain = network
        self.fabric = fabric
        self.weights = weights

    def set_rate(self, rate: float) -> None:
        """Set the learning rate of the steps that follow."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate

    def state(self) -> dict[str, Any]:
        """State dicts of network and optimizer."""
        return {
            self.name: self.plain.state_dict(),
            f"optimizer_{self.name}": self.optimizer.state_dict(),
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """The inverse of `state`."""
        self.plain.load_state_dict(state[self.name])
        load_optimizer(self.optimizer, state[f"optimizer_{self.name}"], self.name)

    def continue_from(self, state: Mapping[str, Any]) -> None:
        """Take the weights and Adam's moments of an earlier phase, where `state` has them.

        Weights of another architecture are not taken, which a warning says.
        """
        weights = state.get(self.name)
        if weights is None:
            return
        if _shapes(weights) != _shapes(self.plain.state_dict()):
            logger.warning("%s: begins anew, the earlier one has other layers", self.name)
            return
        self.plain.load_state_dict(weights)
        load_moments(self.optimizer, state.get(f"optimizer_{self.name}"))

    def _descend(self, means: dict[str, Tensor], count: int) -> dict[str, Tensor]:
        """A step on the loss of the network's name; all losses, detached."""
        losses = total_losses({k: [Term(mean, count)] for k, mean in means.items()}, self.shares)
        loss = losses[self.name]
        self.fabric.backward(loss)
        check_step(self.fabric, {self.name: loss}, {self.name: self.optimizer}, self.plain)
        self.optimizer.step()
        self.optimizer.zero_grad()  # now, so that forward has the memory
        return {name: value.detach() for name, value in losses.items()}


def load_moments(optimizer: Optimizer, saved: Mapping[str, Any] | None) -> bool:
    """Take the moments in a state dict of Adam, but not its learning rate and other options.

    Returns:
        Whether they were taken: there are some, and the parameters have their shapes.
    """
    params = [p for group in optimizer.param_groups for p in group["params"]]
    moments = {} if saved is None else saved["state"]
    if saved is None or sum(len(group["params"]) for group in saved["param_groups"]) != len(params):
        return False
    if any(values["exp_avg"].shape != params[i].shape for i, values in moments.items()):
        return False
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": moments, "param_groups": groups})
    return True


def _shapes(weights: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in weights.items()}


class ImageAdversary(_TrainedNetwork):
    """The patch discriminator."""

    name = "discriminator"

    def generator_losses(self, outcome: Outcome) -> dict[str, Tensor]:
        """`adversarial`: the GAN loss of the generated images."""
        self.network.requires_grad_(False)
        scores = self.plain(outcome.image, outcome.layout)
        self.network.requires_grad_(True)
        loss = self.weights.image * gan_generator_loss(scores, self.weights.gan)
        return total_losses({"adversarial": [Term(loss, len(scores))]}, self.shares)

    def discriminator_step(self, outcome: Outcome) -> dict[str, Tensor]:
        """GAN loss on the batch's true and generated images."""
        assert outcome.image is not None
        layout = None if outcome.layout is None else outcome.layout.detach()
        real = self.network(outcome.target, layout)
        fake = self.network(outcome.image.detach(), layout)
        loss = gan_discriminator_loss(real, fake, self.weights.gan)
        return self._descend({self.name: loss}, len(real))


class _CropAdversary(_TrainedNetwork, ABC):
    """A discriminator of crops with its auxiliary classifier.

    As in sg2im, the real and the generated image are cropped at the true boxes, and the
    discriminator learns the classes of both, unweighted:

        L_D = L_GAN + CE(real) + CE(generated)

    Attributes:
        loss_names: of the generator's GAN loss and cross entropy of the classes.
    """

    loss_names = ("", "")

    def generator_losses(self, outcome: Outcome) -> dict[str, Tensor]:
        """GAN loss and cross entropy of the generated crops, by `loss_names`."""
        labels, boxes, image_index = self._crops(outcome)
        self.network.requires_grad_(False)
        scores, classes = self.plain(outcome.image, boxes, image_index)
        self.network.requires_grad_(True)
        adversarial_weight, auxiliary_weight = self._loss_weights()
        losses = (
            adversarial_weight * gan_generator_loss(scores, self.weights.gan),
            auxiliary_weight * class_loss(classes, labels),
        )
        terms = {name: [Term(v, len(scores))] for name, v in zip(self.loss_names, losses)}
        return total_losses(terms, self.shares)

    def discriminator_step(self, outcome: Outcome) -> dict[str, Tensor]:
        """GAN loss and cross entropy on the crops of the batch's true and generated images."""
        labels, boxes, image_index = self._crops(outcome)
        assert outcome.image is not None
        fake, fake_classes = self.network(outcome.image.detach(), boxes, image_index)
        real, real_classes = self.network(outcome.target, boxes, image_index)
        adversarial = gan_discriminator_loss(real, fake, self.weights.gan)
        loss = adversarial + class_loss(real_classes, labels)
        loss = loss + class_loss(fake_classes, labels)
        losses = {self.name: loss, f"{self.name}_adversarial": adversarial}
        return self._descend(losses, len(boxes))

    @abstractmethod
    def _crops(self, outcome: Outcome) -> Objects | Relations:
        """What is cropped, of which classes."""

    @abstractmethod
    def _loss_weights(self) -> tuple[float, float]:
        """Weights of the losses of `loss_names`."""


class ObjectAdversary(_CropAdversary):
    """The object discriminator: crops of the objects and their classes, `__image__` nodes too."""

    name = "object_discriminator"
    loss_names = ("object_adversarial", "auxiliary")

    def _crops(self, outcome: Outcome) -> Objects:
        assert outcome.objects is not None
        return outcome.objects

    def _loss_weights(self) -> tuple[float, float]:
        return self.weights.objects, self.weights.auxiliary


class RelationAdversary(_CropAdversary):
    """The relation discriminator: crops of the relations' union boxes and their predicates."""

    name = "relation_discriminator"
    loss_names = ("relation_adversarial", "relation_auxiliary")

    def _crops(self, outcome: Outcome) -> Relations:
        assert outcome.relations is not None
        return outcome.relations

    def _loss_weights(self) -> tuple[float, float]:
        return self.weights.relations, self.weights.relation_auxiliary
