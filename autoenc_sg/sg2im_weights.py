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

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from autoenc_sg.atomic import replacing
from autoenc_sg.checkpoint import (
    Checkpoint,
    check_weights,
    read_checkpoint,
    read_torch_file,
    write_checkpoint,
)
from autoenc_sg.config import DetectorConfig, GeneratorConfig, RunConfig
from autoenc_sg.errors import InputError, bad_input
from autoenc_sg.generator import Generator, ObjectDiscriminator, PatchDiscriminator
from autoenc_sg.model import DECODER
from autoenc_sg.sg2im_vocabulary import from_sg2im_vocab, to_sg2im_vocab
from autoenc_sg.vocabulary import Vocabulary

UNUSED_HEAD = "rel_aux_net."
OBJECT_PREFIX = "discriminator."
COUNTER = ".num_batches_tracked"
KINDS = {"discriminator": "d_img", "object_discriminator": "d_obj"}
# What the constructor of sg2im's model takes where a file does not say.
DEFAULTS: dict[str, Any] = {
    "image_size": (64, 64),
    "embedding_dim": 64,
    "gconv_dim": 128,
    "gconv_hidden_dim": 512,
    "gconv_pooling": "avg",
    "gconv_num_layers": 5,
    "refinement_dims": (1024, 512, 256, 128, 64),
    "normalization": "batch",
    "activation": "leakyrelu-0.2",
    "mask_size": None,
    "mlp_normalization": "none",
    "layout_noise_dim": 0,
}


@dataclass(frozen=True, eq=False)
class Converted:
    """A checkpoint in the other form, and what could not be taken along, a line each."""

    content: Any
    notes: tuple[str, ...] = ()


def import_sg2im(path: Path) -> Converted:
    """Read a checkpoint of sg2im; `content` is a `Checkpoint` of ours that holds a decoder.

    Nothing in the file is executed: tensors and plain values are read, the history of losses
    (`defaultdict`, NumPy scalars) is passed over.

    Raises:
        InputError: one line: not such a file, one without weights, or of other names or shapes.
    """
    data = _read(path)
    kwargs = DEFAULTS | dict(data["model_kwargs"])
    vocabulary = from_sg2im_vocab(kwargs.get("vocab", data.get("vocab")), f"{path}: vocab")
    try:
        config = _generator_config(kwargs, data)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except (TypeError, ValueError, KeyError) as error:
        raise bad_input(f"{path}: model_kwargs", "those of sg2im", error) from error
    state = _plain_names(data["model_state"], path)
    training: dict[str, Any] = {}
    head = {name: v for name, v in state.items() if name.startswith(UNUSED_HEAD)}
    if head:
        training["rel_aux_net"] = head
    weights = {name: v for name, v in state.items() if name not in head}
    with torch.device("meta"):
        generator = Generator(config, vocabulary.num_objects, vocabulary.num_predicates)
    weights = _with_counters(weights, generator.state_dict())
    check_weights(generator, weights, f"{path}: model_state")
    notes = []
    for name in KINDS:
        found, note = _discriminator(name, data, config, vocabulary, path)
        training |= found
        notes += note
    model = {DECODER + name: value for name, value in weights.items()}
    run = RunConfig(generator=config, detector=DetectorConfig(backbone="small", channels=32))
    return Converted(Checkpoint(run, vocabulary, model, training=training), tuple(notes))


