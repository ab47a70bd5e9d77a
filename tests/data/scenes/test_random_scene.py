from collections import Counter
from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from torch import Tensor
from torch.testing import assert_close

from autoenc_sg.core.scene_graph import SceneGraph
from autoenc_sg.data.scenes.builder import BACKGROUNDS, OBJECTS, PREDICATES, SIDE, VOCABULARY, Scene
from autoenc_sg.data.scenes.random_scene import random_scene
from autoenc_sg.data.scenes.render import draw_scene
from autoenc_sg.data.scenes.shapes import SHAPES, Pen


@lru_cache
def worlds() -> list[tuple[Scene, SceneGraph]]:
    scenes = [random_scene(0, "train", i) for i in range(1000)]
    return [(scene, draw_scene(scene, 64)[1]) for scene in scenes]


def masks(scene: Scene, size: int) -> np.ndarray:
    """Where each thing is drawn, whether hidden or not: [N, size, size]."""
    drawn = []
    for thing in scene.things:
        image = Image.new("RGB", (size, size))
        pen = Pen(ImageDraw.Draw(image), size / SIDE, thing, flat=(255, 255, 255))
        SHAPES[thing.name](pen, thing)
        drawn.append(np.asarray(image)[..., 0] > 0)
    return np.stack(drawn)


def test_every_class_has_a_shape() -> None:
    assert set(SHAPES) == set(OBJECTS)
    assert len(OBJECTS) == 18
    assert len(PREDICATES) == 13


def test_a_world_follows_from_seed_split_and_index_alone() -> None:
    forward = [random_scene(5, "train", i) for i in range(6)]
    backward = [random_scene(5, "train", i) for i in reversed(range(6))][::-1]
    assert forward == backward
    assert len({*forward, random_scene(6, "train", 0), random_scene(5, "test", 0)}) == 8
    one, other = (draw_scene(forward[0], 128)[0].tobytes() for _ in range(2))
    assert one == other


def test_tint_scales_the_colours_and_leaves_the_world_alone() -> None:
    usual = random_scene(0, "train", 0)
    assert [t.tint for t in usual.things[:3]] == [(3, -5, 1), (3, 1, -4), (-1, -5, -10)]
    assert usual == random_scene(0, "train", 0, tint=10)
    for tint in (0, 15, 80, 255):
        strong = random_scene(0, "train", 0, tint)
        first = [round(value * tint / 10) for value in (3, -5, 1)]
        assert list(strong.things[0].tint) == first
        assert max(abs(value) for t in strong.things for value in t.tint) <= tint
        plain = [replace(t, tint=(0, 0, 0)) for t in usual.things]
        assert [replace(t, tint=(0, 0, 0)) for t in strong.things] == plain
        assert (strong.relations, strong.ropes) == (usual.relations, usual.ropes)


def test_tint_is_what_tells_things_of_a_class_apart() -> None:
    """How far the mean colours of 40 scenes' houses lie apart, in their widest channel."""
    apart = {}
    for tint in (0, 10, 80):
        colours = []
        for scene in (random_scene(0, "train", i, tint) for i in range(40)):
            for house in (t for t in scene.things if t.name == "house"):
                alone = Scene((replace(house, frame=(40, 40, 80, 84), facing=0),), (), ())
                pixels = np.asarray(draw_scene(alone, 64)[0])
                colours.append(pixels[masks(alone, 64)[0]].mean(0))
        apart[tint] = np.ptp(colours, axis=0).max()
    assert apart[0] == 0
    assert 14 < apart[10] <= 20
    assert 100 < apart[80] <= 160


def test_numbers_of_objects_and_relations() -> None:
    for scene, graph in worlds():
        assert 5 <= len(scene.things) <= 10
        assert 4 <= len(scene.relations) <= 12
        assert len({(s, o) for s, _, o in scene.relations}) == len(scene.relations)
        assert all(s != o for s, _, o in scene.relations)
        names = [VOCABULARY.objects[i] for i in graph.labels.tolist()]
        assert names == [thing.name for thing in scene.things]
        assert sum(name in ("sky", "night") for name in names) == 1
        assert sum(name in ("grass", "sand") for name in names) == 1


def test_counts_have_a_long_tail() -> None:
    objects = Counter(thing.name for scene, _ in worlds() for thing in scene.things)
    predicates = Counter(name for scene, _ in worlds() for _, name, _ in scene.relations)
    for counts, names in ((objects, OBJECTS), (predicates, PREDICATES)):
        assert set(counts) == set(names)
        most, least = max(counts.values()), min(counts.values())
        assert least >= 30  # 60 and more in 2,000 images
        assert most >= 10 * least


def test_boxes_are_tight_and_inside() -> None:
    for index in range(60):
        scene = random_scene(1, "train", index)
        boxes = draw_scene(scene, 128)[1].boxes
        assert (boxes >= 0).all()
        assert (boxes <= 128).all()
        for mask, box in zip(masks(scene, 256), boxes):
            rows, columns = np.nonzero(mask)
            drawn = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
            assert_close(torch.tensor(drawn) / 2, box, atol=1.0, rtol=0)


def test_foreground_is_large_and_visible() -> None:
    sides, hidden = [], 0
    for index in range(120):
        scene = random_scene(2, "train", index)
        above = np.zeros((128, 128), dtype=bool)
        for thing, mask in reversed(list(zip(scene.things, masks(scene, 128)))):
            if thing.name not in BACKGROUNDS:
                hidden += bool((mask & ~above).sum() < 0.6 * mask.sum())
                sides.append(min(np.ptp(axis) + 1 for axis in np.nonzero(mask)))
            above |= mask
    assert hidden <= 3
    assert np.mean(np.array(sides) >= 14) > 0.97
    assert min(sides) >= 12


