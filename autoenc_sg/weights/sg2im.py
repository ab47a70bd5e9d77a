"""The published weights of google/sg2im: its checkpoints read as ours, and ours written as its.

A file of sg2im's `train.py`, or of its `strip_checkpoint.py`, holds the generator (`model_state`,
`model_kwargs` with the vocabulary) and perhaps two discriminators. It becomes a checkpoint of a
decoder alone: `render` works, `parse` does not. Differences that are bridged here:

- state names are the same but for the prefix `module.` of parallel training, and `rel_aux_net`,
  a head that the generator does not use: the checkpoint's `training` keeps it for the way back;
- object 0 `__image__` and predicate 0 `__in_image__` are our reserved entries; COCO's unused class
  ids, all called `NONE` there, are called `__unused_<id>__` here, since names are unique;
- files of PyTorch before 0.4.1 lack batch norm's `num_batches_tracked`, filled with 0;
- sg2im gives LeakyReLU 0.01 for every activation's name but `leakyrelu-<slope>`;
- discriminators of another form than ours are left out, which a note says.

Source: google/sg2im `scripts/train.py`, `scripts/strip_checkpoint.py`, `sg2im/model.py`,
`sg2im/discriminators.py`, `sg2im/layers.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from autoenc_sg.config.data import DataConfig
from autoenc_sg.config.model import DetectorConfig, GeneratorConfig
from autoenc_sg.config.run import RunConfig
from autoenc_sg.core.atomic_files import replacing
from autoenc_sg.core.errors import InputError, bad_input
from autoenc_sg.core.vocabulary import Vocabulary
from autoenc_sg.data.coco.geometric_relations import GEOMETRIC_PREDICATES
from autoenc_sg.data.sg2im_vg.vocabulary import from_sg2im_vocab
from autoenc_sg.generator import Generator, ObjectDiscriminator, PatchDiscriminator
from autoenc_sg.weights.checkpoint import (
    DECODER,
    Checkpoint,
    read_checkpoint,
    read_training_state,
    write_checkpoint,
)
from autoenc_sg.weights.safe_pickle import HISTORY_STANDINS, read_torch_file
from autoenc_sg.weights.sg2im_arguments import (
    DEFAULTS,
    KINDS,
    discriminator_arguments,
    discriminator_kwargs,
    generator_config,
    is_ours,
    model_kwargs,
)
from autoenc_sg.weights.state_dict import check_weights

UNUSED_HEAD = "rel_aux_net."
OBJECT_PREFIX = "discriminator."
COUNTER = ".num_batches_tracked"


@dataclass(frozen=True, eq=False)
class Converted:
    """A converted checkpoint, and a note for each thing that could not be converted."""

    content: Any
    notes: tuple[str, ...] = ()


def import_sg2im(path: Path) -> Converted:
    """Read a checkpoint of sg2im; `content` is a `Checkpoint` of ours that holds a decoder.

    Nothing in the file is executed: tensors and plain values are read, the history of losses
    (`defaultdict`, NumPy scalars) is skipped.

    Raises:
        InputError: not a checkpoint of sg2im, without weights, or names or shapes do not fit.
    """
    data = _read(path)
    kwargs = DEFAULTS | dict(data["model_kwargs"])
    state = _plain_state(data["model_state"], f"{path}: model_state")
    with _named(path):
        vocabulary = from_sg2im_vocab(kwargs.get("vocab", data.get("vocab")), "vocab")
        config = generator_config(kwargs, data)
        if config.gconv_layers > len(state):
            raise bad_input("gconv_num_layers", "as many as have weights", config.gconv_layers)
        with torch.device("meta"):
            generator = Generator(config, vocabulary.num_objects, vocabulary.num_predicates)
    training: dict[str, Any] = {}
    head = {name: v for name, v in state.items() if name.startswith(UNUSED_HEAD)}
    if head:
        training["rel_aux_net"] = head
    weights = {name: v for name, v in state.items() if name not in head}
    weights = _with_counters(weights, generator.state_dict())
    check_weights(generator, weights, f"{path}: model_state")
    notes = []
    for name in KINDS:
        with _named(path):
            state_dicts, reasons = _discriminator(name, data, config, vocabulary)
        training |= state_dicts
        notes += reasons
    model = {DECODER + name: value for name, value in weights.items()}
    detector = DetectorConfig(backbone="small", channels=32)
    run = RunConfig(data=_own_data(vocabulary), generator=config, detector=detector)
    return Converted(Checkpoint(run, vocabulary, model, training=training), tuple(notes))


def export_sg2im(checkpoint: Checkpoint, where: object = "checkpoint") -> Converted:
    """`content` is the dict that sg2im's `strip_checkpoint.py` writes, for `torch.save`.

    Raises:
        InputError: the generator does something that sg2im's does not.
    """
    config = checkpoint.config.generator
    if config.activation in ("gelu", "none"):
        raise bad_input(f"{where}: generator.activation", "relu or leakyrelu", config.activation)
    if config.relation_layout:
        what = f"{where}: generator.relation_layout"
        raise bad_input(what, "false (sg2im draws objects alone)", config.relation_layout)
    weights = {
        name[len(DECODER) :]: value
        for name, value in checkpoint.model.items()
        if name.startswith(DECODER)
    }
    notes = []
    if config.input_noise:
        notes.append("sg2im starts from zeros where this generator starts from noise")
    if config.appearance_dim:
        weights = {n: v for n, v in weights.items() if not n.startswith("appearance_net.")}
        notes.append(
            "no appearance codes, which sg2im does not have; pictures without them are the same"
        )
    if config.background_cells:
        weights = {n: v for n, v in weights.items() if not n.startswith("background_net.")}
        notes.append("no codes of the background either: likewise")
    kwargs = model_kwargs(config, checkpoint.vocabulary)
    head = checkpoint.training.get("rel_aux_net")
    state = weights | (head or _empty_head(config, checkpoint.vocabulary))
    data: dict[str, Any] = {"args": {}, "model_state": state, "model_kwargs": kwargs}
    for name, key in KINDS.items():
        discriminator = checkpoint.training.get(name)
        if discriminator is None:
            notes.append(f"no {key}: the checkpoint has none")
        elif name == "discriminator" and config.discriminator_condition != "none":
            notes.append(f"no {key}: it sees the layout, which sg2im's does not")
        else:
            prefix = OBJECT_PREFIX if name == "object_discriminator" else ""
            data[f"{key}_state"] = {prefix + n: value for n, value in discriminator.items()}
            data[f"{key}_kwargs"] = discriminator_kwargs(name, config, kwargs["vocab"])
    return Converted(data, tuple(notes))


def import_file(source: Path, out: Path) -> tuple[str, ...]:
    """Write sg2im's checkpoint `source` as ours; returns notes, raises as `import_sg2im`."""
    converted = import_sg2im(source)
    write_checkpoint(out, converted.content)
    return converted.notes


