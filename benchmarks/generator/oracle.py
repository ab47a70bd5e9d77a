"""What a perfect image loss could know: the test photos against scenes drawn with each predicate.

    python benchmarks/generator/oracle.py SCENES [--size 128 64] [--threads 1] [--json OUT]

SCENES is a folder of `autoenc-sg data scenes` or of the demo; its scenes follow from its settings.
For each relation of a test graph the scene is drawn with each of the predicates between the two
things (`autoenc_sg/data/scenes/redraw.py`), all else as it is, and the picture nearest to the photo
in L1 is the answer: a generator that draws predicates perfectly, and a pixel loss.

Things keep their places, so a predicate that a picture does not show (`on`, `left of`) is drawn
like the other ones of that kind, also where the places contradict it. Equally near candidates are a
tie: the true one of n counts 1 / n. The columns:

    chance           1 / number of predicates
    prior            the most frequent predicate of the two classes in the train split
    oracle           nearest of all predicates
    with prior       of the nearest ones the one that is most frequent for the two classes
    nearest          how many are equally near, on average

`--size`: the pictures' sides; a photo of another size is resized as the generator's targets are.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # a checkout, not installed

from autoenc_sg.config.data import DataConfig, ScenesConfig
from autoenc_sg.core.errors import bad_input
from autoenc_sg.core.images import from_pil, target_images
from autoenc_sg.core.scene_graph import SceneGraph
from autoenc_sg.data.base.dataset import AnnotatedDataset
from autoenc_sg.data.open import open_dataset
from autoenc_sg.data.scenes.builder import PREDICATES, VOCABULARY, Scene
from autoenc_sg.data.scenes.files import read_settings
from autoenc_sg.data.scenes.random_scene import random_scene
from autoenc_sg.data.scenes.redraw import CUES, redrawn
from autoenc_sg.data.scenes.render import draw_scene
from autoenc_sg.scoring.frequency_prior import FrequencyPrior
from autoenc_sg.visualization.tables import Cell, Table

Row = dict[str, str | float]


@dataclass(frozen=True, eq=False)
class Answers:
    """What is known of M relations, of P predicates (without the reserved 0).

    Attributes:
        true: `[M]`, from 0.
        prior: `[M, P]`, how frequent each predicate is for the two classes.
        nearest: for each side of the pictures `[M, P]` bool, the predicates whose pictures are the
            nearest to the photo.
    """

    true: Tensor
    prior: Tensor
    nearest: Mapping[int, Tensor]


def nearest_drawings(
    scene: Scene, pairs: Sequence[tuple[int, int]], photo: Tensor, sizes: Sequence[int]
) -> dict[int, Tensor]:
    """For each size, which predicates' drawings of each pair are the nearest in L1: `[M, P]` bool.

    Args:
        scene: what the photo shows.
        pairs: rows of M subjects and objects.
        photo: `[3, S, S]` uint8; scenes are drawn at its size.
        sizes: the sides at which pictures are compared.
    """
    drawings: dict[tuple[object, ...], int] = {}  # number of each different picture
    numbers = [
        [_numbered(drawings, redrawn(scene, s, name, o)) for name in PREDICATES] for s, o in pairs
    ]
    pictures = [_picture(things, ropes, photo.shape[-1]) for things, ropes in drawings]
    found = {}
    for size in sizes:
        targets = target_images([photo, *pictures], size).double()
        distances = (targets[1:] - targets[0]).abs().sum((1, 2, 3))
        each = distances[torch.tensor(numbers, dtype=torch.int64).reshape(-1, len(PREDICATES))]
        found[size] = each == each.amin(1, keepdim=True)
    return found


def _numbered(drawings: dict[tuple[object, ...], int], scene: Scene) -> int:
    return drawings.setdefault((scene.things, scene.ropes), len(drawings))


def _picture(things: object, ropes: object, size: int) -> Tensor:
    return from_pil(draw_scene(Scene(things, (), ropes), size)[0])  # type: ignore[arg-type]


def answers(
    scenes: ScenesConfig, test: AnnotatedDataset, prior: FrequencyPrior, sizes: Sequence[int]
) -> Answers:
    """The answers of all relations of a test split.

    Raises:
        InputError: its objects are not those of these scenes.
    """
    true, priors = [], []
    nearest: dict[int, list[Tensor]] = {size: [] for size in sizes}
    for scene, photo, graph in scene_worlds(scenes, test):
        subjects, predicates, objects = graph.triples.unbind(1)
        pairs = list(zip(subjects.tolist(), objects.tolist()))
        true.append(predicates - 1)
        priors.append(prior.scores[graph.labels[subjects], graph.labels[objects]])
        for size, best in nearest_drawings(scene, pairs, photo, sizes).items():
            nearest[size].append(best)
    return Answers(
        torch.cat(true),
        torch.cat(priors),
        {size: torch.cat(best) for size, best in nearest.items()},
    )


def scene_worlds(
    scenes: ScenesConfig, images: AnnotatedDataset
) -> Iterator[tuple[Scene, Tensor, SceneGraph]]:
    """Each scene of a split with its photo and graph; those of `val` are of the train split.

    Raises:
        InputError: an image has not the objects of its scene.
    """
    for i, image_id in enumerate(images.image_ids):
        split, index = "train", image_id - 1
        if index >= scenes.num_train:
            split, index = "test", index - scenes.num_train
        scene = random_scene(scenes.seed, split, index, scenes.tint)
        sample = images[i]
        labels = [VOCABULARY.object_id(thing.name) for thing in scene.things]
        if sample.graph.labels.tolist() != labels:
            raise bad_input(f"image {image_id}", "the objects of its scene", "others")
        yield scene, sample.image, sample.graph


def share_right(candidates: Tensor, true: Tensor) -> Tensor:
    """Of each relation: 1 / n if the true predicate is one of n candidates, else 0: `[M]`."""
    rows = torch.arange(len(true))
    return candidates[rows, true].double() / candidates.sum(1).clamp(min=1)


def most_frequent(prior: Tensor, among: Tensor) -> Tensor:
    """The candidates of the greatest prior: `[M, P], [M, P] bool -> [M, P] bool`."""
    values = prior.masked_fill(~among, -1)
    return among & (values == values.amax(1, keepdim=True))


def rows_of(found: Answers) -> list[Row]:
    """All relations, those with and without a cue, means over predicates, and each predicate."""
    columns = {"prior": share_right(most_frequent(found.prior, found.prior >= 0), found.true)}
    for size, nearest in found.nearest.items():
        columns[f"oracle, {size} px"] = share_right(nearest, found.true)
        frequent = most_frequent(found.prior, nearest)
        columns[f"with prior, {size} px"] = share_right(frequent, found.true)
        columns[f"nearest, {size} px"] = nearest.sum(1).double()
    cues = torch.tensor([PREDICATES.index(name) for name in CUES])
    shows = torch.isin(found.true, cues)
    groups = {
        "all relations": torch.ones_like(shows), "with a cue": shows, "without a cue": ~shows
    }  # fmt: skip
    counts = torch.bincount(found.true, minlength=len(PREDICATES))
    order = counts.argsort(descending=True, stable=True).tolist()
    each = {PREDICATES[i]: found.true == i for i in order}
    rows = [_row(name, own, columns) for name, own in (groups | each).items() if own.any()]
    by_predicate = [row for row in rows if row["relations of"] in PREDICATES]
    mean: Row = {"relations of": "mean of the predicates", "count": len(found.true)}
    for name in columns:
        mean[name] = sum(float(row[name]) for row in by_predicate) / len(by_predicate)
    return [rows[0], mean, *rows[1:]]


def _row(name: str, own: Tensor, columns: Mapping[str, Tensor]) -> Row:
    means = {column: float(values[own].mean()) for column, values in columns.items()}
    return {"relations of": name, "count": int(own.sum()), **means}


def table_of(rows: Sequence[Row]) -> Table:
    """The rows as a table."""
    cells: list[list[Cell]] = [
        [f"{v:.3f}" if isinstance(v, float) else v for v in row.values()] for row in rows
    ]
    note = f"chance {1 / len(PREDICATES):.3f}; with a cue: {', '.join(CUES)}"
    return Table("Predicates that the nearest drawing tells", list(rows[0]), cells, note)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("scenes", type=Path)
    parser.add_argument("--size", type=int, nargs="+", default=[128, 64])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    scenes = read_settings(options.scenes)
    data = DataConfig(root=str(options.scenes), scenes=scenes)
    train, test = (open_dataset(data, split) for split in ("train", "test"))
    graphs = (train.annotated(i) for i in range(len(train)))
    prior = FrequencyPrior.fit(graphs, VOCABULARY.num_objects, VOCABULARY.num_predicates)
    rows = rows_of(answers(scenes, test, prior, options.size))
    Console(soft_wrap=True).print(table_of(rows).to_rich())
    if options.json is not None:
        options.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
