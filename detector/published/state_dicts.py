"""Other programs' detector weights under the names of `FasterRCNN` and `Detectron2Detector`.

State dicts in, state dicts out; files are read elsewhere. Differences in computation are folded
into the weights where that is possible; the others are in `conventions`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Literal

import torch
from torch import Tensor

from autoenc_sg.core.boxes import DELTA_WEIGHTS
from autoenc_sg.core.errors import bad_input

Kind = Literal["torchvision", "detectron2", "motifs", "graph_rcnn"]
Weights = dict[str, Tensor]
DISTINCTIVE_NAMES: dict[Kind, str] = {  # prefixes of names that no other program has
    "motifs": "rpn_head.conv.2.weight",
    "graph_rcnn": "roi_heads.box.predictor.cls_score.weight",
    "torchvision": "backbone.fpn.inner_blocks.0",
    "detectron2": "proposal_generator.rpn_head.objectness_logits.weight",
}
PREDICTOR = "roi_heads.box_predictor"
BOX_HEAD = "roi_heads.box_head"


def recognize(names: Collection[str]) -> Kind | None:
    """The program that wrote a state dict of these names, or None."""
    plain = [_bare(name) for name in names]
    for kind, prefix in DISTINCTIVE_NAMES.items():
        if any(name.startswith(prefix) for name in plain):
            return kind
    return None


def translate(weights: Mapping[str, Tensor], kind: Kind, where: object = "weights") -> Weights:
    """The detector's weights by the names used here; other parts of the model are left out.

    Args:
        weights: by the program's names.
        kind: which program.
        where: what errors call them.

    Raises:
        InputError: a part of the detector is missing, or has a shape that does not fit.
    """
    plain = {_bare(name): value for name, value in weights.items()}
    converters: dict[Kind, Callable[[Weights], Weights]] = {
        "torchvision": _from_torchvision,
        "detectron2": _from_detectron2,
        "motifs": _from_motifs,
        "graph_rcnn": _from_graph_rcnn,
    }
    try:
        return converters[kind](plain)
    except KeyError as error:
        raise bad_input(where, f"a detector of {kind} with {error}", "no such name") from None
    except (RuntimeError, TypeError, IndexError) as error:  # torch's, of shapes
        raise bad_input(where, f"a detector of {kind}", error) from None


def _bare(name: str) -> str:
    """Without the prefixes of wrappers and of whole models."""
    for prefix in ("module.", "detector."):
        name = name.removeprefix(prefix)
    return name


def _renamed(weights: Weights, prefixes: Mapping[str, str]) -> Weights:
    """The weights whose names have one of these prefixes, with the prefix replaced."""
    return {
        new + name[len(old) :]: value
        for name, value in weights.items()
        for old, new in prefixes.items()
        if name.startswith(old)
    }


def _from_torchvision(weights: Weights) -> Weights:
    """`fasterrcnn_*_fpn`; published files have older names for blocks of one convolution."""
    renamed = _renamed(
        weights,
        {
            "backbone.": "backbone.body.",
            "rpn.head.": "rpn.head.",
            "roi_heads.box_head.": "roi_heads.box_head.",
            f"{PREDICTOR}.": f"{PREDICTOR}.",
        },
    )
    return {_newer(name): value for name, value in renamed.items()}


def _newer(name: str) -> str:
    """`rpn.head.conv.weight -> rpn.head.conv.0.0.weight`, `…_blocks.2.bias -> ….2.0.bias`."""
    stem, _, last = name.rpartition(".")
    if stem == "rpn.head.conv":
        return f"{stem}.0.0.{last}"
    parent, _, number = stem.rpartition(".")
    if parent.endswith(("inner_blocks", "layer_blocks")) and number.isdigit():
        return f"{stem}.0.{last}"
    return name


def _from_detectron2(weights: Weights) -> Weights:
    prefixes = ("backbone.", "proposal_generator.rpn_head.", "roi_heads.box_", "roi_heads.res5.")
    return _renamed(weights, {prefix: f"network.{prefix}" for prefix in prefixes})


def _from_motifs(weights: Weights) -> Weights:
    """VGG-16 of rowanz/neural-motifs: `vg-faster-rcnn.tar`, or the detector in a whole model.

    Each anchor has two class logits, whose softmax is the sigmoid of their difference, and four
    deltas. The RoI head's deltas are not scaled there; here they are, by `DELTA_WEIGHTS`.
    """
    renamed = _renamed(
        weights,
        {
            "features.": "backbone.body.",
            "roi_fmap.0.": "roi_heads.box_head.fc6.",
            "roi_fmap.3.": "roi_heads.box_head.fc7.",
            "score_fc.": f"{PREDICTOR}.cls_score.",
            "rpn_head.conv.0.": "rpn.head.conv.0.0.",
        },
    )
    for name in ("weight", "bias"):
        anchor_rows = weights[f"rpn_head.conv.2.{name}"].unflatten(0, (-1, 6))
        renamed[f"rpn.head.cls_logits.{name}"] = anchor_rows[:, 1] - anchor_rows[:, 0]
        renamed[f"rpn.head.bbox_pred.{name}"] = anchor_rows[:, 2:].flatten(0, 1)
        deltas = weights[f"bbox_fc.{name}"]
        scale = torch.tensor(DELTA_WEIGHTS).repeat(len(deltas) // 4)
        renamed[f"{PREDICTOR}.bbox_pred.{name}"] = deltas * scale.reshape(
            -1, *[1] * (deltas.ndim - 1)
        )
    return renamed


def _from_graph_rcnn(weights: Weights) -> Weights:
    """R-101-C4 of jwyang/graph-rcnn.pytorch (maskrcnn-benchmark's names)."""
    renamed = _renamed(
        weights,
        {
            "backbone.body.stem.": "backbone.body.",
            "backbone.body.layer": "backbone.body.layer",
            "rpn.head.conv.": "rpn.head.conv.0.0.",
            "rpn.head.cls_logits.": "rpn.head.cls_logits.",
            "rpn.head.bbox_pred.": "rpn.head.bbox_pred.",
            "roi_heads.box.feature_extractor.head.": "roi_heads.box_head.",
            "roi_heads.box.predictor.": f"{PREDICTOR}.",
        },
    )
    for name in ("weight", "bias"):
        deltas = renamed[f"{PREDICTOR}.bbox_pred.{name}"]
        if len(deltas) == 8:  # class-agnostic: the background's four are not used
            renamed[f"{PREDICTOR}.bbox_pred.{name}"] = deltas[4:]
    return renamed


def from_imagenet(
    weights: Mapping[str, Tensor], own_weights: Mapping[str, Tensor], where: object = "weights"
) -> Weights | None:
    """The layers that a detector shares with torchvision's ImageNet classifier.

    VGG-16's two wide layers are among them where the box head is of their size.

    Args:
        weights: of the classifier.
        own_weights: state dict of the detector.
        where: what errors call the weights.

    Returns:
        State dict by the detector's names, or None if `weights` are not of a classifier.

    Raises:
        InputError: it is the classifier of another backbone.
    """
    if not any(name in weights for name in ("fc.weight", "classifier.3.weight")):
        return None
    shared: Weights = {}
    others = []
    for name, value in weights.items():
        own_name = next((n for n in _imagenet_names(name) if n in own_weights), None)
        if name.startswith(("fc.", "classifier.")):
            if own_name and value.shape == own_weights[own_name].shape:
                shared[own_name] = value
        elif own_name:
            shared[own_name] = value
        elif not name.endswith("num_batches_tracked"):
            others.append(name)
    body = [n for n in own_weights if n.startswith(("backbone.body.", f"{BOX_HEAD}.layer4."))]
    optional = (*shared, *(n for n in body if ".fpn." in n or n.endswith("num_batches_tracked")))
    missing = sorted(set(body).difference(optional))
    if missing or others:
        got = f"another's ({', '.join([*others[:1], *(f'no {n}' for n in missing[:1])])})"
        raise bad_input(where, "ImageNet weights of this backbone", got)
    return shared


def _imagenet_names(name: str) -> tuple[str, ...]:
    """Names that a layer of a classifier may have in a detector."""
    part, _, rest = name.partition(".")
    if part == "classifier":
        number, _, last = rest.partition(".")
        layer = {"0": "fc6", "3": "fc7"}.get(number)
        return (f"{BOX_HEAD}.{layer}.{last}",)
    inner = rest if part == "features" else name
    return tuple(f"{p}.{inner}" for p in ("backbone.body.body", "backbone.body", BOX_HEAD))


def motifs_anchors(weights: Mapping[str, Tensor]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Sizes and ratios of the anchors `[H, W, A, 4]` in a state dict of Neural Motifs.

    Raises:
        InputError: they are not all sizes of each ratio.
    """
    name = "rpn_head.anchors"
    plain = {_bare(key): value for key, value in weights.items()}
    if name not in plain:
        raise bad_input("detector weights of motifs", name, "no such name")
    if plain[name].ndim != 4 or plain[name].shape[3] != 4 or 0 in plain[name].shape:
        raise bad_input(name, "shape [H, W, A, 4]", list(plain[name].shape))
    corners = plain[name][0, 0].double()
    width, height = (corners[:, 2:] - corners[:, :2] + 1).unbind(1)
    sizes, ratios = (width * height).sqrt(), height / width
    count = int(((ratios - ratios[0]).abs() < 1e-3).sum())
    grid = sizes.reshape(-1, count) if count and len(sizes) % count == 0 else sizes[None, :0]
    if not len(grid) or not torch.allclose(grid, grid[:1].expand_as(grid), rtol=1e-4):
        raise bad_input(name, "all sizes of each ratio in turn", f"{len(corners)} others")
    return (
        tuple(round(float(size), 5) for size in grid[0]),
        tuple(round(float(ratio), 7) for ratio in ratios[::count]),
    )
