"""Which pseudo-relations an image gets, with a prior whose probabilities are known."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from autoenc_sg.core.errors import InputError
from autoenc_sg.core.scene_graph import SceneGraph
from autoenc_sg.core.vocabulary import Vocabulary
from autoenc_sg.data.relate.counts import all_pairs
from autoenc_sg.data.relate.names import map_names
from autoenc_sg.data.relate.propose import Proposer, RelateOptions, without_unused_predicates

PRIOR = Vocabulary.from_names(["man", "horse", "hat"], ["ride", "wear", "near"])
BOXES = Vocabulary.from_names(["person", "horse", "zeppelin"], ["riding"])
PERSON, HORSE, ZEPPELIN = 1, 2, 3
RIDING, WEAR, NEAR = 1, 2, 3  # of the output
NAN = float("nan")


class FixedPrior:
    """Probabilities by (subject, object, predicate) of prior ids; 0 elsewhere."""

    def __init__(self, table: dict[tuple[int, int, int], float]) -> None:
        self.vocabulary, self.table = PRIOR, table

    def probabilities(self, labels: Tensor, boxes: Tensor) -> Tensor:
        rows = [
            [self.table.get((s, o, p), 0.0) for p in range(4)]
            for s, o in labels[all_pairs(len(labels))].tolist()
        ]
        return torch.tensor(rows).reshape(-1, 4)


# A man rides a horse (0.6; near 0.3), a horse is near a man (0.5), an unknown thing near a man.
TABLE = {(1, 2, 1): 0.6, (1, 2, 3): 0.3, (2, 1, 3): 0.5, (0, 1, 3): 0.4}


def graph(labels: list[int], triples: list[list[int]] | None = None) -> SceneGraph:
    boxes = torch.tensor([[0.0, 0, 10, 10], [20, 0, 30, 10], [0, 25, 10, 35]])[: len(labels)]
    rows = torch.tensor(triples or [], dtype=torch.int64).reshape(-1, 3)
    return SceneGraph(torch.tensor(labels, dtype=torch.int64), boxes, rows, (40, 40))


def proposer(table: dict[tuple[int, int, int], float] = TABLE, **options: Any) -> Proposer:
    mapping = map_names(BOXES.objects[1:], PRIOR.objects[1:])  # person is man; zeppelin is nothing
    return Proposer(FixedPrior(table), BOXES, mapping, RelateOptions(**options))  # type: ignore[arg-type]


EVERYTHING = graph([PERSON, HORSE, ZEPPELIN])


def proposed(one: Proposer, of: SceneGraph = EVERYTHING, captions: tuple[str, ...] = ()) -> Any:
    """Triples with rounded scores, None for relations of humans."""
    result = one.propose(of, captions)
    assert result.triple_scores is not None
    scores = [None if s != s else round(s, 4) for s in result.triple_scores.tolist()]
    return [(*triple, score) for triple, score in zip(result.triples.tolist(), scores)]


def test_the_most_probable_predicate_of_each_pair_by_probability() -> None:
    one = proposer()
    assert one.vocabulary.predicates[1:] == ("riding", "wear", "near")  # `ride` is `riding`
    assert proposed(one) == [(0, RIDING, 1, 0.6), (1, NEAR, 0, 0.5), (2, NEAR, 0, 0.4)]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"least_probability": 0.5}, [(0, RIDING, 1, 0.6), (1, NEAR, 0, 0.5)]),
        ({"most_per_image": 1}, [(0, RIDING, 1, 0.6)]),
        ({"most_per_image": 0}, []),
        ({"unmapped": "skip"}, [(0, RIDING, 1, 0.6), (1, NEAR, 0, 0.5)]),
        (
            {"predicates": ("near",)},
            [(1, 2, 0, 0.5), (2, 2, 0, 0.4), (0, 2, 1, 0.3)],  # near is the second predicate now
        ),
        ({"least_probability": 1.0}, []),
    ],
)
def test_options(options: dict[str, Any], expected: list[Any]) -> None:
    assert proposed(proposer(**options)) == expected


def test_a_pair_that_a_human_related_gets_no_other_predicate_unless_asked() -> None:
    human = graph([PERSON, HORSE], [[1, RIDING, 0], [0, RIDING, 1]])
    own = [(1, RIDING, 0, None), (0, RIDING, 1, None)]
    assert proposed(proposer(), human) == own
    # the horse's `riding` gets `near` beside it; the person's most probable one is there already
    assert proposed(proposer(beside_human=True), human) == [*own, (1, NEAR, 0, 0.5)]


def test_captions_choose_the_pair_by_the_prior() -> None:
    """Two horses: the prior gives both pairs 0.6, so each has half of the caption's relation."""
    two = graph([PERSON, HORSE, HORSE])
    unlikely = {(1, 2, 1): 0.1, (2, 1, 3): 0.1}
    one = proposer(unlikely, captions=True, least_probability=0.5)
    assert proposed(one, two, ("a man riding a horse", "horse near person")) == [
        (0, RIDING, 1, 0.5),
        (1, NEAR, 0, 0.5),
    ]
    assert proposed(one, EVERYTHING, ("a person riding a horse",)) == [(0, RIDING, 1, 1.0)]
    assert proposed(one, EVERYTHING, ("a zeppelin near a zeppelin",)) == []
    surer = proposer(unlikely, captions=True, least_probability=0.51)
    assert proposed(surer, two, ("a man riding a horse",)) == []
    unseen = proposer({}, captions=True, least_probability=0.5)  # no pair has any probability
    assert proposed(unseen, two, ("a man riding a horse",)) == [(0, RIDING, 1, 0.5)]
    off = proposer(unlikely, least_probability=0.5)
    assert proposed(off, EVERYTHING, ("a person riding a horse",)) == []


def test_geometric_relations_where_nothing_else_is_known() -> None:
    """The zeppelin is alone: 25 pixels below the person, its nearest; so `below`."""
    one = proposer({(1, 2, 1): 0.6}, geometric=True)
    below = one.vocabulary.predicate_id("below")
    assert proposed(one) == [(0, RIDING, 1, 0.6), (2, below, 0, 1.0)]
    assert proposed(one, graph([PERSON])) == []
    assert proposed(one, graph([])) == []


def test_an_image_without_objects_or_with_one() -> None:
    for labels in ([], [PERSON]):
        result = proposer(captions=True).propose(graph(labels), ["a man riding a horse"])
        assert result.triples.shape == (0, 3)


def test_unused_predicates_go_and_ids_of_humans_stay() -> None:
    one = proposer(predicates=("wear", "near"))
    graphs = [one.propose(graph([PERSON, HORSE], [[0, RIDING, 1]]))]
    graphs, names = without_unused_predicates(graphs, one.vocabulary, BOXES.num_predicates)
    assert names.predicates[1:] == ("riding", "near")
    assert graphs[0].triples.tolist() == [[0, 1, 1], [1, 2, 0]]
    assert_close(graphs[0].triple_scores, torch.tensor([NAN, 0.5]), equal_nan=True)


def test_bad_options() -> None:
    with pytest.raises(InputError, match=r"least probability: expected 0..1, got 1.5"):
        RelateOptions(least_probability=1.5)
    with pytest.raises(InputError, match="most per image: expected >= 0, got -1"):
        RelateOptions(most_per_image=-1)
    with pytest.raises(InputError, match=r"--predicates: expected names of the prior, got 'rde'"):
        proposer(predicates=("rde",))
