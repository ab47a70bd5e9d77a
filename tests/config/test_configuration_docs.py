"""docs/configuration.md says what the docstrings say, of every option."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from autoenc_sg.cli.main import main
from autoenc_sg.config.files import config_to_dict
from autoenc_sg.config.phases import JointPhase
from autoenc_sg.config.run import RunConfig
from tests.config.configuration_docs import attribute_texts, page

PAGE = Path(__file__).parents[2] / "docs" / "configuration.md"


def test_page_is_what_the_docstrings_say() -> None:
    assert PAGE.read_text(encoding="utf-8") == page()


def test_every_option_has_a_meaning() -> None:
    rows = [line for line in page().splitlines() if line.startswith("| `")]
    leaves = [(s, k) for s, v in _flat(config_to_dict(RunConfig())) for k in v]
    assert len(rows) == len(leaves) > 100
    assert not [row for row in rows if row.endswith("|  |")]


def _flat(values: dict, prefix: str = "") -> list[tuple[str, list[str]]]:  # type: ignore[type-arg]
    inner = [(k, v) for k, v in values.items() if isinstance(v, dict)]
    rows = [(prefix, [k for k, v in values.items() if not isinstance(v, dict)])]
    return rows + [row for k, v in inner for row in _flat(v, f"{prefix}{k}.")]


def test_names_that_share_a_text_by_hand() -> None:
    texts = attribute_texts(JointPhase)
    assert texts["warmup"] == texts["clip"] == "as in `DetectorPhase`."
    assert texts["lr"] == texts["momentum"] == "of SGD."
    assert texts["freeze_backbone"] == "backbone and RPN stay as they are."


def test_print_config_shows_the_whole_and_runs_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["train", "demo", "--joint.steps", "7", "--print-config"]) == 0
    shown = yaml.safe_load(capsys.readouterr().out)
    assert shown["joint"]["steps"] == 7
    assert shown.keys() == config_to_dict(RunConfig()).keys()
    assert not list(tmp_path.iterdir())


def test_a_name_like_no_other_gets_the_sections(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "demo", "--xyzzy", "7"]) == 2
    assert "such as out, seed, data, detector, relpn" in capsys.readouterr().err