def pair_geometry(names: tuple[str, str], predicates: tuple[str, str]) -> tuple[Tensor, Tensor]:
    """Of each such pair: boxes relative to the subject; whether the first predicate holds."""
    rows, cues = [], []
    for scene, graph in worlds():
        for s, name, o in scene.relations:
            if name == "in front of":
                s, name, o = o, "behind", s
            if (scene.things[s].name, scene.things[o].name) == names and name in predicates:
                first, second = graph.boxes[s] * 2, graph.boxes[o] * 2  # px of 128
                middle = (first[:2] + first[2:]) / 2
                apart = (second.reshape(2, 2) - middle).flatten()
                apart[[0, 2]] = apart[[0, 2]].abs().sort().values  # whatever the side
                rows.append(torch.cat([first[2:] - first[:2], apart]))
                cues.append(name == predicates[0])
    return torch.stack(rows), torch.tensor(cues)


@pytest.mark.parametrize(
    ("names", "predicates"),
    [
        (("person", "ball"), ("holding", "near")),
        (("person", "balloon"), ("holding", "near")),
        (("person", "horse"), ("riding", "behind")),
        (("person", "bicycle"), ("riding", "behind")),
        (("balloon", "house"), ("tied to", "above")),
        (("dog", "tree"), ("tied to", "near")),
        (("person", "hat"), ("wearing", "holding")),
    ],
)
def test_neither_classes_nor_boxes_decide_a_cue(
    names: tuple[str, str], predicates: tuple[str, str]
) -> None:
    """15 nearest neighbours by geometry, known to 0.7 px, hardly beat the majority."""
    geometry, cue = pair_geometry(names, predicates)
    majority = max(float(cue.float().mean()), 1 - float(cue.float().mean()))
    assert len(cue) > 40
    assert majority < 0.75
    noise = torch.randn(geometry.shape, generator=torch.Generator().manual_seed(0))
    features = (geometry + 0.7 * noise) / geometry.std(0).clamp(min=1)
    apart = torch.cdist(features, features).fill_diagonal_(torch.inf)
    guess = cue[apart.topk(15, largest=False).indices].float().mean(1) > 0.5
    assert float((guess == cue).float().mean()) < majority + 0.14


def test_facing_decides_looking_at() -> None:
    counts: Counter[tuple[bool, bool]] = Counter()
    for scene, _ in worlds():
        related = {(s, o): name for s, name, o in scene.relations}
        for s, thing in enumerate(scene.things):
            for o, other in enumerate(scene.things):
                looking = related.get((s, o)) == "looking at"
                ahead = (other.centre[0] - thing.centre[0]) * thing.facing
                assert not looking or ahead > 0
                if thing.name == "dog" and other.name == "person" and abs(ahead) < 30:
                    counts[ahead > 0, looking] += 1
    assert counts[True, True] > 20
    assert counts[False, True] == 0
    assert counts[False, False] > 20


def changed_pixels(scene: Scene, other: Scene) -> int:
    """Pixels that differ clearly between two 128 px pictures."""
    one, two = (np.asarray(draw_scene(s, 128)[0]).astype(int) for s in (scene, other))
    return int((np.abs(one - two).max(-1) > 60).sum())


@pytest.mark.parametrize(
    ("name", "pose"),
    [
        ("riding", {"legs": "standing"}),
        ("holding", {"hands": (None, None)}),
        ("looking at", {"facing": 0}),
    ],
)
def test_poses_are_seen(name: str, pose: dict[str, object]) -> None:
    examples = [
        (scene, s)
        for scene, _ in worlds()[:300]
        for s, predicate, _ in scene.relations
        if predicate == name and scene.things[s].name == "person"
    ]
    plain = [any(hand for hand in scene.things[s].hands) for scene, s in examples]
    changed = []
    for scene, row in (e for e, hand in zip(examples, plain) if hand or name != "holding"):
        things = list(scene.things)
        things[row] = replace(things[row], **pose)
        if things[row] != scene.things[row]:
            changed.append(changed_pixels(scene, replace(scene, things=tuple(things))))
    assert len(changed) > 20
    assert np.quantile(changed, 0.1) > 15


def test_a_rope_is_seen_and_leaves_the_boxes_alone() -> None:
    scene = next(s for s, _ in worlds() if s.ropes)
    without = replace(scene, ropes=())
    assert_close(draw_scene(scene, 128)[1].boxes, draw_scene(without, 128)[1].boxes)
    assert changed_pixels(scene, without) > 15


def test_other_sizes_draw_the_same_world() -> None:
    scene = random_scene(0, "train", 3)
    small, large = draw_scene(scene, 64), draw_scene(scene, 256)
    assert small[0].size == (64, 64)
    assert large[1].image_size == (256, 256)
    assert_close(small[1].boxes * 4, large[1].boxes, atol=2.5, rtol=0)
    assert_close(small[1].triples, large[1].triples)
    apart = np.asarray(large[0].resize((64, 64))).astype(float) - np.asarray(small[0])
    assert np.abs(apart).mean() < 4


def test_each_class_has_its_own_colour() -> None:
    """The mean colours of any two foreground classes differ by more than jitter."""
    colours: dict[str, list[np.ndarray]] = {name: [] for name in OBJECTS}
    for index in range(150):
        scene = random_scene(0, "train", index)
        pixels = np.asarray(draw_scene(scene, 64)[0]).astype(float)
        for thing, mask in zip(scene.things, masks(scene, 64)):
            colours[thing.name].append(pixels[mask].mean(0))
    means = {name: np.mean(values, 0) for name, values in colours.items()}
    for a in OBJECTS:
        for b in OBJECTS:
            assert a >= b or np.abs(means[a] - means[b]).sum() > 24, (a, b)
