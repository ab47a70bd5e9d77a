r"""Does the image loss say anything to a predicate? The sign of its gradient, on held-out images.

    python benchmarks/generator/gradient_signs.py runs/demo [--data FOLDER] [--split test]
        [--limit 200] [--threads 2] [--json OUT]

The joint phase descends d L_img / d z of the predicates' logits z. Here the graphs are the true
ones, but for one relation at a time: its distribution is half its true predicate t and half another
one r, drawn at random. The loss would move it the right way where

    d L_img / d z_t = (d L_img / d p_t - d L_img / d p_r) / 4 < 0

`right` is the share of relations where it does; a gradient of 0 counts half. A generator that does
not draw predicates, or a loss that does not see them, gives 0.5, a perfect one 1.0. So a generator
can be judged within minutes, before a joint phase is run with it.

`mean` is the mean of the predicates' shares: it is 0.5 also where the loss prefers some predicates
whatever the picture shows, while the share of `all` relations then depends on their frequencies.

Losses: `pixel` (L1), and of the checkpoint's detector `features` and `relation_features`
(autoenc_sg/training/losses/features.py). In brackets the 95 % interval of a share (Wilson's).
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from rich.console import Console
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # a checkout, not installed

from autoenc_sg.config.image_losses import ImageLossConfig
from autoenc_sg.core.errors import bad_input
from autoenc_sg.core.images import target_images
from autoenc_sg.core.relaxed_graph import RelaxedGraph
from autoenc_sg.core.scene_graph import SceneGraph
from autoenc_sg.core.scene_graph_batch import SceneGraphBatch
from autoenc_sg.data.open import open_dataset
from autoenc_sg.detector import FeatureMaps
from autoenc_sg.generator import pixel_loss
from autoenc_sg.model.autoencoder import AutoEncoder
from autoenc_sg.training.losses.features import FeatureLoss
from autoenc_sg.visualization.tables import Table
from autoenc_sg.weights.checkpoint import check_vocabulary, read_checkpoint

# From the graph of K copies of an image to its losses by name, each a sum over the copies.
Losses = Callable[[RelaxedGraph], Mapping[str, Tensor]]


def right_ways(
    relax: Callable[[SceneGraphBatch], RelaxedGraph],
    losses: Losses,
    graph: SceneGraph,
    rivals: Tensor,
) -> dict[str, Tensor]:
    """Whether each relation of one image would be moved the right way, by loss: `[M]` each.

    1: yes, 0: no, 0.5: there is no gradient.

    Args:
        relax: makes the generator's graph of hard ones.
        losses: of a graph of M copies of the image, in each of which one relation is undecided.
        graph: the true one, of M relations.
        rivals: `[M]`, the other predicate of each relation.
    """
    count = len(graph.triples)
    relaxed = relax(SceneGraphBatch.collate([graph] * count))
    undecided = torch.arange(count) * (count + 1)  # copy k's relation k
    rows = torch.arange(count)
    logits = torch.full((count, relaxed.predicates.shape[1]), -math.inf)
    logits[rows, graph.triples[:, 1]] = 0
    logits[rows, rivals] = 0
    logits = logits.to(relaxed.predicates).requires_grad_()
    predicates = relaxed.predicates.index_copy(0, undecided.to(logits.device), logits.softmax(1))
    values = losses(replace(relaxed, predicates=predicates))
    ways = {}
    for name, value in values.items():
        (gradient,) = torch.autograd.grad(value, logits, retain_graph=True)
        slopes = gradient[rows, graph.triples[:, 1].to(gradient.device)]
        ways[name] = ((1 - slopes.sign()) / 2).cpu()
    return ways


def draw_rivals(true: Tensor, num_predicates: int, rng: torch.Generator) -> Tensor:
    """Another predicate of 1..P - 1 for each, all as likely: `[M] -> [M]`."""
    drawn = torch.randint(1, num_predicates - 1, true.shape, generator=rng)
    return drawn + (drawn >= true)


def losses_of_image(model: AutoEncoder, image: Tensor, seed: int, count: int) -> Losses:
    """The losses of `count` copies of an image, drawn with the same noise."""
    generator, detector = model.generator, model.detector
    images = [image.to(model.device)] * count
    target = target_images(images, generator.config.image_size)
    noise = generator.seeded_noise([seed] * count)
    with torch.no_grad():
        maps = _repeated(detector.encode(images[:1]), count)
    features = FeatureLoss(detector, ImageLossConfig(feature_weight=1, relation_feature_weight=1))

    def losses(graph: RelaxedGraph) -> dict[str, Tensor]:
        drawn = generator(graph, noise).image
        values = {"pixel": pixel_loss(drawn, target) * count}
        for name, (term,) in features.terms(drawn, images, graph, maps).items():
            values[name] = term.mean * count
        return values

    return losses


def _repeated(maps: FeatureMaps, count: int) -> FeatureMaps:
    levels = tuple(level.expand(count, -1, -1, -1) for level in maps.maps)
    sizes = (maps.image_sizes * count, maps.network_sizes * count)
    return FeatureMaps(levels, *sizes, maps.padded_size)


def sign_agreement(
    model: AutoEncoder, samples: Sequence[tuple[Tensor, SceneGraph]], seed: int = 0
) -> dict[str, dict[str, tuple[float, int]]]:
    """By loss and predicate, the share of relations moved the right way, and their number.

    The share over all relations is named `all`, the mean of the predicates' shares `mean`.

    Raises:
        InputError: no image has a relation.
    """
    model.eval().requires_grad_(False)
    rng = torch.Generator().manual_seed(seed)
    names = model.vocabulary.predicates
    ways: dict[str, list[Tensor]] = {}
    labels = []
    for i, (image, graph) in enumerate(samples):
        if len(graph.triples) == 0:
            continue
        true = graph.triples[:, 1]
        rivals = draw_rivals(true, len(names), rng)
        losses = losses_of_image(model, image, seed + i, len(true))
        for name, way in right_ways(model.relax, losses, graph, rivals).items():
            ways.setdefault(name, []).append(way)
        labels.append(true)
    if not labels:
        raise bad_input("held-out images", "one with relations or more", f"{len(samples)} without")
    return {name: shares(torch.cat(each), torch.cat(labels), names) for name, each in ways.items()}


def shares(ways: Tensor, labels: Tensor, names: Sequence[str]) -> dict[str, tuple[float, int]]:
    """The mean of `ways [M]` by predicate, `all` of them, and the `mean` of the means."""
    counts = torch.bincount(labels, minlength=len(names))
    sums = torch.zeros(len(names)).index_add(0, labels, ways)
    present = [i for i in counts.argsort(descending=True).tolist() if counts[i] > 0]
    each = {names[i]: (float(sums[i] / counts[i]), int(counts[i])) for i in present}
    mean = sum(share for share, _ in each.values()) / len(each)
    return {"all": (float(ways.mean()), len(ways)), "mean": (mean, len(ways)), **each}


def interval(share: float, count: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a binomial's share."""
    z = 1.96
    middle = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z * math.sqrt(share * (1 - share) / count + z**2 / (4 * count**2)) / (1 + z**2 / count)
    return middle - half, middle + half


