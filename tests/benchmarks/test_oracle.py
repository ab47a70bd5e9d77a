"""What the nearest drawing tells: found where a predicate shows, a tie where two look alike."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from autoenc_sg.config.data import DataConfig, ScenesConfig
from autoenc_sg.core.errors import InputError
from autoenc_sg.core.images import from_pil
from autoenc_sg.data.open import open_dataset
from autoenc_sg.data.scenes.builder import PREDICATES, VOCABULARY, Scene, Thing
from autoenc_sg.data.scenes.files import read_settings, write_scenes
from autoenc_sg.data.scenes.random_scene import random_scene
from autoenc_sg.data.scenes.redraw import redrawn
from autoenc_sg.data.scenes.render import draw_scene
from autoenc_sg.scoring.frequency_prior import FrequencyPrior
from benchmarks.generator.oracle import (
    Answers,
    answers,
    most_frequent,
    nearest_drawings,
    rows_of,
    scene_worlds,
    share_right,
    table_of,
)

TREE = Thing("tree", (90, 60, 120, 110))
DOG = Thing("dog", (50, 90, 70, 110), facing=-1)
PLAIN = Scene((Thing("grass", (0, 0, 128, 128)), TREE, DOG), (), ())
TIED = redrawn(PLAIN, 2, "tied to", 1)


def nearest_names(scene: Scene, subject: int, obj: int, size: int = 128) -> set[str]:
    photo = from_pil(draw_scene(scene, 128)[0])
    (best,) = nearest_drawings(scene, [(subject, obj)], photo, [size])[size]
    return {name for name, is_best in zip(PREDICATES, best.tolist()) if is_best}


@pytest.mark.parametrize("size", [128, 64])
def test_a_rope_is_found(size: int) -> None:
    assert nearest_names(TIED, 2, 1, size) == {"tied to"}


def test_what_is_drawn_alike_is_a_tie() -> None:
    alike = {"on", "in", "above", "left of", "right of", "near"}  # no cue
    alike |= {"holding", "riding", "wearing"}  # not of a dog
    alike |= {"in front of", "behind"}  # two things that do not overlap
    assert nearest_names(PLAIN, 2, 1) == alike


def test_the_photo_decides_and_not_the_scene() -> None:
    photo = from_pil(draw_scene(TIED, 128)[0])
    (best,) = nearest_drawings(PLAIN, [(2, 1)], photo, [128])[128]
    assert [PREDICATES[i] for i in best.nonzero()[:, 0].tolist()] == ["tied to"]


def test_no_pairs() -> None:
    photo = from_pil(draw_scene(PLAIN, 128)[0])
    assert nearest_drawings(PLAIN, [], photo, [64])[64].shape == (0, 13)


def test_ties_count_one_of_n() -> None:
    candidates = torch.tensor([[1, 0, 0], [1, 1, 0], [1, 1, 1], [0, 1, 1]]).bool()
    shares = share_right(candidates, torch.tensor([0, 1, 2, 0]))
    assert_close(shares, torch.tensor([1, 1 / 2, 1 / 3, 0]).double())
    prior = torch.tensor([[0.2, 0.5, 0.3], [0.4, 0.4, 0.2], [0.1, 0.1, 0.1], [0.9, 0.0, 0.0]])
    best = torch.tensor([[1, 0, 0], [1, 1, 0], [1, 1, 1], [0, 1, 1]]).bool()
    assert torch.equal(most_frequent(prior, candidates), best)
    only = torch.tensor([[0, 1, 1]]).bool()
    assert most_frequent(prior[:1], only).tolist() == [[False, True, False]]


def test_rows() -> None:
    """Two `tied to`, of which one is found alone and one among two; one `on` among four."""
    on, tied = PREDICATES.index("on"), PREDICATES.index("tied to")
    nearest = torch.zeros(3, 13, dtype=torch.bool)
    nearest[0, tied] = nearest[1, tied] = nearest[1, on] = True
    nearest[2, :4] = True
    prior = torch.zeros(3, 13)
    prior[:, on] = 1
    rows = rows_of(Answers(torch.tensor([tied, tied, on]), prior, {64: nearest}))
    names = [row["relations of"] for row in rows]
    assert names[:4] == ["all relations", "mean of the predicates", "with a cue", "without a cue"]
    assert names[4:] == ["tied to", "on"]
    figures = {row["relations of"]: list(row.values())[1:] for row in rows}
    assert figures["tied to"] == [2, 0.0, 0.75, 0.5, 1.5]
    assert figures["on"] == [1, 1.0, 0.25, 1.0, 4.0]
    assert figures["all relations"] == pytest.approx([3, 1 / 3, 1.75 / 3, 2 / 3, 7 / 3])
    assert figures["mean of the predicates"] == [3, 0.5, 0.5, 0.75, 2.75]
    assert table_of(rows).rows[4][:3] == ["tied to", 2, "0.000"]


def test_of_a_test_split(tmp_path: Path) -> None:
    scenes = ScenesConfig(num_train=2, num_test=2, image_size=64, seed=4)
    write_scenes(tmp_path / "scenes", scenes)
    assert read_settings(tmp_path / "scenes") == scenes
    data = DataConfig(root=str(tmp_path / "scenes"), num_val=0, scenes=scenes)
    test = open_dataset(data, "test")
    graphs = [test.graph(i) for i in range(2)]
    prior = FrequencyPrior.fit(graphs, VOCABULARY.num_objects, VOCABULARY.num_predicates)
    found = answers(scenes, test, prior, [64])
    assert len(found.true) == sum(len(graph.triples) for graph in graphs)
    assert (share_right(found.nearest[64], found.true) > 0).all()  # JPEG does not hide the truth
    scenes_of_train = [scene for scene, _, _ in scene_worlds(scenes, open_dataset(data, "train"))]
    assert scenes_of_train == [random_scene(4, "train", index) for index in range(2)]
    with pytest.raises(InputError, match="image 3: expected the objects of its scene, got others"):
        answers(replace(scenes, seed=5), test, prior, [64])
