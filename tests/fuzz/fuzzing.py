"""Running a reader on many damaged inputs, in this process or in a worker that may crash.

A reader is clean on an input if it accepts it, or raises one `InputError` whose message is
printable and has at most 1,000 characters. Anything else is a fault: another exception, a message
of another form, or the end of the process. Each turn has its own seed, so that it can be run alone.
"""

from __future__ import annotations

import multiprocessing
import random
import resource
import tempfile
import traceback
import warnings
from collections.abc import Iterable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Protocol

from autoenc_sg.core.errors import InputError

LIMIT_BYTES = 6 << 30
LONGEST_MESSAGE = 1000


class Fuzzer(Protocol):
    """Valid inputs of one format, which are damaged and read."""

    def __init__(self, root: Path) -> None: ...

    def turn(self, rng: random.Random) -> None:
        """Damage an input and read it; raises what the reader raises."""


@dataclass
class Outcomes:
    """What became of some damaged inputs.

    Attributes:
        accepted, refused: how many were read, and were refused in one line.
        faults: turn and traceback, or `crash`, of all others.
        longest: characters of the longest message.
        peak_megabytes: largest resident memory of the process.
    """

    accepted: int = 0
    refused: int = 0
    faults: list[tuple[int, str]] = field(default_factory=list)
    longest: int = 0
    peak_megabytes: int = 0

    @property
    def crashes(self) -> int:
        """How often a process ended."""
        return sum(fault == "crash" for _, fault in self.faults)

    def add(self, other: Outcomes) -> None:
        """Count another part."""
        self.accepted += other.accepted
        self.refused += other.refused
        self.faults += other.faults
        self.longest = max(self.longest, other.longest)
        self.peak_megabytes = max(self.peak_megabytes, other.peak_megabytes)


def one_turn(fuzzer: Fuzzer, name: str, number: int) -> Outcomes:
    """The outcome of a turn."""
    outcome = Outcomes()
    try:
        fuzzer.turn(random.Random(f"{name} {number}"))
        outcome.accepted = 1
    except InputError as error:
        message = str(error)
        outcome.longest = len(message)
        if 0 < len(message) <= LONGEST_MESSAGE and message.isprintable():
            outcome.refused = 1
        else:
            outcome.faults.append((number, f"message {message!r}"))
    except Exception:
        outcome.faults.append((number, traceback.format_exc()))
    outcome.peak_megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    return outcome


def run_turns(kind: type[Fuzzer], root: Path, turns: Iterable[int]) -> Outcomes:
    """The outcomes of some turns in this process."""
    fuzzer, outcomes = kind(root), Outcomes()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for number in turns:
            outcomes.add(one_turn(fuzzer, kind.__name__, number))
    return outcomes


def run_in_workers(kind: type[Fuzzer], turns: range) -> Outcomes:
    """The outcomes of some turns in a process of at most 6 GB, a new one after each crash."""
    outcomes, start = Outcomes(), turns.start
    context = multiprocessing.get_context("spawn")
    while start < turns.stop:
        receiver, sender = context.Pipe(duplex=False)
        worker = context.Process(target=_work, args=(kind, range(start, turns.stop), sender))
        worker.start()
        sender.close()
        try:
            while start < turns.stop:
                outcomes.add(receiver.recv())
                start += 1
        except EOFError:
            outcomes.faults.append((start, "crash"))
            start += 1
        worker.join()
    return outcomes


def _work(kind: type[Fuzzer], turns: range, sender: Connection) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (LIMIT_BYTES, LIMIT_BYTES))
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        fuzzer = kind(Path(folder))
        for number in turns:
            sender.send(one_turn(fuzzer, kind.__name__, number))
