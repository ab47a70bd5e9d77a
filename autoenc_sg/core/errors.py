"""Exceptions: bad input by the user, and training that diverged."""

from __future__ import annotations


class InputError(ValueError):
    """Bad input: the message is one line that says what, what was expected and what was got.

    The command line prints the message alone and exits with status 2.
    """


def bad_input(what: object, expected: str, got: object) -> InputError:
    """``InputError("<what>: expected <expected>, got <got>")`` on one line."""
    return InputError(" ".join(f"{what}: expected {expected}, got {got}".split()))


def require(holds: bool, what: object, expected: str, got: object) -> None:
    """Raise `bad_input` unless `holds`; `got` is shown by its `repr`."""
    if not holds:
        raise bad_input(what, expected, repr(got))


def require_at_least(least: float, config: object, section: str, *names: str) -> None:
    """Raise `bad_input` unless these attributes of a configuration's section are >= `least`."""
    for name in names:
        value = getattr(config, name)
        require(value >= least, f"{section}.{name}", f">= {least}", value)


class TrainingDiverged(RuntimeError):
    """A loss is not finite; the message names the losses and the images of the batch."""
