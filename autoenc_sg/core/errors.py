"""Exceptions: bad input by the user, training that diverged or was interrupted."""

from __future__ import annotations

import math
from operator import index

_LONGEST = 1000


class InputError(ValueError):
    """Bad input: the message is one line that says what, what was expected and what was got.

    It has at most 1,000 characters, all printable (`one_line`). The command line prints the message
    alone and exits with status 2.
    """

    def __init__(self, message: object = "") -> None:
        super().__init__(one_line(str(message)))


def one_line(text: str, longest: int = _LONGEST) -> str:
    r"""Text of a file, of any content, for a message or a terminal.

    White space is joined to single blanks, characters that are not printable (control characters,
    lone surrogates) are written as `\x1b` or `\ud800`, and of a text of more than `longest`
    characters the middle is left out.
    """
    line = _shortened(" ".join(text.split()), longest)
    if line.isprintable():
        return line
    escaped = (c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)
    return _shortened("".join(escaped), longest)


def _shortened(line: str, longest: int) -> str:
    if len(line) <= longest:
        return line
    tail = longest // 3
    return f"{line[: longest - tail - 3]} … {line[-tail:]}"


def bad_input(what: object, expected: str, got: object) -> InputError:
    """``InputError("<what>: expected <expected>, got <got>")`` on one line."""
    return InputError(f"{what}: expected {expected}, got {got}")


def require(holds: bool, what: object, expected: str, got: object) -> None:
    """Raise `bad_input` unless `holds`; `got` is shown by its `repr`."""
    if not holds:
        raise bad_input(what, expected, repr(got))


def is_fraction(value: object) -> bool:
    """Whether a user's value is a number in [0, 1]; False for NaN and for what is no number."""
    try:
        return 0 <= float(value) <= 1 and not isinstance(value, str)  # type: ignore[arg-type]
    except (TypeError, ValueError, RuntimeError, OverflowError):
        return False


def whole_number(value: object, what: str, expected: str = "a name or a whole number") -> int:
    """A user's whole number, one of NumPy or PyTorch too; raises InputError for anything else."""
    try:
        number = index(value)  # type: ignore[arg-type]
    except (TypeError, ValueError) as error:  # ValueError: an array or tensor of several
        raise bad_input(what, expected, repr(value)) from error
    if isinstance(value, bool) or not -(2**63) <= number < 2**63:
        raise bad_input(what, expected, repr(value))
    return number


def require_at_least(least: float, config: object, section: str, *names: str) -> None:
    """Raise `bad_input` unless these attributes of a configuration's section are >= `least`.

    They have to be finite, too: a weight that is not would stop the training in its first step.
    """
    for name in names:
        value = getattr(config, name)
        require(value >= least, f"{section}.{name}", f">= {least}", value)
        require(value < math.inf, f"{section}.{name}", "a finite number", value)


def require_at_most(most: float, config: object, section: str, *names: str) -> None:
    """Raise `bad_input` unless these attributes, or each of their values, are <= `most`."""
    for name in names:
        value = getattr(config, name)
        largest = max(value) if isinstance(value, tuple) else value
        require(largest <= most, f"{section}.{name}", f"<= {most}", value)


class TrainingDiverged(RuntimeError):
    """Losses, gradients or weights are not finite; the message is one line that names them."""


class TrainingInterrupted(KeyboardInterrupt):
    """Training was ended by a signal; the message is one line.

    Args:
        signal_number: SIGINT or SIGTERM. The command line exits with status 128 + this number.
        message: what was done last, and which checkpoint was written.
    """

    def __init__(self, signal_number: int, message: str) -> None:
        super().__init__(message)
        self.signal_number = signal_number
