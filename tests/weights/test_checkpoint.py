"""Checkpoints: what comes back, what is kept, what is refused, what a kill leaves."""

from __future__ import annotations

import json
import logging
import os
import random
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, safe_open, save_file

from autoenc_sg.config.run import RunConfig
from autoenc_sg.core.errors import InputError
from autoenc_sg.core.vocabulary import Vocabulary
from autoenc_sg.weights.checkpoint import (
    CHECKPOINT,
    Checkpoint,
    check_vocabulary,
    find_checkpoints,
    read_checkpoint,
    read_resumable,
    read_training_state,
    save_checkpoint,
    write_checkpoint,
)
from tests.support.checkpoints import CAT_ON_MAT, pickled, refused, some_checkpoint
from tests.support.tiny import same


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def flip(path: Path, byte: int, bit: int = 0) -> None:
    data = bytearray(path.read_bytes())
    data[byte] ^= 1 << bit
    path.write_bytes(data)


# One checkpoint ---------------------------------------------------------------------------------


def test_all_of_a_checkpoint_comes_back(tmp_path: Path) -> None:
    checkpoint = some_checkpoint()
    path = tmp_path / "new" / "c.safetensors"
    write_checkpoint(path, checkpoint)
    back = read_checkpoint(path)
    assert (back.config, back.vocabulary) == (checkpoint.config, checkpoint.vocabulary)
    assert (back.phase, back.step, back.training) == ("joint", 7, {})
    same(dict(back.model), dict(checkpoint.model))
    same(dict(read_training_state(path)), dict(checkpoint.training))
    assert names(path.parent) == {"c.safetensors", "training-joint-7.safetensors"}


def test_other_programs_read_the_weights_and_the_metadata(tmp_path: Path) -> None:
    path, checkpoint = tmp_path / "c.safetensors", some_checkpoint()
    write_checkpoint(path, checkpoint)
    same(load_file(path), dict(checkpoint.model))
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    assert metadata["format"] == "autoenc-sg checkpoint"
    assert json.loads(metadata["step"]) == 7
    assert json.loads(metadata["vocabulary"])["predicates"] == ["__background__", "on"]
    assert set(load_file(tmp_path / "training-joint-7.safetensors")) == {
        "optimizer_graph.state.0.momentum_buffer",
        "rng_cpu",
    }


def test_a_checkpoint_without_training_state(tmp_path: Path) -> None:
    path = tmp_path / CHECKPOINT
    write_checkpoint(path, Checkpoint(RunConfig(), CAT_ON_MAT, {}))
    back = read_checkpoint(path)
    assert (back.phase, back.step, back.training, back.model) == ("", 0, {}, {})
    assert names(tmp_path) == {CHECKPOINT}
    assert read_training_state(path) == {}
    with pytest.raises(InputError, match="expected a checkpoint with training state, got one with"):
        read_resumable(tmp_path)


def test_a_model_is_read_without_its_training_file(tmp_path: Path) -> None:
    path = tmp_path / CHECKPOINT
    write_checkpoint(path, some_checkpoint())
    training = tmp_path / "training-joint-7.safetensors"
    training.unlink()
    assert read_checkpoint(path).step == 7
    for call in (read_training_state, lambda path: read_resumable(path.parent)):
        with pytest.raises(InputError) as error:
            call(path)
        assert str(error.value) == (
            f"{training}: expected the training state of {CHECKPOINT}, got no such file"
        )


