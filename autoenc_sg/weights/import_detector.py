"""Other programs' detectors as ours: `import motifs-detector`, `import graph-rcnn-detector`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Literal

import yaml
from safetensors.torch import save_file
from torch import Tensor

from autoenc_sg.config.model import DetectorConfig
from autoenc_sg.core.atomic_files import replacing
from autoenc_sg.core.errors import bad_input
from autoenc_sg.detector import build_detector
from autoenc_sg.detector.published.state_dicts import Kind, motifs_anchors, recognize, translate
from autoenc_sg.weights.detector import read_detector_weights
from autoenc_sg.weights.state_dict import check_weights

ImportKind = Literal["motifs-detector", "graph-rcnn-detector"]
KINDS: dict[ImportKind, Kind] = {
    "motifs-detector": "motifs",
    "graph-rcnn-detector": "graph_rcnn",
}
PREDICTOR = "roi_heads.box_predictor"
VGG_CHANNELS = 512
NEEDED: dict[ImportKind, tuple[str, ...]] = {  # from which the settings are derived
    "motifs-detector": ("roi_heads.box_head.fc6.weight", f"{PREDICTOR}.cls_score.weight"),
    "graph-rcnn-detector": (f"{PREDICTOR}.cls_score.weight", f"{PREDICTOR}.bbox_pred.weight"),
}


def import_detector(kind: ImportKind, file: Path, out: Path) -> list[Path]:
    """Write a detector as `out/detector.safetensors`, and `out/detector.yaml` to use it with.

    Args:
        kind: which program wrote it.
        file: `vg-faster-rcnn.tar` of Neural Motifs (or a whole model of its), or a `.pth` of
            graph-rcnn.pytorch.
        out: a folder.

    Raises:
        InputError: not such a file, or it would have to run code to be read.
    """
    weights = read_detector_weights(str(file))
    if recognize(weights) != KINDS[kind]:
        first = next(iter(weights), "nothing")
        raise bad_input(file, f"weights of {kind.replace('-', ' ')}", f"others ({first}, …)")
    translated = translate(weights, KINDS[kind], file)
    for name in NEEDED[kind]:
        if name not in translated or translated[name].ndim != 2:
            got = (
                f"shape {list(translated[name].shape)}" if name in translated else "no such weights"
            )
            raise bad_input(file, f"the whole detector, with {name}", got)
    paths = [out / "detector.safetensors", out / "detector.yaml"]
    config = _settings(weights, translated, KINDS[kind], str(paths[0]))
    _check_complete(config, translated, str(file))
    with replacing(paths[0]) as temporary:
        tensors = {name: value.contiguous().clone() for name, value in translated.items()}
        save_file(tensors, str(temporary), {"from": kind})
    with replacing(paths[1]) as temporary:
        temporary.write_text(_yaml(config, file), encoding="utf-8")
    return paths


def _settings(
    weights: Mapping[str, Tensor], translated: Mapping[str, Tensor], kind: Kind, where: str
) -> DetectorConfig:
    """The program's settings at test, but the paper's count of proposals and subgraphs."""
    if kind == "motifs":
        sizes, ratios = motifs_anchors(weights)
        width, pooled = translated["roi_heads.box_head.fc6.weight"].shape
        return DetectorConfig(
            backbone="vgg16",
            conventions="motifs",
            weights=where,
            min_size=592,
            max_size=592,
            anchor_sizes=sizes,
            anchor_ratios=ratios,
            train_proposals=2000,
            box_head_dim=width,
            box_pooled_size=math.isqrt(pooled // VGG_CHANNELS),
            score_threshold=0.01,
        )
    return DetectorConfig(
        backbone="resnet101_c4",
        conventions="graph_rcnn",
        weights=where,
        min_size=800,
        max_size=1024,
        train_proposals=2000,
        box_pooled_size=14,
        class_agnostic=len(translated[f"{PREDICTOR}.bbox_pred.weight"]) == 4,
    )


def _check_complete(config: DetectorConfig, translated: Mapping[str, Tensor], where: str) -> None:
    """See that the weights are a whole detector of these settings."""
    detector = build_detector(config, len(translated[f"{PREDICTOR}.cls_score.weight"]))
    new = {n: v for n, v in detector.state_dict().items() if n.startswith(detector.graph_layers)}
    check_weights(detector, new | dict(translated), where)


def _yaml(config: DetectorConfig, file: Path) -> str:
    values = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(config).items()}
    note = f"# The detector of {file.name}: autoenc-sg train … --detector THIS_FILE\n"
    return note + yaml.safe_dump(values, sort_keys=False, allow_unicode=True)
