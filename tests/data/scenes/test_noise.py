"""Annotation noise of drawn scenes: its rates, and what biased annotators write."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from autoenc_sg.cli.main import main
from autoenc_sg.config.data import ScenesConfig
from autoenc_sg.core.scene_graph import SceneGraph
from autoenc_sg.data.base.json_files import read_json, write_json
from autoenc_sg.data.scenes.builder import VOCABULARY
from autoenc_sg.data.scenes.files import SETTINGS, ensure_scenes, write_scenes
from autoenc_sg.data.scenes.noise import BIASED, add_noise, biased_predicate
from autoenc_sg.data.scenes.random_scene import random_scene
from autoenc_sg.data.scenes.render import draw_scene
from autoenc_sg.data.vg150.files import read_annotations

NAMES = VOCABULARY.predicates


@pytest.fixture(scope="module")
def graphs() -> list[SceneGraph]:
    return [draw_scene(random_scene(0, "train", i), 32)[1] for i in range(300)]


def pair(first: list[float], second: list[float]) -> SceneGraph:
    """Two objects of an image 80 wide and 160 high, so that a tenth is 8 and 16 pixels."""
    boxes = torch.tensor([first, second]) * torch.tensor([8.0, 16, 8, 16])
    triples = torch.tensor([[0, 1, 1]])
    return SceneGraph(torch.tensor([1, 2]), boxes, triples, (160, 80))


def written(graph: SceneGraph, name: str) -> str:
    return NAMES[biased_predicate(graph, 0, NAMES.index(name), 1)]


def test_noise_rates_and_nesting(graphs: list[SceneGraph]) -> None:
    total = sum(len(g.triples) for g in graphs)
    for rate in (0.0, 0.2, 1.0):
        dropped = [add_noise(g, ScenesConfig(drop_relations=rate), i) for i, g in enumerate(graphs)]
        assert sum(len(g.triples) for g in dropped) / total == pytest.approx(1 - rate, abs=0.03)
        confused = [
            add_noise(g, ScenesConfig(wrong_predicates=rate), i) for i, g in enumerate(graphs)
        ]
        wrong = sum(int((a.triples != b.triples).sum()) for a, b in zip(confused, graphs))
        assert wrong / total == pytest.approx(rate, abs=0.03)
    for index, graph in enumerate(graphs[:50]):
        few = add_noise(graph, ScenesConfig(wrong_labels=0.2), index).labels
        many = add_noise(graph, ScenesConfig(wrong_labels=0.5, drop_relations=0.5), index).labels
        wrong_few = few != graph.labels
        assert_close(few[wrong_few], many[wrong_few])  # what is wrong at 0.2 is so at 0.5


def test_confused_ids_are_uniform_over_the_others() -> None:
    graph = draw_scene(random_scene(0, "train", 0), 32)[1]
    config = ScenesConfig(wrong_predicates=1.0)
    drawn = torch.stack([add_noise(graph, config, i).triples[0, 1] for i in range(2400)])
    counts = torch.bincount(drawn, minlength=14)
    true = int(graph.triples[0, 1])
    assert counts[0] == counts[true] == 0
    others = counts[[i for i in range(1, 14) if i != true]]
    assert int(others.min()) > 140
    assert int(others.max()) < 260


# Bias ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "first", "second", "expected"),
    [
        ("riding", [2, 1, 4, 4], [1, 2, 6, 6], "on"),
        ("riding", [2, 3, 4, 8], [1, 2, 6, 6], "riding"),  # its middle is lower
        ("riding", [6, 1, 8, 4], [1, 2, 6, 6], "riding"),  # beside it
        ("wearing", [2, 2, 4, 8], [2, 1, 4, 2.1], "in"),
        ("wearing", [2, 2, 4, 8], [2, 1, 4, 2], "wearing"),
        ("tied to", [1, 1, 3, 3], [4.2, 1, 6, 3], "near"),  # 1.2 of 10 apart
        ("tied to", [1, 1, 3, 3], [4.3, 1, 6, 3], "tied to"),  # more than an eighth
        ("looking at", [1, 1, 3, 3], [1, 4.2, 3, 6], "near"),
        ("looking at", [1, 1, 3, 3], [1, 4.3, 3, 6], "looking at"),
        ("holding", [1, 1, 3, 6], [2, 2, 4, 3], "near"),
        ("behind", [1, 1, 3, 3], [0, 0, 9, 9], "behind"),  # inside of the other
        ("in front of", [0, 0, 9, 9], [1, 1, 3, 3], "in front of"),
        ("behind", [1, 1, 3, 3], [2, 0, 9, 9], "near"),
        ("on", [1, 1, 3, 3], [4, 1, 6, 3], "on"),  # frequent ones stay
        ("near", [1, 1, 3, 3], [4, 1, 6, 3], "near"),
    ],
)
def test_a_rare_predicate_becomes_a_frequent_one_where_it_is_plausible(
    name: str, first: list[float], second: list[float], expected: str
) -> None:
    assert written(pair(first, second), name) == expected


def test_bias_is_from_rare_to_frequent_predicates(graphs: list[SceneGraph]) -> None:
    counts = torch.bincount(torch.cat([g.triples[:, 1] for g in graphs]), minlength=len(NAMES))
    assert set(NAMES[7:]) == set(BIASED)  # the vocabulary is sorted by frequency
    for target in set(BIASED.values()):
        assert NAMES.index(target) < 7
    rare = int(sum(counts[NAMES.index(name)] for name in BIASED))
    assert rare < int(counts[1:7].sum()) / 2


def test_rates_of_bias(graphs: list[SceneGraph]) -> None:
    plausible = dict.fromkeys(BIASED, 0)
    for graph in graphs:
        for s, p, o in graph.triples.tolist():
            if biased_predicate(graph, s, p, o) != p:
                plausible[NAMES[p]] += 1
    total = sum(plausible.values())
    assert all(count >= 20 for count in plausible.values())  # each occurs in the scenes
    for rate in (0.0, 0.3, 1.0):
        config = ScenesConfig(biased_predicates=rate)
        changed = 0
        for i, graph in enumerate(graphs):
            noisy = add_noise(graph, config, i)
            assert torch.equal(noisy.triples[:, ::2], graph.triples[:, ::2])
            assert torch.equal(noisy.labels, graph.labels)
            for (s, p, o), (_, q, _) in zip(graph.triples.tolist(), noisy.triples.tolist()):
                assert q in (p, biased_predicate(graph, s, p, o))
                changed += q != p
        assert changed / total == pytest.approx(rate, abs=0.05)


def test_bias_is_nested_and_leaves_other_noise_as_it_was(graphs: list[SceneGraph]) -> None:
    rates = {"drop_relations": 0.3, "wrong_predicates": 0.3, "wrong_labels": 0.3}
    for i, graph in enumerate(graphs[:60]):
        plain, few, many = (
            add_noise(graph, ScenesConfig(**rates, biased_predicates=p), i)  # type: ignore[arg-type]
            for p in (0.0, 0.3, 0.9)
        )
        assert torch.equal(few.labels, plain.labels)
        assert torch.equal(few.triples[:, ::2], plain.triples[:, ::2])
        unbiased = add_noise(graph, ScenesConfig(drop_relations=0.3), i)
        wrong = plain.triples[:, 1] != unbiased.triples[:, 1]
        assert torch.equal(few.triples[wrong], plain.triples[wrong])  # no second change
        changed = few.triples[:, 1] != plain.triples[:, 1]
        assert torch.equal(few.triples[changed], many.triples[changed])


def test_the_test_split_has_no_bias(tmp_path: Path) -> None:
    clean = ScenesConfig(num_train=12, num_test=8, image_size=32, seed=9)
    write_scenes(tmp_path / "clean", clean)
    write_scenes(tmp_path / "biased", replace(clean, biased_predicates=1.0))
    one, other = (read_annotations(tmp_path / name) for name in ("clean", "biased"))
    assert_close(one.relationships, other.relationships)
    count = int(one.rel_ranges[12, 0])
    wrong = one.predicates != other.predicates
    assert wrong[:count].any()
    assert not wrong[count:].any()
    plain = {NAMES.index(name) for name in ("riding", "wearing", "tied to", "holding")}
    assert not plain & set(other.predicates[:count].flatten().tolist())


def test_scenes_of_before_have_no_bias(tmp_path: Path) -> None:
    config = ScenesConfig(num_train=2, num_test=1, image_size=32)
    write_scenes(tmp_path / "s", config)
    settings = read_json(tmp_path / "s" / SETTINGS)
    del settings["biased_predicates"]
    write_json(tmp_path / "s" / SETTINGS, settings)
    ensure_scenes(tmp_path / "s", config)
    with pytest.raises(
        Exception, match=r"expected biased_predicates 0\.5, got scenes drawn with 0"
    ):
        ensure_scenes(tmp_path / "s", replace(config, biased_predicates=0.5))


@pytest.mark.parametrize("value", ["1.5", "-0.1"])
def test_a_bad_rate_is_one_line(
    value: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["scenes", "--out", str(tmp_path / "s"), f"--biased-predicates={value}"]) == 2
    error = capsys.readouterr().err
    assert f"biased_predicates: expected 0..1, got {value}" in error
    assert len(error.splitlines()) == 1
    assert not (tmp_path / "s").exists()
