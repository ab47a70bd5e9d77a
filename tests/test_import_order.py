"""The folders are ordered, and a file imports from lower ones only (docs/architecture.md)."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
COMPONENTS = ("detector", "relpn", "generator", "eval")

_BASE = {"core", "config"}
_DATA = _BASE | {"visualization", "data"}
_WEIGHTS = _DATA | {"detector", "generator", "weights"}
_MODEL = _BASE | {"detector", "relpn", "generator", "weights", "predictors"}
_RETRIEVAL = _WEIGHTS | _MODEL | {"model", "retrieval"}
_TRAINING = _RETRIEVAL | {"eval", "training"}
_SCORING = _TRAINING | {"scoring"}
_PIPELINES = _SCORING | {"onnx_runtime", "pipelines"}

# Each folder may import itself and the folders named here; "" is the package's own __init__.py.
MAY_IMPORT = {
    "core": set(),
    "onnx_runtime": {"core"},
    "config": {"core"},
    "detector": _BASE,
    "relpn": _BASE,
    "generator": _BASE,
    "eval": _BASE,
    "visualization": _BASE,
    "data": _DATA,
    "weights": _WEIGHTS,
    "predictors": _BASE,
    "model": _MODEL,
    "retrieval": _RETRIEVAL,
    "training": _TRAINING,
    "scoring": _SCORING,
    "pipelines": _PIPELINES,
    "cli": _PIPELINES | {""},
    "": _PIPELINES,
    "__main__": {"cli", ""},
}

# The floors of `data/`, lower ones first.
DATA_MAY_IMPORT = {
    "h5_files": set(),
    "images": {"h5_files"},
    "base": {"images"},
    "vg150": {"h5_files", "images", "base"},
    "coco": {"images", "base"},
    "formats": {"images", "base", "coco"},
    "sg2im_vg": {"h5_files", "images", "base", "vg150"},
    "scenes": {"images", "base", "vg150"},
    "open": {"images", "base", "vg150", "coco", "formats", "sg2im_vg", "scenes"},
    "loading": {"images", "base"},
    "relate": {"h5_files", "images", "base", "vg150", "coco", "open"},
    "inspect": {
        *("h5_files", "images", "base", "vg150", "coco"),
        *("formats", "sg2im_vg", "scenes", "open"),
    },
}


def imported_modules(source: str) -> Iterator[str]:
    """Dotted names below `autoenc_sg` that a file imports, at its top or inside functions."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names if name.name.startswith("autoenc_sg"))
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            if node.module == "autoenc_sg":
                yield from (f"autoenc_sg.{name.name}" for name in node.names)
            elif node.module is not None and node.module.startswith("autoenc_sg."):
                yield from (f"{node.module}.{name.name}" for name in node.names)


def floor(module: str) -> str:
    """Folder of a module: `autoenc_sg.data.open.x -> data`; `""` for the package's own names."""
    name = module.split(".")[1]
    return name if name in MAY_IMPORT else ""


def violations(folder: str, source: str) -> list[str]:
    """Imports of a file in `folder` that the table does not allow."""
    allowed = MAY_IMPORT[folder] | {folder}
    return [name for name in imported_modules(source) if floor(name) not in allowed]


def files() -> Iterator[tuple[str, Path]]:
    for file in sorted((ROOT / "autoenc_sg").rglob("*.py")):
        parts = file.relative_to(ROOT / "autoenc_sg").parts
        if parts[0] not in (*COMPONENTS, "configs"):  # links of `make links`
            yield (parts[0] if len(parts) > 1 else parts[0][:-3].replace("__init__", "")), file
    for component in COMPONENTS:
        for file in sorted((ROOT / component).rglob("*.py")):
            yield component, file


@pytest.mark.parametrize(
    ("folder", "file"), list(files()), ids=lambda value: getattr(value, "name", value)
)
def test_imports_go_down(folder: str, file: Path) -> None:
    assert violations(folder, file.read_text(encoding="utf-8")) == []


def test_imports_within_data_go_down() -> None:
    root = ROOT / "autoenc_sg" / "data"
    wrong = []
    for file in root.rglob("*.py"):
        own = file.relative_to(root).parts[0].removesuffix(".py")
        if own == "__init__":
            continue
        for name in imported_modules(file.read_text(encoding="utf-8")):
            part = name.split(".")[2] if name.startswith("autoenc_sg.data.") else own
            if part not in DATA_MAY_IMPORT[own] | {own}:
                wrong.append(f"{file.relative_to(root)} imports {name}")
    assert wrong == []


@pytest.mark.parametrize(
    ("folder", "line"),
    [
        ("generator", "from autoenc_sg.training.loop import train"),
        ("generator", "import autoenc_sg.training"),
        ("detector", "from autoenc_sg.generator import Generator"),
        ("eval", "from autoenc_sg import scoring"),
        ("core", "def f():\n    from autoenc_sg.config.run import RunConfig"),
        ("training", "from autoenc_sg.scoring.evaluate import evaluate_model"),
        ("data", "from autoenc_sg import AutoEncoder"),
        ("relpn", "from autoenc_sg.detector import build_detector"),
        ("predictors", "from autoenc_sg.relpn import RelationProposalNetwork"),
        ("visualization", "from autoenc_sg.data.open import open_dataset"),
        ("weights", "from autoenc_sg.model import AutoEncoder"),
        ("model", "from autoenc_sg.retrieval.bank import PatchBank"),
        ("generator", "from autoenc_sg.retrieval.bank import PatchBank"),
        ("retrieval", "from autoenc_sg.training.splits import cached_regions"),
        ("__main__", "from autoenc_sg.training.loop import train"),
    ],
)
def test_an_import_upwards_is_seen(folder: str, line: str) -> None:
    assert len(violations(folder, line)) == 1


def test_the_table_names_every_folder_and_no_cycle() -> None:
    folders = {folder for folder, _ in files()}
    assert folders == set(MAY_IMPORT)
    for table in (MAY_IMPORT, DATA_MAY_IMPORT):
        for folder, below in table.items():
            for other in below - {folder}:
                assert folder not in table[other], f"{folder} and {other} import each other"


def test_folders_are_small() -> None:
    roots = [ROOT / name for name in ("autoenc_sg", *COMPONENTS, "tests", "benchmarks")]
    for root in roots:
        for folder in (root, *(f for f in root.rglob("*") if f.is_dir() and not f.is_symlink())):
            entries = [e for e in folder.iterdir() if not _is_no_entry(e)]
            if folder == ROOT / "tests":  # its folders are those of the package
                entries = [e for e in entries if e.is_file()]
            assert len(entries) <= 13, f"{folder.relative_to(ROOT)} has {len(entries)} entries"


def _is_no_entry(path: Path) -> bool:
    """Links, `__init__.py`, `py.typed`, caches, and what other programs put there."""
    return path.is_symlink() or path.name.startswith(("__", ".")) or path.name == "py.typed"
