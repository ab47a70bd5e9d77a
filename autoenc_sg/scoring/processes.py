"""The same function in several processes that share the images, each seeing a part of them."""

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
    """This process's number and how many there are; (0, 1) where there is one."""
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1


def in_processes(function: Callable[..., T], arguments: tuple[Any, ...], count: int) -> T:
    """Run `function(*arguments)` in `count` processes joined by gloo; the answer of the first.

    Metrics of torchmetrics then add up across the processes. The function, its arguments and its
    answer must be picklable; threads are shared out among the processes.

    Raises:
        InputError: the function did, or this PyTorch has no processes.
    """
    if count == 1:
        return function(*arguments)
    if not distributed.is_available():
        raise bad_input("processes", "1 (this PyTorch has no distributed package)", count)
    threads = max(torch.get_num_threads() // count, 1)
    with tempfile.TemporaryDirectory() as folder:
        given = (count, Path(folder), threads, function, arguments)
        try:
            spawn(_process, given, nprocs=count)
        except ProcessException:
            fault = Path(folder) / "fault"
            if fault.exists():
                raise InputError(fault.read_text(encoding="utf-8")) from None
            raise
        answer: T = pickle.loads((Path(folder) / "answer").read_bytes())
        return answer


def _process(
    rank: int,
    count: int,
    folder: Path,
    threads: int,
    function: Callable[..., T],
    arguments: tuple[Any, ...],
) -> None:
    torch.set_num_threads(threads)
    meeting = f"file://{folder / 'meeting'}"
    distributed.init_process_group("gloo", meeting, rank=rank, world_size=count)
    try:
        answer = function(*arguments)
    except InputError as error:
        (folder / "fault").write_text(str(error), encoding="utf-8")
        raise
    if rank == 0:
        (folder / "answer").write_bytes(pickle.dumps(answer))
    distributed.barrier()  # none leaves while another still waits for it
    distributed.destroy_process_group()