def export_sg2im(checkpoint: Checkpoint, where: object = "checkpoint") -> Converted:
    """`content` is the dict that sg2im's `strip_checkpoint.py` writes, for `torch.save`.

    Raises:
        InputError: the generator does something that sg2im's does not.
    """
    config = checkpoint.config.generator
    if config.activation in ("gelu", "none"):
        raise bad_input(f"{where}: generator.activation", "relu or leakyrelu", config.activation)
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
        notes.append("no appearance codes, which sg2im has not; without them pictures are the same")
    kwargs = _model_kwargs(config, checkpoint.vocabulary)
    head = checkpoint.training.get("rel_aux_net")
    state = weights | (head or _empty_head(config, checkpoint.vocabulary))
    data: dict[str, Any] = {"args": {}, "model_state": state, "model_kwargs": kwargs}
    for name, key in KINDS.items():
        own = checkpoint.training.get(name)
        if own is None:
            notes.append(f"no {key}: the checkpoint has none")
        elif name == "discriminator" and config.discriminator_condition != "none":
            notes.append(f"no {key}: it sees the layout, which sg2im's does not")
        else:
            prefix = OBJECT_PREFIX if name == "object_discriminator" else ""
            data[f"{key}_state"] = {prefix + n: value for n, value in own.items()}
            data[f"{key}_kwargs"] = _discriminator_kwargs(name, config, kwargs["vocab"])
    return Converted(data, tuple(notes))


def import_file(source: Path, out: Path) -> tuple[str, ...]:
    """Write sg2im's checkpoint `source` as ours; returns notes, raises as `import_sg2im`."""
    converted = import_sg2im(source)
    write_checkpoint(out, converted.content)
    return converted.notes


def export_file(source: Path, out: Path) -> tuple[str, ...]:
    """Write our checkpoint `source` as sg2im's; returns notes, raises as `export_sg2im`."""
    converted = export_sg2im(read_checkpoint(source), source)
    with replacing(out) as temporary:
        torch.save(converted.content, temporary)
    return converted.notes


# Reading ------------------------------------------------------------------------------------------


class _Forgotten:
    """Stands for a NumPy type in the history of losses."""

    def __init__(self, *_: object) -> None:
        return

    def __setstate__(self, _: object) -> None:
        return


def _forget(*_: object) -> None:
    return


def _empty_dict(*_: object) -> dict[str, Any]:
    return {}


# The names a training checkpoint refers to beside tensors; each means something harmless of ours.
STANDINS: list[tuple[Callable[..., Any], str]] = [
    (_empty_dict, "collections.defaultdict"),
    (list, "builtins.list"),
    (list, "__builtin__.list"),
    (_forget, "numpy.core.multiarray.scalar"),
    (_forget, "numpy._core.multiarray.scalar"),
    (_Forgotten, "numpy.dtype"),
]


def _read(path: Path) -> dict[str, Any]:
    data = read_torch_file(path, STANDINS)
    if not isinstance(data, dict) or not isinstance(data.get("model_kwargs"), dict):
        raise bad_input(path, "a checkpoint of sg2im", "a file of another kind")
    if not isinstance(data.get("model_state"), dict):
        raise bad_input(path, "a checkpoint of sg2im with weights", "one without (`*_no_model.pt`)")
    return data


def _plain_names(state: Any, path: Path) -> dict[str, Tensor]:
    """The state without the prefix of parallel training."""
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise bad_input(f"{path}: model_state", "tensors alone", "other values")
    return {str(name).removeprefix("module."): value for name, value in state.items()}


