"""The best scores that any head could reach on a comparison's test split, where they are known."""

from __future__ import annotations

from dataclasses import replace

from autoenc_sg.data.scenes.ceiling import scenes_ceiling
from autoenc_sg.pipelines.compare.grid import Grid


def ceiling_of(grid: Grid) -> dict[str, float]:
    """`R@K`, `mR@K` and `ngR@K`, of drawn scenes; empty for other data or another split.

    They hold for every task: objects are taken as known.
    """
    data, options = grid.config.data, grid.options
    if data.format != "scenes" or options.split != "test":
        return {}
    scenes = data.scenes
    count = min(options.limit or scenes.num_test, scenes.num_test)
    return scenes_ceiling(replace(scenes, num_test=count), options.conventions.ks)
