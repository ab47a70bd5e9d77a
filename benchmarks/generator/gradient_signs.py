r"""Does the image loss say anything to a predicate? The sign of its gradient, on held-out images.

    python benchmarks/generator/gradient_signs.py runs/demo [--data FOLDER] [--split test]
        [--limit 200] [--redrawn] [--cues holding riding ...] [--threads 2] [--json OUT]

The joint phase descends d L_img / d z of the predicates' logits z. Here the graphs are the true
ones, but for one relation at a time: its distribution is half its true predicate t and half another
one r, drawn at random. The loss would move it the right way where

    d L_img / d z_t = (d L_img / d p_t - d L_img / d p_r) / 4 < 0

`right` is the share of relations where it does; a gradient of 0 counts half. A generator that does
not draw predicates, or a loss that does not see them, gives 0.5, a perfect one 1.0. So a generator
can be judged within minutes, before a joint phase is run with it.

`mean` is the mean of the predicates' shares: it is 0.5 also where the loss prefers some predicates
whatever the picture shows. The shares of `all` relations, of those with a cue (`cues`) and of one
predicate are not: a loss that prefers `tied to` always has 1.0 there.

`--redrawn` (drawn scenes) leaves such preferences out: r is a predicate that the
picture tells from t, and each relation is looked at twice, with its photo, where the loss should
prefer t, and with the scene drawn with r (`autoenc_sg/data/scenes/redraw.py`), where it should
prefer r. The share is the mean of both: 0.5 for every loss that prefers what it prefers whatever
the picture shows, in all rows. Relations that no drawing tells from others are left out.

Losses: `pixel` (L1), and of the checkpoint's detector `features` and `relation_features`
(autoenc_sg/training/losses/features.py). In brackets the 95 % interval of a share (Wilson's; with
`--redrawn` too wide, as a relation is looked at twice).
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import torch
from rich.console import Console
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # a checkout, not installed

from autoenc_sg.config.image_losses import ImageLossConfig
from autoenc_sg.core.errors import bad_input
from autoenc_sg.core.images import from_pil, target_images
from autoenc_sg.core.relaxed_graph import RelaxedGraph
from autoenc_sg.core.scene_graph import SceneGraph
from autoenc_sg.core.scene_graph_batch import SceneGraphBatch
from autoenc_sg.core.vocabulary import Vocabulary
from autoenc_sg.data.open import open_dataset
from autoenc_sg.data.scenes.builder import PREDICATES, Scene
from autoenc_sg.data.scenes.files import read_settings
from autoenc_sg.data.scenes.redraw import CUES, redrawn
from autoenc_sg.data.scenes.render import draw_scene
from autoenc_sg.generator import pixel_loss
from autoenc_sg.model.autoencoder import AutoEncoder
from autoenc_sg.training.losses.features import FeatureLoss
from autoenc_sg.visualization.tables import Cell, Table
from autoenc_sg.weights.checkpoint import check_vocabulary, read_checkpoint
from benchmarks.generator.oracle import scene_worlds

# From the graph of K copies of an image to its losses by name, each a sum over the copies.
Losses = Callable[[RelaxedGraph], Mapping[str, Tensor]]
Agreement = dict[str, dict[str, tuple[float, int]]]  # by loss and row: share, relations


def right_ways(
    relax: Callable[[SceneGraphBatch], RelaxedGraph],
    losses: Losses,
    graph: SceneGraph,
    relations: Tensor,
    rivals: Tensor,
) -> dict[str, Tensor]:
    """Whether relations of one image would be moved the right way, by loss: `[K]` each.

    1: yes, 0: no, 0.5: there is no gradient.

    Args:
        relax: makes the generator's graph of hard ones.
        losses: of a graph of K copies of the image, in each of which one relation is undecided.
        graph: the true one.
        relations: `[K]`, rows of its triples: the relations that are looked at.
        rivals: `[K]`, the other predicate of each.
    """
    count = len(relations)
    relaxed = relax(SceneGraphBatch.collate([graph] * count))
    rows = torch.arange(count)
    undecided = rows * len(graph.triples) + relations  # of each copy one
    true = graph.triples[relations, 1]
    logits = torch.full((count, relaxed.predicates.shape[1]), -math.inf)
    logits[rows, true] = 0
    logits[rows, rivals] = 0
    logits = logits.to(relaxed.predicates).requires_grad_()
    predicates = relaxed.predicates.index_copy(0, undecided.to(logits.device), logits.softmax(1))
    values = losses(replace(relaxed, predicates=predicates))
    ways = {}
    for name, value in values.items():
        (gradient,) = torch.autograd.grad(value, logits, retain_graph=True)
        slopes = gradient[rows, true.to(gradient.device)]
        ways[name] = ((1 - slopes.sign()) / 2).cpu()
    return ways


def losses_of_images(model: AutoEncoder, images: Sequence[Tensor], *, seed: int) -> Losses:
    """The losses of K pictures, drawn with the same noise, towards K images."""
    generator, detector, count = model.generator, model.detector, len(images)
    images = [image.to(model.device) for image in images]
    target = target_images(images, generator.config.image_size)
    noise = generator.seeded_noise([seed] * count)
    with torch.no_grad():
        maps = detector.encode(images)
    features = FeatureLoss(detector, ImageLossConfig(feature_weight=1, relation_feature_weight=1))

    def losses(graph: RelaxedGraph) -> dict[str, Tensor]:
        drawn = generator(graph, noise).image
        values = {"pixel": pixel_loss(drawn, target) * count}
        for name, (term,) in features.terms(drawn, images, graph, maps).items():
            values[name] = term.mean * count
        return values

    return losses


class Case(NamedTuple):
    """Relations of one image, each with another predicate and, perhaps, an image that shows it.

    Attributes:
        image: the photo.
        graph: the true one.
        relations: `[K]`, rows of its triples.
        rivals: `[K]`, the other predicates.
        redrawn: K images that show the other predicates; None: there are none.
    """

    image: Tensor
    graph: SceneGraph
    relations: Tensor
    rivals: Tensor
    redrawn: Sequence[Tensor] | None = None


def cases_of(samples: Iterable[tuple[Tensor, SceneGraph]], num_predicates: int) -> Iterator[Case]:
    """All relations of the images, against any other predicate."""
    rng = torch.Generator().manual_seed(0)
    for image, graph in samples:
        rivals = draw_rivals(graph.triples[:, 1], num_predicates, rng)
        yield Case(image, graph, torch.arange(len(rivals)), rivals)


def redrawn_cases(
    worlds: Iterable[tuple[Scene, Tensor, SceneGraph]], vocabulary: Vocabulary
) -> Iterator[Case]:
    """Relations of drawn scenes, against a predicate whose drawing is another one."""
    rng = torch.Generator().manual_seed(0)
    for scene, photo, graph in worlds:
        relations, rivals, images = [], [], []
        for row, (subject, true, obj) in enumerate(graph.triples.tolist()):
            drawn = {}
            for name in PREDICATES:
                image = from_pil(draw_scene(redrawn(scene, subject, name, obj), photo.shape[-1])[0])
                drawn[vocabulary.predicate_id(name)] = image
            others = [p for p, image in drawn.items() if not torch.equal(image, drawn[true])]
            if others:
                rivals.append(others[int(torch.randint(len(others), (1,), generator=rng))])
                relations.append(row)
                images.append(drawn[rivals[-1]])
        yield Case(photo, graph, torch.tensor(relations), torch.tensor(rivals), images)


def ways_of(
    relax: Callable[[SceneGraphBatch], RelaxedGraph],
    losses_of: Callable[[Sequence[Tensor]], Losses],
    case: Case,
) -> dict[str, Tensor]:
    """The share of right ways of each relation, by loss: of the photo, or of both images.

    Args:
        relax: as in `right_ways`.
        losses_of: the losses of K pictures, towards K images.
        case: K relations.
    """
    graph, relations, rivals = case.graph, case.relations, case.rivals
    losses = losses_of([case.image] * len(relations))
    ways = right_ways(relax, losses, graph, relations, rivals)
    if case.redrawn is None:
        return ways
    wrong = right_ways(relax, losses_of(case.redrawn), graph, relations, rivals)
    return {name: (way + 1 - wrong[name]) / 2 for name, way in ways.items()}


def sign_agreement(
    model: AutoEncoder, cases: Iterable[Case], cues: Sequence[str] = (), seed: int = 0
) -> Agreement:
    """By loss and predicate, the share of relations moved the right way, and their number.

    Args:
        model: it is set to evaluation mode, its parameters to need no gradient.
        cases: the relations.
        cues: predicates whose relations have a row of their own.
        seed: of the noise.

    Raises:
        InputError: no image has a relation.
    """
    model.eval().requires_grad_(False)
    names = model.vocabulary.predicates
    ways: dict[str, list[Tensor]] = {}
    labels, images = [], 0
    for i, case in enumerate(cases):
        images += 1
        if len(case.relations) == 0:
            continue
        losses_of = partial(losses_of_images, model, seed=seed + i)
        for name, way in ways_of(model.relax, losses_of, case).items():
            ways.setdefault(name, []).append(way)
        labels.append(case.graph.triples[case.relations, 1])
    if not labels:
        raise bad_input("held-out images", "one with relations or more", f"{images} without")
    all_labels = torch.cat(labels)
    return {name: shares(torch.cat(each), all_labels, names, cues) for name, each in ways.items()}


def draw_rivals(true: Tensor, num_predicates: int, rng: torch.Generator) -> Tensor:
    """Another predicate of 1..P - 1 for each, all as likely: `[M] -> [M]`."""
    drawn = torch.randint(1, num_predicates - 1, true.shape, generator=rng)
    return drawn + (drawn >= true)


def shares(
    ways: Tensor, labels: Tensor, names: Sequence[str], cues: Sequence[str] = ()
) -> dict[str, tuple[float, int]]:
    """The mean of `ways [M]` by predicate, of `all`, of the `cues`, and the `mean` of the means."""
    counts = torch.bincount(labels, minlength=len(names))
    sums = torch.zeros(len(names)).index_add(0, labels, ways)
    present = [i for i in counts.argsort(descending=True).tolist() if counts[i] > 0]
    each = {names[i]: (float(sums[i] / counts[i]), int(counts[i])) for i in present}
    mean = sum(share for share, _ in each.values()) / len(each)
    rows = {"all": (float(ways.mean()), len(ways)), "mean": (mean, len(ways))}
    of_cues = ways[torch.isin(labels, torch.tensor([names.index(c) for c in cues]))]
    if len(of_cues) > 0:
        rows["cues"] = (float(of_cues.mean()), len(of_cues))
    return {**rows, **each}


def interval(share: float, count: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a binomial's share."""
    z = 1.96
    middle = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z * math.sqrt(share * (1 - share) / count + z**2 / (4 * count**2)) / (1 + z**2 / count)
    return middle - half, middle + half


