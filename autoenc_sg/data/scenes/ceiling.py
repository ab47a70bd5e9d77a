r"""The best recall that any predictor could reach on drawn scenes.

A scene's objects, places, poses and cues decide which relations are stated, but chances decide
which of these are annotated, which of two ways to say one is taken, and what fills up a scene with
few relations. The chances do not change the picture, so they cannot be predicted. Given everything
that was drawn (more than the pixels show: an upper bound), a predictor does best with the K
triples of the largest

    w_t = E[ 1(t annotated) / n ]                       for R@K,      n relations of the image,
    v_t = E[ 1(t annotated) / n_p ] / (P N_p)           for mR@K,     n_p of t's predicate p,

one of each ordered pair under graph constraint, any without (ngR@K); N_p is the expected number
of images with predicate p, P the number of predicates of the vocabulary. The ceiling is the mean
over images of the sum of these w_t, and the sum over images of the v_t (the ratio of expectations
in place of the expected ratio, which differ by O(1 / N_p)).

The expectations are exact: the chances of different unordered pairs of objects are independent, so
the outcomes of each pair are found by replaying its statements with every chance, and the outcomes
of all pairs are enumerated.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoenc_sg.config.data import ScenesConfig
from autoenc_sg.data.scenes.builder import PREDICATES, RELATIONS, SceneBuilder, Triple
from autoenc_sg.data.scenes.random_scene import built_scene

Statement = tuple[str, tuple[object, ...]]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Integers = NDArray[np.int_]

_CHANCES = {"relate": 0, "look": 0, "relate_either": 1, "suggest": 1, "suggest_either": 2}


@dataclass(frozen=True)
class Outcome:
    """What becomes of the statements about one pair.

    Attributes:
        certain: what is annotated, with the number of the statement that put it first.
        spare: what may fill up the scene.
    """

    certain: tuple[tuple[int, Triple], ...]
    spare: tuple[Triple, ...]


@dataclass(frozen=True, eq=False)
class Chances:
    """The expectations of one scene.

    Attributes:
        triples: all that may be annotated.
        shares: `E[1(t) / n]` of each.
        predicate_shares: `E[1(t) / n_p]` of each, p its predicate.
        has_predicate: P(n_p > 0) of each predicate.
        has_relations: P(n > 0).
    """

    triples: list[Triple]
    shares: Floats
    predicate_shares: Floats
    has_predicate: dict[str, float]
    has_relations: float


def scenes_ceiling(config: ScenesConfig, ks: Sequence[int]) -> dict[str, float]:
    """The ceiling on the test split of these scenes: `R@K`, `mR@K` and `ngR@K`, fractions."""
    worlds = (
        built_scene(config.seed, "test", index, config.tint).statements
        for index in range(config.num_test)
    )
    return ceiling(worlds, ks, len(PREDICATES))


def ceiling(
    worlds: Iterable[Sequence[Statement]], ks: Sequence[int], num_predicates: int
) -> dict[str, float]:
    """The ceiling over the images of these statements (`SceneBuilder.statements`); NaN of none.

    `num_predicates` is P; a predicate that no image has counts 0, as recall does by default.
    """
    chances = [scene_chances(statements) for statements in worlds]
    images = sum(scene.has_relations for scene in chances)
    having: dict[str, float] = {}
    for scene in chances:
        for predicate, probability in scene.has_predicate.items():
            having[predicate] = having.get(predicate, 0.0) + probability
    results: dict[str, float] = {}
    for k in ks:
        recall = mean = unconstrained = 0.0
        for scene in chances:
            weights = np.array([having[predicate] for _, predicate, _ in scene.triples])
            recall += _best(scene.triples, scene.shares, k)
            mean += _best(scene.triples, scene.predicate_shares / np.maximum(weights, 1e-300), k)
            unconstrained += float(np.sort(scene.shares)[::-1][:k].sum())
        results[f"R@{k}"] = recall / images if images else math.nan
        results[f"mR@{k}"] = mean / num_predicates if images else math.nan
        results[f"ngR@{k}"] = unconstrained / images if images else math.nan
    return results


def _best(triples: Sequence[Triple], weights: Floats, k: int) -> float:
    """The largest sum of `k` weights, one of each ordered pair."""
    best: dict[tuple[int, int], float] = {}
    for (subject, _, obj), weight in zip(triples, weights.tolist()):
        best[subject, obj] = max(best.get((subject, obj), 0.0), weight)
    return math.fsum(sorted(best.values(), reverse=True)[:k])


def scene_chances(statements: Sequence[Statement]) -> Chances:
    """The exact expectations of a scene's annotation."""
    pairs = [_outcomes(part) for part in _by_pair(statements)]
    probabilities = np.ones(1)
    for outcomes in pairs:
        probabilities = np.outer(probabilities, list(outcomes.values())).reshape(-1)
    columns = sorted({entry for pair in pairs for outcome in pair for entry in outcome.certain})
    spares = sorted({triple for pair in pairs for outcome in pair for triple in outcome.spare})
    choices = np.unravel_index(np.arange(len(probabilities)), [len(pair) for pair in pairs] or [1])
    certain, spare = (
        _table(pairs, choices, part, items)
        for part, items in (("certain", columns), ("spare", spares))
    )
    annotation = _Annotation(
        probabilities, [triple for _, triple in columns], certain, spares, spare
    )
    return annotation.chances()


