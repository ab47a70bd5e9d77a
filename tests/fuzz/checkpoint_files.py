"""Checkpoints of ours (today's, version 1, folders to hand on) and files of weights of others."""

from __future__ import annotations

import json
import pickle
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from autoenc_sg.model.autoencoder import AutoEncoder
from autoenc_sg.weights.checkpoint import (
    Checkpoint,
    read_checkpoint,
    read_training_state,
    write_checkpoint,
)
from autoenc_sg.weights.files.tensor_file import read_tensors, write_tensors
from autoenc_sg.weights.pretrained import save_pretrained
from autoenc_sg.weights.sg2im import import_sg2im
from autoenc_sg.weights.state_dict import read_weights
from tests.support.checkpoints import CAT_ON_MAT, pickled
from tests.support.files.sg2im_files import full
from tests.support.mutations import HOSTILE, mutated_binary, mutated_json, mutated_value
from tests.support.tiny import tiny_config

METADATA = ("config", "vocabulary", "phase", "step", "serial", "training", "version")


class CheckpointFiles:
    """Each file is damaged by its bytes or its values; what is accepted has to make a model."""

    def __init__(self, root: Path) -> None:
        self.root = root
        torch.manual_seed(0)
        config = tiny_config(root)
        model = AutoEncoder(config, CAT_ON_MAT, download=False)
        optimizer = {"state": {0: {"exp_avg": torch.zeros(3)}}, "param_groups": [{"lr": 0.1}]}
        training = {"optimizer_graph": optimizer, "rng_cpu": torch.get_rng_state()[None]}
        weights = {name: value.clone() for name, value in model.state_dict().items()}
        self.checkpoint = Checkpoint(config, CAT_ON_MAT, weights, "joint", 7, training)
        self.path, self.v1 = root / "checkpoint.safetensors", root / "checkpoint.pt"
        write_checkpoint(self.path, self.checkpoint)
        self.training = next(root.glob("training-*"))
        save_pretrained(root / "model", self.checkpoint)
        self.whole = {p: p.read_bytes() for p in (self.path, self.training)}
        self.folder = {p: p.read_bytes() for p in (root / "model").iterdir()}
        torch.save(pickled(self.checkpoint), self.v1)
        self.pickled, self.sg2im = self.v1.read_bytes(), full()

    def turn(self, rng: random.Random) -> None:
        kinds: tuple[Callable[[random.Random], None], ...] = (
            self._bytes,
            self._sealed,
            self._training_state,
            self._version_1,
            self._foreign,
            self._handed_on,
            self._sg2im,
        )
        rng.choice(kinds)(rng)

    def _bytes(self, rng: random.Random) -> None:
        path = rng.choice((self.path, self.training))
        path.write_bytes(mutated_binary(self.whole[path], rng))
        try:
            read_checkpoint(self.path)
            read_training_state(self.path)
        finally:
            path.write_bytes(self.whole[path])

    def _sealed(self, rng: random.Random) -> None:
        """Other metadata or tensors, with the right checksum."""
        texts = dict(read_tensors(self.path).metadata)
        del texts["sha256"]
        tensors = dict(self.checkpoint.model)
        if rng.random() < 0.7:
            name = rng.choice(METADATA)
            texts[name] = mutated_json(json.loads(texts[name]), rng).decode("utf-8", "replace")
        else:
            tensors = mutated_tensors(tensors, rng, plain=True)
        path = self.root / "sealed.safetensors"
        write_tensors(path, tensors, texts)
        AutoEncoder.from_checkpoint(path)

    def _training_state(self, rng: random.Random) -> None:
        contents = read_tensors(self.training)
        texts = {"structure": mutated_json(json.loads(contents.metadata["structure"]), rng)}
        path = self.root / "sealed" / "checkpoint.safetensors"
        path.parent.mkdir(exist_ok=True)
        digest = write_tensors(
            path.with_name("training-joint-7.safetensors"),
            contents.tensors,
            {"format": "autoenc-sg training state", "version": "2"}
            | {name: text.decode("utf-8", "replace") for name, text in texts.items()},
        )
        metadata = dict(read_tensors(self.path).metadata)
        del metadata["sha256"]
        reference = {"file": "training-joint-7.safetensors", "sha256": digest}
        metadata["training"] = json.dumps(reference)
        write_tensors(path, self.checkpoint.model, metadata)
        read_training_state(path)

    def _version_1(self, rng: random.Random) -> None:
        if rng.random() < 0.4:
            self.v1.write_bytes(mutated_binary(self.pickled, rng, header=4000))
        else:
            content = pickled(self.checkpoint)
            if rng.random() < 0.5:
                content["model"] = mutated_tensors(content["model"], rng)
            else:
                name = rng.choice(("config", "vocabulary", "phase", "step", "format", "version"))
                content[name] = mutated_member(content[name], rng)
            _save(content, self.v1)
        AutoEncoder.from_checkpoint(self.v1)

    def _foreign(self, rng: random.Random) -> None:
        path = self.root / rng.choice(("w.pt", "w.pth", "w.pkl", "w.safetensors"))
        weights: dict[str, Any] = {"a.weight": torch.ones(3, 2), "a.bias": torch.zeros(3)}
        if path.suffix == ".pkl":
            arrays = {"model": {name: value.numpy() for name, value in weights.items()}}
            path.write_bytes(mutated_binary(pickle.dumps(arrays), rng))
        elif path.suffix == ".safetensors":
            write_tensors(path, weights, {}, sealed=False)
            path.write_bytes(mutated_binary(path.read_bytes(), rng))
        else:
            state = mutated_tensors(weights, rng)
            _save(rng.choice((state, {"model": state}, {"state_dict": state})), path)
            if rng.random() < 0.5:
                path.write_bytes(mutated_binary(path.read_bytes(), rng, header=1000))
        for value in read_weights(path).values():
            assert value.layout == torch.strided
            assert not value.is_meta

    def _handed_on(self, rng: random.Random) -> None:
        path = rng.choice(sorted(self.folder))
        path.write_bytes(mutated_binary(self.folder[path], rng))
        try:
            AutoEncoder.from_pretrained(self.root / "model")
        finally:
            path.write_bytes(self.folder[path])

    def _sg2im(self, rng: random.Random) -> None:
        path, content = self.root / "sg2im.pt", dict(self.sg2im)
        name = rng.choice(("model_state", "model_kwargs", "d_img_state", "d_obj_kwargs", "vocab"))
        if name.endswith("state"):
            content[name] = mutated_tensors(content[name], rng)
        else:
            content[name] = mutated_member(content[name], rng)
        _save(content, path)
        if rng.random() < 0.2:
            path.write_bytes(mutated_binary(path.read_bytes(), rng, header=4000))
        import_sg2im(path)


