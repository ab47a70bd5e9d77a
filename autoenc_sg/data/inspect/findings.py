"""What is wrong with a data set, how badly, and what to do about it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Literal

from autoenc_sg.data.base.json_files import write_json
from autoenc_sg.visualization.tables import Cell, Table

Severity = Literal["error", "warning", "note"]
_EXAMPLES = 5


@dataclass(frozen=True)
class Finding:
    """One kind of damage.

    Attributes:
        severity: `error`: training would stop or learn what is false; `warning`: it works, but
            something is lost or strange; `note`: good to know.
        kind: its name.
        count: how often.
        examples: where, the first of them.
        remedy: what to do.
    """

    severity: Severity
    kind: str
    count: int
    examples: tuple[str, ...]
    remedy: str


def found(
    severity: Severity, kind: str, places: Iterable[object], remedy: str, count: int | None = None
) -> Iterator[Finding]:
    """A finding of these places, or none where there are none.

    Args:
        severity: see `Finding`.
        kind: see `Finding`.
        remedy: see `Finding`.
        places: all of them, or the first ones of `count`.
        count: how many there are; None: as many as `places`.
    """
    every = iter(places)
    examples = tuple(str(place) for place in islice(every, _EXAMPLES))
    total = len(examples) + sum(1 for _ in every) if count is None else count
    if total:
        yield Finding(severity, kind, total, examples, remedy)


@dataclass(frozen=True)
class Verification:
    """The outcome of a check.

    Attributes:
        root: the folder that was checked.
        counts: how much there is.
        findings: the worst first.
    """

    root: str
    counts: Table
    findings: Sequence[Finding]

    @property
    def ready(self) -> bool:
        """Whether it can be trained on."""
        return not any(finding.severity == "error" for finding in self.findings)

    @property
    def verdict(self) -> str:
        """One line."""
        numbers = {
            severity: sum(finding.severity == severity for finding in self.findings)
            for severity in ("error", "warning")
        }
        said = " and ".join(
            f"{number} {severity}{'s' * (number > 1)}"
            for severity, number in numbers.items()
            if number
        )
        return f"{'ready' if self.ready else 'not ready'}: {said or 'nothing is wrong'}"

    def table(self) -> Table:
        """The findings, for the terminal."""
        rows: list[list[Cell]] = [
            [
                f.severity,
                f.kind,
                f.count,
                "; ".join(f.examples) + "; …" * (f.count > len(f.examples)),
            ]
            for f in self.findings
        ]
        return Table("Findings", ["", "what", "count", "where"], rows)

    def write_json(self, path: Path) -> None:
        """Everything, for programs; whole or not at all.

        Raises:
            InputError: the path cannot be written.
        """
        content = {
            "root": self.root,
            "ready": self.ready,
            "counts": [dict(zip(self.counts.columns, row)) for row in self.counts.rows],
            "findings": [asdict(finding) for finding in self.findings],
        }
        write_json(path, content, indent=1)


def joined(findings: Iterable[Finding]) -> list[Finding]:
    """One finding of each kind, in order of first appearance."""
    groups: dict[tuple[str, str], list[Finding]] = defaultdict(list)
    for finding in findings:
        groups[finding.severity, finding.kind].append(finding)
    return [
        replace(
            group[0],
            count=sum(finding.count for finding in group),
            examples=tuple(islice((e for f in group for e in f.examples), _EXAMPLES)),
        )
        for group in groups.values()
    ]


def worst_first(findings: Iterable[Finding]) -> list[Finding]:
    """Errors, then warnings, then notes; else in order."""
    order = ("error", "warning", "note")
    return sorted(findings, key=lambda finding: order.index(finding.severity))