def table_of(agreement: Agreement) -> Table:
    """A row a predicate, a column a loss."""
    rows: list[list[Cell]] = []
    for name, (_, count) in next(iter(agreement.values())).items():
        found = [each[name][0] for each in agreement.values()]
        cells = [f"{share:.3f}" for share in found]
        if name != "mean":  # no binomial
            bounds = [interval(share, count) for share in found]
            cells = [f"{c} [{low:.2f}, {high:.2f}]" for c, (low, high) in zip(cells, bounds)]
        rows.append([name, count, *cells])
    title = "Relations that the loss would move the right way"
    return Table(title, ["predicate", "relations", *agreement], rows, "0.5: it says nothing")


def measured(options: argparse.Namespace) -> Agreement:
    """The agreement that the command line asks for."""
    checkpoint = read_checkpoint(options.checkpoint)
    model = AutoEncoder.from_checkpoint(options.checkpoint)
    data = checkpoint.config.data
    data = data if options.data is None else replace(data, root=options.data)
    dataset = open_dataset(data, options.split, checkpoint.config.seed)
    vocabulary = dataset.vocabulary
    check_vocabulary(checkpoint, vocabulary, options.checkpoint)
    count = min(options.limit, len(dataset))
    cues = [name for name in options.cues if name in vocabulary.predicates]
    if not options.redrawn:
        samples = ((dataset[i].image, dataset[i].graph) for i in range(count))
        return sign_agreement(model, cases_of(samples, vocabulary.num_predicates), cues)
    worlds = scene_worlds(read_settings(Path(data.root)), dataset)
    return sign_agreement(model, redrawn_cases(islice(worlds, count), vocabulary), cues)


def make_parser() -> argparse.ArgumentParser:
    """The command line's options, which `measured` takes."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--data", help="folder of the data set, in place of the checkpoint's")
    parser.add_argument("--split", choices=("val", "test"), default="test")
    parser.add_argument("--limit", type=int, default=200, help="images at most")
    parser.add_argument("--redrawn", action="store_true", help="with both predicates' pictures")
    parser.add_argument("--cues", nargs="*", default=CUES, help="predicates that are drawn")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path)
    return parser


def main() -> None:
    """Measure and print."""
    options = make_parser().parse_args()
    torch.set_num_threads(options.threads)
    agreement = measured(options)
    Console(soft_wrap=True).print(table_of(agreement).to_rich())
    if options.json is not None:
        options.json.write_text(json.dumps(agreement, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
