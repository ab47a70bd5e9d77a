"""A prior of three graphs, counted by hand; and one whose relations follow from geometry."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from autoenc_sg.core.errors import InputError
from autoenc_sg.core.scene_graph import SceneGraph
from autoenc_sg.core.vocabulary import Vocabulary
from autoenc_sg.data.relate.counts import (
    LabelledPairs,
    PredicateCounts,
    all_pairs,
    count_pairs,
)
from autoenc_sg.data.relate.geometry import NUM_FEATURES, pair_features
from autoenc_sg.data.relate.prior import PriorOptions, RelationPrior

NAMES = Vocabulary.from_names(["man", "horse", "hat"], ["riding", "wearing"])
MAN, HORSE, HAT = 1, 2, 3
RIDING, WEARING = 1, 2
LEFT, RIGHT = [0.0, 0, 10, 10], [20.0, 0, 30, 10]


def graph(labels: list[int], triples: list[list[int]]) -> SceneGraph:
    boxes = torch.tensor([LEFT, RIGHT, [5, 20, 15, 30]][: len(labels)])
    rows = torch.tensor(triples, dtype=torch.int64).reshape(-1, 3)
    return SceneGraph(torch.tensor(labels), boxes, rows, (40, 40))


# Three graphs of two objects, so six ordered pairs: man riding horse twice, man wearing hat once,
# and nothing from horse or hat to man.
GRAPHS = [
    graph([MAN, HORSE], [[0, RIDING, 1]]),
    graph([MAN, HORSE], [[0, RIDING, 1], [0, RIDING, 1]]),
    graph([MAN, HAT], [[0, WEARING, 1]]),
]


def test_pairs_by_hand() -> None:
    pairs = LabelledPairs.of_graphs(GRAPHS)
    rows = torch.stack([pairs.subjects, pairs.predicates, pairs.objects], 1).tolist()
    assert rows == [
        [MAN, RIDING, HORSE], [HORSE, 0, MAN],
        [MAN, RIDING, HORSE], [HORSE, 0, MAN],
        [MAN, WEARING, HAT], [HAT, 0, MAN],
    ]  # fmt: skip
    assert_close(pairs.boxes[0], torch.tensor([LEFT, RIGHT]) / 40)
    assert len(LabelledPairs.of_graphs([])) == 0


def test_a_relation_of_an_object_to_itself_is_not_counted() -> None:
    pairs = LabelledPairs.of_graphs([graph([MAN, HORSE], [[0, RIDING, 0]])])
    assert pairs.predicates.tolist() == [0, 0]


def test_back_off_by_hand() -> None:
    counts = PredicateCounts(count_pairs(GRAPHS, NAMES), class_weight=1, pair_weight=2)
    marginal = torch.tensor([4, 3, 2]) / 9  # 3, 2, 1 of 6 pairs, each plus 1
    assert_close(counts.marginal, marginal)
    by_man = (torch.tensor([0, 2, 1]) + marginal) / 4
    by_horse = (torch.tensor([0, 2, 0]) + marginal) / 3
    assert_close(counts.by_subject[MAN], by_man)
    assert_close(counts.by_object[HORSE], by_horse)
    middle = by_man * by_horse / marginal
    expected = (torch.tensor([0, 2, 0]) + 2 * middle / middle.sum()) / 4
    one = torch.tensor([MAN])
    assert_close(counts.probabilities(one, torch.tensor([HORSE]))[0], expected)


def test_unknown_classes_fall_back_to_the_other_class_and_to_the_marginal() -> None:
    counts = PredicateCounts(count_pairs(GRAPHS, NAMES), 1, 2)
    unknown, man = torch.tensor([0]), torch.tensor([MAN])
    assert_close(counts.probabilities(unknown, unknown)[0], counts.marginal)
    assert_close(counts.probabilities(man, unknown)[0], counts.by_subject[MAN])
    assert_close(counts.probabilities(unknown, man)[0], counts.by_object[MAN])


def test_a_pair_that_was_counted_can_be_left_out() -> None:
    """Two of three rides are left, as if the third graph had not been counted for the pair."""
    man, horse, riding = (torch.tensor([i]) for i in (MAN, HORSE, RIDING))
    counts = PredicateCounts(count_pairs(GRAPHS, NAMES), 1, 2)
    middle = counts.by_subject[MAN] * counts.by_object[HORSE] / counts.marginal
    expected = (torch.tensor([0, 1, 0]) + 2 * middle / middle.sum()) / 3
    assert_close(counts.probabilities(man, horse, riding)[0], expected)


def test_rows_sum_to_one_and_no_object_gives_no_pair() -> None:
    prior = RelationPrior.fit(GRAPHS, NAMES, PriorOptions(epochs=1))
    labels, boxes = torch.tensor([MAN, 0, HAT]), torch.tensor([LEFT, RIGHT, LEFT]) / 40
    assert_close(prior.probabilities(labels, boxes).sum(1), torch.ones(6))
    assert prior.probabilities(labels[:0], boxes[:0]).shape == (0, 3)
    assert prior.probabilities(labels[:1], boxes[:1]).shape == (0, 3)


def test_without_a_geometry_model_it_is_the_counts() -> None:
    prior = RelationPrior.fit(GRAPHS, NAMES, PriorOptions(hidden=0))
    counts = PredicateCounts(count_pairs(GRAPHS, NAMES))
    subjects, objects = torch.tensor([MAN, HORSE]), torch.tensor([HORSE, MAN])
    assert_close(prior.of_graph(GRAPHS[0]), counts.probabilities(subjects, objects))


def test_features_by_hand() -> None:
    """Subject left half, object the whole image: the object contains the subject."""
    boxes = torch.tensor([[[0.0, 0, 0.5, 1], [0, 0, 1, 1]]])
    features = pair_features(boxes, torch.tensor([4]))[0]
    assert features.shape == (NUM_FEATURES,)
    assert_close(features[:2], torch.tensor([0.25, 0]))  # half a width to the right, halved
    assert_close(features[4:6], torch.tensor([2.0, 1]).log())
    assert_close(features[6:9], torch.tensor([0.5, 1, 0.5]))  # IoU, shares
    assert features[-3:-1].tolist() == [0, 1]
    apart = torch.tensor([[[0.1, 0.1, 0.3, 0.3], [0.5, 0.2, 0.6, 0.4]]])
    gaps = pair_features(apart, torch.tensor([4]))[0, 9:11]
    assert_close(gaps, torch.tensor([0.4, -0.2]))  # twice 0.2 apart in x, 0.1 shared in y


def geometric_graphs(count: int, seed: int) -> list[SceneGraph]:
    """Two men: the left one rides the right one, whatever their classes say."""
    generator, graphs = torch.Generator().manual_seed(seed), []
    for _ in range(count):
        low = torch.rand(2, 2, generator=generator) * 30
        first = int(low[:, 0].argmin())
        boxes = torch.cat([low, low + 8], 1)
        triples = torch.tensor([[first, RIDING, 1 - first]])
        graphs.append(SceneGraph(torch.tensor([MAN, MAN]), boxes, triples, (40, 40)))
    return graphs


def test_geometry_is_learned_the_same_way_from_the_same_seed() -> None:
    train, test = geometric_graphs(400, 0), geometric_graphs(100, 1)
    options = PriorOptions(hidden=16, embedding=2, epochs=20)
    state = torch.random.get_rng_state()
    prior, again = (RelationPrior.fit(train, NAMES, options) for _ in range(2))
    assert_close(torch.random.get_rng_state(), state)
    right = 0
    for one in test:
        probabilities = prior.of_graph(one)
        assert_close(again.of_graph(one), probabilities, rtol=0, atol=0)
        subject = int(all_pairs(2)[probabilities[:, RIDING].argmax(), 0])
        right += subject == int(one.triples[0, 0])
    assert right >= 90  # the counts alone cannot tell the two apart


def test_a_prior_without_relations() -> None:
    with pytest.raises(InputError, match="prior: expected graphs with relations, got none"):
        RelationPrior.fit([graph([MAN, HAT], [])], NAMES)


@pytest.mark.parametrize("options", [{"pair_weight": 0.0}, {"epochs": -1}, {"unknown": 1.0}])
def test_options_out_of_range(options: dict[str, float]) -> None:
    with pytest.raises(InputError, match=next(iter(options))):
        PriorOptions(**options)  # type: ignore[arg-type]
