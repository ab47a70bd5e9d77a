"""Scenes drawn with another relation: what changes, and that their own relations change nothing."""

from __future__ import annotations

import pytest

from autoenc_sg.data.scenes.builder import PREDICATES, Scene, Thing
from autoenc_sg.data.scenes.random_scene import random_scene
from autoenc_sg.data.scenes.redraw import CUES, redrawn

GRASS = Thing("grass", (0, 60, 128, 128))
HORSE = Thing("horse", (40, 80, 84, 118), facing=1)
RIDER = Thing("person", (48, 64, 70, 110), legs="astride", facing=1)
STANDING = Thing("person", (48, 64, 70, 110))
BALL = Thing("ball", (72, 80, 88, 96))
TREE = Thing("tree", (90, 60, 120, 110))


def scene(*things: Thing, ropes: tuple[object, ...] = ()) -> Scene:
    return Scene(things, (), ropes)  # type: ignore[arg-type]


def test_the_relations_of_a_scene_change_nothing() -> None:
    seen = set()
    for index in range(150):
        world = random_scene(0, "train", index)
        for subject, predicate, obj in world.relations:
            again = redrawn(world, subject, predicate, obj)
            assert (again.things, again.ropes) == (world.things, world.ropes)
            assert again.relations == ()
            seen.add(predicate)
    assert seen == set(PREDICATES)


def test_predicates_without_a_cue_are_drawn_alike() -> None:
    for index in range(20):
        world = random_scene(1, "train", index)
        for subject, _, obj in world.relations:
            plain = {redrawn(world, subject, name, obj) for name in PREDICATES if name not in CUES}
            assert len(plain) == 1


def test_a_rope_is_drawn_and_taken_away() -> None:
    dog = Thing("dog", (50, 90, 70, 110), facing=1)
    neck, trunk = (50 + 0.72 * 20, 90 + 0.42 * 20), (105, 100)
    plain = scene(GRASS, TREE, dog)
    tied = redrawn(plain, 2, "tied to", 1)
    assert tied.things == plain.things
    (rope,) = tied.ropes
    assert rope[0] == pytest.approx(neck)
    assert rope[1] == pytest.approx(trunk)
    assert redrawn(tied, 2, "tied to", 1).ropes == (rope,)
    assert redrawn(tied, 1, "tied to", 2).ropes == (rope,)  # either way round
    for name in set(PREDICATES) - {"tied to"}:
        assert redrawn(tied, 2, name, 1).ropes == ()
    assert redrawn(tied, 2, "near", 0).ropes == (rope,)  # another pair's


def test_riding_is_legs_facing_and_order() -> None:
    behind = scene(GRASS, STANDING, HORSE)
    riding = redrawn(behind, 1, "riding", 2)
    assert riding.things == (GRASS, HORSE, RIDER)
    assert redrawn(riding, 2, "riding", 1).things == riding.things
    off = redrawn(riding, 2, "behind", 1)
    assert [t.name for t in off.things] == ["grass", "person", "horse"]
    assert off.things[1].legs == "standing"
    assert redrawn(riding, 2, "near", 1).things[2].legs == "standing"
    bicycle = Thing("bicycle", (40, 90, 82, 118), facing=-1)
    pedalling = redrawn(scene(STANDING, bicycle), 0, "riding", 1).things[1]
    assert (pedalling.legs, pedalling.facing) == ("pedalling", -1)
    assert pedalling.hands == ((45, pytest.approx(64 + 0.58 * 46)), None)
    waving = redrawn(scene(bicycle, pedalling), 1, "near", 0).things[1]
    assert (waving.legs, waving.hands[0]) == ("standing", (45, pytest.approx(64 + 0.12 * 46)))


def test_the_nearer_of_two_is_drawn_later() -> None:
    world = scene(GRASS, TREE, BALL, HORSE)
    names = [t.name for t in redrawn(world, 1, "in front of", 3).things]
    assert names == ["grass", "ball", "horse", "tree"]
    names = [t.name for t in redrawn(world, 3, "behind", 1).things]
    assert names == ["grass", "horse", "tree", "ball"]
    assert redrawn(world, 1, "behind", 3).things == world.things
    assert redrawn(world, 1, "above", 3).things == world.things


def test_a_hand_holds_a_ball_and_lets_it_go() -> None:
    waving = Thing("person", (48, 64, 70, 110), hands=(None, (74, 69.52)))
    world = scene(BALL, waving)
    holding = redrawn(world, 1, "holding", 0).things[1]
    assert holding.hands == (None, (74, 88))  # beside the ball's middle, 2 px inside of it
    assert redrawn(scene(BALL, holding), 1, "near", 0).things[1].hands[1] == pytest.approx(
        (74, 64 + 0.12 * 46)
    )
    assert redrawn(scene(BALL, STANDING), 1, "holding", 0).things[1].hands[1] == (74, 88)


def test_a_balloon_hangs_on_a_string() -> None:
    balloon = Thing("balloon", (76, 44, 92, 64))
    world = scene(balloon, Thing("person", (48, 64, 70, 110), hands=(None, (73, 80))))
    holding = redrawn(world, 1, "holding", 0)
    assert holding.ropes == (((84, 63), (73, 80)),)
    assert holding.things == world.things
    assert redrawn(holding, 1, "near", 0).ropes == ()
    free = redrawn(scene(balloon, STANDING), 1, "holding", 0)
    hand = free.things[1].hands[1]
    assert hand == (73, pytest.approx(64 + 0.4 * 46))
    assert free.ropes == (((84, 63), hand),)


def test_a_hat_is_worn_without_a_hand() -> None:
    hat = Thing("hat", (47, 54, 71, 68))
    world = scene(STANDING, hat)
    lifting = redrawn(world, 0, "holding", 1).things[0]
    assert lifting.hands == (None, (pytest.approx(59 + 0.49 * 22 - 2.3), 69.5))
    assert redrawn(scene(lifting, hat), 0, "wearing", 1).things[0] == STANDING
    assert redrawn(world, 0, "wearing", 1).things == world.things


def test_faces_turn() -> None:
    world = scene(GRASS, TREE, HORSE)  # the horse faces the tree, 43 px ahead of it
    assert redrawn(world, 2, "looking at", 1).things == world.things
    assert redrawn(world, 2, "near", 1).things[2].facing == -1
    assert redrawn(world, 2, "tied to", 1).things[2].facing == 1
    away = redrawn(world, 2, "near", 1)
    assert redrawn(away, 2, "looking at", 1).things == world.things
    assert redrawn(world, 2, "near", 0).things == world.things  # nobody looks at the grass
    person = Thing("person", (70, 64, 92, 110), facing=1)
    assert redrawn(scene(TREE, person), 1, "near", 0).things[1].facing == 0


def test_what_cannot_be_shown_is_drawn_as_nothing() -> None:
    world = scene(GRASS, TREE, HORSE)
    plain = redrawn(world, 1, "near", 2)
    for name in ("holding", "riding", "looking at", "wearing"):
        assert redrawn(world, 1, name, 2) == plain
    for name in ("holding", "wearing"):  # the horse faces the tree: plainly it does not
        assert redrawn(world, 2, name, 1) == redrawn(world, 2, "near", 1)