def _with_counters(weights: dict[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    missing = [name for name in own if name.endswith(COUNTER) and name not in weights]
    return weights | {name: torch.zeros((), dtype=torch.int64) for name in missing}


def _generator_config(kwargs: Mapping[str, Any], data: Mapping[str, Any]) -> GeneratorConfig:
    height, width = kwargs["image_size"]
    if height != width:
        raise bad_input("image_size", "a square", (height, width))
    image, objects = (data.get(f"{KINDS[name]}_kwargs") or {} for name in KINDS)
    return GeneratorConfig(
        image_size=int(height),
        embedding_dim=int(kwargs["embedding_dim"]),
        gconv_dim=int(kwargs["gconv_dim"]),
        gconv_hidden_dim=int(kwargs["gconv_hidden_dim"]),
        gconv_layers=int(kwargs["gconv_num_layers"]),
        gconv_pooling=kwargs["gconv_pooling"],
        mask_size=int(kwargs["mask_size"] or 0),
        layout_noise_dim=int(kwargs["layout_noise_dim"]),
        input_noise=False,
        refinement_dims=tuple(int(dim) for dim in kwargs["refinement_dims"]),
        normalization=kwargs["normalization"],
        mlp_normalization=kwargs["mlp_normalization"],
        activation=_activation(str(kwargs["activation"])),
        discriminator_dims=_widths(image) or (64, 128, 256),
        discriminator_condition="none",
        discriminator_classifier=False,
        object_discriminator_dims=_widths(objects) or (64, 128, 256),
        object_size=int(objects.get("object_size", 32)),
    )


def _activation(name: str) -> str:
    slope = re.fullmatch(r"leakyrelu-(\d*\.?\d+)", name.lower())
    return f"leakyrelu-{float(slope[1]) if slope else 0.01:g}"


def _widths(kwargs: Mapping[str, Any]) -> tuple[int, ...]:
    """Widths of `C4-64-2,C4-128-2,…`; empty for another architecture."""
    layers = str(kwargs.get("arch", "")).split(",")
    found = [re.fullmatch(r"C4-(\d+)-2", layer) for layer in layers]
    return tuple(int(match[1]) for match in found if match) if all(found) else ()


def _discriminator(
    name: str, data: Mapping[str, Any], config: GeneratorConfig, vocabulary: Vocabulary, path: Path
) -> tuple[dict[str, Any], list[str]]:
    """The discriminator as a phase keeps it, or why it is left out."""
    key = KINDS[name]
    state, kwargs = data.get(f"{key}_state"), data.get(f"{key}_kwargs")
    if state is None or kwargs is None:
        return {}, []
    same = (
        bool(_widths(kwargs))
        and kwargs.get("padding", "same") == "valid"
        and kwargs.get("normalization", "batch") == config.normalization
        and _activation(str(kwargs.get("activation"))) == config.activation
    )
    if not same:
        return {}, [f"{key} left out: an architecture that is not ours"]
    with torch.device("meta"):
        network = (
            PatchDiscriminator(config)
            if name == "discriminator"
            else ObjectDiscriminator(config, vocabulary.num_objects)
        )
    plain = _plain_names(state, path)
    if name == "object_discriminator":
        plain = {n.removeprefix(OBJECT_PREFIX): value for n, value in plain.items()}
    plain = _with_counters(plain, network.state_dict())
    check_weights(network, plain, f"{path}: {key}_state")
    return {name: plain}, []


# Writing ------------------------------------------------------------------------------------------


def _model_kwargs(config: GeneratorConfig, vocabulary: Vocabulary) -> dict[str, Any]:
    return {
        "vocab": to_sg2im_vocab(vocabulary),
        "image_size": (config.image_size, config.image_size),
        "embedding_dim": config.embedding_dim,
        "gconv_dim": config.gconv_dim,
        "gconv_hidden_dim": config.gconv_hidden_dim,
        "gconv_pooling": config.gconv_pooling,
        "gconv_num_layers": config.gconv_layers,
        "mlp_normalization": config.mlp_normalization,
        "refinement_dims": tuple(config.refinement_dims),
        "normalization": config.normalization,
        "activation": _written_activation(config.activation),
        "mask_size": config.mask_size or None,
        "layout_noise_dim": config.layout_noise_dim,
    }


def _written_activation(name: str) -> str:
    return "leakyrelu-0.0" if name == "relu" else name


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


def _discriminator_kwargs(
    name: str, config: GeneratorConfig, vocab: Mapping[str, Any]
) -> dict[str, Any]:
    dims = (
        config.discriminator_dims if name == "discriminator" else config.object_discriminator_dims
    )
    kwargs: dict[str, Any] = {
        "arch": ",".join(f"C4-{width}-2" for width in dims),
        "normalization": config.normalization,
        "activation": _written_activation(config.activation),
        "padding": "valid",
    }
    if name == "discriminator":
        return kwargs
    return {"vocab": vocab, **kwargs, "object_size": config.object_size}
