from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from torch.testing import assert_close

from autoenc_sg.core.errors import InputError
from autoenc_sg.core.scene_graph import SceneGraph
from autoenc_sg.core.vocabulary import Vocabulary
from autoenc_sg.visualization.figures import (
    GrowthStep,
    Reconstruction,
    class_colour,
    draw_boxes,
    draw_graph,
    figure_2,
    figure_3,
    loss_curves,
)
from autoenc_sg.visualization.graph_layout import Shapes, edge_curve, overlap, place
from autoenc_sg.visualization.loss_curves import running_mean

VOCABULARY = Vocabulary.from_names(
    ["sky", "grass", "tree", "$x_1$", "a very long name of a class of objects"],
    ["above", "on", "left of"],
)
GREY = (200, 200, 200)


def pixels(image: Image.Image) -> NDArray[np.int64]:
    return np.asarray(image).astype(np.int64)


def has_colour(image: Image.Image, colour: tuple[int, int, int]) -> bool:
    return bool((pixels(image) == np.array(colour)).all(-1).any())


def scene(scores: bool = True) -> SceneGraph:
    """Sky above grass, and a tree to the lower left."""
    return SceneGraph(
        torch.tensor([1, 2, 3]),
        torch.tensor([[0.0, 0.0, 64.0, 32.0], [0.0, 32.0, 64.0, 64.0], [4.0, 20.0, 20.0, 50.0]]),
        torch.tensor([[0, 1, 1], [2, 2, 1], [2, 3, 1]]),
        (64, 64),
        torch.tensor([0.9, 0.8, 0.7]) if scores else None,
    )


def crowd(objects: int, relations: int, seed: int = 0) -> SceneGraph:
    random = np.random.default_rng(seed)
    centres = random.uniform(10, 90, (objects, 2))
    ends = np.array([random.choice(objects, 2, replace=False) for _ in range(relations)])
    triples = np.stack([ends[:, 0], random.integers(1, 4, relations), ends[:, 1]], 1)
    return SceneGraph(
        torch.from_numpy(random.integers(1, 4, objects)),
        torch.from_numpy(np.concatenate([centres - 9, centres + 9], 1)).float(),
        torch.from_numpy(triples),
        (100, 100),
        torch.from_numpy(random.uniform(0, 1, objects)).float(),
        torch.from_numpy(random.uniform(0, 1, relations)).float(),
    )


def test_classes_have_colours_of_their_own() -> None:
    colours = np.array([class_colour(i) for i in range(1, 25)])
    apart = np.abs(colours[:, None] - colours[None]).sum(-1) + 1000 * np.eye(24)
    assert apart.min() > 25
    assert class_colour(3) == class_colour(3)
    assert len({class_colour(i) for i in range(1, 151)}) == 150


def test_boxes_are_drawn_where_they_are() -> None:
    drawn = draw_boxes(Image.new("RGB", (64, 64), GREY), scene(), VOCABULARY)
    assert drawn.size == (512, 512)  # eight times, so that the names fit
    for x, y, label in ((511, 100, 1), (511, 400, 2), (32 + 1, 300, 3), (159, 300, 3)):
        assert drawn.getpixel((x, y)) == class_colour(label)
    assert drawn.getpixel((300, 150)) == GREY  # inside a box, away from names
    assert draw_boxes(torch.zeros(3, 700, 900), scene(), VOCABULARY).size == (900, 700)
    assert draw_boxes(torch.zeros(3, 64, 32), scene(), VOCABULARY, side=100).size == (50, 100)


def test_boxes_follow_the_resolution_of_the_picture() -> None:
    small = draw_boxes(Image.new("RGB", (64, 64), GREY), scene(), VOCABULARY)
    large = draw_boxes(Image.new("RGB", (512, 512), GREY), scene(), VOCABULARY)
    assert np.array_equal(pixels(small), pixels(large))