def _by_pair(statements: Sequence[Statement]) -> list[list[tuple[int, Statement]]]:
    """The statements with their numbers, by unordered pair."""
    parts: dict[frozenset[int], list[tuple[int, Statement]]] = {}
    for number, statement in enumerate(statements):
        parts.setdefault(frozenset(_ends(statement)), []).append((number, statement))
    return list(parts.values())


def _ends(statement: Statement) -> tuple[int, int]:
    method, arguments = statement
    values: Any = arguments
    if method.endswith("either"):
        values = arguments[1]  # the first of the two triples
    elif method == "suggest":
        values = arguments[1:]
    return values[0], values[-1]


class _Replay(SceneBuilder):
    """A builder whose chances are given; `probability` is that of all that were asked for."""

    bits: Iterator[bool]
    probability: float

    def chance(self, probability: float) -> bool:
        """The next given one."""
        bit = next(self.bits)
        self.probability *= probability if bit else 1 - probability
        return bit


def _outcomes(statements: Sequence[tuple[int, Statement]]) -> dict[Outcome, float]:
    """The probability of each outcome of one pair."""
    count = sum(_CHANCES[method] for _, (method, _) in statements)
    outcomes: dict[Outcome, float] = {}
    for bits in product((True, False), repeat=count):
        builder = _Replay(random.Random(0))
        builder.bits, builder.probability = iter(bits), 1.0
        first: dict[tuple[int, int], int] = {}
        for number, (method, arguments) in statements:
            getattr(builder, method)(*arguments)
            first = {key: first.get(key, number) for key in builder.certain}
        certain = [(first[s, o], (s, p, o)) for (s, o), p in builder.certain.items()]
        spare = [(s, p, o) for (s, o), p in builder.optional.items() if (s, o) not in first]
        outcome = Outcome(tuple(certain), tuple(spare))
        outcomes[outcome] = outcomes.get(outcome, 0.0) + builder.probability
    return {outcome: p for outcome, p in outcomes.items() if p > 0}


def _table(
    pairs: Sequence[dict[Outcome, float]],
    choices: Sequence[NDArray[np.intp]],
    part: str,
    items: Sequence[Any],
) -> Bools:
    """Whether an item is in `part` of the outcomes that a row has: `[rows, items]`."""
    place = {item: column for column, item in enumerate(items)}
    table = np.zeros((len(choices[0]), len(items)), dtype=bool)
    for outcomes, chosen in zip(pairs, choices):
        one = np.zeros((len(outcomes), len(items)), dtype=bool)
        for row, outcome in enumerate(outcomes):
            one[row, [place[item] for item in getattr(outcome, part)]] = True
        table |= one[chosen]
    return table


