"""Which of the one-line changes in `mutations.txt` do the tests notice?

    python benchmarks/training/mutations.py SCRATCH [--only TEXT] [--part 0/2] [--wide]

SCRATCH is a new folder, into which the checkout is copied; each change is made there alone, the
tests of its component (`NARROW`) are run until the first one fails, and the file is restored. With
`--wide` more tests (`WIDER`) are run for the changes that were not noticed before.
Results are kept in SCRATCH.json, so that a run that was ended goes on. Exit status 1: some change
is not noticed.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
COPIED = ("autoenc_sg", "benchmarks", "configs", "detector", "docs", "eval", "generator", "relpn")
FILES = ("tests", "pyproject.toml", "README.md", "CHANGELOG.md", "CONTRIBUTING.md", "Makefile")
NARROW = {  # by the beginning of the file's path: tests that are quick and likely to notice
    "autoenc_sg/training/objectives": (
        "training/losses/test_objectives.py training/losses/test_loss_weights.py "
        "training/phases/test_joint_options.py training/losses/test_gradient.py "
        "training/losses/test_effects.py"
    ),
    "autoenc_sg/training/losses/graph": (
        "training/losses/test_objectives.py training/phases/test_unannotated.py"
    ),
    "autoenc_sg/training/losses/teacher": "training/phases/test_unannotated.py",
    "autoenc_sg/training/target": (
        "training/losses/test_target_assignment.py training/losses/test_objectives.py "
        "training/phases/test_unannotated.py"
    ),
    "autoenc_sg/training/validation": (
        "training/phases/test_joint_validation.py training/losses/test_effects.py "
        "training/phases/test_reconstruction_options.py"
    ),
    "autoenc_sg/training/loop": (
        "training/phases/test_joint_validation.py training/test_loop.py "
        "training/phases/test_handover.py"
    ),
    "autoenc_sg/training": (
        "training/losses/test_effects.py training/losses/test_loss_weights.py "
        "training/phases/test_joint_options.py training/phases/test_reconstruction_options.py"
    ),
    "autoenc_sg/core": "core/test_relaxed_graph.py core/test_graph_logits.py",
    "generator": "generator/test_parts.py",
    "relpn": "relpn training/losses/test_objectives.py",
    "detector": "detector/test_suppression.py detector/test_losses.py",
    "eval/detection": "eval/test_detection.py",
    "eval": "eval/test_recall.py eval/test_pairs.py",
}
WIDER = {  # for those that are not noticed there
    "autoenc_sg/training/objectives": (
        "training/test_own_training.py training/phases/test_reconstruction_options.py "
        "training/test_loop.py"
    ),
    "autoenc_sg/training/target": "training/test_loop.py",
    "autoenc_sg/training/validation": ("training/test_loop.py detector/test_training.py"),
    "autoenc_sg/training": (
        "training/test_loop.py training/phases/test_handover.py training/phases/test_appearance.py"
    ),
    "autoenc_sg/core": (
        "model generator/test_model.py generator/test_appearance.py "
        "training/losses/test_gradient.py training/losses/test_objectives.py predictors"
    ),
    "generator": "training/phases/test_reconstruction_options.py generator/test_model.py",
    "relpn": "model training/test_loop.py",
    "detector": "detector",
    "eval": "eval scoring/test_evaluate.py scoring/test_report.py",
}
PASSED, FAILED = 0, 1  # exit status of pytest
PRELOADED = ("torch", "torchvision", "torchmetrics", "lightning.fabric", "pycocotools.cocoeval")


@dataclass(frozen=True)
class Mutation:
    """A change of one file.

    Attributes:
        file: relative to the checkout.
        what: what it does.
        occurrence: which one of several places, from 1; 0: there is only one.
        changes: pairs of the text before and after.
    """

    file: str
    what: str
    occurrence: int
    changes: tuple[tuple[str, str], ...]

    def apply(self, text: str) -> str:
        """The changed text.

        Raises:
            ValueError: the text before is not there, or more than once.
        """
        for before, after in self.changes:
            parts = text.split(before)
            place = self.occurrence or 1
            if len(parts) <= place or (self.occurrence == 0 and len(parts) > 2):
                raise ValueError(f"{self.file}, {self.what}: found {len(parts) - 1} times")
            text = before.join(parts[:place]) + after + before.join(parts[place:])
        return text


def read_mutations(file: Path) -> Iterator[Mutation]:
    """The changes in a file of the form that `mutations.txt` shows."""
    text = re.sub(r"(?m)^#.*\n", "", file.read_text(encoding="utf-8"))
    for block in text.strip().split("\n\n"):
        head, *lines = block.splitlines()
        name, _, what = head.partition(": ")
        number = re.match(r"\((\d+)\) ", what)
        pairs: list[tuple[list[str], list[str]]] = []
        for line in lines:
            if line[0] == "-" and (not pairs or pairs[-1][1]):
                pairs.append(([], []))
            pairs[-1][line[0] == "+"].append(line[1:])
        changes = tuple(("\n".join(before), "\n".join(after)) for before, after in pairs)
        occurrence = int(number[1]) if number else 0
        yield Mutation(name, what[number.end() if number else 0 :], occurrence, changes)


def copy_checkout(folder: Path) -> None:
    """Copy what the tests need, links as links, without compiled files."""
    ignored = shutil.ignore_patterns("__pycache__")
    for name in (*COPIED, *FILES):
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, symlinks=True, ignore=ignored)
        else:
            shutil.copy(ROOT / name, folder / name)


def run_tests(folder: Path, tests: list[str]) -> tuple[int, str]:
    """Exit status of pytest, and the first failed test or the last line of its output.

    A fork of this process runs it, so that PyTorch is imported once; the checkout's modules are
    imported in the fork.
    """
    options = [
        "-x",
        "-q",
        "--no-header",
        "-p",
        "no:cacheprovider",
        "--tb=no",
        "-m",
        "not slow and not gpu",
    ]
    log = folder / "pytest.log"
    child = os.fork()
    if child == 0:
        os.chdir(folder)
        sys.path[0] = str(folder)
        sys.dont_write_bytecode = True
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(output, 1)
        os.dup2(output, 2)
        status = pytest.main([*options, *(f"tests/{test}" for test in tests)])
        sys.stdout.flush()
        os._exit(int(status))
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines() or [""]
    failed = [line for line in lines if line.startswith(("FAILED", "ERROR"))]
    name = failed[0].split(" ")[1].removeprefix("tests/") if failed else lines[-1]
    return status, name


def try_mutation(folder: Path, mutation: Mutation, wide: bool) -> str:
    """The test that notices a change; empty if none does. `wide`: of `WIDER`."""
    file = folder / mutation.file
    before = file.read_text(encoding="utf-8")
    file.write_text(mutation.apply(before), encoding="utf-8")
    table = WIDER if wide else NARROW
    tests = next(tests for name, tests in table.items() if mutation.file.startswith(name))
    try:
        status, test = run_tests(folder, tests.split())
        if status not in (PASSED, FAILED):
            return f"(pytest ended with status {status}: {test})"
        return test if status == FAILED else ""
    finally:
        file.write_text(before, encoding="utf-8")


def main() -> int:
    """Try the changes and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scratch", type=Path)
    parser.add_argument("--only", default="", help="changes whose file or description has this")
    parser.add_argument("--part", default="0/1", help="0/2: every second change, from the first")
    parser.add_argument("--wide", action="store_true", help="more tests, of what is not noticed")
    options = parser.parse_args()
    mutations = list(read_mutations(Path(__file__).with_name("mutations.txt")))
    for mutation in mutations:
        mutation.apply((ROOT / mutation.file).read_text(encoding="utf-8"))  # all before the first
    if not options.scratch.exists():
        copy_checkout(options.scratch)
    for name in PRELOADED:
        importlib.import_module(name)
    results_file = options.scratch.with_suffix(".json")
    results = json.loads(results_file.read_text("utf-8")) if results_file.is_file() else {}
    first, step = map(int, options.part.split("/"))
    chosen = [m for m in mutations[first::step] if options.only in f"{m.file}: {m.what}"]
    for mutation in chosen:
        key = f"{mutation.file}: {mutation.what}"
        if key not in results or (options.wide and not results[key]):
            results[key] = try_mutation(options.scratch, mutation, options.wide)
            results_file.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
        print(f"| `{mutation.file}` | {mutation.what} | {results[key] or 'none'} |", flush=True)
    noticed = sum(bool(results[f"{m.file}: {m.what}"]) for m in chosen)
    print(f"noticed {noticed} of {len(chosen)}")
    return 0 if noticed == len(chosen) else 1


if __name__ == "__main__":
    sys.exit(main())
