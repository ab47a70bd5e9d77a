"""Other programs' detector weights under our names.

The names are those of the programs' modules; what is computed differently is folded into the
numbers, or stands in `conventions`. Nothing here reads files: these are mappings to mappings.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Literal

import torch
from torch import Tensor

from autoenc_sg.core.errors import bad_input

Kind = Literal["torchvision", "detectron2", "motifs", "graph_rcnn"]
Weights = dict[str, Tensor]
SIGNS: dict[Kind, str] = {  # a name that no other program has
    "motifs": "rpn_head.conv.2.weight",
    "graph_rcnn": "roi_heads.box.predictor.cls_score.weight",
    "torchvision": "backbone.fpn.inner_blocks.0",
    "detectron2": "proposal_generator.rpn_head.objectness_logits.weight",
}
PREDICTOR = "roi_heads.box_predictor"
BOX_HEAD = "roi_heads.box_head"
CODER = (10.0, 10.0, 5.0, 5.0)  # our RoI head's deltas are these times as large as Motifs'


def recognize(names: Collection[str]) -> Kind | None:
    """Which program wrote a state dict of these names; None: none of these."""
    plain = [_bare(name) for name in names]
    for kind, sign in SIGNS.items():
        if any(name.startswith(sign) for name in plain):
            return kind
    return None


def translate(weights: Mapping[str, Tensor], kind: Kind, where: object = "weights") -> Weights:
    """The detector's weights by our names; all that is not the detector's is left out.

    Args:
        weights: by the program's names.
        kind: which program.
        where: what errors call them.

    Raises:
        InputError: a part of the detector is missing, or has a shape that makes no sense.
    """
    plain = {_bare(name): value for name, value in weights.items()}
    ways: dict[Kind, Callable[[Weights], Weights]] = {
        "torchvision": _from_torchvision,
        "detectron2": _from_detectron2,
        "motifs": _from_motifs,
        "graph_rcnn": _from_graph_rcnn,
    }
    try:
        return ways[kind](plain)
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
    """The weights whose names begin with one of these, with another beginning."""
    return {
        new + name[len(old) :]: value
        for name, value in weights.items()
        for old, new in prefixes.items()
        if name.startswith(old)
    }


def _from_torchvision(weights: Weights) -> Weights:
    """`fasterrcnn_*_fpn`; the published files have older names of one-convolution blocks."""
    own = _renamed(
        weights,
        {
            "backbone.": "backbone.body.",
            "rpn.head.": "rpn.head.",
            "roi_heads.box_head.": "roi_heads.box_head.",
            f"{PREDICTOR}.": f"{PREDICTOR}.",
        },
    )
    return {_newer(name): value for name, value in own.items()}


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
    used = ("backbone.", "proposal_generator.rpn_head.", "roi_heads.box_", "roi_heads.res5.")
    return _renamed(weights, {prefix: f"network.{prefix}" for prefix in used})


def _from_motifs(weights: Weights) -> Weights:
    """VGG-16 of rowanz/neural-motifs: `vg-faster-rcnn.tar`, or the detector in a whole model.

    Each anchor has two class logits, whose softmax is the sigmoid of their difference, and four
    deltas. The RoI head's deltas are not scaled there; ours are, by `CODER`.
    """
    own = _renamed(
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
        each = weights[f"rpn_head.conv.2.{name}"].unflatten(0, (-1, 6))
        own[f"rpn.head.cls_logits.{name}"] = each[:, 1] - each[:, 0]
        own[f"rpn.head.bbox_pred.{name}"] = each[:, 2:].flatten(0, 1)
        deltas = weights[f"bbox_fc.{name}"]
        scale = torch.tensor(CODER).repeat(len(deltas) // 4)
        own[f"{PREDICTOR}.bbox_pred.{name}"] = deltas * scale.reshape(-1, *[1] * (deltas.ndim - 1))
    return own


def _from_graph_rcnn(weights: Weights) -> Weights:
    """R-101-C4 of jwyang/graph-rcnn.pytorch (maskrcnn-benchmark's names)."""
    own = _renamed(
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
        deltas = own[f"{PREDICTOR}.bbox_pred.{name}"]
        if len(deltas) == 8:  # class-agnostic: the background's four are not used
            own[f"{PREDICTOR}.bbox_pred.{name}"] = deltas[4:]
    return own


def from_imagenet(
    weights: Mapping[str, Tensor], own: Mapping[str, Tensor], where: object = "weights"
) -> Weights | None:
    """The layers that a detector shares with torchvision's ImageNet classifier, by our names.

    VGG-16's two wide layers are among them where the box head is of their size.

    Args:
        weights: a file's.
        own: the detector's.
        where: what errors call the weights.

    Returns:
        None where they are no such classifier's.

    Raises:
        InputError: it is the classifier of another backbone.
    """
    if not any(name in weights for name in ("fc.weight", "classifier.3.weight")):
        return None
    found: Weights = {}
    others = []
    for name, value in weights.items():
        ours = next((n for n in _imagenet_names(name) if n in own), None)
        if name.startswith(("fc.", "classifier.")):
            if ours and value.shape == own[ours].shape:
                found[ours] = value
        elif ours:
            found[ours] = value
        elif not name.endswith("num_batches_tracked"):
            others.append(name)
    body = [n for n in own if n.startswith(("backbone.body.", f"{BOX_HEAD}.layer4."))]
    optional = (*found, *(n for n in body if ".fpn." in n or n.endswith("num_batches_tracked")))
    missing = sorted(set(body).difference(optional))
    if missing or others:
        got = f"another's ({', '.join([*others[:1], *(f'no {n}' for n in missing[:1])])})"
        raise bad_input(where, "ImageNet weights of this backbone", got)
    return found


def _imagenet_names(name: str) -> tuple[str, ...]:
    """What a layer of a classifier may be called in a detector."""
    part, _, rest = name.partition(".")
    if part == "classifier":
        number, _, last = rest.partition(".")
        layer = {"0": "fc6", "3": "fc7"}.get(number)
        return (f"{BOX_HEAD}.{layer}.{last}",)
    inner = rest if part == "features" else name
    return tuple(f"{p}.{inner}" for p in ("backbone.body.body", "backbone.body", BOX_HEAD))


def motifs_anchors(weights: Mapping[str, Tensor]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Sizes and ratios of the anchors `[H, W, A, 4]` in a file of Motifs.

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
