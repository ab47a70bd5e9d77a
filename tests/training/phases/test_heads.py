"""Every relation head in the joint phase, and the pairs of the predicates' loss."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F
from torch.testing import assert_close

from autoenc_sg.config.predicate_loss import PredicateLossConfig
from autoenc_sg.config.predictor import HEADS, HeadName
from autoenc_sg.core.errors import InputError
from autoenc_sg.core.graph_logits import GraphLogits
from autoenc_sg.core.layers import ImageRandom
from autoenc_sg.core.scene_graph import SceneGraph
from autoenc_sg.core.scene_graph_batch import SceneGraphBatch
from autoenc_sg.core.structures import CandidatePairs
from autoenc_sg.data.base.samples import collate_samples
from autoenc_sg.data.open import open_dataset
from autoenc_sg.model.graph_pass import GraphPass
from autoenc_sg.training.losses.graph import _predicate_rows, graph_terms
from autoenc_sg.training.objectives import JointObjective
from autoenc_sg.training.start import Start, build_model
from autoenc_sg.training.target_assignment import near_misses, pair_predicates
from autoenc_sg.weights.checkpoint import read_checkpoint
from tests.support.graphs import random_regions
from tests.support.tiny import tiny_config


@pytest.mark.parametrize("name", HEADS)
def test_image_and_graph_losses_train_every_head(name: HeadName, tiny_run: Path) -> None:
    config = tiny_config(
        tiny_run,
        f"--predictor.name={name}",
        "--predictor.frequency_bias=true",
        "--predictor.loss.class_weights=inverse_sqrt",
    )
    dataset = open_dataset(config.data, "train")
    start = Start(read_checkpoint(tiny_run / "run"))
    torch.manual_seed(0)
    model = build_model(config, dataset, start)
    objective = JointObjective(model, config.joint).train()
    batch = collate_samples([dataset[i] for i in range(3)])
    losses = objective(batch).losses
    assert {"predicate", "object", "box", "relatedness", "pixel"} <= losses.keys()
    torch.stack(list(losses.values())).sum().backward()
    for key, parameter in model.predictor.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key
    model.eval()
    graph = model.parse(batch.images[0])
    assert len(graph) > 0
    if name == "frequency":
        with pytest.raises(InputError, match="features: expected a predictor with vectors"):
            model.features(batch.images[0])
    else:
        features = model.features(batch.images[0])
        assert features.objects.shape == (len(graph), config.predictor.dim)


def truth_of_one_relation() -> SceneGraphBatch:
    boxes = torch.tensor([[0.0, 0, 10, 10], [20.0, 0, 30, 10]])
    graph = SceneGraph(torch.tensor([1, 2]), boxes, torch.tensor([[0, 1, 1]]), (40, 60))
    return SceneGraphBatch.collate([graph, graph])


def test_near_misses_by_hand() -> None:
    """The third box overlaps the first by 4/10, the fourth is the first's in another image."""
    boxes = torch.tensor([[0.0, 0, 10, 10], [20.0, 0, 30, 10], [0.0, 0, 4, 10], [0.0, 0, 10, 10]])
    index = torch.tensor([0, 0, 0, 1])
    pairs = torch.tensor([[0, 1], [2, 1], [1, 2], [2, 0]])
    truth = truth_of_one_relation()
    assert near_misses(pairs, boxes, index, truth, 0.4).tolist() == [True, True, False, False]
    assert near_misses(pairs, boxes, index, truth, 0.5).tolist() == [True, False, False, False]
    assert not near_misses(pairs, boxes, index, truth, 1.0).any()
    other = torch.tensor([[3, 1]])
    assert near_misses(other, boxes, torch.tensor([0, 1, 0, 1]), truth, 0.4).tolist() == [True]
    assert near_misses(pairs[:0], boxes, index, truth, 0.4).shape == (0,)


