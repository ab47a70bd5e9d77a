"""Checkpoints by file or folder: what to read, in which order to write, what to keep.

A run's folder holds `checkpoint.safetensors`, the newest, the earlier ones that are kept as
`checkpoint-<phase>-<step>.safetensors`, and the training file of each (`checkpoint_file`). Writing
goes: training file, then model file by an atomic rename, then older files are removed. So there is
a whole checkpoint in the folder at every moment, whatever ends the program.
"""

from __future__ import annotations

import logging
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from autoenc_sg.core.atomic_files import remove_temporaries, replacing
from autoenc_sg.core.errors import InputError, bad_input
from autoenc_sg.core.vocabulary import Vocabulary
from autoenc_sg.weights.checkpoint_file import (
    TRAINING_FORMAT,
    TRAINING_NAME,
    Checkpoint,
    Summary,
    file_phase,
    read_model_file,
    read_summary,
    read_training_file,
    write_model_file,
    write_training_file,
)
from autoenc_sg.weights.files.tensor_file import read_metadata
from autoenc_sg.weights.pretrained import DESCRIPTION, read_pretrained, shipped_or

__all__ = [
    "CHECKPOINT",
    "DECODER",
    "Checkpoint",
    "check_vocabulary",
    "find_checkpoints",
    "is_decoder",
    "read_checkpoint",
    "read_resumable",
    "read_training_state",
    "read_with_training",
    "save_checkpoint",
    "write_checkpoint",
]

CHECKPOINT = "checkpoint.safetensors"
PICKLED_CHECKPOINT = "checkpoint.pt"  # of version 1
EARLIER = re.compile(r"checkpoint-\w+-\d+\.safetensors")
DECODER = "generator."  # prefix of the names of the decoder's weights
logger = logging.getLogger(__name__)


def is_decoder(weights: Mapping[str, Tensor]) -> bool:
    """Whether a model's weights are those of its decoder alone."""
    return all(name.startswith(DECODER) for name in weights)


# Reading ------------------------------------------------------------------------------------------


def read_checkpoint(path: Path) -> Checkpoint:
    """The model of a checkpoint, without training state, tensors on the CPU.

    Args:
        path: a checkpoint file; a run's folder (its newest valid checkpoint, with a warning for
            each that is skipped); a folder of `AutoEncoder.save`; or the name of weights that come
            with the package.

    Raises:
        InputError: there is none, it is not one of ours, damaged, or of a newer version.
    """
    path = shipped_or(path)
    if not path.is_dir():
        return read_model_file(path)
    if (path / DESCRIPTION).is_file() and not find_checkpoints(path):
        return read_pretrained(path)
    return _newest_valid(path, read_model_file)


def read_training_state(path: Path) -> Mapping[str, Any]:
    """The training state of a checkpoint file, or of the newest valid one in a run's folder.

    Empty for weights alone: the best ones of a run, a folder of `AutoEncoder.save`.

    Raises:
        InputError: it is missing, damaged or another checkpoint's; the message names the file.
    """
    path = shipped_or(path)
    if not path.is_dir():
        return read_training_file(path)
    if (path / DESCRIPTION).is_file() and not find_checkpoints(path):
        return {}
    return _newest_valid(path, _read_both).training


def read_with_training(path: Path) -> Checkpoint:
    """The checkpoint that `read_checkpoint` reads, with its training state.

    A training state that is missing or damaged is named in a warning of one line and left empty.

    Raises:
        InputError: as `read_checkpoint`.
    """
    path = shipped_or(path)
    if path.is_dir() and (path / DESCRIPTION).is_file() and not find_checkpoints(path):
        return read_pretrained(path)
    return _newest_valid(path, _read_perhaps_both) if path.is_dir() else _read_perhaps_both(path)


def read_resumable(folder: Path) -> Checkpoint:
    """The newest checkpoint in a folder of which model and training state are whole.

    Each newer one that is skipped is named in a warning of one line.

    Raises:
        InputError: there is none.
    """

    def read(file: Path) -> Checkpoint:
        checkpoint = _read_both(file)
        if not checkpoint.training:
            raise bad_input(file, "a checkpoint with training state", "one with weights alone")
        return checkpoint

    return _newest_valid(folder, read)


def find_checkpoints(folder: Path) -> list[Path]:
    """A run's checkpoint files, newest first; they may be damaged."""
    newest, pickled = folder / CHECKPOINT, folder / PICKLED_CHECKPOINT
    return [
        *(file for file in (newest,) if file.is_file()),
        *_earlier(folder),
        *(file for file in (pickled,) if file.is_file()),
    ]


def _read_both(file: Path) -> Checkpoint:
    return replace(read_model_file(file), training=read_training_file(file))


def _read_perhaps_both(file: Path) -> Checkpoint:
    checkpoint = read_model_file(file)
    try:
        return replace(checkpoint, training=read_training_file(file))
    except InputError as error:
        logger.warning("%s; training state not taken over", error)
        return checkpoint


