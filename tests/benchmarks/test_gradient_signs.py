"""The sign of the image loss's gradient: where it must be right, and where it says nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from autoenc_sg.core.errors import InputError
from autoenc_sg.core.images import from_pil
from autoenc_sg.core.relaxed_graph import RelaxedGraph
from autoenc_sg.core.scene_graph import SceneGraph
from autoenc_sg.data.open import open_dataset
from autoenc_sg.data.scenes.builder import VOCABULARY, Scene, Thing
from autoenc_sg.data.scenes.random_scene import random_scene
from autoenc_sg.data.scenes.redraw import redrawn
from autoenc_sg.data.scenes.render import draw_scene
from autoenc_sg.model import AutoEncoder
from benchmarks.generator.gradient_signs import (
    Case,
    Losses,
    cases_of,
    draw_rivals,
    interval,
    redrawn_cases,
    right_ways,
    shares,
    sign_agreement,
    table_of,
    ways_of,
)
from tests.support.tiny import tiny_config

PREDICATES = 5
TREE = Thing("tree", (90, 60, 120, 110))


def random_graph(relations: int, seed: int) -> SceneGraph:
    rng = torch.Generator().manual_seed(seed)
    triples = torch.stack(
        [
            torch.arange(relations),
            torch.randint(1, PREDICATES, (relations,), generator=rng),
            torch.arange(relations) + 1,
        ],
        1,
    )
    corners = torch.rand(relations + 1, 2, generator=rng) * 20
    boxes = torch.cat([corners, corners + 5], 1)
    return SceneGraph(torch.ones(relations + 1, dtype=torch.int64), boxes, triples, (32, 32))


class Painter:
    """Draws each relation as a pixel of its predicate's colour; the pixel loss is L1.

    Args:
        graph: the true one.
        shown: `[M]`, the predicates that the true picture shows.
        draws: whether the generator draws predicates at all.
    """

    def __init__(self, graph: SceneGraph, shown: Tensor, draws: bool = True) -> None:
        self.colours = torch.rand(PREDICATES, 3, generator=torch.Generator().manual_seed(0))
        self.target = self.colours[shown]
        self.draws = draws

    def losses(self, graph: RelaxedGraph) -> Mapping[str, Tensor]:
        pictures = graph.predicates @ (self.colours if self.draws else self.colours * 0)
        copies = pictures.reshape(-1, *self.target.shape)
        return {"pixel": (copies - self.target).abs().mean((1, 2)).sum()}


def relaxed(graphs: object) -> RelaxedGraph:
    return RelaxedGraph.from_graph(graphs, 3, PREDICATES)  # type: ignore[arg-type]


def agreement(shuffled: bool, draws: bool = True) -> Tensor:
    rng = torch.Generator().manual_seed(1)
    ways = []
    for seed in range(60):
        graph = random_graph(6, seed)
        true = graph.triples[:, 1]
        shown = torch.randint(1, PREDICATES, true.shape, generator=rng) if shuffled else true
        rivals = draw_rivals(true, PREDICATES, rng)
        losses = Painter(graph, shown, draws).losses
        ways.append(right_ways(relaxed, losses, graph, torch.arange(len(true)), rivals)["pixel"])
    return torch.cat(ways)


def test_a_generator_that_paints_predicates_is_always_right() -> None:
    assert (agreement(shuffled=False) == 1).all()


def test_pictures_of_other_predicates_say_nothing() -> None:
    ways = agreement(shuffled=True)
    assert len(ways) == 360
    assert float(ways.mean()) == pytest.approx(0.5, abs=0.08)  # 3 standard deviations
    assert set(ways.tolist()) <= {0.0, 0.5, 1.0}


def test_a_generator_without_predicates_is_half() -> None:
    assert (agreement(shuffled=False, draws=False) == 0.5).all()


def test_only_one_relation_of_a_copy_is_undecided() -> None:
    graph, graphs = random_graph(3, 0), []

    def losses(relations: RelaxedGraph) -> Mapping[str, Tensor]:
        graphs.append(relations.predicates.detach())
        return {"pixel": relations.predicates.sum()}

    true = graph.triples[:, 1]
    rivals = draw_rivals(true, PREDICATES, torch.Generator().manual_seed(0))
    right_ways(relaxed, losses, graph, torch.arange(3), rivals)
    copies = graphs[0].reshape(3, 3, PREDICATES)
    for copy in range(3):
        for row in range(3):
            expected = torch.zeros(PREDICATES)
            expected[true[row]] = 1
            if copy == row:
                expected[true[row]] = expected[rivals[row]] = 0.5
            assert torch.equal(copies[copy, row], expected)


def test_some_relations_alone() -> None:
    graph, graphs = random_graph(3, 0), []

    def losses(relations: RelaxedGraph) -> Mapping[str, Tensor]:
        graphs.append(relations.predicates.detach())
        return {"pixel": -relations.predicates[..., 1:].sum(0)[graph.triples[2, 1] - 1]}

    rivals = graph.triples[[2, 0], 1] % (PREDICATES - 1) + 1
    ways = right_ways(relaxed, losses, graph, torch.tensor([2, 0]), rivals)["pixel"]
    assert float(ways[0]) == 1
    undecided = (graphs[0].reshape(2, 3, PREDICATES) == 0.5).any(2)
    assert undecided.tolist() == [[False, False, True], [True, False, False]]


@pytest.mark.parametrize(("follows", "share"), [(True, 1.0), (False, 0.5)])
def test_a_preference_that_the_picture_does_not_change_is_half(follows: bool, share: float) -> None:
    """Images are the predicates that they show; a loss follows them, or prefers the greatest."""
    graph = random_graph(4, 3)
    true = graph.triples[:, 1]
    rivals = draw_rivals(true, PREDICATES, torch.Generator().manual_seed(1))
    case = Case(torch.zeros(1), graph, torch.arange(4), rivals, list(rivals))

    def losses_of(images: Sequence[Tensor]) -> Losses:
        shown = true if images[0] is case.image else torch.stack(list(images))
        wanted = torch.nn.functional.one_hot(shown, PREDICATES).float()
        liking = wanted if follows else torch.arange(PREDICATES).float().expand(4, -1)

        def losses(relations: RelaxedGraph) -> Mapping[str, Tensor]:
            copies = relations.predicates.reshape(4, 4, PREDICATES)
            return {"pixel": -(copies.diagonal().T * liking).sum()}

        return losses

    both = ways_of(relaxed, losses_of, case)["pixel"]
    assert_close(both, torch.full((4,), share))
    alone = ways_of(relaxed, losses_of, case._replace(redrawn=None))["pixel"]
    assert_close(alone, torch.ones(4) if follows else (true > rivals).float())


def test_rivals_are_other_predicates_all_as_likely() -> None:
    true = torch.arange(1, PREDICATES).repeat(600)
    rivals = draw_rivals(true, PREDICATES, torch.Generator().manual_seed(0))
    assert (rivals != true).all()
    counts = torch.bincount(true * PREDICATES + rivals, minlength=PREDICATES**2)
    counts = counts.reshape(PREDICATES, PREDICATES)[1:, 1:]
    others = counts[~torch.eye(PREDICATES - 1, dtype=torch.bool)]
    assert int(others.min()) > 150
    assert int(others.max()) < 250
    assert torch.equal(
        draw_rivals(torch.tensor([1, 2]), 3, torch.Generator()), torch.tensor([2, 1])
    )


def test_shares_by_predicate() -> None:
    ways, labels = torch.tensor([1.0, 0, 1, 1, 0.5]), torch.tensor([2, 2, 2, 1, 2])
    got = shares(ways, labels, ("none", "on", "in", "near"))
    assert got["all"] == (pytest.approx(0.7), 5)
    assert got["mean"] == (0.8125, 5)
    assert (got["in"], got["on"]) == ((0.625, 4), (1.0, 1))
    assert list(got) == ["all", "mean", "in", "on"]
    with_cues = shares(ways, labels, ("none", "on", "in", "near"), ("on", "near"))
    assert with_cues == {**got, "cues": (1.0, 1)}
    assert list(with_cues)[2] == "cues"
    table = table_of({"pixel": got})
    assert table.rows[0][:2] == ["all", 5]
    assert table.rows[3] == ["on", 1, "1.000 [0.21, 1.00]"]  # 1 / (1 + 1.96^2)
    assert interval(0.5, 16) == pytest.approx((0.28, 0.72), abs=0.001)


def test_of_a_model(tmp_path: Path) -> None:
    config = tiny_config(tmp_path, "--generator.relation_layout=true")
    dataset = open_dataset(config.data, "test")
    torch.manual_seed(0)
    model = AutoEncoder(config, dataset.vocabulary)
    samples = [(dataset[i].image, dataset[i].graph) for i in range(2)]
    bare = SceneGraph(
        samples[0][1].labels,
        samples[0][1].boxes,
        torch.zeros(0, 3, dtype=torch.int64),
        samples[0][1].image_size,
    )
    cases = list(cases_of([*samples, (samples[0][0], bare)], model.vocabulary.num_predicates))
    found = sign_agreement(model, cases)
    assert list(found) == ["pixel", "features", "relation_features"]
    count = sum(len(graph.triples) for _, graph in samples)
    for each in found.values():
        assert each["all"][1] == count
        assert 0 <= each["all"][0] <= 1
        assert sum(n for name, (_, n) in each.items() if name not in ("all", "mean")) == count
    with pytest.raises(InputError, match="held-out images: expected one with relations or more"):
        sign_agreement(model, cases[2:])


def test_of_drawn_scenes(tmp_path: Path) -> None:
    """Rivals are told by the picture, which is drawn with them; the true ones are the photo's."""
    scene = Scene(
        (Thing("grass", (0, 0, 128, 128)), Thing("person", (50, 40, 74, 90)), TREE),
        ((1, "on", 0), (1, "tied to", 2)),
        (((62, 65), (105, 100)),),
    )
    image, graph = draw_scene(scene, 64)
    photo = from_pil(image)
    (case,) = redrawn_cases([(scene, photo, graph)], VOCABULARY)
    assert case.relations.tolist() == [0, 1]
    assert case.redrawn is not None
    for k, shown in enumerate(case.redrawn):
        assert int(case.rivals[k]) != int(graph.triples[k, 1])
        assert not torch.equal(shown, photo)
    config = tiny_config(tmp_path)
    torch.manual_seed(0)
    model = AutoEncoder(config, VOCABULARY)
    found = sign_agreement(model, [case], ("tied to",))
    assert found["pixel"]["cues"][1] == found["pixel"]["tied to"][1] == 1


