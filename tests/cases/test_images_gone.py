"""Images that cannot be read while training runs: one line, and the checkpoint is kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from autoenc_sg.core.errors import InputError
from autoenc_sg.data.open import open_dataset
from autoenc_sg.training.loop import train
from autoenc_sg.training.run_log import HISTORY
from autoenc_sg.weights.checkpoint import read_resumable
from tests.support.tiny import tiny_config


class Vanishing:
    """A data set whose image at one index cannot be read."""

    def __init__(self, dataset: Any, index: int, error: Exception) -> None:
        self.dataset, self.index, self.error = dataset, index, error

    def __len__(self) -> int:
        return len(self.dataset)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "dataset":
            raise AttributeError(name)
        return getattr(self.dataset, name)

    def sample(self, index: int, epoch: int = 0) -> Any:
        if index == self.index:
            raise self.error
        return self.dataset.sample(index, epoch)


@pytest.mark.parametrize("workers", ["0", "1"])
@pytest.mark.parametrize(
    ("error", "line"),
    [
        (InputError("a.jpg: expected a readable image file, got no such file"), None),
        (OSError(5, "Input/output error", "b.jpg"), "b.jpg: expected a readable image, got Input/"),
    ],
)
def test_an_image_that_vanishes_is_one_line(
    tiny_run: Path, tmp_path: Path, workers: str, error: Exception, line: str | None
) -> None:
    options = ("--data.root", str(tiny_run / "scenes"), "--data.workers", workers)
    config = tiny_config(tmp_path, *options, "--reconstruction.steps", "12")
    dataset: Any = Vanishing(open_dataset(config.data, "train"), 0, error)
    with pytest.raises(InputError) as caught:
        train(config, ("reconstruction",), dataset=dataset)
    assert str(caught.value).startswith(line or str(error))
    assert "\n" not in str(caught.value)


def test_a_full_disk_is_one_line_and_the_checkpoint_is_kept(tiny_run: Path, tmp_path: Path) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full")
    options = ("--data.root", str(tiny_run / "scenes"), "--runtime.checkpoint_every", "1")
    config = tiny_config(tmp_path, *options)

    def fill_disk(report: Any) -> None:
        if report.step == 3:
            history = tmp_path / "run" / HISTORY
            history.unlink()
            history.symlink_to(full)

    with pytest.raises(InputError, match="training stopped: No space left on device; a checkpoint"):
        train(config, ("reconstruction",), on_step=fill_disk)
    assert read_resumable(tmp_path / "run").step == 3