def table_of(agreement: Mapping[str, Mapping[str, tuple[float, int]]]) -> Table:
    """A row a predicate, a column a loss."""
    rows = []
    for name, (_, count) in next(iter(agreement.values())).items():
        found = [each[name][0] for each in agreement.values()]
        cells = [f"{share:.3f}" for share in found]
        if name != "mean":  # no binomial
            bounds = [interval(share, count) for share in found]
            cells = [f"{c} [{low:.2f}, {high:.2f}]" for c, (low, high) in zip(cells, bounds)]
        rows.append([name, count, *cells])
    title = "Relations that the loss would move the right way"
    return Table(title, ["predicate", "relations", *agreement], rows, "0.5: it says nothing")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--data", help="folder of the data set, in place of the checkpoint's")
    parser.add_argument("--split", choices=("val", "test"), default="test")
    parser.add_argument("--limit", type=int, default=200, help="images at most")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    checkpoint = read_checkpoint(options.checkpoint)
    model = AutoEncoder.from_checkpoint(options.checkpoint)
    data = checkpoint.config.data
    data = data if options.data is None else replace(data, root=options.data)
    dataset = open_dataset(data, options.split, checkpoint.config.seed)
    check_vocabulary(checkpoint, dataset.vocabulary, options.checkpoint)
    count = min(options.limit, len(dataset))
    samples = [(dataset[i].image, dataset[i].graph) for i in range(count)]
    agreement = sign_agreement(model, samples)
    Console(soft_wrap=True).print(table_of(agreement).to_rich())
    if options.json is not None:
        options.json.write_text(json.dumps(agreement, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
