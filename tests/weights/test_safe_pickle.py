"""The names that a pickle may refer to: what each builds, and what it cannot be used for."""

from __future__ import annotations

import io
import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from autoenc_sg.core.errors import InputError
from autoenc_sg.weights.safe_pickle import ALLOWED_NAMES, read_torch_file, unpickle_arrays


class Call:
    """Pickled as a call of `function(*arguments)`."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.function, self.arguments


def load(data: bytes) -> Any:
    return unpickle_arrays(io.BytesIO(data), "file")


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_every_protocol_of_arrays_and_plain_values(protocol: int) -> None:
    content = {
        "matrix": np.arange(6, dtype=np.float32).reshape(2, 3).T,
        "text": np.array(["a", "bc"]),
        "none": np.zeros((0, 4), dtype=np.int64),
        "number": np.float64(2.5),
        "bytes": [b"", b"\xff"],
        "ordered": OrderedDict(a=(1, None, True)),
    }
    loaded = load(pickle.dumps(content, protocol))
    for name in ("matrix", "text", "none"):
        np.testing.assert_array_equal(loaded[name], content[name])
        assert loaded[name].dtype == content[name].dtype  # type: ignore[attr-defined]
    for name in ("number", "bytes", "ordered"):
        assert loaded[name] == content[name]


RECONSTRUCT = np.empty(0).__reduce__()[0]  # private, and not in the same module in NumPy 1 and 2


def test_no_name_allocates_what_the_file_does_not_hold() -> None:
    assert load(pickle.dumps(Call(RECONSTRUCT, np.ndarray, (10**15,), b"b"))).size == 0
    for call in (Call(bytes, 10**15), Call(np.ndarray, (10**15,))):
        with pytest.raises(InputError, match="a damaged one"):
            load(pickle.dumps(call))


def test_a_name_outside_the_table_is_named() -> None:
    assert "builtins.eval" not in ALLOWED_NAMES
    with pytest.raises(InputError, match=r"file: expected a pickle .* would run builtins\.eval"):
        load(pickle.dumps(Call(eval, "1 + 1")))


STRANGE = {
    "sparse": torch.eye(3).to_sparse(),
    "without numbers": torch.empty(2**40, device="meta"),
    "quantized": torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8),
    "one number, expanded": torch.zeros(1).expand(2**30),
}


@pytest.mark.parametrize("kind", STRANGE)
def test_tensors_of_other_layouts_are_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "w.pt"
    torch.save({"model": [{"a": torch.ones(2)}, (STRANGE[kind],)]}, path)
    with pytest.raises(InputError, match="dense tensors whose numbers are all stored"):
        read_torch_file(path)


def test_shared_and_sliced_tensors_are_read(tmp_path: Path) -> None:
    path, whole = tmp_path / "w.pt", torch.arange(6.0)
    torch.save({"a": whole, "b": whole[2:4], "c": whole.view(2, 3).t(), "d": whole[:0]}, path)
    assert read_torch_file(path)["b"].tolist() == [2.0, 3.0]