def test_a_training_file_of_another_checkpoint_is_named(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_checkpoint(tmp_path / name / CHECKPOINT, some_checkpoint())
    file = "training-joint-7.safetensors"
    (tmp_path / "one" / file).replace(tmp_path / "two" / file)
    with pytest.raises(InputError) as error:
        read_training_state(tmp_path / "two")
    assert str(error.value) == (
        f"{tmp_path / 'two' / file}: expected the training state of {CHECKPOINT}, "
        "got that of another checkpoint"
    )


def test_a_write_that_breaks_leaves_the_old_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, checkpoint = tmp_path / "c.safetensors", some_checkpoint()
    write_checkpoint(path, checkpoint)
    before = {file: file.read_bytes() for file in tmp_path.iterdir()}
    synced = os.fsync
    for good_files in (0, 1):  # the disk is full at the training file, or at the model file
        calls = iter([True] * good_files)

        def full(number: int, calls: object = calls) -> None:
            if not next(calls, False):  # type: ignore[call-overload]
                raise OSError(28, "No space left on device")
            synced(number)

        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(InputError, match=r"expected a path that can be written, got No space"):
            write_checkpoint(path, some_checkpoint())
        assert {file: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_a_phase_may_have_any_name(tmp_path: Path) -> None:
    for phase, file in (("../up", "training-___up-3.safetensors"), ("", "training-none-3")):
        path = tmp_path / (phase or "x").strip("./") / CHECKPOINT
        write_checkpoint(path, some_checkpoint(3, phase))
        assert any(name.startswith(file) for name in names(path.parent))
        assert read_checkpoint(path).phase == phase
        assert set(read_training_state(path)) == {"optimizer_graph", "rng_cpu"}


# Damage -----------------------------------------------------------------------------------------


def test_a_flipped_bit_in_any_byte_is_refused(tmp_path: Path) -> None:
    path, chance = tmp_path / CHECKPOINT, random.Random(0)
    write_checkpoint(path, some_checkpoint())
    training = tmp_path / "training-joint-7.safetensors"
    for file, read in ((path, read_checkpoint), (training, read_training_state)):
        whole = file.read_bytes()
        for number in [*range(150), *range(150 + chance.randrange(5), len(whole), 5)]:
            flip(file, number, chance.randrange(8))
            with pytest.raises(InputError) as error:
                read(path)
            assert "\n" not in str(error.value)
            assert str(file) in str(error.value)
            file.write_bytes(whole)
    same(dict(read_training_state(path)), dict(read_resumable(tmp_path).training))


def test_a_file_cut_anywhere_is_refused(tmp_path: Path) -> None:
    path = tmp_path / CHECKPOINT
    write_checkpoint(path, some_checkpoint())
    whole = path.read_bytes()
    for length in [*range(0, len(whole), 97), len(whole) - 1]:
        path.write_bytes(whole[:length])
        refused(path)
    path.write_bytes(whole + b"\0")
    assert "damaged or truncated" in refused(path)


def test_files_of_other_kinds(tmp_path: Path) -> None:
    assert refused(tmp_path / "no.safetensors").endswith("a checkpoint file, got no such file")
    assert refused(tmp_path).endswith(f"a folder with a checkpoint ({CHECKPOINT}), got none in it")
    file = tmp_path / "f.safetensors"
    file.write_text("a shopping list")
    assert "expected a safetensors file, got a damaged or truncated one" in refused(file)
    save_file({"weight": torch.zeros(2)}, file)
    assert refused(file).endswith("a checkpoint of autoenc-sg, got a file of another kind")
    write_checkpoint(tmp_path / "c.safetensors", some_checkpoint())
    training = tmp_path / "training-joint-7.safetensors"
    assert refused(training).endswith("a checkpoint of autoenc-sg, got a file of another kind")


def sealed(path: Path, **metadata: str) -> None:
    """A file whose checksum is right, with other metadata."""
    from autoenc_sg.weights.files.tensor_file import read_metadata, write_tensors

    write_checkpoint(path, some_checkpoint())
    changed = {k: v for k, v in {**read_metadata(path), **metadata}.items() if v != "absent"}
    write_tensors(path, {}, {name: v for name, v in changed.items() if name != "sha256"})


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("format", "other", "got a file of another kind"),
        ("format", "absent", "got a file of another kind"),
        ("version", "3", "expected version 2 or older, got 3"),
        ("version", '"2"', "version: expected int, got str"),
        ("step", "1.5", "step: expected int, got float"),
        ("step", "true", "step: expected int, got bool"),
        ("step", "[" * 10**5, "step: expected JSON"),
        ("serial", "absent", "serial: expected int, got none"),
        ("phase", "null", "phase: expected str, got NoneType"),
        ("config", "[]", "config: expected dict, got list"),
        ("config", '{"nonsense": 1}', "nonsense: expected a known key"),
        ("vocabulary", "absent", "vocabulary: expected dict, got none"),
        ("training", '{"file": "../x", "sha256": ""}', "training: expected name and SHA-256 of"),
        ("training", '{"file": 3}', "training: expected name and SHA-256 of a training file"),
    ],
)
def test_other_metadata(tmp_path: Path, name: str, value: str, said: str) -> None:
    path = tmp_path / "c.safetensors"
    sealed(path, **{name: value})
    assert said in refused(path)


