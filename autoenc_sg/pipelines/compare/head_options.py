"""Options of single heads in a comparison: `HEAD.NAME=VALUE`.

motifs.edge_layers=2       predictor.motifs.edge_layers, an option that only this head has
motifs.dim=256             predictor.dim, an option of all heads, for this head alone
motifs.loss.focal=2        predictor.loss.focal, likewise
"""

from __future__ import annotations

from collections.abc import Sequence

from autoenc_sg.config.predictor import SECTIONS, HeadName
from autoenc_sg.core.errors import bad_input

Overrides = dict[HeadName, list[str]]


def overrides_of(head_options: Sequence[str], heads: Sequence[HeadName]) -> Overrides:
    """The overrides of the configuration (`--predictor.dim=256`) of each head that has some.

    Raises:
        InputError: one is not of this form, or of a head that is not compared.
    """
    overrides: Overrides = {}
    for text in head_options:
        head, name, value = _split(text, heads)
        is_own = hasattr(SECTIONS.get(head), name.partition(".")[0])
        prefix = f"predictor.{head}" if is_own else "predictor"
        overrides.setdefault(head, []).append(f"--{prefix}.{name}={value}")
    return overrides


def _split(text: str, heads: Sequence[HeadName]) -> tuple[HeadName, str, str]:
    """Head, name and value."""
    key, equals, value = text.partition("=")
    head, dot, name = key.partition(".")
    if not (equals and dot and name) or name == "name":
        expected = "HEAD.NAME=VALUE, such as motifs.dim=256"
        raise bad_input("--head-options", expected, repr(text[:60]))
    for known in heads:
        if head == known:
            return known, name, value
    expected = f"an option of a compared head ({', '.join(heads)})"
    raise bad_input("--head-options", expected, repr(text[:60]))
