"""`export onnx`: what cannot be exported is refused, and what is exported equals PyTorch."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from autoenc_sg.cli.main import main
from autoenc_sg.core.errors import InputError
from autoenc_sg.model.autoencoder import AutoEncoder
from autoenc_sg.onnx_runtime import OnnxModel
from autoenc_sg.pipelines.onnx_export import export
from autoenc_sg.pipelines.onnx_export.export import export_onnx, graph_difference
from autoenc_sg.pipelines.onnx_export.parts import Part
from tests.onnx_runtime.stand_in import TorchGraphs, tiny_model
from tests.onnx_runtime.test_without_torch import run_without_torch


class Doubled(nn.Module):
    def forward(self, values: Tensor) -> Tensor:
        return values * 2


def part_of(network: nn.Module) -> Part:
    example = (torch.randn(2, 3),)
    return Part("generator", network, ("values",), ("image",), ((0,),), example, ())


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("--predictor.gcn.shared_subgraphs=true", "predictor.gcn.shared_subgraphs false"),
        ("--detector.conventions=motifs", "detector.conventions torchvision or graph_rcnn"),
    ],
)
def test_what_has_no_graph_is_refused(tmp_path: Path, override: str, message: str) -> None:
    model = tiny_model(tmp_path, override)
    with pytest.raises(InputError, match=message) as error:
        export_onnx(model, tmp_path / "out")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


def test_a_difference_above_the_limit_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_model(tmp_path)
    model.has_encoder = False
    written: list[str] = []
    monkeypatch.setattr(export, "all_parts", lambda model: [part_of(Doubled())])
    monkeypatch.setattr(export, "_export", lambda part, head, folder: written.append(part.name))

    class Wrong:
        def __init__(self, folder: Path) -> None:
            assert (folder / "model.json").is_file()

        def run(self, name: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
            return {"image": inputs["values"] * 2 + 0.01}

    monkeypatch.setattr(export, "OnnxModel", Wrong)
    with pytest.raises(InputError, match=r"at most 0\.001 from PyTorch, got 0\.01"):
        export_onnx(model, tmp_path / "out")
    assert written == ["generator"]
    assert not (tmp_path / "out").exists()


def test_graphs_of_other_triples_differ_without_end(tmp_path: Path) -> None:
    model = tiny_model(tmp_path)
    photo = np.random.default_rng(0).integers(0, 256, (50, 60, 3), dtype=np.uint8)
    graph, got = model.parse(photo), TorchGraphs(model).parse(photo)
    assert graph_difference(graph, got) < 1e-3
    other = replace(got, triples=got.triples[1:], triple_scores=got.triple_scores[1:])
    assert graph_difference(graph, other) == float("inf")
    moved = replace(got, boxes=got.boxes + np.float32(0.5))
    assert graph_difference(graph, moved) == pytest.approx(0.5, abs=1e-3)


def test_bad_input_in_one_line(
    tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = str(tiny_run / "run")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    assert main(["export", "onnx", run, "--out", str(tmp_path / "full")]) == 2
    assert "expected a new or empty folder" in capsys.readouterr().err
    out = str(tmp_path / "theirs.pt")
    assert main(["export", "sg2im", run, "--out", out, "--photos", "a.jpg"]) == 2
    assert "--photos: expected none with sg2im" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("head", ["gcn", "imp"])
def test_the_exported_model_parses_and_draws_without_torch(
    tiny_run: Path, tmp_path: Path, head: str
) -> None:
    codes = [f"--generator.{name}=2" for name in ("appearance_dim", "background_cells")]
    if head == "gcn":
        model = AutoEncoder.from_checkpoint(tiny_run / "run")
    else:
        model = tiny_model(tmp_path, f"--predictor.name={head}", *codes)
    photos = sorted((tiny_run / "scenes" / "VG_100K").glob("*.jpg"))[:3]
    report = export_onnx(model, tmp_path / "out", photos)
    names = ["generator", "backbone", "regions", "relations"]
    names += [] if head == "gcn" else ["appearance", "background"]
    assert list(report.differences) == [f"{name}.onnx" for name in names] + list(map(str, photos))
    assert max(report.differences.values()) <= 1e-3
    code = (
        "import sys\nfrom autoenc_sg.onnx_runtime import OnnxModel\n"
        "model = OnnxModel(sys.argv[1], threads=1)\n"
        "graph = model.parse(sys.argv[2])\n"
        "print(len(graph.labels), len(graph.triples), model.render(graph).shape)\n"
    )
    printed = run_without_torch(code, str(tmp_path / "out"), str(photos[0]))
    graph = OnnxModel(tmp_path / "out").parse(photos[0])
    assert printed.split()[:2] == [str(len(graph.labels)), str(len(graph.triples))]
    assert "(32, 32, 3)" in printed
