"""`bench`: which stages there are, and what is counted; never how long it takes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from autoenc_sg.cli.main import main
from autoenc_sg.core.errors import InputError
from autoenc_sg.model.autoencoder import AutoEncoder
from autoenc_sg.pipelines.bench.measure import measure_model
from autoenc_sg.pipelines.bench.options import BenchOptions, height_and_width
from autoenc_sg.pipelines.bench.stages import (
    ENCODER_STAGES,
    STAGES,
    Pass,
    Stages,
    num_parameters,
    random_boxes,
    stage_modules,
)

QUICK = BenchOptions(sizes=("80x60",), batch_size=2, objects=3, warmup=0, repeats=3)


def test_every_stage_is_measured(tiny_run: Path) -> None:
    (measured,) = measure_model(tiny_run / "run", QUICK)
    assert tuple(stage.name for stage in measured.stages) == STAGES
    assert measured.size == (60, 80)
    assert (measured.batch_size, measured.objects) == (2, 3)
    whole = measured.total
    assert all(0 < stage.ms_per_image < 1e5 for stage in measured.stages)
    assert whole.ms_per_image > max(stage.ms_per_image for stage in measured.stages)
    assert whole.images_per_second == pytest.approx(1000 / whole.ms_per_image)
    assert whole.gflops == pytest.approx(sum(stage.gflops for stage in measured.stages))
    flops = {stage.name: stage.gflops for stage in measured.stages}
    assert flops["image decoding"] == flops["decode"] == 0
    assert min(flops[name] for name in ("backbone", "proposals", "predictor", "generator")) > 0
    assert measured.peak_memory_mb is None or measured.peak_memory_mb > 50


def test_parameters_are_counted_once(tiny_run: Path) -> None:
    model = AutoEncoder.from_checkpoint(tiny_run / "run")
    modules = stage_modules(model)
    everything = num_parameters([part for parts in modules.values() for part in parts])
    assert everything == sum(num_parameters(parts) for parts in modules.values())
    assert everything == sum(p.numel() for p in model.parameters())
    layer = nn.Linear(3, 2)
    assert num_parameters([layer, layer]) == 3 * 2 + 2


def test_flops_of_a_layer_counted_by_hand() -> None:
    counter = FlopCounterMode(display=False)
    with counter:
        nn.Conv2d(3, 8, 3, padding=1)(torch.zeros(2, 3, 10, 12))
    assert counter.get_total_flops() == 2 * (2 * 10 * 12) * 8 * (3 * 3 * 3)


def test_flops_of_the_backbone_grow_with_the_pixels(tiny_run: Path) -> None:
    small, large = measure_model(
        tiny_run / "run", replace(QUICK, sizes=("64x64", "32x64"), repeats=1)
    )
    assert small.stages[1].gflops == pytest.approx(2 * large.stages[1].gflops)


def test_of_a_decoder_alone_the_generator_is_measured(tiny_run: Path) -> None:
    model = AutoEncoder.from_checkpoint(tiny_run / "run")
    model.has_encoder = False
    steps = dict(Stages(model, [Path("unread.jpg")], 2).steps())
    assert list(steps) == ["generator"]
    steps["generator"](Pass())
    assert list(stage_modules(model)) == ["generator"]


def test_boxes_lie_in_their_images() -> None:
    boxes, index = random_boxes(((10, 20), (40, 30)), 5)
    assert index.tolist() == [0] * 5 + [1] * 5
    assert bool((boxes[:, 2:] > boxes[:, :2]).all())
    assert bool((boxes >= 0).all())
    limit = torch.tensor([[20, 10], [30, 40]])[index]
    assert bool((boxes[:, 2:] <= limit).all())
    assert torch.equal(boxes, random_boxes(((10, 20), (40, 30)), 5)[0])


def test_the_table_and_the_json(
    tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "bench.json"
    run = str(tiny_run / "run")
    words = ["--sizes", "64x48", "--repeats", "2", "--warmup", "0", "--precisions", "bfloat16"]
    assert main(["bench", run, *words, "--json", str(file)]) == 0
    printed = capsys.readouterr().out
    assert all(stage in printed for stage in (*STAGES, "total"))
    data = json.loads(file.read_text(encoding="utf-8"))
    assert data["training"] == []
    (measured,) = data["measurements"]
    assert measured["size"] == [48, 64]
    assert measured["precision"] == "bfloat16"
    fields = {"name", "ms_per_image", "spread_ms", "images_per_second", "parameters", "gflops"}
    assert [set(stage) for stage in measured["stages"]] == [fields] * len(STAGES)
    assert set(measured["total"]) == fields


def test_training_steps_of_each_phase(tiny_run: Path, tmp_path: Path) -> None:
    from autoenc_sg.pipelines.bench.training import measure_training

    phases = list(measure_training(tiny_run / "run", warmup=0, repeats=2))
    assert [phase.phase for phase in phases] == ["detector", "reconstruction", "joint"]
    assert [phase.batch_size for phase in phases] == [3, 3, 3]
    for phase in phases:
        assert phase.steps_per_second == pytest.approx(1000 / phase.ms_per_step)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--sizes", "640"], "sizes: expected WIDTHxHEIGHT"),
        (["--sizes", "0x64"], "sizes: expected WIDTHxHEIGHT"),
        (["--repeats", "0"], "bench.repeats: expected >= 1"),
        (["--devices", "nowhere"], "--device: expected one PyTorch can use, got 'nowhere'"),
        (["--precisions", "float8"], "precisions"),
    ],
)
def test_bad_options_in_one_line(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["bench", str(tmp_path), *words]) == 2
    error = capsys.readouterr().err.strip()
    assert message in error
    assert "\n" not in error


def test_a_missing_checkpoint_in_one_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["bench", str(tmp_path / "none")]) == 2
    assert str(tmp_path / "none") in capsys.readouterr().err


def test_sizes_are_width_and_height() -> None:
    assert height_and_width("640x480") == (480, 640)
    with pytest.raises(InputError, match="sizes"):
        height_and_width("9000x10")
    assert ENCODER_STAGES[0] == "image decoding"