def test_scores_are_written_only_if_wanted() -> None:
    image = Image.new("RGB", (64, 64), GREY)
    with_scores = draw_boxes(image, scene(), VOCABULARY)
    without = draw_boxes(image, scene(), VOCABULARY, scores=False)
    assert not np.array_equal(pixels(with_scores), pixels(without))
    unscored = draw_boxes(image, scene(scores=False), VOCABULARY)
    assert np.array_equal(pixels(without), pixels(unscored))


def test_names_stay_inside_and_apart() -> None:
    box = torch.tensor([[90.0, 0.0, 100.0, 8.0]])
    one = SceneGraph(torch.tensor([1]), box, torch.zeros(0, 3).long(), (100, 100))
    ink = (pixels(draw_boxes(torch.zeros(3, 100, 100), one, VOCABULARY)) > 0).any(-1).sum()
    same = SceneGraph(torch.tensor([1, 1]), box.repeat(2, 1), torch.zeros(0, 3).long(), (100, 100))
    more = (pixels(draw_boxes(torch.zeros(3, 100, 100), same, VOCABULARY)) > 0).any(-1).sum()
    assert more > 1.3 * ink  # the second name is not on the first
    long = replace(one, labels=torch.tensor([5]))
    assert draw_boxes(torch.zeros(3, 100, 100), long, VOCABULARY).size == (500, 500)


def test_a_picture_without_objects_or_with_boxes_outside_is_left_alone() -> None:
    image = Image.new("RGB", (500, 500), GREY)
    empty = draw_boxes(image, SceneGraph.empty((500, 500)), VOCABULARY)
    assert np.array_equal(pixels(empty), pixels(image))
    assert image.getpixel((0, 0)) == GREY


@pytest.mark.parametrize(("objects", "relations"), [(1, 0), (2, 3), (5, 8), (12, 30)])
def test_texts_of_a_drawn_graph_do_not_overlap(objects: int, relations: int) -> None:
    random = np.random.default_rng(objects)
    pairs = [(i, j) for i in range(objects) for j in range(objects) if i != j]
    chosen = random.permutation(len(pairs))[: min(relations, len(pairs))]
    edges = np.array([pairs[k] for k in chosen], dtype=np.int64).reshape(-1, 2)
    shapes = Shapes(
        np.tile([60.0, 26.0], (objects, 1)),
        np.tile([40.0, 13.0], (len(edges), 1)),
        edges,
        np.array([700.0, 450.0]),
    )
    centres = random.uniform(0, 1, (objects, 2))
    nodes, labels = place(centres, shapes)
    assert overlap(nodes, labels, shapes) < 1.0
    for spots, sizes in ((nodes, shapes.nodes), (labels, shapes.labels)):
        assert (spots >= sizes / 2 - 1e-6).all()
        assert (spots <= shapes.panel - sizes / 2 + 1e-6).all()
    again = place(centres, shapes)
    assert np.array_equal(nodes, again[0])
    assert np.array_equal(labels, again[1])


def test_nodes_stand_as_their_boxes_do() -> None:
    shapes = Shapes(
        np.tile([50.0, 20.0], (3, 1)),
        np.zeros((0, 2)),
        np.zeros((0, 2), dtype=np.int64),
        np.array([300.0, 200.0]),
    )
    nodes, _ = place(np.array([[0.1, 0.9], [0.5, 0.1], [0.9, 0.6]]), shapes)
    assert nodes[:, 0].argsort().tolist() == [0, 1, 2]
    assert nodes[:, 1].argsort().tolist() == [1, 2, 0]


def test_nodes_without_boxes_are_spread_by_forces() -> None:
    edges = np.array([[0, 1], [1, 2], [2, 3]])
    shapes = Shapes(
        np.tile([50.0, 20.0], (4, 1)),
        np.tile([20.0, 10.0], (3, 1)),
        edges,
        np.array([400.0, 300.0]),
    )
    nodes, labels = place(np.full((4, 2), 0.5), shapes)
    assert overlap(nodes, labels, shapes) < 1.0
    assert np.ptp(nodes, axis=0).max() > 150


