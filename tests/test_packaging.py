"""The wheel holds what git tracks, under one import name."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("autoenc_sg", "detector", "relpn", "generator", "eval", "configs")


def tracked() -> list[str]:
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    command = ["git", "ls-files", *FOLDERS]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return listed.stdout.split()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of the tracked files."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    for name in [*tracked(), "setup.py", "pyproject.toml", "README.md", "LICENSE"]:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, source / name)
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-q"]
    subprocess.run([*command, "-w", str(folder), str(source)], check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return built


def test_wheel_holds_exactly_the_tracked_files(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert names == {f if f.startswith("autoenc_sg/") else f"autoenc_sg/{f}" for f in tracked()}


def test_every_module_is_imported_from_the_wheel(wheel: Path, tmp_path: Path) -> None:
    modules = [name for name in tracked() if name.endswith(".py")]
    names = [name[:-3].replace("/", ".").removesuffix(".__init__") for name in modules]
    names = [n if n.startswith("autoenc_sg") else f"autoenc_sg.{n}" for n in names]
    assert len(names) > 150
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    code = (
        "import sys, importlib; sys.argv = ['autoenc-sg', '--version']\n"
        f"sys.path.insert(0, {str(tmp_path / 'site')!r})\n"
        f"for name in {names!r}:\n"
        "    if name == 'autoenc_sg.__main__': continue\n"  # it runs the command line
        "    file = importlib.import_module(name).__file__\n"
        f"    assert file.startswith({str(tmp_path / 'site')!r}), file\n"
        "print('all', autoenc_sg.__version__ if 'autoenc_sg' in globals() else '')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("all")
