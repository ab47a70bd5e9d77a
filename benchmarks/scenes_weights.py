"""The weights `scenes` of the package, from a run of the recipe `scenes_hour`, and their figures.

    autoenc-sg train scenes_hour
    python benchmarks/scenes_weights.py runs/scenes_hour [--data FOLDER] [--out weights/scenes]

Writes the weights in half precision, scores them on the test scenes, and puts what was measured
into their description. Thresholds are those of the recipe.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a checkout, not installed

from autoenc_sg.config.data import DataConfig
from autoenc_sg.data.open import open_dataset
from autoenc_sg.model.autoencoder import AutoEncoder
from autoenc_sg.model.familiarity import least_mean_score
from autoenc_sg.scoring.evaluate import EvaluationOptions, evaluate_checkpoint
from autoenc_sg.scoring.options import ALL_TASKS
from benchmarks.photo_weights.package import rounding, without_places

MEASURED = {  # name in the evaluation: as it is written
    "detection AP50": "AP50",
    "PredCls R@50": "PredCls R@50",
    "SGGen R@50": "SGGen R@50",
    "frequency prior SGGen R@50": "SGGen R@50 of the frequency prior",
    "SGGen mR@50": "SGGen mR@50",
    "predicted graph L1": "L1 of the picture",
    "mean image L1": "L1 of the mean image",
    "predicted graph SSIM": "SSIM",
}


def write(run: Path, data: Path | None, out: Path) -> None:
    """Write the weights, score them, and describe them."""
    model = AutoEncoder.from_checkpoint(run)
    config = model.config.data
    val = open_dataset(replace(config, root=str(data or config.root)), "val", model.config.seed)
    limit = least_mean_score(model, [val[i].image for i in range(min(len(val), 200))])
    about = describe(config) | {"least_mean_score": round(limit, 4)}
    model.config = without_places(model.config, "scenes")
    model.save(out, torch.float16, about)
    place = data or Path(config.root)
    options = EvaluationOptions(data=place, tasks=ALL_TASKS, object_accuracy=True)
    numbers = evaluate_checkpoint(out, options).to_dict()
    measured: dict[str, Any] = {"test scenes": int(numbers["images"])}
    measured |= {name: round(float(numbers[key]), 4) for key, name in MEASURED.items()}
    measured["command"] = "benchmarks/scenes_weights.py"
    model.save(out, torch.float16, about | {"measured": measured})
    print(f"largest relative difference to the run's weights: {rounding(model, out):.2e}")
    print(json.dumps(numbers, indent=1))


def describe(config: DataConfig) -> dict[str, Any]:
    """The `about` of the weights, without what was measured."""
    return {
        "summary": "drawn scenes: people, animals and things of a small world, as in the demo",
        "knows": "drawn scenes",
        "data": f"{config.scenes.num_train} scenes drawn by this package (recipe scenes_hour)",
        "licences": {"weights": "Apache-2.0", "scenes": "Apache-2.0"},
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--out", type=Path, default=Path("weights/scenes"))
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    write(arguments.run, arguments.data, arguments.out)
