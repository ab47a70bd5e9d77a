"""Annotation noise of drawn scenes: relations left out, predicates and classes that are wrong.

Noise of one kind depends neither on the others' rates nor on the number of images, and what is
changed at a low rate is changed at every higher one.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch

from autoenc_sg.config.data import ScenesConfig
from autoenc_sg.core.scene_graph import SceneGraph
from autoenc_sg.data.base.samples import random_stream
from autoenc_sg.data.scenes.builder import VOCABULARY

# Biased annotation: what is written in place of a rare predicate (Visual Genome's annotators write
# `on` for `riding`, `in` for `wearing`, `near` for most else).
BIASED = {
    "riding": "on",
    "wearing": "in",
    "tied to": "near",
    "in front of": "near",
    "holding": "near",
    "behind": "near",
    "looking at": "near",
}
Box = Sequence[float]  # xyxy, fractions of the image
NEAR = 1 / 8  # of the image's side: the widest gap between things that are near each other


def add_noise(graph: SceneGraph, config: ScenesConfig, index: int) -> SceneGraph:
    """The annotation of training image `index` with noise of all kinds.

    A predicate that is replaced at random (`wrong_predicates`) is not replaced by bias, too.
    """
    rng = random_stream("noise", config.seed, index)
    bias = random_stream("bias", config.seed, index)
    wrong_labels, wrong_predicates = config.wrong_labels, config.wrong_predicates
    classes, predicates = VOCABULARY.num_objects, VOCABULARY.num_predicates
    labels = [_confuse(rng, wrong_labels, label, classes) for label in graph.labels.tolist()]
    triples = []
    for s, true, o in graph.triples.tolist():
        dropped = rng.random() < config.drop_relations
        p = _confuse(rng, wrong_predicates, true, predicates)
        is_biased = bias.random() < config.biased_predicates
        if is_biased and p == true:
            p = biased_predicate(graph, s, true, o)
        if not dropped:
            triples.append((s, p, o))
    kept_triples = torch.tensor(triples, dtype=torch.int64).reshape(-1, 3)
    return replace(graph, labels=torch.tensor(labels, dtype=torch.int64), triples=kept_triples)


def biased_predicate(graph: SceneGraph, subject: int, predicate: int, obj: int) -> int:
    """The frequent predicate of `BIASED`, where it is plausible; else the same.

    `on`: the boxes share columns and the subject's middle is higher. `in`: the boxes overlap.
    `near`: at most `NEAR` lies between the boxes and neither is inside of the other.
    """
    frequent = BIASED.get(VOCABULARY.predicates[predicate])
    if frequent is None:
        return predicate
    height, width = graph.image_size
    scale = torch.tensor([width, height, width, height])
    first, second = ((graph.boxes[row] / scale).tolist() for row in (subject, obj))
    plausible = _PLAUSIBLE[frequent](first, second)
    return VOCABULARY.predicates.index(frequent) if plausible else predicate


def _on(subject: Box, obj: Box) -> bool:
    shares_columns = _gap(subject, obj, 0) < 0
    return shares_columns and subject[1] + subject[3] < obj[1] + obj[3]


def _in(subject: Box, obj: Box) -> bool:
    return max(_gap(subject, obj, axis) for axis in (0, 1)) < 0


def _near(subject: Box, obj: Box) -> bool:
    close = max(_gap(subject, obj, axis) for axis in (0, 1)) <= NEAR
    return close and not _inside(subject, obj) and not _inside(obj, subject)


def _gap(first: Box, second: Box, axis: int) -> float:
    """Between two boxes along x (0) or y (1); negative where they overlap."""
    return max(first[axis], second[axis]) - min(first[axis + 2], second[axis + 2])


def _inside(inner: Box, outer: Box) -> bool:
    low = all(inner[i] >= outer[i] for i in (0, 1))
    return low and all(inner[i] <= outer[i] for i in (2, 3))


_PLAUSIBLE: dict[str, Callable[[Box, Box], bool]] = {"on": _on, "in": _in, "near": _near}


def _confuse(rng: random.Random, rate: float, true: int, count: int) -> int:
    """With probability `rate` another id of 1..count - 1; always draws two random numbers."""
    is_wrong, wrong_id = rng.random() < rate, 1 + int(rng.random() * (count - 2))
    return wrong_id + (wrong_id >= true) if is_wrong else true