def test_a_generator_that_draws_scenes_is_always_right() -> None:
    """It draws the mean of the scene's drawings with each predicate, weighted by the predicates."""
    size, scene, names = 64, random_scene(0, "test", 0), VOCABULARY.predicates[1:]
    image, graph = draw_scene(scene, size)
    (case,) = redrawn_cases([(scene, from_pil(image), graph)], VOCABULARY)
    drawings = [
        from_pil(draw_scene(redrawn(scene, s, name, o), size)[0])
        for s, _, o in graph.triples[case.relations].tolist()
        for name in names
    ]
    pictures = torch.stack(drawings).reshape(-1, len(names), 3, size, size).double()

    def losses_of(images: Sequence[Tensor]) -> Losses:
        target, copies = torch.stack(list(images)), torch.arange(len(images))

        def losses(relations: RelaxedGraph) -> Mapping[str, Tensor]:
            weights = relations.predicates.reshape(len(copies), -1, len(names) + 1)
            weights = weights[copies, case.relations, 1:].double()
            drawn = torch.einsum("kp,kpchw->kchw", weights, pictures)
            return {"pixel": (drawn - target).abs().sum()}

        return losses

    assert len(case.relations) > 2
    classes, predicates = VOCABULARY.num_objects, VOCABULARY.num_predicates
    relax = partial(RelaxedGraph.from_graph, num_objects=classes, num_predicates=predicates)
    ways = ways_of(relax, losses_of, case)["pixel"]
    assert_close(ways, torch.ones(len(ways)))
