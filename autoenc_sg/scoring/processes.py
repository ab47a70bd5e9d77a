"""One function in several processes, each of which evaluates a part of the images."""

from __future__ import annotations

import pickle
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import distributed
from torch.multiprocessing.spawn import ProcessException, spawn

from autoenc_sg.core.errors import InputError, bad_input

T = TypeVar("T")


def rank_and_world() -> tuple[int, int]:
    """The rank of this process and the number of processes; (0, 1) outside `in_processes`."""
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1


def in_processes(function: Callable[..., T], arguments: tuple[Any, ...], count: int) -> T:
    """Run `function(*arguments)` in `count` processes of a gloo group; the result of rank 0.

    Metrics of torchmetrics are then summed over the processes. The function, its arguments and its
    result must be picklable; the threads are divided among the processes.

    Raises:
        InputError: raised by the function, or this PyTorch has no distributed package.
    """
    if count == 1:
        return function(*arguments)
    if not distributed.is_available():
        raise bad_input("processes", "1 (this PyTorch has no distributed package)", count)
    threads = max(torch.get_num_threads() // count, 1)
    with tempfile.TemporaryDirectory() as folder:
        process_arguments = (count, Path(folder), threads, function, arguments)
        try:
            spawn(_process, process_arguments, nprocs=count)
        except ProcessException:
            error_file = Path(folder) / "error"
            if error_file.exists():
                raise InputError(error_file.read_text(encoding="utf-8")) from None
            raise
        result: T = pickle.loads((Path(folder) / "result").read_bytes())
        return result


def _process(
    rank: int,
    count: int,
    folder: Path,
    threads: int,
    function: Callable[..., T],
    arguments: tuple[Any, ...],
) -> None:
    torch.set_num_threads(threads)
    rendezvous = f"file://{folder / 'rendezvous'}"
    distributed.init_process_group("gloo", rendezvous, rank=rank, world_size=count)
    try:
        result = function(*arguments)
    except InputError as error:
        (folder / "error").write_text(str(error), encoding="utf-8")
        raise
    if rank == 0:
        (folder / "result").write_bytes(pickle.dumps(result))
    distributed.barrier()  # a process that ends early breaks the others' communication
    distributed.destroy_process_group()
