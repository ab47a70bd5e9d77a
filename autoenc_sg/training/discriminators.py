"""The discriminators in training: each with its optimizer, and both sides of the game."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from lightning.fabric import Fabric
from torch import Tensor, nn
from torch.optim import Adam

from autoenc_sg.config.model import GeneratorConfig
from autoenc_sg.config.phases import GanKind
from autoenc_sg.generator import (
    ObjectDiscriminator,
    PatchDiscriminator,
    class_loss,
    gan_discriminator_loss,
    gan_generator_loss,
)
from autoenc_sg.training.objectives import Outcome


@dataclass(frozen=True)
class Stakes:
    """What the generator pays for.

    Attributes:
        gan: which GAN loss, on both sides.
        image, objects: weights of looking generated, to the patch and the object discriminator; 0:
            there is no such discriminator.
        auxiliary: weight of objects not being recognized.
    """

    gan: GanKind = "gan"
    image: float = 0.0
    objects: float = 0.0
    auxiliary: float = 0.0


class Adversary(Protocol):
    """One discriminator.

    Attributes:
        name: of its loss and of its state in checkpoints.
    """

    name: str

    def against(self, outcome: Outcome) -> dict[str, Tensor]:
        """The generator's losses, weighted; the discriminator is not changed by their gradient."""

    def step(self, outcome: Outcome) -> Tensor:
        """Train the discriminator on a batch's true and generated pictures; its loss, detached."""

    def state(self) -> dict[str, Any]:
        """What a checkpoint holds of it."""

    def load_state(self, state: Mapping[str, Any]) -> None:
        """The inverse of `state`."""


def make_adversaries(
    fabric: Fabric, config: GeneratorConfig, num_objects: int, stakes: Stakes, lr: float
) -> list[Adversary]:
    """The discriminators that have a weight, the objects' first, as sg2im trains them."""
    made: list[Adversary] = []
    if stakes.objects > 0:
        made.append(ObjectAdversary(fabric, ObjectDiscriminator(config, num_objects), stakes, lr))
    if stakes.image > 0:
        made.append(ImageAdversary(fabric, PatchDiscriminator(config), stakes, lr))
    return made


class _Trained:
    """A network under Fabric with Adam.

    Attributes:
        name: of its loss and of its state in checkpoints.
        network: as Fabric runs it, for its own training.
        plain: the same without Fabric, for the generator's side.
    """

    name = ""

    def __init__(self, fabric: Fabric, network: nn.Module, stakes: Stakes, lr: float) -> None:
        self.network, self.optimizer = fabric.setup(
            network, Adam(network.parameters(), lr, fused=True)
        )
        self.plain = network
        self.fabric = fabric
        self.stakes = stakes

    def state(self) -> dict[str, Any]:
        """Weights and optimizer."""
        return {
            self.name: self.plain.state_dict(),
            f"optimizer_{self.name}": self.optimizer.state_dict(),
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """The inverse of `state`."""
        self.plain.load_state_dict(state[self.name])
        self.optimizer.load_state_dict(state[f"optimizer_{self.name}"])

    def _descend(self, loss: Tensor) -> Tensor:
        self.fabric.backward(loss)
        self.optimizer.step()
        self.optimizer.zero_grad()  # now, so that forward has the memory
        return loss.detach()


class ImageAdversary(_Trained):
    """The patch discriminator."""

    name = "discriminator"

    def against(self, outcome: Outcome) -> dict[str, Tensor]:
        """`adversarial`."""
        self.network.requires_grad_(False)
        scores = self.plain(outcome.image, outcome.layout)
        self.network.requires_grad_(True)
        return {"adversarial": self.stakes.image * gan_generator_loss(scores, self.stakes.gan)}

    def step(self, outcome: Outcome) -> Tensor:
        """GAN loss on the batch's true and generated pictures."""
        assert outcome.image is not None
        layout = None if outcome.layout is None else outcome.layout.detach()
        real = self.network(outcome.target, layout)
        fake = self.network(outcome.image.detach(), layout)
        return self._descend(gan_discriminator_loss(real, fake, self.stakes.gan))


class ObjectAdversary(_Trained):
    """The object discriminator with its auxiliary classifier.

    As in sg2im, real and generated objects are cut out at the true boxes, the `__image__` node is
    an object among them, and the discriminator learns the classes of both, unweighted:

        L_D = L_GAN + CE(real) + CE(generated)
    """

    name = "object_discriminator"

    def against(self, outcome: Outcome) -> dict[str, Tensor]:
        """`object_adversarial` and `auxiliary`."""
        objects = outcome.objects
        assert objects is not None
        self.network.requires_grad_(False)
        scores, classes = self.plain(outcome.image, objects.boxes, objects.image_index)
        self.network.requires_grad_(True)
        stakes = self.stakes
        return {
            "object_adversarial": stakes.objects * gan_generator_loss(scores, stakes.gan),
            "auxiliary": stakes.auxiliary * class_loss(classes, objects.labels),
        }

    def step(self, outcome: Outcome) -> Tensor:
        """GAN loss and classes of the batch's true and generated objects."""
        objects = outcome.objects
        assert objects is not None
        assert outcome.image is not None
        places = (objects.boxes, objects.image_index)
        fake, fake_classes = self.network(outcome.image.detach(), *places)
        real, real_classes = self.network(outcome.target, *places)
        loss = gan_discriminator_loss(real, fake, self.stakes.gan)
        loss = loss + class_loss(real_classes, objects.labels)
        return self._descend(loss + class_loss(fake_classes, objects.labels))