# A run's folder ---------------------------------------------------------------------------------


def test_a_run_keeps_the_last_checkpoints_with_their_training_state(tmp_path: Path) -> None:
    for step in (1, 2, 3, 4):
        save_checkpoint(tmp_path, some_checkpoint(step), keep_last=3)
    earlier = [f"checkpoint-joint-{step}.safetensors" for step in (3, 2)]
    assert [file.name for file in find_checkpoints(tmp_path)] == [CHECKPOINT, *earlier]
    training = {f"training-joint-{step}.safetensors" for step in (2, 3, 4)}
    assert names(tmp_path) == {CHECKPOINT, *earlier, *training}
    for file, step in zip(find_checkpoints(tmp_path), (4, 3, 2)):
        assert read_checkpoint(file).step == step
        assert read_training_state(file)
    save_checkpoint(tmp_path, some_checkpoint(5))
    assert names(tmp_path) == {CHECKPOINT, "training-joint-5.safetensors"}


def test_the_best_weights_and_copies_stay(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "best.safetensors", replace(some_checkpoint(1), training={}))
    save_checkpoint(tmp_path, some_checkpoint(1))
    (tmp_path / "mine.safetensors").write_bytes((tmp_path / CHECKPOINT).read_bytes())
    save_file({"a": torch.zeros(1)}, tmp_path / "training-joint-9.safetensors")  # not of ours
    for step in (2, 3):
        save_checkpoint(tmp_path, some_checkpoint(step))
    assert read_checkpoint(tmp_path / "best.safetensors").step == 1
    assert read_training_state(tmp_path / "mine.safetensors")
    assert (tmp_path / "training-joint-9.safetensors").is_file()
    assert not (tmp_path / "training-joint-2.safetensors").exists()


def test_the_order_is_that_of_writing_not_of_steps(tmp_path: Path) -> None:
    for step in (4, 2, 3):  # the phase began again
        save_checkpoint(tmp_path, some_checkpoint(step), keep_last=3)
    assert [read_checkpoint(file).step for file in find_checkpoints(tmp_path)] == [3, 2, 4]


def test_the_same_step_again_replaces_its_checkpoint(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, some_checkpoint(4), keep_last=2)
    second = some_checkpoint(4)
    save_checkpoint(tmp_path, second, keep_last=2)
    assert [file.name for file in find_checkpoints(tmp_path)] == [CHECKPOINT]
    assert len(names(tmp_path)) == 2
    same(dict(read_resumable(tmp_path).training), dict(second.training))