def export_file(source: Path, out: Path) -> tuple[str, ...]:
    """Write our checkpoint `source` as sg2im's; returns notes, raises as `export_sg2im`."""
    checkpoint = read_checkpoint(source)
    notes: tuple[str, ...] = ()
    try:
        checkpoint = replace(checkpoint, training=read_training_state(source))
    except InputError as error:  # the model alone is exported
        notes = (str(error),)
    converted = export_sg2im(checkpoint, source)
    with replacing(out) as temporary:
        torch.save(converted.content, temporary)
    return (*notes, *converted.notes)


# Reading ------------------------------------------------------------------------------------------


def _read(path: Path) -> dict[str, Any]:
    data = read_torch_file(path, HISTORY_STANDINS)
    if not isinstance(data, dict) or not isinstance(data.get("model_kwargs"), dict):
        raise bad_input(path, "a checkpoint of sg2im", "a file of another kind")
    if not isinstance(data.get("model_state"), dict):
        raise bad_input(path, "a checkpoint of sg2im with weights", "one without (`*_no_model.pt`)")
    return data


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Turn errors that the file's values cause into InputError with the file's name."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except (TypeError, ValueError, KeyError, RuntimeError, OverflowError) as error:
        raise bad_input(f"{path}: model_kwargs", "those of sg2im", error) from error


