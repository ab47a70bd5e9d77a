"""The demo, made tiny: everything it promises is there, and an interrupted one goes on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from autoenc_sg.core.errors import InputError
from autoenc_sg.model.autoencoder import AutoEncoder
from autoenc_sg.pipelines.demo import PLAN, build_report, demo_config, run_demo
from autoenc_sg.scoring.evaluate import EvaluationResults, open_splits
from autoenc_sg.visualization.html_report import report_html

SMALL = [
    f"--{key}={value}"
    for key, value in {
        "data.scenes.num_train": 40,
        "data.scenes.num_test": 10,
        "detector_training.steps": 2,
        "reconstruction.steps": 2,
        "joint.steps": 2,
        "detector.channels": 32,
        "predictor.dim": 32,
        "generator.refinement_dims": [32, 16, 8],
        "runtime.threads": 1,
    }.items()
]
NUMBERS = (
    "images",
    "detection AP50",
    "SGGen R@50",
    "PhrDet R@100",
    "frequency prior SGGen R@50",
    "SGGen R@50 above the frequency prior",
    "predicted graph L1",
    "true graph SSIM",
    "mean image L1",
    "predicted graph L1 / mean image L1",
    "seconds",
    "peak memory GiB",
)


def test_demo_writes_all_it_promises_and_is_not_overwritten(tmp_path: Path) -> None:
    out = tmp_path / "demo"
    run_demo(out, 3, SMALL)
    results = json.loads((out / "results.json").read_text())
    assert all(name in results for name in NUMBERS)
    assert results["seed"] == 3
    html = (out / "report.html").read_text()
    assert html.count("<img") == 3
    assert 'src="data:image/png;base64,' in html
    assert "://" not in html.split("<body")[1]  # "http" alone can stand in base64
    assert (out / "checkpoint.safetensors").is_file()
    with pytest.raises(InputError, match="expected no finished demo there"):
        run_demo(out, 3, SMALL)
    (out / "results.json").unlink()
    with pytest.raises(InputError, match="of seed 4, got seed 3"):
        run_demo(out, 4, SMALL)
    run_demo(out, 3, SMALL)  # resumes: training is done, evaluation is written again
    again = json.loads((out / "results.json").read_text())
    assert again["predicted graph L1"] == results["predicted graph L1"]


def test_a_name_is_text_in_the_report(tiny_run: Path) -> None:
    name = "<script>alert(1)</script>"
    model = AutoEncoder.from_checkpoint(tiny_run / "run" / "checkpoint.safetensors")
    _, test = open_splits(model.config.data, "test", model.config.seed)
    pictures = {name: {"L1": 0.5, "PSNR": 10.0, "SSIM": 0.5}}
    cost = {"seed": 0, "seconds": 1.0, "peak memory GiB": 1.0, "threads": 1}
    results = EvaluationResults(1, {name: {}}, {}, pictures, cost)
    page = report_html(build_report(model, test, results, tiny_run / "run"))
    assert "<script" not in page
    assert page.count("<td>&lt;script&gt;alert(1)&lt;/script&gt;</td>") == 2  # one in each table


def test_plan_covers_the_whole() -> None:
    assert sum(share for _, share in PLAN) == pytest.approx(1.0)
    assert demo_config(Path("x"), 7).data.scenes.seed == 7
