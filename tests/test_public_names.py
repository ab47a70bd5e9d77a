"""`import autoenc_sg`: quick, and every public name is there."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import autoenc_sg
from autoenc_sg.core.errors import InputError
from autoenc_sg.model import AutoEncoder
from autoenc_sg.scoring.options import EvaluationOptions
from tests.support.tiny import tiny_config

ROOT = Path(__file__).resolve().parents[1]


def test_importing_the_package_imports_no_library() -> None:
    code = (
        "import sys; before = set(sys.modules); import autoenc_sg; dir(autoenc_sg);"
        "print(sorted({m.split('.')[0] for m in set(sys.modules) - before}"
        " & {'torch', 'torchvision', 'numpy', 'lightning', 'matplotlib', 'PIL', 'h5py'}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_every_public_name_is_there() -> None:
    for name in autoenc_sg.__all__:
        assert getattr(autoenc_sg, name) is not None
        assert name in dir(autoenc_sg)
    assert autoenc_sg.AutoEncoder is AutoEncoder
    assert autoenc_sg.InputError is InputError
    with pytest.raises(AttributeError, match="no attribute 'Autoencoder'"):
        autoenc_sg.Autoencoder  # noqa: B018


def test_evaluate_takes_a_path_a_model_and_the_users_data(tiny_run: Path) -> None:
    checkpoint = tiny_run / "run" / "checkpoint.safetensors"
    options = EvaluationOptions(limit=4, batch_size=2)
    expected = autoenc_sg.evaluate(checkpoint, options=options).to_dict()
    model = autoenc_sg.AutoEncoder.from_checkpoint(checkpoint)
    assert autoenc_sg.evaluate(model, options=options, quiet=True).to_dict() == expected

    data = replace(tiny_config(tiny_run).data, flip=False)
    train = autoenc_sg.open_dataset(data, "train")
    test = autoenc_sg.open_dataset(data, "test")
    pairs = [(test[i].image, test[i].graph) for i in range(4)]
    own = autoenc_sg.PairsDataset(pairs, model.vocabulary)
    train_pairs = [(train[i].image, train[i].graph) for i in range(len(train))]
    own_train = autoenc_sg.PairsDataset(train_pairs, model.vocabulary)
    scores = autoenc_sg.evaluate(model, own, own_train, options, quiet=True).to_dict()
    for name in ("SGGen R@20", "frequency prior SGGen R@20", "mean image L1", "detection AP50"):
        assert scores[name] == expected[name], name


def test_evaluate_refuses_what_does_not_fit(tiny_run: Path) -> None:
    model = AutoEncoder.from_checkpoint(tiny_run / "run" / "checkpoint.safetensors")
    test = autoenc_sg.open_dataset(tiny_config(tiny_run).data, "test")
    with pytest.raises(InputError, match="test and train: expected both"):
        autoenc_sg.evaluate(model, test)
    other = autoenc_sg.PairsDataset(
        [(test[0].image, autoenc_sg.SceneGraph.empty((64, 64)))],
        autoenc_sg.Vocabulary.from_names(["a"], ["b"]),
    )
    with pytest.raises(InputError, match="train data set: expected the model's vocabulary"):
        autoenc_sg.evaluate(model, other, other)


@pytest.mark.parametrize("by_path", [True, False])
def test_evaluate_is_quiet_when_asked(
    tiny_run: Path, capfd: pytest.CaptureFixture[str], by_path: bool
) -> None:
    path = tiny_run / "run"
    model = path if by_path else autoenc_sg.AutoEncoder.from_checkpoint(path)
    autoenc_sg.evaluate(model, options=EvaluationOptions(limit=1))
    assert "evaluate" in "".join(capfd.readouterr())
    autoenc_sg.evaluate(model, options=EvaluationOptions(limit=1), quiet=True)
    assert "".join(capfd.readouterr()) == ""
