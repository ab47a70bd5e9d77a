"""Whether a photo is of the kind that a model knows, by the scores of its best objects.

A model's `about` may hold `least_mean_score`, in [0, 1], which few of its validation images are
below (`least_mean_score`), and `knows`: `photographs`, `drawn scenes` or another kind of image.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from autoenc_sg.core.errors import bad_input, is_fraction
from autoenc_sg.core.images import ImageSource
from autoenc_sg.core.scene_graph import SceneGraph
from autoenc_sg.weights.pretrained import read_about, shipped_models, shipped_or

if TYPE_CHECKING:
    from autoenc_sg.model.autoencoder import AutoEncoder

BEST_OBJECTS = 3  # of an image, whose scores are averaged
QUANTILE = 0.05  # share of the validation images below the limit
PHOTOGRAPHS = "photographs"


def mean_best_score(graph: SceneGraph, threshold: float = 0.0) -> float:
    """Mean of the three best object scores of a graph, in [0, 1].

    A score that is below `threshold`, unknown or absent (fewer than three objects) counts as 0.
    """
    if graph.object_scores is None:
        return 0.0
    scores = graph.object_scores[graph.object_scores >= threshold]  # NaN is not
    return float(scores.sort(descending=True).values[:BEST_OBJECTS].sum()) / BEST_OBJECTS


def least_mean_score(model: AutoEncoder, images: Sequence[ImageSource]) -> float:
    """The 5 % quantile of `mean_best_score` over a model's validation images.

    Objects are detected with the thresholds of the model's configuration. Images as in `parse`.

    Raises:
        InputError: no images, or one that cannot be read.
    """
    if not len(images):
        raise bad_input("images", "one or more", "none")
    means = [mean_best_score(graph) for graph in model.parse(images)]
    return float(torch.tensor(means, dtype=torch.float64).quantile(QUANTILE))


def is_unfamiliar(model: AutoEncoder, graph: SceneGraph) -> bool:
    """Whether the graph that a model parsed from a photo lies below its `least_mean_score`.

    False where the model's `about` holds no such number.
    """
    limit = model.about.get("least_mean_score")
    threshold = model.config.decode.object_threshold
    if limit is None or not is_fraction(limit):
        return False
    return mean_best_score(graph, threshold) < float(limit)


def weights_for_photographs(model: AutoEncoder) -> list[str]:
    """Names of the package's models that know photographs; none if this model does so, too."""
    if model.about.get("knows") == PHOTOGRAPHS:
        return []
    abouts = {name: read_about(shipped_or(Path(name))) for name in shipped_models()}
    return [name for name, about in abouts.items() if about.get("knows") == PHOTOGRAPHS]