class _Annotation:
    """All ways to annotate a scene: a row each, with its probability.

    As `SceneBuilder.scene` does, the first `most` of the certain triples are kept, and a scene with
    fewer than `fewest` is filled up with spare ones, each choice as likely.
    """

    def __init__(
        self,
        probabilities: Floats,
        triples: list[Triple],
        certain: Bools,
        spare_triples: list[Triple],
        spare: Bools,
    ) -> None:
        fewest, most = RELATIONS
        self.probabilities = probabilities
        self.triples, self.spare_triples = triples, spare_triples
        self.kept = certain & (certain.cumsum(1) <= most)
        self.spare = spare
        self.num_spare = spare.sum(1)
        missing = np.maximum(fewest - certain.sum(1), 0)
        self.drawn = np.minimum(missing, self.num_spare)  # spare ones that are annotated
        self.total = self.kept.sum(1) + self.drawn

    def chances(self) -> Chances:
        """The expectations over all rows."""
        shares: dict[Triple, float] = {}
        predicate_shares: dict[Triple, float] = {}
        inverse = self.probabilities / np.maximum(self.total, 1)
        fraction = self.drawn / np.maximum(self.num_spare, 1)
        for column, triple in enumerate(self.triples):
            _add(shares, triple, inverse @ self.kept[:, column])
        for column, triple in enumerate(self.spare_triples):
            _add(shares, triple, (inverse * fraction) @ self.spare[:, column])
        has_predicate = {}
        for predicate in sorted({p for _, p, _ in (*self.triples, *self.spare_triples)}):
            has_predicate[predicate] = self._of_predicate(predicate, predicate_shares)
        triples = list(shares)
        return Chances(
            triples,
            np.array([shares[t] for t in triples]),
            np.array([predicate_shares[t] for t in triples]),
            has_predicate,
            float(self.probabilities @ (self.total > 0)),
        )

    def _of_predicate(self, predicate: str, shares: dict[Triple, float]) -> float:
        """Adds `E[1(t) / n_p]` of the predicate's triples to `shares`; returns P(n_p > 0)."""
        own = [c for c, (_, p, _) in enumerate(self.triples) if p == predicate]
        own_spare = [c for c, (_, p, _) in enumerate(self.spare_triples) if p == predicate]
        kept, spare = self.kept[:, own].sum(1), self.spare[:, own_spare].sum(1)
        inverse_kept, inverse_spare = 1 / np.maximum(kept, 1), np.zeros(len(kept))
        none = (kept == 0).astype(float)
        filled = self.drawn > 0
        inverse_kept[filled], inverse_spare[filled], none[filled] = _expected_inverses(
            kept[filled], spare[filled], self.num_spare[filled], self.drawn[filled]
        )
        fraction = self.drawn / np.maximum(self.num_spare, 1)
        for column in own:
            weight = self.probabilities * inverse_kept
            _add(shares, self.triples[column], weight @ self.kept[:, column])
        for column in own_spare:
            weight = self.probabilities * fraction * inverse_spare
            _add(shares, self.spare_triples[column], weight @ self.spare[:, column])
        return float(self.probabilities @ (1 - none))


def _expected_inverses(
    kept: Integers, own: Integers, spare: Integers, drawn: Integers
) -> tuple[Floats, Floats, Floats]:
    """What drawing `drawn` of `spare` triples, `own` of them of one predicate, does to its number.

    Returns:
        E[1 / n_p] for a triple that is kept, the same for a spare one given that it is drawn, and
        P(n_p = 0); `n_p` is `kept` and those of `own` that are drawn.
    """
    inverse_kept, inverse_spare, none = np.zeros((3, len(kept)))
    for more in range(RELATIONS[0] + 1):
        likely = _hypergeometric(more, spare, own, drawn)
        inverse_kept += likely / np.maximum(kept + more, 1)
        none += likely * ((kept + more) == 0)
        inverse_spare += _hypergeometric(more, spare - 1, own - 1, drawn - 1) / (kept + 1 + more)
    return inverse_kept, inverse_spare, none


def _add(sums: dict[Triple, float], triple: Triple, value: float) -> None:
    sums[triple] = sums.get(triple, 0.0) + float(value)


def _hypergeometric(count: int, total: Integers, own: Integers, drawn: Integers) -> Floats:
    """The probability that `count` of `drawn` from `total` are of the `own`, 0 if impossible."""
    ways = _choose(own, np.full_like(own, count)) * _choose(total - own, drawn - count)
    all_ways = _choose(total, drawn)
    return ways / np.where(all_ways == 0, 1.0, all_ways)


def _choose(n: Integers, k: Integers) -> Floats:
    """Binomial coefficients; 0 for negative n or k, or k > n."""
    size = max(int(n.max(initial=0)), int(k.max(initial=0))) + 1
    table = np.array([[math.comb(i, j) for j in range(size)] for i in range(size)], dtype=float)
    valid = (n >= 0) & (k >= 0)
    return np.where(valid, table[np.maximum(n, 0), np.maximum(k, 0)], 0.0)
