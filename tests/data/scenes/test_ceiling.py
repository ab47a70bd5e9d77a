"""The ceiling of drawn scenes: by hand, against every way to annotate, against what is drawn."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from itertools import combinations, product

import pytest

from autoenc_sg.config.data import ScenesConfig
from autoenc_sg.data.scenes.builder import RELATIONS, SceneBuilder, Triple
from autoenc_sg.data.scenes.ceiling import (
    Statement,
    ceiling,
    scene_chances,
    scenes_ceiling,
)
from autoenc_sg.data.scenes.random_scene import built_scene, random_scene

FOUR: list[Statement] = [("relate", (i, "on", 9)) for i in range(4)]


def test_a_chance_by_hand() -> None:
    """Four certain relations, and a fifth in a quarter of the images."""
    chances = scene_chances([*FOUR, ("suggest", (0.25, 7, "in", 8))])
    shares = dict(zip(chances.triples, chances.shares))
    assert shares == pytest.approx(
        {**{(i, "on", 9): 0.75 / 4 + 0.25 / 5 for i in range(4)}, (7, "in", 8): 0.25 / 5}
    )
    assert chances.has_predicate == pytest.approx({"on": 1.0, "in": 0.25})
    values = ceiling([[*FOUR, ("suggest", (0.25, 7, "in", 8))]], (4, 5), 2)
    # mR@4: "in" is worth 0.25 / 0.25 / 2, three of the four "on" 0.25 / 2 each
    assert values == pytest.approx(
        {"R@4": 0.95, "R@5": 1, "ngR@4": 0.95, "ngR@5": 1, "mR@4": 0.5 + 0.375, "mR@5": 1}
    )


def test_graph_constraint_by_hand() -> None:
    """`near` in half of the images, else `left of` the same thing in half of those."""
    pair: list[Statement] = [("suggest", (0.5, 7, "near", 8)), ("suggest", (0.5, 7, "left of", 8))]
    values = ceiling([[*FOUR, *pair]], (6,), 3)
    assert values["R@6"] == pytest.approx(4 * (0.75 / 5 + 0.25 / 4) + 0.5 / 5)
    assert values["ngR@6"] == pytest.approx(1)
    assert values["mR@6"] == pytest.approx((1 + 1) / 3)


def test_filling_up_by_hand() -> None:
    """One certain relation of four wanted; three of four spare ones are drawn."""
    spare: list[Statement] = [("suggest", (0.0, i, "on", 9)) for i in range(4)]
    chances = scene_chances([("relate", (7, "in", 8)), *spare])
    shares = dict(zip(chances.triples, chances.shares))
    assert shares[7, "in", 8] == pytest.approx(1 / 4)
    assert shares[0, "on", 9] == pytest.approx(3 / 4 / 4)
    own = dict(zip(chances.triples, chances.predicate_shares))
    assert own[0, "on", 9] == pytest.approx(3 / 4 / 3)
    assert chances.has_predicate == pytest.approx({"on": 1.0, "in": 1.0})


def test_the_first_twelve_by_hand() -> None:
    """Of 13 certain relations the last is annotated if the one that may come first is not."""
    certain: list[Statement] = [("relate", (i, "on", 99)) for i in range(12)]
    chances = scene_chances([("suggest", (0.25, 50, "in", 51)), *certain])
    shares = dict(zip(chances.triples, chances.shares))
    assert shares[10, "on", 99] == pytest.approx(1 / 12)
    assert shares[11, "on", 99] == pytest.approx(0.75 / 12)
    assert shares[50, "in", 51] == pytest.approx(0.25 / 12)


def test_no_scene_and_no_relation() -> None:
    assert all(math.isnan(value) for value in ceiling([], (5,), 2).values())
    assert math.isnan(ceiling([[]], (5,), 2)["R@5"])


def annotations(statements: Sequence[Statement]) -> list[tuple[float, list[Triple]]]:
    """Every way to annotate a scene, the slow way: all chances, and all ways to fill it up."""
    chances = []

    class Counting(SceneBuilder):
        def chance(self, probability: float) -> bool:
            chances.append(probability)
            return True

    def run(builder: SceneBuilder) -> SceneBuilder:
        for method, arguments in statements:
            getattr(builder, method)(*arguments)
        return builder

    run(Counting(random.Random(0)))
    ways = []
    fewest, most = RELATIONS
    for bits in product((True, False), repeat=len(chances)):
        probability = math.prod(p if bit else 1 - p for p, bit in zip(chances, bits))
        script = iter(bits)
        builder = SceneBuilder(random.Random(0))
        builder.chance = lambda _, script=script: next(script)  # type: ignore[method-assign, misc]
        run(builder)
        certain = [(s, p, o) for (s, o), p in builder.certain.items()]
        spare = [
            (s, p, o) for (s, o), p in builder.optional.items() if (s, o) not in builder.certain
        ]
        missing = min(max(fewest - len(certain[:most]), 0), len(spare))
        fillings = list(combinations(spare, missing))
        ways += [(probability / len(fillings), [*certain[:most], *f]) for f in fillings]
    return ways


@pytest.mark.parametrize("seed", range(8))
def test_expectations_are_those_over_every_annotation(seed: int) -> None:
    rng = random.Random(seed)
    statements: list[Statement] = []
    for _ in range(rng.choice((3, 6, 14) if seed < 7 else (16,))):
        a, b = rng.sample(range(6), 2)
        names = rng.choices(("on", "near", "behind"), k=2)
        either = ((a, names[0], b), (b, names[1], a))
        kinds: list[Statement] = [
            ("relate", (a, names[0], b)),
            ("look", (a, b)),
            ("suggest", (rng.choice((0.3, 0.5)), a, names[0], b)),
            ("relate_either", (0.6, *either)),
            ("suggest_either", (0.5, *either)),
        ]
        statements.append(rng.choices(kinds, (2, 1, 2, 1, 1))[0])
    ways = annotations(statements)
    assert math.fsum(p for p, _ in ways) == pytest.approx(1)
    chances = scene_chances(statements)
    assert set(chances.triples) == {t for p, triples in ways if p > 0 for t in triples}
    for triple, share, own in zip(chances.triples, chances.shares, chances.predicate_shares):
        having = [(p, triples) for p, triples in ways if triple in triples]
        assert share == pytest.approx(math.fsum(p / len(triples) for p, triples in having))
        counts = [(p, sum(t[1] == triple[1] for t in triples)) for p, triples in having]
        assert own == pytest.approx(math.fsum(p / count for p, count in counts))
    for name, probability in chances.has_predicate.items():
        found = math.fsum(p for p, triples in ways if any(t[1] == name for t in triples))
        assert probability == pytest.approx(found)


def test_scenes_that_are_drawn_are_as_likely_as_said() -> None:
    """The recall of the best 8 triples on the annotation that was drawn, over 40 scenes."""
    sums = []
    for index in range(40):
        builder = built_scene(3, "test", index)
        chances = scene_chances(builder.statements)
        by_pair: dict[tuple[int, int], tuple[float, Triple]] = {}
        for triple, share in zip(chances.triples, chances.shares.tolist()):
            key = (triple[0], triple[2])
            by_pair[key] = max(by_pair.get(key, (0.0, triple)), (share, triple))
        chosen = sorted(by_pair.values(), reverse=True)[:8]
        rows = sorted(range(len(builder.things)), key=lambda i: builder.depth[i])
        truth = {(rows[s], p, rows[o]) for s, p, o in random_scene(3, "test", index).relations}
        assert truth <= set(chances.triples)
        recall = sum(triple in truth for _, triple in chosen) / len(truth)
        sums.append(recall - sum(share for share, _ in chosen))
    mean = sum(sums) / len(sums)
    error = math.sqrt(sum((x - mean) ** 2 for x in sums)) / len(sums)
    assert abs(mean) < 4 * error


def test_the_ceiling_of_the_packaged_scenes_rises_with_k() -> None:
    values = scenes_ceiling(ScenesConfig(num_test=6), (1, 5, 20))
    assert 0 < values["R@1"] < values["R@5"] < values["R@20"] <= values["ngR@20"] <= 1 + 1e-9
    assert values["mR@1"] < values["mR@20"] <= 1
