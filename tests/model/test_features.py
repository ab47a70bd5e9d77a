"""Feature vectors belong to the graph's rows and do not depend on the batch."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from autoenc_sg.core.errors import InputError
from autoenc_sg.data.open import open_dataset
from autoenc_sg.model import AutoEncoder
from autoenc_sg.model.features import as_arrays
from tests.support.tiny import tiny_config

BOXES = [[2.0, 4.0, 30.0, 40.0], [20.0, 20.0, 60.0, 60.0], [0.0, 50.0, 64.0, 64.0]]


@pytest.fixture(scope="module")
def model(tiny_run: Path) -> AutoEncoder:
    return AutoEncoder.from_checkpoint(tiny_run / "run" / "checkpoint.safetensors")


@pytest.fixture(scope="module")
def photos(tiny_run: Path) -> list[torch.Tensor]:
    dataset = open_dataset(tiny_config(tiny_run).data, "test")
    return [dataset[i].image for i in range(3)]


def test_rows_are_those_of_the_graph(model: AutoEncoder, photos: list[torch.Tensor]) -> None:
    features = model.features(photos[0], object_threshold=0.0)
    graph = model.parse(photos[0], object_threshold=0.0)
    assert torch.equal(features.graph.triples, graph.triples)
    assert features.objects.shape == (len(graph), 16)
    assert features.relations.shape == (len(graph.triples), 16)
    expected = torch.cat([features.objects.mean(0), features.relations.mean(0)])
    assert_close(features.whole, expected)


def test_vectors_are_the_predictors_own(model: AutoEncoder, photos: list[torch.Tensor]) -> None:
    """f_node of an object's vector is what the predictor adds to the detector's logits (eq. 4)."""
    features = model.features(photos[0], BOXES)
    with torch.no_grad():
        maps = model.detector.encode([photos[0]])
        regions = model.detector.describe(maps, torch.tensor(BOXES), torch.zeros(3).long())
        added = model.predictor.object_classifier(features.objects)
        logits = model.graph_logits_of(maps, torch.tensor(BOXES), torch.zeros(3).long())
    assert_close(regions.class_logits + added, logits.object_logits)


def test_a_list_equals_one_by_one_and_thresholds_choose_rows(
    model: AutoEncoder, photos: list[torch.Tensor]
) -> None:
    everything = model.features(photos, batch_size=2)
    for photo, item in zip(photos, everything):
        alone = model.features(photo)
        assert_close(alone.objects, item.objects, atol=1e-4, rtol=1e-4)
        assert_close(alone.whole, item.whole, atol=1e-4, rtol=1e-4)
    scores = everything[0].graph.object_scores
    assert scores is not None
    cut = float(scores.sort().values[len(scores) // 2])
    fewer = model.features(photos[0], object_threshold=cut)
    assert_close(fewer.objects, everything[0].objects[scores >= cut], atol=1e-4, rtol=1e-4)


def test_tables_by_hand(model: AutoEncoder, photos: list[torch.Tensor]) -> None:
    features = model.features(
        photos, [BOXES, [], BOXES[:2]], [[1, 2, 3], [], [4, 5]], edge_threshold=0.0
    )
    tables = as_arrays(features)
    assert tables["object_photo"].tolist() == [0, 0, 0, 2, 2]
    assert tables["object_label"].tolist() == [1, 2, 3, 4, 5]
    assert tables["whole"].shape == (3, 32)
    assert not tables["whole"][1].any()
    last = features[2].graph.triples.numpy()
    own = tables["relation_triple"][tables["relation_photo"] == 2]
    assert own[:, [0, 2]].tolist() == (last[:, [0, 2]] + 3).tolist()
    assert own[:, 1].tolist() == last[:, 1].tolist()


def test_a_predictor_without_vectors_is_named(
    model: AutoEncoder, photos: list[torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    graph_logits = model.graph_logits
    monkeypatch.setattr(
        model, "graph_logits", lambda *given: replace(graph_logits(*given), pair_vectors=None)
    )
    with pytest.raises(InputError, match="features: expected a predictor with vectors"):
        model.features(photos[0])