def _newest_valid(folder: Path, read: Callable[[Path], Checkpoint]) -> Checkpoint:
    files = find_checkpoints(folder)
    if not files:
        raise bad_input(folder, f"a folder with a checkpoint ({CHECKPOINT})", "none in it")
    for file in files[:-1]:
        try:
            return read(file)
        except InputError as error:
            logger.warning("skipped: %s", error)
    return read(files[-1])


def _earlier(folder: Path) -> list[Path]:
    """The checkpoints before the newest, latest first; those with a damaged header last."""
    files = [file for file in _tensor_files(folder) if EARLIER.fullmatch(file.name)]
    return sorted(files, key=lambda file: (_serial(file), file.name), reverse=True)


def _serial(file: Path) -> int:
    summary = _summary(file)
    return -1 if summary is None else summary.serial


def _summary(file: Path) -> Summary | None:
    """The summary of a model file, or None if it is not one or its header is damaged."""
    try:
        return read_summary(file)
    except InputError:
        return None


def _tensor_files(folder: Path) -> Iterator[Path]:
    return (file for file in sorted(folder.glob("[!.]*.safetensors")) if file.is_file())


# Writing ------------------------------------------------------------------------------------------


def write_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint: its training state, if any, beside `path`, then `path` atomically.

    If writing fails, an older checkpoint at `path` stays as it was, with its training state.

    Raises:
        InputError: the operating system refuses.
    """
    folder, before = path.parent, _summary(path)
    serial = 1 + max((_serial(file) for file in _tensor_files(folder)), default=0)
    training = write_training_file(folder, checkpoint) if checkpoint.training else None
    try:
        write_model_file(path, checkpoint, max(serial, 1), training)
    except Exception:
        if training is not None:
            _remove(folder / training.file)
        raise
    if before is not None and before.training is not None:
        _remove_unused_training(folder, before.training.file)


def save_checkpoint(folder: Path, checkpoint: Checkpoint, keep_last: int = 1) -> None:
    """Write a run's newest checkpoint and keep the `keep_last` - 1 before it; raises likewise."""
    path = folder / CHECKPOINT
    remove_temporaries(folder, path.suffix)  # of a run that was killed while writing
    _remove_unused_training(folder)
    if keep_last > 1:
        _keep_as_earlier(path, checkpoint)
    write_checkpoint(path, checkpoint)
    for file in _earlier(folder)[keep_last - 1 :]:
        _remove(file)
    _remove_unused_training(folder)


def _keep_as_earlier(path: Path, following: Checkpoint) -> None:
    """Give the checkpoint at `path` a second name, unless the following is of the same step."""
    summary = _summary(path)
    if summary is None or (summary.phase, summary.step) == (following.phase, following.step):
        return
    name = f"{path.stem}-{file_phase(summary.phase)}-{summary.step}{path.suffix}"
    with replacing(path.with_name(name)) as temporary:
        temporary.unlink()
        try:
            temporary.hardlink_to(path)
        except OSError:  # a file system without hard links
            shutil.copyfile(path, temporary)


def _remove_unused_training(folder: Path, name: str = "") -> None:
    """Remove training files (or that one) that no model file in the folder refers to."""
    files = list(_tensor_files(folder))
    training = [file for file in files if TRAINING_NAME.fullmatch(file.name)]
    summaries = [_summary(file) for file in files if file not in training]
    used = {s.training.file for s in summaries if s is not None and s.training is not None}
    for file in training:
        if file.name not in used and name in ("", file.name) and _is_training(file):
            _remove(file)


def _is_training(file: Path) -> bool:
    try:
        return read_metadata(file).get("format") == TRAINING_FORMAT
    except InputError:
        return True  # damaged, and named as ours


def _remove(file: Path) -> None:
    try:
        file.unlink(missing_ok=True)
    except OSError as error:
        logger.warning("%s: not removed: %s", file, error.strerror or error)


# Fit ----------------------------------------------------------------------------------------------


def check_vocabulary(checkpoint: Checkpoint, vocabulary: Vocabulary, where: object) -> None:
    """Refuse a checkpoint of another vocabulary.

    Raises:
        InputError: names the first entry that differs.
    """
    for kind in ("objects", "predicates"):
        names, expected = getattr(checkpoint.vocabulary, kind), getattr(vocabulary, kind)
        if names != expected:
            pairs = enumerate(zip(names, expected))
            shorter = min(len(names), len(expected))
            first = next((i for i, (a, b) in pairs if a != b), shorter)
            got, want = (_entry(kind, each, first) for each in (names, expected))
            raise bad_input(where, f"the data's vocabulary ({want})", f"another ({got})")


def _entry(kind: str, names: tuple[str, ...], number: int) -> str:
    name = repr(names[number]) if number < len(names) else "none"
    return f"{len(names) - 1} {kind}, number {number} is {name}"
