"""The plot of a comparison, and tables as Markdown."""

from __future__ import annotations

import math

import numpy as np
import pytest

from autoenc_sg.visualization.comparison import Spread, SystemScores, comparison_plot
from autoenc_sg.visualization.tables import Table


def test_a_spread_by_hand() -> None:
    two = Spread.of([0.5, None, 0.7, math.nan])
    assert (two.mean, two.std, two.count) == (pytest.approx(0.6), pytest.approx(0.02**0.5), 2)
    assert two.text() == "60.0 ± 14.1"
    assert Spread.of([0.5]).text() == "50.0"
    assert Spread.of([None]).text() is None
    assert math.isnan(Spread.of([]).mean)


def test_points_and_references_are_drawn() -> None:
    def image(value: float, prior: float) -> np.ndarray:  # type: ignore[type-arg]
        systems = [
            SystemScores("gcn", "on", {"R@50": Spread.of([value, value + 0.1])}),
            SystemScores("gcn", "off", {"R@50": Spread.of([])}),
        ]
        return np.asarray(comparison_plot(systems, {"prior": {"R@50": prior}}, [["R@50", "mR@50"]]))

    one = image(0.2, 0.5)
    assert np.array_equal(one, image(0.2, 0.5))
    assert not np.array_equal(one, image(0.3, 0.5))
    assert not np.array_equal(one, image(0.2, 0.4))
    assert image(0.2, math.nan).shape == one.shape


def test_nothing_to_compare() -> None:
    assert comparison_plot([], {}, []).height > 0


def test_markdown_by_hand() -> None:
    table = Table("Recall", ["head", "R"], [["a|b", 0.5], ["c", None]], "A note.")
    assert table.to_markdown() == (
        "## Recall\n\n| head | R |\n| --- | ---: |\n| a\\|b | 0.5000 |\n| c | – |\n\nA note.\n"
    )
