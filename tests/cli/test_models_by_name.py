"""Weights by name, a model left out, and photos in which too little is found."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
import torch

from autoenc_sg.cli.main import main
from autoenc_sg.cli.model import split_model
from autoenc_sg.cli.weights import _plain
from autoenc_sg.core.errors import InputError
from autoenc_sg.data.open import open_dataset
from autoenc_sg.model import AutoEncoder
from autoenc_sg.weights import pretrained
from autoenc_sg.weights.checkpoint import read_training_state, read_with_training
from tests.support.tiny import CODES, tiny_config

ABOUT = {
    "summary": "drawn scenes",
    "data": "drawn",
    "licences": "none needed",
    "measured": {"AP50": 0.5},
}


@pytest.fixture
def shipped(tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The tiny run's model as if it came with the package, as `photos`."""
    monkeypatch.setattr(pretrained, "SHIPPED", tmp_path / "shipped")
    AutoEncoder.from_checkpoint(tiny_run / "run").save(tmp_path / "shipped" / "photos", about=ABOUT)
    return tmp_path / "shipped"


@pytest.fixture
def photo(tiny_run: Path) -> Path:
    return min((tiny_run / "scenes" / "VG_100K").glob("*.jpg"))


def test_the_model_may_be_left_out(
    shipped: Path, photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(["reconstruct", str(photo), "--out", str(out)]) == 0
    assert main(["parse", "photos", str(photo), "--out", str(out / "g.jsonl")]) == 0
    graph = json.loads((out / "g.jsonl").read_text())
    assert json.loads((out / photo.stem / "graph.json").read_text())["objects"] == graph["objects"]
    file = out / photo.stem / "graph.json"
    assert main(["generate", str(file), "--out", str(out / "drawn")]) == 0
    assert (out / "drawn" / "graph.png").is_file()
    assert main(["generate", "photos", str(file), str(file), "--out", str(out)]) == 2
    assert "generate: expected a model and one graph file, got 2" in capsys.readouterr().err


def test_a_model_without_its_description_is_no_photo(
    shipped: Path, photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (shipped / "photos").rename(tmp_path / "mine")
    (tmp_path / "mine" / "model.json").unlink()
    out = tmp_path / "out"
    assert main(["reconstruct", str(tmp_path / "mine"), str(photo), "--out", str(out)]) == 2
    assert "mine" in capsys.readouterr().err
    assert not out.exists()


def test_licences_are_printed_as_text() -> None:
    licences = {"weights": "Apache-2.0", "photographs": {"CC BY 2.0": 2, "CC BY-SA 2.0": 1}}
    expected = "weights: Apache-2.0, photographs (CC BY 2.0: 2, CC BY-SA 2.0: 1)"
    assert _plain(licences) == expected


def test_names_are_read_as_folders_are(shipped: Path) -> None:
    named = AutoEncoder.from_checkpoint("photos").state_dict()
    assert named.keys() == AutoEncoder.from_pretrained("photos").state_dict().keys()
    assert read_with_training(Path("photos")).training == {}
    assert read_training_state(Path("photos")) == {}


def test_which_argument_is_the_model(
    shipped: Path, tiny_run: Path, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, default = tiny_run / "run", Path("photos")
    assert split_model([run, photo], "photos") == (run, (photo,))
    assert split_model([run / "checkpoint.safetensors", photo], "photos")[1] == (photo,)
    old = Path("old.pt")  # a checkpoint of version 1, there or not
    assert split_model([old, photo], "photos") == (old, (photo,))
    assert split_model([default, photo], "photos") == (default, (photo,))
    assert split_model([photo, photo], "photos") == (default, (photo, photo))
    assert split_model([photo.parent], "photos") == (default, (photo.parent,))  # a folder of them
    with pytest.raises(
        InputError, match=r"photos: expected one or more after the model .*got none"
    ):
        split_model([run], "photos")
    with pytest.raises(
        InputError, match=r"runs/nothing: expected a model .*: photos\) or photos, got"
    ):
        split_model([Path("runs/nothing"), photo], "photos")
    monkeypatch.setattr(pretrained, "SHIPPED", photo.parent)
    with pytest.raises(InputError, match=r"none in this version\) before the photos, got another"):
        split_model([photo], "photos")
    with pytest.raises(InputError, match="before the photos, got a folder without a checkpoint"):
        split_model([photo.parent, photo], "photos")


def test_weights_lists_what_their_descriptions_say(
    shipped: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["weights"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        "photos: drawn scenes",
        "  data: drawn",
        "  licences: none needed",
        "  AP50: 0.5",
    ]
    assert main(["weights", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"photos": ABOUT}
    monkeypatch.setattr(pretrained, "SHIPPED", shipped / "none")
    assert main(["weights"]) == 0
    assert "no weights come with this version" in capsys.readouterr().out


def test_a_photo_that_is_not_understood_is_not_drawn(
    shipped: Path, photo: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = AutoEncoder.from_pretrained("photos")
    model.config = unsure = _with_threshold(model, 1.0)
    model.save(shipped / "photos", about=ABOUT)
    assert unsure.decode.object_threshold == 1.0
    with caplog.at_level(logging.WARNING):
        assert main(["reconstruct", str(photo), "--out", str(tmp_path / "a")]) == 0
    assert "no objects have a class score of 1 or more, and no picture is drawn" in caplog.text
    assert "--object-threshold 0.33" in caplog.text
    written = {file.name for file in (tmp_path / "a" / photo.stem).iterdir()}
    assert written == {"graph.json", "boxes.png", "graph.png"}
    asked = ["--object-threshold", "1", "--out", str(tmp_path / "b")]
    assert main(["reconstruct", str(photo), *asked]) == 0
    assert (tmp_path / "b" / photo.stem / "reconstruction.png").is_file()
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        assert main(["parse", str(photo), "--out", str(tmp_path / "g.jsonl")]) == 0
    assert "1 of 1 photos have fewer than two objects with a class score of 1" in caplog.text
    boxes = tmp_path / "boxes.json"
    boxes.write_text(json.dumps({"image": photo.name, "boxes": [[2, 4, 30, 40]]}))
    given = ["--boxes", str(boxes), "--out", str(tmp_path / "c")]
    assert main(["reconstruct", str(photo), *given]) == 0
    assert (tmp_path / "c" / photo.stem / "reconstruction.png").is_file()


def test_a_single_object_is_drawn_where_codes_describe_it(
    photo: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As in a portrait: one object, and codes of what lies around it."""
    for cells, drawn in ((2, True), (0, False)):
        config = tiny_config(tmp_path, CODES, f"--generator.background_cells={cells}")
        torch.manual_seed(0)
        model = AutoEncoder(config, open_dataset(config.data, "test").vocabulary).eval()
        scores = model.parse(photo).object_scores
        assert scores is not None
        best, second, *_ = scores.sort(descending=True).values.tolist()
        model.config = _with_threshold(model, (best + second) / 2)
        folder, out = tmp_path / f"model{cells}", tmp_path / f"out{cells}"
        model.save(folder)
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            assert main(["reconstruct", str(folder), str(photo), "--out", str(out)]) == 0
            assert main(["parse", str(folder), str(photo), "--out", str(out / "g.jsonl")]) == 0
        assert len(json.loads((out / "g.jsonl").read_text())["objects"]) == 1
        assert (out / photo.stem / "reconstruction.png").is_file() is drawn
        assert "1 object has a class score" in caplog.text
        assert ("no picture is drawn" in caplog.text) is not drawn
        assert "fewer than two objects" in caplog.text


def _with_threshold(model: AutoEncoder, threshold: float):  # type: ignore[no-untyped-def]
    from dataclasses import replace

    decode = replace(model.config.decode, object_threshold=threshold)
    return replace(model.config, decode=decode)
