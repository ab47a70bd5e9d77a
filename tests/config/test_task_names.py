"""Tasks have the same names in Python and on the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from autoenc_sg.cli.main import main
from autoenc_sg.cli.tasks import named_tasks
from autoenc_sg.config.recall import RecallConventions, task_named
from autoenc_sg.core.errors import InputError
from autoenc_sg.scoring.options import EvaluationOptions, ScoreOptions


@pytest.mark.parametrize(
    ("name", "task"),
    [("PredCls", "PredCls"), ("sgcls", "SGCls"), ("SGDet", "SGGen"), ("PHRDET", "PhrDet")],
)
def test_a_name_means_the_same_everywhere(name: str, task: str) -> None:
    assert task_named(name) == task
    assert named_tasks([name, name]) == (task,)
    assert RecallConventions(task=name).task == task
    assert ScoreOptions(tasks=(name,)).tasks == EvaluationOptions(tasks=(name,)).tasks == (task,)


def test_other_names_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    expected = "expected one of PredCls, SGCls, SGGen, PhrDet, got 'detection'"
    for make in (
        lambda: RecallConventions(task="detection"),
        lambda: ScoreOptions(tasks=("detection",)),
    ):
        with pytest.raises(InputError, match=expected):
            make()
    files = ["--predictions", str(tmp_path / "p"), "--truth", str(tmp_path / "t")]
    assert main(["score", *files, "--task", "detection"]) == 2
    assert f"--task: {expected}" in capsys.readouterr().err
