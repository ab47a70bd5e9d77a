"""Published results on VG150 of the heads that are compared here, to set beside one's own.

Only figures that were read in the README of the repository that measured them: SGGen, SGCls and
PredCls with graph constraint, mean over images. They are of other detectors and of Visual Genome,
so a row of another data set or detector cannot be compared with them.
"""

from __future__ import annotations

from dataclasses import dataclass

from autoenc_sg.visualization.tables import Cell, Table

Recalls = tuple[float | None, float | None, float | None]  # R@20, R@50, R@100 in percent
_NONE: Recalls = (None, None, None)

_GRAPH_RCNN = "jwyang/graph-rcnn.pytorch 0f294ec"
_SGB = "KaihuaTang/Scene-Graph-Benchmark.pytorch 6f75881"
_PYSGG = "SHTUPLUS/PySGG"

WARNING = (
    "The rows of the paper's Table 1 are not comparable with one another and are left out here: "
    "its 'Graph R-CNN' (SGGen 19.4 / 25.5 / 28.5) is that repository's frequency prior (19.4 / "
    "25.0 / 28.5; its Graph R-CNN has 18.8 / 23.7 / 26.2), its MotifNet has a PhrDet R@100 below "
    "its SGGen R@100, and its IMP and FactorizableNet were not measured on VG150 (docs/paper.md)."
)


@dataclass(frozen=True)
class Published:
    """One published system.

    Attributes:
        head: its name here.
        name: as published, with the backbone.
        source: where the figures were read.
    """

    head: str
    name: str
    source: str
    sggen: Recalls
    sgcls: Recalls = _NONE
    predcls: Recalls = _NONE


PUBLISHED = (
    Published("frequency", "frequency prior, ResNet-101", _GRAPH_RCNN, (19.4, 25.0, 28.5)),
    Published("vanilla", "vanilla, ResNet-101-C4", _GRAPH_RCNN, (10.5, 13.8, 16.1)),
    Published("vanilla", "vanilla + RelPN, ResNet-101-C4", _GRAPH_RCNN, (12.3, 15.8, 17.7)),
    Published("imp", "IMP, ResNet-101-C4", _GRAPH_RCNN, (16.7, 21.7, 25.2)),
    Published("imp", "IMP + RelPN, ResNet-101-C4", _GRAPH_RCNN, (19.2, 23.9, 26.3)),
    Published(
        "graph_rcnn",
        "Graph R-CNN, no attention, ResNet-101-C4",
        _GRAPH_RCNN,
        (18.8, 23.7, 26.2),
    ),
    Published("graph_rcnn", "G-RCNN, ResNeXt-101-FPN", _PYSGG, (None, 29.8, 32.8)),
    Published(
        "imp",
        "IMP, ResNeXt-101-FPN",
        _SGB,
        (18.1, 25.9, 31.2),
        (34.0, 37.5, 38.5),
        (54.3, 61.1, 63.1),
    ),
    Published(
        "motifs",
        "Motifs, ResNeXt-101-FPN",
        _SGB,
        (25.5, 32.8, 37.2),
        (35.6, 38.9, 39.8),
        (58.5, 65.2, 67.0),
    ),
    Published(
        "transformer",
        "Transformer, ResNeXt-101-FPN",
        _SGB,
        (25.6, 33.0, 37.4),
        (36.9, 40.2, 41.0),
        (59.1, 65.6, 67.3),
    ),
)


def published_table(heads: tuple[str, ...]) -> Table | None:
    """The published rows of these heads; None if there are none."""
    rows: list[list[Cell]] = [
        [p.head, p.name, *map(_joined, (p.sggen, p.sgcls, p.predcls)), p.source]
        for p in PUBLISHED
        if p.head in heads
    ]
    if not rows:
        return None
    heading = ["head", "published as", "SGGen", "SGCls", "PredCls", "README of"]
    return Table("Published on VG150: R@20 / 50 / 100, %", heading, rows, WARNING)


def _joined(recalls: Recalls) -> str | None:
    if recalls == _NONE:
        return None
    return " / ".join("–" if value is None else f"{value:.1f}" for value in recalls)
