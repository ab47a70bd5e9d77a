"""The arguments of sg2im's networks, `*_kwargs` of its checkpoints, and our configuration's.

Source: google/sg2im `sg2im/model.py`, `sg2im/layers.py`, `sg2im/discriminators.py`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from autoenc_sg.config.model import GeneratorConfig
from autoenc_sg.core.errors import bad_input
from autoenc_sg.core.vocabulary import Vocabulary
from autoenc_sg.data.sg2im_vg.vocabulary import to_sg2im_vocab

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


def generator_config(kwargs: Mapping[str, Any], data: Mapping[str, Any]) -> GeneratorConfig:
    """The generator of `model_kwargs`, with the widths of the file's discriminators.

    Raises:
        InputError: sg2im or this generator knows no such value.
    """
    size = kwargs["image_size"]
    if not isinstance(size, (list, tuple)) or len(size) != 2 or size[0] != size[1]:
        raise bad_input("image_size", "[height, width] of a square", size)
    image, objects = (discriminator_arguments(name, data) or {} for name in KINDS)
    dims = kwargs["refinement_dims"]
    if not isinstance(dims, (list, tuple)):
        raise bad_input("refinement_dims", "a list of widths", dims)
    return GeneratorConfig(
        image_size=_whole("image_size", size[0]),
        embedding_dim=_whole("embedding_dim", kwargs["embedding_dim"]),
        gconv_dim=_whole("gconv_dim", kwargs["gconv_dim"]),
        gconv_hidden_dim=_whole("gconv_hidden_dim", kwargs["gconv_hidden_dim"]),
        gconv_layers=_whole("gconv_num_layers", kwargs["gconv_num_layers"]),
        gconv_pooling=_one_of("gconv_pooling", kwargs["gconv_pooling"], ("avg", "sum")),
        mask_size=_whole("mask_size", kwargs["mask_size"] or 0),
        layout_noise_dim=_whole("layout_noise_dim", kwargs["layout_noise_dim"]),
        input_noise=False,
        refinement_dims=tuple(_whole("refinement_dims", dim) for dim in dims),
        normalization=_one_of(
            "normalization", kwargs["normalization"], ("batch", "instance", "none")
        ),
        mlp_normalization=_one_of(
            "mlp_normalization", kwargs["mlp_normalization"], ("batch", "none")
        ),
        activation=_activation(kwargs["activation"]),
        discriminator_dims=_widths(image) or (64, 128, 256),
        discriminator_condition="none",
        discriminator_classifier=False,
        object_discriminator_dims=_widths(objects) or (64, 128, 256),
        object_size=_whole("object_size", objects.get("object_size", 32)),
    )


def _whole(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != int(value):
        raise bad_input(name, "a whole number", repr(value)[:40])
    return int(value)


def _one_of(name: str, value: Any, allowed: tuple[str, ...]) -> Any:
    if value not in allowed:
        raise bad_input(name, " or ".join(allowed), repr(value)[:40])
    return value


def _activation(name: Any) -> str:
    """Our name of the same function: sg2im gives slope 0.01 to any name but `leakyrelu-<slope>`."""
    if not isinstance(name, str):
        raise bad_input("activation", "a name such as leakyrelu-0.2", repr(name)[:40])
    if not name.lower().startswith("leakyrelu-"):
        return "leakyrelu-0.01"
    slope = name.split("-")[1]
    if re.fullmatch(r"\d*\.?\d+", slope) is None:
        raise bad_input("activation", "a name such as leakyrelu-0.2", name[:40])
    return f"leakyrelu-{float(slope):g}"


def _widths(kwargs: Mapping[str, Any]) -> tuple[int, ...]:
    """Widths of `C4-64-2,C4-128-2,…`; empty for another architecture."""
    layers = str(kwargs.get("arch", "")).split(",")
    matches = [re.fullmatch(r"C4-(\d+)-2", layer) for layer in layers]
    return tuple(int(match[1]) for match in matches if match) if all(matches) else ()


def discriminator_arguments(name: str, data: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The arguments of a discriminator in a checkpoint; raises `InputError` for another thing."""
    key = f"{KINDS[name]}_kwargs"
    kwargs = data.get(key)
    if kwargs is not None and not isinstance(kwargs, dict):
        raise bad_input(key, "the arguments of a discriminator", repr(kwargs)[:40])
    return kwargs


def is_ours(kwargs: Mapping[str, Any], config: GeneratorConfig) -> bool:
    """Whether a discriminator has the generator's normalization and activation, as ours do."""
    return (
        bool(_widths(kwargs))
        and kwargs.get("padding", "same") == "valid"
        and kwargs.get("normalization", "batch") == config.normalization
        and _activation(kwargs.get("activation", "leakyrelu-0.2")) == config.activation
    )


def model_kwargs(config: GeneratorConfig, vocabulary: Vocabulary) -> dict[str, Any]:
    """Arguments with which sg2im's model is the same network as ours."""
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


def discriminator_kwargs(
    name: str, config: GeneratorConfig, vocab: Mapping[str, Any]
) -> dict[str, Any]:
    """Arguments with which sg2im's discriminator is the same network as ours."""
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