def mutated_member(value: Any, rng: random.Random) -> Any:
    """Another value, or None."""
    changed = mutated_value({"member": value}, rng)
    return changed.get("member") if isinstance(changed, dict) else changed


def mutated_tensors(
    tensors: dict[str, Tensor], rng: random.Random, plain: bool = False
) -> dict[str, Any]:
    """One tensor replaced, removed or renamed; `plain`: by dense ones of other kinds alone."""
    changed: dict[str, Any] = dict(tensors)
    name = rng.choice(sorted(changed))
    value = changed.pop(name)
    if not isinstance(value, Tensor) or rng.random() < 0.1:
        return changed
    dense = [
        value.double(),
        value.half(),
        value.bool(),
        value.long(),
        value[None],
        torch.zeros(0),
        torch.full_like(value, float("nan")) if value.is_floating_point() else value + 2**40,
    ]
    strange: list[Any] = [
        value.float().to_sparse(),
        torch.zeros(1).expand(2**30),
        torch.zeros(1).expand(2**20, 2**20),
        value.to(torch.complex64),
        torch.quantize_per_tensor(value.float(), 0.1, 0, torch.qint8),
        torch.nn.Parameter(value.float()),
        torch.empty(2**40, device="meta"),
        *(rng.choice(HOSTILE) for _ in range(3)),
    ]
    changed[rng.choice((name, name, name, "x\x1b\n", "y" * 3000))] = rng.choice(
        dense if plain else dense + strange
    )
    return changed


def _save(content: Any, path: Path) -> None:
    torch.save(content, path, _use_new_zipfile_serialization=True)