def _plain_state(state: Any, where: str) -> dict[str, Tensor]:
    """The state without the prefix of parallel training, its numbers as float32."""
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise bad_input(where, "tensors alone", "other values")
    plain = {str(name).removeprefix("module."): value for name, value in state.items()}
    if len(plain) < len(state):
        raise bad_input(where, "each name once", "one with and without the prefix 'module.'")
    for name, value in plain.items():
        if name.endswith(COUNTER):
            continue
        what = f"{where}: {name}"
        if not value.is_floating_point() or value.layout != torch.strided or value.is_meta:
            raise bad_input(what, "floating-point numbers", f"{value.dtype}, {value.layout}")
        if not value.isfinite().all():
            raise bad_input(what, "finite numbers", "infinite ones or none (NaN)")
        if name.endswith(".running_var") and (value < 0).any():
            raise bad_input(what, "variances >= 0", f"{float(value.min()):g}")
        plain[name] = value.detach().float()
    return plain


def _own_data(vocabulary: Vocabulary) -> DataConfig:
    """The data set that has such predicates, with a default root for the user to change."""
    if vocabulary.predicates[1:] == GEOMETRIC_PREDICATES:
        return DataConfig(format="coco_stuff", root="data/coco", num_val=1024)
    return DataConfig(format="sg2im_vg", root="data/vg")


def _with_counters(weights: dict[str, Tensor], names: Iterable[str]) -> dict[str, Tensor]:
    missing = [name for name in names if name.endswith(COUNTER) and name not in weights]
    return weights | {name: torch.zeros((), dtype=torch.int64) for name in missing}


def _discriminator(
    name: str, data: Mapping[str, Any], config: GeneratorConfig, vocabulary: Vocabulary
) -> tuple[dict[str, Any], list[str]]:
    """State dicts by name as a training phase keeps them (one or none), and why none."""
    key = KINDS[name]
    state, kwargs = data.get(f"{key}_state"), discriminator_arguments(name, data)
    if state is None:
        return {}, []
    if not kwargs or not is_ours(kwargs, config):
        return {}, [f"{key} left out: an architecture that is not ours"]
    with torch.device("meta"):
        network = (
            PatchDiscriminator(config)
            if name == "discriminator"
            else ObjectDiscriminator(config, vocabulary.num_objects)
        )
    plain = _plain_state(state, f"{key}_state")
    if name == "object_discriminator":
        plain = {n.removeprefix(OBJECT_PREFIX): value for n, value in plain.items()}
    plain = _with_counters(plain, network.state_dict())
    check_weights(network, plain, f"{key}_state")
    return {name: plain}, []


# Writing ------------------------------------------------------------------------------------------


def _empty_head(config: GeneratorConfig, vocabulary: Vocabulary) -> dict[str, Tensor]:
    """Zeros for the head that only a deprecated loss of sg2im trains."""
    sizes = [2 * config.embedding_dim + 8, config.gconv_hidden_dim, vocabulary.num_predicates]
    state: dict[str, Tensor] = {}
    step = 3 if config.mlp_normalization == "batch" else 2
    for i in range(2):
        state[f"{UNUSED_HEAD}{i * step}.weight"] = torch.zeros(sizes[i + 1], sizes[i])
        state[f"{UNUSED_HEAD}{i * step}.bias"] = torch.zeros(sizes[i + 1])
        if step == 3:
            state |= {
                f"{UNUSED_HEAD}{i * step + 1}.{name}": value
                for name, value in torch.nn.BatchNorm1d(sizes[i + 1]).state_dict().items()
            }
    return state