def test_numbers_of_pairs_as_in_the_papers() -> None:
    """64 pairs an image, at most a quarter of them related."""
    regions = random_regions([10, 0, 10])
    ends = torch.cartesian_prod(torch.arange(10), torch.arange(10))
    ends = ends[ends[:, 0] != ends[:, 1]]
    pairs = torch.cat([ends, ends + 10])
    predicates = torch.zeros(180, dtype=torch.int64)
    predicates[:40], predicates[90:95] = 2, 1
    candidates = CandidatePairs(pairs, torch.ones(180))
    graph = GraphLogits(
        regions.class_logits,
        regions.boxes,
        candidates.pairs,
        torch.zeros(180, 4),
        candidates.relatedness,
        regions.image_index,
        regions.image_sizes,
    )
    graph_pass = GraphPass(regions, pairs, torch.zeros(180), graph)
    empty = SceneGraphBatch.collate([SceneGraph.empty((40, 60))] * 3)
    options, every = PredicateLossConfig(pairs_per_image=64), torch.ones(3, dtype=torch.bool)
    rows = _predicate_rows(
        graph_pass, predicates, empty, every, 3.0, options, ImageRandom([0, 1, 2])
    )
    image = regions.image_index[pairs[rows, 0]]
    related = predicates[rows] > 0
    counts = [int((related & (image == i)).sum()) for i in range(3)]
    assert counts == [16, 0, 5]
    assert [int((~related & (image == i)).sum()) for i in range(3)] == [48, 0, 48]
    assert len(set(rows.tolist())) == len(rows)
    assert_close(rows.sort().values, rows.unique())


@pytest.mark.parametrize("pairs_per_image", [0, 64])
def test_near_misses_are_in_no_loss(pairs_per_image: int) -> None:
    """The third box overlaps the subject of the relation (0, 1) by 4/10."""
    boxes = torch.tensor([[0.0, 0, 10, 10], [20.0, 0, 30, 10], [0.0, 0, 4, 10]])
    regions = replace(random_regions([3, 0]), boxes=boxes)
    pairs = torch.tensor([[0, 1], [2, 1], [1, 2], [1, 0]])
    graph = GraphLogits(
        regions.class_logits,
        regions.boxes,
        pairs,
        torch.zeros(4, 4),
        torch.ones(4),
        regions.image_index,
        regions.image_sizes,
    )
    graph_pass = GraphPass(regions, pairs, torch.zeros(4), graph)
    truth, predicates = truth_of_one_relation(), torch.tensor([1, 0, 0, 0])
    for ignored_iou, expected in ((0.4, [0, 2, 3]), (1.0, [0, 1, 2, 3])):
        options = PredicateLossConfig(pairs_per_image=pairs_per_image, ignored_iou=ignored_iou)
        random, every = ImageRandom([0, 1]), torch.ones(2, dtype=torch.bool)
        rows = _predicate_rows(graph_pass, predicates, truth, every, 3.0, options, random)
        assert rows.sort().values.tolist() == expected


def test_branches_have_losses_of_their_own(tiny_run: Path) -> None:
    """The cross entropies of context, union box and labels, on the pairs of the predicates'."""
    config = tiny_config(tiny_run, "--predictor.name=motifs", "--predictor.causal=sum")
    dataset = open_dataset(config.data, "train")
    torch.manual_seed(0)
    model = build_model(config, dataset, Start(read_checkpoint(tiny_run / "run")))
    objective = JointObjective(model, config.joint).train()
    batch = collate_samples([dataset[i] for i in range(3)])
    images = ImageRandom([1, 2, 3])
    seen = objective.regions.read(batch.images, batch.graphs)
    graph_pass, matched, _ = objective._graph(seen, batch, images)
    plain = replace(graph_pass, graph=replace(graph_pass.graph, auxiliary_logits=()))
    terms = []
    for part in (graph_pass, plain):
        random = ImageRandom([4, 5, 6])
        terms.append(graph_terms(part, matched, batch.graphs, config.joint, model, random))
    both, alone = (term["predicate"][0].mean for term in terms)
    predicates = pair_predicates(graph_pass.graph.pairs, matched, batch.graphs)
    options, ratio = config.predictor.loss, config.joint.background_ratio
    random, every = ImageRandom([4, 5, 6]), torch.ones(3, dtype=torch.bool)
    rows = _predicate_rows(graph_pass, predicates, batch.graphs, every, ratio, options, random)
    branches = graph_pass.graph.auxiliary_logits
    assert len(branches) == 3
    own = [F.cross_entropy(logits[rows], predicates[rows]) for logits in branches]
    assert_close(both - alone, torch.stack(own).sum())
