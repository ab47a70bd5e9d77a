"""Checkpoints as google/sg2im writes them, built from its names and shapes alone."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np
import torch
from torch import Tensor

OBJECTS = ["__image__", "cat", "dog", "sky", "tree"]
PREDICATES = ["__in_image__", "near", "above"]
SIZES: dict[str, Any] = {
    "image_size": (32, 32),
    "embedding_dim": 6,
    "gconv_dim": 8,
    "gconv_hidden_dim": 10,
    "gconv_num_layers": 3,
    "mlp_normalization": "none",
    "refinement_dims": (12, 8),
    "normalization": "batch",
    "activation": "leakyrelu-0.2",
    "mask_size": 4,
    "layout_noise_dim": 3,
}


def vocab(objects: list[str] = OBJECTS) -> dict[str, Any]:
    return {
        "object_name_to_idx": {n: i for i, n in enumerate(objects) if n != "NONE"},
        "object_idx_to_name": objects,
        "pred_name_to_idx": {n: i for i, n in enumerate(PREDICATES)},
        "pred_idx_to_name": PREDICATES,
    }


class _State(dict[str, Tensor]):
    """Random weights under the names that layers give them."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.rng = torch.Generator().manual_seed(seed)

    def layer(self, name: str, *shape: int) -> None:
        self[f"{name}.weight"] = torch.randn(shape, generator=self.rng) / shape[1]
        self[f"{name}.bias"] = torch.rand(shape[:1], generator=self.rng)

    def norm(self, name: str, width: int) -> None:
        for part in ("weight", "bias", "running_mean", "running_var"):
            self[f"{name}.{part}"] = torch.rand(width, generator=self.rng) + 0.5
        self[f"{name}.num_batches_tracked"] = torch.tensor(7)


def model_state(sizes: dict[str, Any] = SIZES, objects: int = len(OBJECTS)) -> dict[str, Tensor]:
    """Reference, 2.2, at other sizes."""
    state = _State(0)
    embedding, dim, hidden = (sizes[k] for k in ("embedding_dim", "gconv_dim", "gconv_hidden_dim"))
    state["obj_embeddings.weight"] = torch.randn(objects + 1, embedding, generator=state.rng)
    state["pred_embeddings.weight"] = torch.randn(len(PREDICATES), embedding, generator=state.rng)
    layers = ["gconv", *(f"gconv_net.gconvs.{k}" for k in range(sizes["gconv_num_layers"] - 1))]
    for k, name in enumerate(layers):
        state.layer(f"{name}.net1.0", hidden, 3 * (dim if k else embedding))
        state.layer(f"{name}.net1.2", 2 * hidden + dim, hidden)
        state.layer(f"{name}.net2.0", hidden, hidden)
        state.layer(f"{name}.net2.2", dim, hidden)
    state.layer("box_net.0", hidden, dim)
    state.layer("box_net.2", 4, hidden)
    doublings = sizes["mask_size"].bit_length() - 1
    for k in range(doublings):
        state.norm(f"mask_net.{4 * k + 1}", dim)
        state.layer(f"mask_net.{4 * k + 2}", dim, dim, 3, 3)
    state.layer(f"mask_net.{4 * doublings}", 1, dim, 1, 1)
    state.layer("rel_aux_net.0", hidden, 2 * embedding + 8)
    state.layer("rel_aux_net.2", len(PREDICATES), hidden)
    d_in = 1
    for k, width in enumerate(sizes["refinement_dims"]):
        net = f"refinement_net.refinement_modules.{k}.net"
        state.layer(f"{net}.0", width, dim + sizes["layout_noise_dim"] + d_in, 3, 3)
        state.norm(f"{net}.1", width)
        state.layer(f"{net}.3", width, width, 3, 3)
        state.norm(f"{net}.4", width)
        d_in = width
    state.layer("refinement_net.output_conv.0", d_in, d_in, 3, 3)
    state.layer("refinement_net.output_conv.2", 3, d_in, 1, 1)
    return dict(state)


def discriminators(objects: int = len(OBJECTS)) -> dict[str, Any]:
    """Both, with `C4-4-2,C4-6-2`."""
    common = {"normalization": "batch", "activation": "leakyrelu-0.2", "padding": "valid"}
    found: dict[str, Any] = {}
    for key, prefix in (("d_img", "cnn"), ("d_obj", "discriminator.cnn.0")):
        state = _State(1)
        state.layer(f"{prefix}.0", 4, 3, 4, 4)
        state.norm(f"{prefix}.1", 4)
        state.layer(f"{prefix}.3", 6, 4, 4, 4)
        found[f"{key}_state"] = dict(state)
        found[f"{key}_kwargs"] = {"arch": "C4-4-2,C4-6-2", **common}
    image, own = _State(2), _State(3)
    image.layer("classifier", 1, 6, 1, 1)
    own.layer("discriminator.cnn.2", 1024, 6)
    own.layer("discriminator.real_classifier", 1, 1024)
    own.layer("discriminator.obj_classifier", objects, 1024)
    found["d_img_state"] |= dict(image)
    found["d_obj_state"] |= dict(own)
    found["d_obj_kwargs"] |= {"vocab": vocab(), "object_size": 16}
    return found


def stripped(**changes: Any) -> dict[str, Any]:
    """What `strip_checkpoint.py` leaves."""
    kwargs = {"vocab": vocab(), **SIZES}
    return {
        "args": {"dataset": "vg", "image_size": (32, 32)},
        "model_state": model_state(),
        "model_kwargs": kwargs,
        **discriminators(),
        **changes,
    }


def full(**changes: Any) -> dict[str, Any]:
    """What `train.py` writes: with histories, samples and optimizers."""
    losses: defaultdict[str, list[Any]] = defaultdict(list)
    losses["bbox_pred"].append(0.5)
    validation: defaultdict[str, list[Any]] = defaultdict(list)
    validation["L1_pixel_loss"] += [np.float64(0.25), np.float32(0.5), np.int64(3)]
    return {
        **stripped(),
        "vocab": vocab(),
        "losses_ts": [10],
        "losses": losses,
        "d_losses": defaultdict(list),
        "checkpoint_ts": [10],
        "train_samples": [{"gt_img": torch.zeros(2, 3, 4, 4, dtype=torch.uint8)}],
        "train_iou": [torch.tensor(0.5)],
        "val_losses": validation,
        "norm_d": [],
        "norm_g": [],
        "counters": {"t": 10, "epoch": 0},
        "model_best_state": None,
        "optim_state": {"state": {}, "param_groups": []},
        "best_t": [],
        **changes,
    }
