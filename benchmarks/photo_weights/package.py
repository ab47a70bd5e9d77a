"""The trained weights as a folder of the package: half precision, thresholds, a description."""

from __future__ import annotations

import csv
import shutil
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from autoenc_sg.config.data import DataConfig
from autoenc_sg.config.run import RunConfig
from autoenc_sg.data.open import open_dataset
from autoenc_sg.model.autoencoder import AutoEncoder
from autoenc_sg.model.familiarity import least_mean_score
from autoenc_sg.weights.pretrained import read_about, read_pretrained, save_pretrained
from benchmarks.photo_weights.thresholds import Choice, choose, with_thresholds


def data_config(data: DataConfig, root: Path) -> DataConfig:
    """The same data set in this folder."""
    return replace(data, root=str(root))


def without_places(config: RunConfig, name: str) -> RunConfig:
    """The configuration with the recipe's folders in place of those of the machine."""
    data = replace(config.data, root=f"runs/{name}_data")
    return replace(config, out=f"runs/{name}", data=data)


def write(run: Path, data: Path, out: Path, attribution: Path) -> None:
    """Choose the thresholds, then write weights, description and the photographs' attribution."""
    model = AutoEncoder.from_checkpoint(run)
    val = open_dataset(data_config(model.config.data, data), "val", model.config.seed)
    objects, edges = choose(model, val)
    with_thresholds(model, objects, edges)
    limit = least_mean_score(model, [val[i].image for i in range(len(val))])
    about = describe(attribution, objects, edges) | {"least_mean_score": round(limit, 4)}
    model.config = without_places(model.config, "photos")
    model.save(out, torch.float16, about)
    shutil.copyfile(attribution, out / attribution.name)
    print(f"largest relative difference to the run's weights: {rounding(model, out):.2e}")
    print(f"object threshold: {objects}", f"edge threshold: {edges}", sep="\n")


def rounding(model: AutoEncoder, folder: Path) -> float:
    """Largest |difference| / |weight| of the packaged weights of 2^-14 or more (normal float16)."""
    packaged = AutoEncoder.from_pretrained(folder).state_dict()
    return max(
        float(((packaged[name] - value).abs() / value.abs())[value.abs() >= 2**-14].amax())
        for name, value in model.state_dict().items()
        if value.is_floating_point() and bool((value.abs() >= 2**-14).any())
    )


def describe(attribution: Path, objects: Choice, edges: Choice) -> dict[str, Any]:
    """The `about` of the weights, without what was measured on `test`."""
    with attribution.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "train"]
    licences = Counter(row["license"] for row in rows)
    return {
        "summary": "photographs of everyday scenes: 79 of COCO's 80 classes (no zebra), relations "
        "of V-COCO, VSR and of a prior from Visual Genome",
        "knows": "photographs",
        "data": f"{len(rows)} photographs of COCO (train and validation splits), boxes of COCO, "
        "relations of people and pseudo-relations; backbone: ImageNet weights (Apache-2.0)",
        "licences": {
            "weights": "Apache-2.0",
            "photographs": dict(licences),
            "boxes and captions": "CC BY 4.0 (COCO Consortium)",
            "relations": "MIT (V-COCO), Apache-2.0 (VSR); prior: CC BY 4.0 (Visual Genome)",
        },
        "attribution": f"{attribution.name}: id, licence and address of every photograph",
        "chosen on validation": {"object": asdict(objects), "edge": asdict(edges)},
    }


def add_measured(weights: Path, numbers: Mapping[str, float], command: str) -> None:
    """Write what was measured on the test photographs into the description of the weights."""
    model = read_pretrained(weights)
    person, micro = numbers["AP50 of person"], numbers["detection micro AP50"]
    ratio = numbers["predicted graph L1"] / numbers["mean image L1"]
    measured = {
        "test photographs": int(numbers["images"]),
        "AP50 of person": round(person, 3),
        "micro AP50 over 79 classes": round(micro, 3),
        "PredCls R@20 / R@50": _pair(numbers, ""),
        "PredCls R@20 / R@50 of the frequency prior": _pair(numbers, "frequency prior "),
        "L1 of the picture, relative to the mean image's": round(ratio, 3),
        "SSIM": round(numbers["predicted graph SSIM"], 3),
        "command": command,
    }
    about = read_about(weights) | {"measured": measured}
    save_pretrained(weights, model, torch.float16, about)


def _pair(numbers: Mapping[str, float], row: str) -> str:
    return " / ".join(f"{numbers[f'{row}PredCls R@{k}']:.3f}" for k in (20, 50))
