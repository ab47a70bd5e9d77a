"""`autoenc_sg.onnx_runtime` in a process in which PyTorch cannot be imported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BLOCKED = "import sys; sys.modules.update({'torch': None, 'torchvision': None})\n"


def run_without_torch(code: str, *arguments: str) -> str:
    """Standard output of Python code that may not import PyTorch."""
    command = [sys.executable, "-c", BLOCKED + code, *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_it_is_imported_and_chooses() -> None:
    code = (
        "import numpy as np\n"
        "from autoenc_sg.onnx_runtime import OnnxModel\n"
        "from autoenc_sg.onnx_runtime.boxes import suppressed\n"
        "boxes = np.array([[0, 0, 9, 9], [0, 0, 9, 8], [20, 0, 29, 9.0]])\n"
        "print(suppressed(boxes, np.array([0.5, 0.9, 0.1]), np.zeros(3), 0.5).tolist())\n"
        "try: import torch\n"
        "except ImportError: print('no torch')\n"
    )
    assert run_without_torch(code).split("\n")[:2] == ["[1, 2]", "no torch"]