def test_overlap_by_hand() -> None:
    shapes = Shapes(
        np.array([[10.0, 10.0], [10.0, 10.0]]),
        np.array([[4.0, 4.0]]),
        np.array([[0, 1]]),
        np.array([100.0, 100.0]),
    )
    nodes, label = np.array([[20.0, 20.0], [40.0, 20.0]]), np.array([[30.0, 20.0]])
    assert overlap(nodes, label, shapes) == 0.0
    assert overlap(nodes, label - np.array([4.0, 0.0]), shapes) == 1.0
    assert overlap(nodes[:0], label[:0], replace(shapes, nodes=nodes[:0], labels=label[:0])) == 0.0


@given(st.lists(st.floats(-100, 100), min_size=6, max_size=6))
@settings(max_examples=30, deadline=None)
def test_an_edge_passes_through_its_label(numbers: list[float]) -> None:
    start, label, end = np.array(numbers).reshape(3, 2)
    curve = edge_curve(start, label, end)
    assert_close(curve[[0, 40, 80]], np.stack([start, label, end]), rtol=1e-9, atol=1e-9)


def test_draw_graph_shows_class_colours_and_is_deterministic() -> None:
    drawn = draw_graph(scene(), VOCABULARY)
    assert all(has_colour(drawn, class_colour(i)) for i in (1, 2, 3))
    assert not has_colour(drawn, class_colour(4))
    assert np.array_equal(pixels(drawn), pixels(draw_graph(scene(), VOCABULARY)))


def test_draw_graph_grows_with_its_content_or_keeps_the_size_asked_for() -> None:
    small, large = draw_graph(scene(), VOCABULARY), draw_graph(crowd(12, 30), VOCABULARY)
    assert large.width > small.width
    assert draw_graph(crowd(12, 30), VOCABULARY, (500, 400)).size == (500, 400)


def test_nothing_is_cut_at_the_border() -> None:
    for graph in (scene(), crowd(8, 12), crowd(30, 60)):
        drawn = pixels(draw_graph(graph, VOCABULARY))
        border = [drawn[0], drawn[-1], drawn[:, 0], drawn[:, -1]]
        assert all((line == 255).all() for line in border)


def test_an_empty_graph_says_so() -> None:
    drawn = draw_graph(SceneGraph.empty((9, 9)), VOCABULARY, (300, 200))
    assert drawn.size == (300, 200)
    assert (pixels(drawn) < 200).any()


def test_every_predicate_of_a_pair_is_written() -> None:
    one = replace(scene(), triples=torch.tensor([[2, 2, 1]]))
    two = replace(scene(), triples=torch.tensor([[2, 2, 1], [2, 3, 1]]))
    back = replace(scene(), triples=torch.tensor([[2, 2, 1], [1, 3, 2]]))
    size = (600, 400)
    pictures = [pixels(draw_graph(graph, VOCABULARY, size)) for graph in (one, two, back)]
    assert not np.array_equal(pictures[0], pictures[1])
    assert not np.array_equal(pictures[1], pictures[2])
    twice = replace(scene(), triples=torch.tensor([[2, 2, 1], [2, 2, 1]]))
    assert np.array_equal(pixels(draw_graph(twice, VOCABULARY, size)), pictures[0])


def test_large_graphs_keep_their_best() -> None:
    scores = torch.tensor([0.1, 0.9, 0.8])
    graph = replace(scene(), object_scores=scores, triple_scores=torch.tensor([0.5, 0.2, 0.6]))
    drawn = draw_graph(graph, VOCABULARY, max_objects=2, max_relations=1)
    assert not has_colour(drawn, class_colour(1))  # the object of the lowest score
    assert has_colour(drawn, class_colour(2))


def test_names_are_not_taken_for_formulas() -> None:
    graph = replace(scene(), labels=torch.tensor([4, 5, 4]))
    drawn = draw_graph(graph, VOCABULARY)
    assert drawn.width >= 480


