"""Two ways to draw and to train with the same weights: sg2im's own, plainly, and this project's.

`SG2IM` spreads each vector over its mask, resamples all D channels, `[N, D, H, W]`, sums them by
image with `scatter_add`, pools the full layout for each refinement module, and convolves the
concatenation of layout, noise and enlarged features; objects are cut out by `grid_sample`, image by
image; Adam is torch's default. What both ways share (embeddings, graph convolution, box head,
losses, discriminators' layers) is the same code.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Adam

from autoenc_sg.config.model import GeneratorConfig
from autoenc_sg.core.relaxed_graph import RelaxedGraph
from autoenc_sg.generator import (
    Generator,
    GeneratorNoise,
    ObjectDiscriminator,
    PatchDiscriminator,
    class_loss,
    gan_discriminator_loss,
    gan_generator_loss,
    pixel_loss,
    with_image_boxes,
)
from autoenc_sg.generator.image_node import add_image_nodes
from benchmarks.generator.layout import plain_scatter

CLASSES, PREDICATES = 179, 46  # Visual Genome's in sg2im, with the reserved 0
RATE, ADVERSARIAL, AUXILIARY, BOXES = 1e-4, 0.01, 0.1, 10.0  # sg2im's defaults


class Objects(NamedTuple):
    """Labels `[N + B]`, boxes `[N + B, 4]` and image index of objects and `__image__` nodes."""

    labels: Tensor
    boxes: Tensor
    image_index: Tensor


class Task(NamedTuple):
    """A batch: graphs, noise, true pictures and objects."""

    graph: RelaxedGraph
    noise: GeneratorNoise
    target: Tensor
    objects: Objects


@dataclass
class Networks:
    """Generator and both discriminators."""

    generator: Generator
    objects: ObjectDiscriminator
    image: PatchDiscriminator

    def all(self) -> list[nn.Module]:
        """The three."""
        return [self.generator, self.objects, self.image]


class Way(NamedTuple):
    """How a picture and its boxes `[N + B, 4]` are drawn, and objects judged; and Adam's kind."""

    draw: Callable[[Generator, RelaxedGraph, GeneratorNoise], tuple[Tensor, Tensor]]
    judge: Callable[[ObjectDiscriminator, Tensor, Objects], tuple[Tensor, Tensor]]
    ours: bool


def networks(size: int = 64, seed: int = 0, device: str = "cpu") -> Networks:
    """sg2im's default networks, from a seed."""
    torch.manual_seed(seed)
    config = GeneratorConfig(
        image_size=size,
        layout_noise_dim=32,
        input_noise=False,
        discriminator_condition="none",
        discriminator_classifier=False,
    )
    made = Networks(
        Generator(config, CLASSES, PREDICATES),
        ObjectDiscriminator(config, CLASSES),
        PatchDiscriminator(config),
    )
    for network in made.all():
        network.to(device)
    return made


def task(generator: Generator, batch: int = 8, objects: int = 9, seed: int = 0) -> Task:
    """`batch` graphs of so many objects, each the subject of one relation."""
    rng = torch.Generator().manual_seed(seed)
    count, size = batch * objects, generator.config.image_size
    corner = torch.rand(count, 2, generator=rng) * 0.6
    boxes = torch.cat([corner, corner + 0.1 + torch.rand(count, 2, generator=rng) * 0.3], 1)
    index = torch.arange(batch).repeat_interleave(objects)
    labels = torch.randint(1, CLASSES, (count,), generator=rng)
    other = index * objects + torch.randint(0, objects, (count,), generator=rng)
    predicates = torch.randint(1, PREDICATES, (count,), generator=rng)
    graph = RelaxedGraph(
        F.one_hot(labels, CLASSES).float(),
        F.one_hot(predicates, PREDICATES).float(),
        torch.stack([torch.arange(count), other], 1),
        torch.ones(count),
        torch.ones(count),
        boxes,
        index,
        batch,
    )
    device = generator.obj_embeddings.weight.device
    known = with_image_boxes(labels, boxes, index, batch)
    return Task(
        graph.to(device),
        generator.noise(batch, rng),
        torch.rand(batch, 3, size, size, generator=rng).to(device),
        Objects(*(t.to(device) for t in known)),
    )


def draw_ours(
    generator: Generator, graph: RelaxedGraph, noise: GeneratorNoise
) -> tuple[Tensor, Tensor]:
    """The generator as it is."""
    made = generator(graph, noise)
    full = add_image_nodes(graph)
    boxes = made.boxes.new_empty(len(full.graph.boxes), 4)
    boxes = boxes.index_copy(0, full.object_rows, made.boxes)
    return made.image, boxes.index_copy(0, full.image_rows, made.image_boxes)