def test_a_kill_at_any_point_of_writing_leaves_a_whole_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    steps = ("os.fsync", "os.replace", "pathlib.Path.unlink", "pathlib.Path.hardlink_to")
    kills = 0
    for name in steps:
        for number in range(8):
            folder = tmp_path / f"{name}-{number}"
            for step in (1, 2):
                save_checkpoint(folder, some_checkpoint(step), keep_last=2)
            module = os if name.startswith("os.") else Path
            attribute, calls = name.rpartition(".")[2], iter(range(number))
            original = getattr(module, attribute)

            def killing(*arguments: object, calls=calls, original=original, **named: object):  # type: ignore[no-untyped-def]
                if next(calls, None) is None:
                    raise Killed
                return original(*arguments, **named)

            with monkeypatch.context() as patched:
                patched.setattr(module, attribute, killing)
                try:
                    save_checkpoint(folder, some_checkpoint(3), keep_last=2)
                except Killed:
                    kills += 1
            assert read_resumable(folder).step in (2, 3)
            save_checkpoint(folder, some_checkpoint(4), keep_last=2)
            assert {file.name for file in find_checkpoints(folder)} in (
                {CHECKPOINT, "checkpoint-joint-2.safetensors"},
                {CHECKPOINT, "checkpoint-joint-3.safetensors"},
            )
            assert len(names(folder)) == 4  # two checkpoints, two training files, nothing else
    assert kills >= 10


def test_damaged_checkpoints_are_skipped_by_name(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for step in (1, 2, 3):
        save_checkpoint(tmp_path, some_checkpoint(step), keep_last=3)
    flip(tmp_path / CHECKPOINT, -1)
    (tmp_path / "training-joint-2.safetensors").unlink()
    with caplog.at_level(logging.WARNING):
        assert read_resumable(tmp_path).step == 1
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 2
    assert said[0].startswith(f"skipped: {tmp_path / CHECKPOINT}: expected a safetensors file, got")
    assert said[1].startswith(f"skipped: {tmp_path / 'training-joint-2.safetensors'}: expected the")
    caplog.clear()
    assert read_checkpoint(tmp_path).step == 2  # the model alone is whole
    assert len(caplog.records) == 1
    flip(tmp_path / "checkpoint-joint-2.safetensors", -1)
    flip(tmp_path / "checkpoint-joint-1.safetensors", -1)
    with pytest.raises(
        InputError, match=r"checkpoint-joint-1\.safetensors: expected a safetensors"
    ):
        read_checkpoint(tmp_path)


def test_a_damaged_newest_checkpoint_is_replaced(tmp_path: Path) -> None:
    for step in (1, 2):
        save_checkpoint(tmp_path, some_checkpoint(step), keep_last=2)
    (tmp_path / CHECKPOINT).write_bytes(b"{")
    save_checkpoint(tmp_path, some_checkpoint(3), keep_last=2)
    assert [read_checkpoint(file).step for file in find_checkpoints(tmp_path)] == [3, 1]
    assert len(names(tmp_path)) == 4


def test_a_run_of_version_1_goes_on_in_the_new_format(tmp_path: Path) -> None:
    torch.save(pickled(some_checkpoint(1)), tmp_path / "checkpoint.pt")
    assert read_resumable(tmp_path).step == 1
    save_checkpoint(tmp_path, some_checkpoint(2), keep_last=2)
    assert read_checkpoint(tmp_path).step == 2
    flip(tmp_path / CHECKPOINT, -1)
    assert read_resumable(tmp_path).step == 1


# Vocabulary -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("objects", "predicates", "expected", "got"),
    [
        (["cat", "dog"], ["on"], "2 objects, number 2 is 'dog'", "2 objects, number 2 is 'mat'"),
        (["cat"], ["on"], "1 objects, number 2 is none", "2 objects, number 2 is 'mat'"),
        (
            ["cat", "mat"],
            ["on", "by"],
            "2 predicates, number 2 is 'by'",
            "1 predicates, number 2 is none",
        ),
    ],
)
def test_another_vocabulary_is_named_by_its_first_difference(
    objects: list[str], predicates: list[str], expected: str, got: str
) -> None:
    checkpoint = some_checkpoint()
    check_vocabulary(checkpoint, CAT_ON_MAT, "c.pt")
    with pytest.raises(InputError) as error:
        check_vocabulary(checkpoint, Vocabulary.from_names(objects, predicates), "c.pt")
    wanted = f"c.pt: expected the data's vocabulary ({expected}), got another ({got})"
    assert str(error.value) == wanted
