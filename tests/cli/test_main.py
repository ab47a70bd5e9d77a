"""The command line as users meet it: what it writes, what it says, how it ends."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from autoenc_sg.cli.main import main
from autoenc_sg.weights.checkpoint import read_checkpoint
from tests.support.tiny import TINY


@pytest.fixture(scope="module")
def checkpoint(tiny_run: Path) -> str:
    return str(tiny_run / "run" / "checkpoint.safetensors")


@pytest.fixture(scope="module")
def photo(tiny_run: Path) -> str:
    return str(next((tiny_run / "scenes" / "VG_100K").glob("*.jpg")))


def one_line(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Standard error of a call that must end with status 2 and one line."""
    capsys.readouterr()
    try:
        status = main(arguments)
    except SystemExit as ended:  # argparse's own way out
        status = int(ended.code or 0)
    error = capsys.readouterr().err
    assert status == 2
    lines = [line for line in error.splitlines() if not line.startswith(("[", "reconstruct:"))]
    assert len(lines) == 1, error
    return lines[0]


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["--help"], ["train", "--help"], ["--version"]):
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        assert ended.value.code == 0
    assert "0.1.0" in capsys.readouterr().out


def test_reconstruct_does_the_good_ones_and_lists_the_bad(
    checkpoint: str, photo: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = tmp_path / "bad photo.jpg"
    bad.write_text("no image")
    out = tmp_path / "out"
    status = main(
        ["reconstruct", checkpoint, str(bad), photo, photo, "/no/such.png", "--out", str(out)]
    )
    printed = capsys.readouterr()
    assert status == 2
    assert "2 of 4 photos" in printed.out
    assert f"{bad}: expected an image file" in printed.err
    assert "/no/such.png" in printed.err
    stem = Path(photo).stem
    assert sorted(p.name for p in out.iterdir()) == [stem, f"{stem}-2"]
    names = sorted(p.name for p in (out / stem).iterdir())
    assert names == [
        "boxes.png",
        "graph.json",
        "graph.png",
        "reconstruction.png",
        "side_by_side.png",
    ]
    assert Image.open(out / stem / "reconstruction.png").size == (32, 32)


def test_parsed_graph_file_is_accepted_by_generate(
    checkpoint: str, photo: str, tmp_path: Path
) -> None:
    assert main(["reconstruct", checkpoint, photo, "--out", str(tmp_path), "--seed", "4"]) == 0
    folder = tmp_path / Path(photo).stem
    graph = folder / "graph.json"
    assert (
        main(["generate", checkpoint, str(graph), "--out", str(tmp_path / "g"), "--seed", "4"]) == 0
    )
    drawn, reconstructed = (
        Image.open(p) for p in (tmp_path / "g" / "graph.png", folder / "reconstruction.png")
    )
    assert drawn.tobytes() == reconstructed.tobytes()


def test_generate_from_hand_made_graphs(checkpoint: str, tmp_path: Path) -> None:
    one = {"objects": ["person", "dog"], "relationships": [[0, "near", 1]]}
    file = tmp_path / "two.json"
    file.write_text(json.dumps([one, {"objects": ["tree"], "relationships": []}]))
    assert main(["generate", checkpoint, str(file), "--out", str(tmp_path)]) == 0
    assert (tmp_path / "two-0000.png").is_file()
    assert (tmp_path / "two-0001.png").is_file()


def test_evaluate_prints_and_writes(
    checkpoint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "scores.json"
    less = ["--limit", "4", "--batch-size", "3", "--no-object-accuracy"]
    assert main(["evaluate", checkpoint, "--json", str(path), *less]) == 0
    scores = json.loads(path.read_text())
    assert scores["images"] == 4
    for name in (
        "SGGen R@50",
        "frequency prior PhrDet R@20",
        "detection AP50",
        "predicted graph L1",
    ):
        assert 0 <= scores[name] <= 1
    assert "frequency prior" in capsys.readouterr().out


def test_scenes_then_train_a_phase_then_resume(tmp_path: Path) -> None:
    scenes = tmp_path / "scenes"
    sizes = ["--num-train", "16", "--num-test", "6", "--image-size", "64"]
    assert main(["scenes", "--out", str(scenes), *sizes]) == 0
    config = tmp_path / "c.yaml"
    config.write_text(TINY)
    common = [str(config), "--out", str(tmp_path / "run"), "--data.root", str(scenes)]
    assert main(["train", *common, "--phase", "reconstruction", "--reconstruction.steps", "2"]) == 0
    saved = read_checkpoint(tmp_path / "run" / "checkpoint.safetensors")
    assert (saved.phase, saved.step) == ("reconstruction", 2)
    assert main(["train", *common, "--resume"]) == 0
    saved = read_checkpoint(tmp_path / "run" / "checkpoint.safetensors")
    assert (saved.phase, saved.step) == ("joint", 4)


def test_scenes_take_every_option(tmp_path: Path) -> None:
    few = ["--num-train", "2", "--num-test", "1", "--image-size", "32", "--seed", "4"]
    noise = ["--drop-relations", "0.1", "--wrong-predicates", "0.2", "--wrong-labels", "0.3"]
    noise += ["--biased-predicates", "0.4"]
    assert main(["scenes", "--out", str(tmp_path / "s"), *few, *noise, "--tint", "80"]) == 0
    wanted = {"version": 1, "num_train": 2, "num_test": 1, "image_size": 32, "seed": 4}
    wanted |= {"drop_relations": 0.1, "wrong_predicates": 0.2, "wrong_labels": 0.3, "tint": 80}
    wanted |= {"biased_predicates": 0.4}
    assert json.loads((tmp_path / "s" / "scenes.json").read_text()) == wanted


def test_bad_input_is_one_line_and_status_2(
    checkpoint: str, photo: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config, graph, text = tmp_path / "c.yaml", tmp_path / "g.json", tmp_path / "t.pt"
    config.write_text(TINY)
    graph.write_text('{"objects": ["persn"], "relationships": []}')
    text.write_text("not a checkpoint")
    out = ["--out", str(tmp_path / "o")]
    cases = {
        ("train", str(config), "--joint.nope", "3"): "joint.nope: expected a known key",
        ("train", str(config), "--joint.steps", "abc"): "joint.steps",
        ("train", "no-such-config"): "no-such-config",
        ("train", str(config), "--generator.image_size", "65", *out): "generator.image_size",
        ("train", str(config), "--resume", *out): "--resume",
        ("train", str(config), "--out", str(text)): "t.pt: expected a folder to write to",
        ("evaluate", str(text)): "t.pt: expected a checkpoint",
        ("evaluate", str(tmp_path / "none.pt")): "no such file",
        ("evaluate", checkpoint, "--limit", "0"): "limit: expected >= 1, got 0",
        ("evaluate", checkpoint, "--data", str(tmp_path / "none")): "none",
        ("reconstruct", checkpoint, str(text), *out): "t.pt: expected an image file",
        ("reconstruct", str(graph), *out): "g.json: expected an image file",
        ("reconstruct", checkpoint, photo, "--device", "nonsense", *out): "--device",
        ("generate", checkpoint, str(graph), *out): "nearest: person",
        ("generate", checkpoint, photo, *out): "expected",
        ("scenes", "--num-test", "0", *out): "num_test: expected >= 1, got 0",
        ("scenes", "--tint", "-1", *out): "tint: expected 0..255, got -1",
        ("nonsense",): "invalid choice",
        ("scenes", "--nonsense"): "--nonsense",
    }
    for arguments, part in cases.items():
        assert part in one_line(capsys, *arguments), arguments
    assert not (tmp_path / "o").exists()


def test_truncated_h5_is_one_line(
    checkpoint: str, tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for file in (tiny_run / "scenes").glob("*.*"):
        data = file.read_bytes()
        (tmp_path / file.name).write_bytes(data[: len(data) // 2] if file.suffix == ".h5" else data)
    assert "VG-SGG.h5" in one_line(capsys, "evaluate", checkpoint, "--data", str(tmp_path))