def draw_plain(
    generator: Generator, graph: RelaxedGraph, noise: GeneratorNoise
) -> tuple[Tensor, Tensor]:
    """The same weights as sg2im uses them (reference: google/sg2im `model.py`, `crn.py`)."""
    full, size = add_image_nodes(graph).graph, generator.config.image_size
    vectors = generator.object_vectors(full)
    boxes = generator.box_net(vectors)
    assert generator.mask_net is not None
    logits = nn.Sequential.forward(generator.mask_net, vectors[:, :, None, None])
    masks = logits.squeeze(1).sigmoid()
    layout = plain_scatter(vectors, full.boxes, masks, full.image_index, graph.num_images, size)
    assert noise.layout is not None
    layout = torch.cat([layout, noise.layout], 1)
    net = generator.refinement_net
    features = layout.new_zeros(graph.num_images, 1, net.input_side, net.input_side)
    for module, side in zip(net.refinement_modules, net.levels):
        pooled = layout if side == size else F.avg_pool2d(layout, size // side)
        features = module.net(torch.cat([pooled, F.interpolate(features, scale_factor=2.0)], 1))
    return generator.normalization.inverse(net.output_conv(features)), boxes


def judge_ours(network: ObjectDiscriminator, image: Tensor, at: Objects) -> tuple[Tensor, Tensor]:
    """The discriminator as it is."""
    scores: tuple[Tensor, Tensor] = network(image, at.boxes, at.image_index)
    return scores


def judge_plain(network: ObjectDiscriminator, image: Tensor, at: Objects) -> tuple[Tensor, Tensor]:
    """Objects cut out of one picture after the other, each from a picture of its own."""
    seen, crops = network.normalize(image), []
    along = torch.linspace(0, 1, network.size, device=image.device)
    for i, picture in enumerate(seen):
        x0, y0, x1, y1 = (2 * at.boxes[at.image_index == i] - 1).T[:, :, None]
        x = (x0 + along * (x1 - x0))[:, None, :].expand(-1, network.size, -1)
        y = (y0 + along * (y1 - y0))[:, :, None].expand(-1, -1, network.size)
        copies = picture.expand(len(x), -1, -1, -1)
        crops.append(F.grid_sample(copies, torch.stack([x, y], 3), align_corners=True))
    vectors = network.cnn(torch.cat(crops))
    return network.real_classifier(vectors), network.obj_classifier(vectors)


SG2IM = Way(draw_plain, judge_plain, ours=False)
OURS = Way(draw_ours, judge_ours, ours=True)


class Training:
    """A copy of the networks under Adam, and one step as sg2im goes: generator, then both others.

    Args:
        nets: copied.
        way: how they are used.
        fused: Adam in one pass over the weights, or torch's default; None: as the way has it.
    """

    def __init__(self, nets: Networks, way: Way, fused: bool | None = None) -> None:
        self.nets = copy.deepcopy(nets)
        self.way = way
        one_pass = way.ours if fused is None else fused
        for network in self.nets.all():
            network.train()
        self.optimizers = [
            Adam(network.parameters(), RATE, fused=one_pass or None) for network in self.nets.all()
        ]

    def step(self, work: Task, precision: AbstractContextManager[Any] | None = None) -> Tensor:
        """The generator's loss, detached."""
        if precision is not None:
            with precision:
                return self._step(work)
        return self._step(work)

    def _step(self, work: Task) -> Tensor:
        nets, (generator, of_objects, of_image) = self.nets, self.optimizers
        image, boxes = self.way.draw(nets.generator, work.graph, work.noise)
        loss = self.generator_loss(image, boxes, work)
        self._descend(generator, loss)
        image = image.detach()
        fake, fake_classes = self.way.judge(nets.objects, image, work.objects)
        real, real_classes = self.way.judge(nets.objects, work.target, work.objects)
        labels = work.objects.labels
        classes = class_loss(fake_classes, labels) + class_loss(real_classes, labels)
        self._descend(of_objects, gan_discriminator_loss(real, fake) + classes)
        self._descend(of_image, gan_discriminator_loss(nets.image(work.target), nets.image(image)))
        return loss.detach()

    def generator_loss(self, image: Tensor, boxes: Tensor, work: Task) -> Tensor:
        """Pixels, boxes, both adversaries and classes, weighted as sg2im does.

        sg2im's backward also takes the discriminators' gradient, which it then throws away.
        """
        nets = self.nets
        for network in (nets.objects, nets.image):
            network.requires_grad_(not self.way.ours)
        scores, classes = self.way.judge(nets.objects, image, work.objects)
        adversarial = gan_generator_loss(scores) + gan_generator_loss(nets.image(image))
        for network in (nets.objects, nets.image):
            network.requires_grad_(True)
        return (
            pixel_loss(image, work.target, "normalized")
            + BOXES * F.mse_loss(boxes, work.objects.boxes)
            + ADVERSARIAL * adversarial
            + AUXILIARY * class_loss(classes, work.objects.labels)
        )

    def _descend(self, optimizer: Adam, loss: Tensor) -> None:
        """One step; sg2im keeps the gradients until the next backward, this project does not."""
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if self.way.ours:
            optimizer.zero_grad()