def row() -> Reconstruction:
    photo = Image.new("RGB", (80, 60), GREY)
    return Reconstruction(photo, scene(), torch.zeros(3, 64, 64), scene(), torch.ones(3, 64, 64))


def test_figure_2_holds_its_pictures() -> None:
    figure = figure_2([row(), row()], VOCABULARY)
    one = figure_2([row()], VOCABULARY)
    wide = figure_2([row()], VOCABULARY, show_truth=True)
    assert figure.width == one.width < wide.width
    assert figure.height > 1.7 * one.height
    middle = 52 + 210
    assert figure.getpixel((figure.width - 16 - 210, middle)) == (255, 255, 255)
    assert figure.getpixel((figure.width - 32 - 420 - 210, middle)) == (0, 0, 0)
    assert has_colour(figure, class_colour(3))


def test_figure_2_takes_empty_graphs() -> None:
    empty = replace(row(), predicted=SceneGraph.empty((60, 80)))
    assert figure_2([empty], VOCABULARY).size == figure_2([row()], VOCABULARY).size


def test_figure_3_wraps() -> None:
    steps = [
        GrowthStep(scene().select(torch.arange(k)), torch.full((3, 8, 8), k / 3)) for k in range(4)
    ]
    line = figure_3(steps, VOCABULARY)
    wrapped = figure_3(steps, VOCABULARY, columns=3)
    assert wrapped.width < line.width
    assert wrapped.height > 1.9 * line.height
    assert line.getpixel((250, line.height - 250)) == (0, 0, 0)
    assert line.getpixel((line.width - 250, line.height - 250)) == (255, 255, 255)


def test_figures_need_rows() -> None:
    with pytest.raises(InputError, match="figure 2: expected one or more rows, got none"):
        figure_2([], VOCABULARY)
    with pytest.raises(InputError, match="figure 3: expected one or more steps, got none"):
        figure_3([], VOCABULARY)


def test_running_mean_by_hand() -> None:
    values = np.array([1.0, 2.0, 6.0, 3.0])
    assert_close(running_mean(values, 3), np.array([1.5, 3.0, 11 / 3, 4.5]))
    assert_close(running_mean(values, 1), values)


@given(st.lists(st.floats(-10, 10), min_size=1, max_size=30), st.integers(1, 40))
@settings(max_examples=40, deadline=None)
def test_running_mean_equals_a_loop(numbers: list[float], width: int) -> None:
    half = width // 2
    expected = [
        float(np.mean(numbers[max(0, i - half) : i + half + 1])) for i in range(len(numbers))
    ]
    assert_close(running_mean(np.array(numbers), width), np.array(expected), rtol=1e-9, atol=1e-9)


def test_loss_curves_have_a_panel_for_each_loss() -> None:
    curve = [(i, 2.0 / (1 + i)) for i in range(40)]
    three = loss_curves({"a/x": curve, "a/y": curve, "b/z": curve})
    four = loss_curves({"a/x": curve, "a/y": curve, "b/z": curve, "b/w": curve})
    five = loss_curves({"a/x": curve, "a/y": curve, "a/u": curve, "b/z": curve})
    assert three.size == four.size
    assert five.width > four.width
    assert not np.array_equal(pixels(three), pixels(four))
    blue = (31, 95, 168)
    assert has_colour(three, blue)


@pytest.mark.parametrize(
    "history",
    [
        {},
        {"loss": []},
        {"p/loss": [(1, float("nan")), (2, float("inf"))]},
        {"p/loss": [(3, 2.0)]},
        {"p/zero": [(1, 0.0), (2, 0.0)], "p/signs": [(1, -1.0), (2, 1.0)]},
        {"p/$odd_name$": [(1, 1e-8), (2, 1e8), (3, float("nan"))]},
    ],
)
def test_loss_curves_of_odd_histories(history: dict[str, list[tuple[int, float]]]) -> None:
    first, second = loss_curves(history), loss_curves(history)
    assert np.array_equal(pixels(first), pixels(second))
    assert (pixels(first) < 128).any()
