"""Findings of `data verify`: kind, severity, places and remedy."""

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
    """One kind of problem, with all its occurrences.

    Attributes:
        severity: `error`: training would fail or learn wrong annotations; `warning`: training
            works, but data are lost or look wrong; `note`: information.
        kind: its name, such as `absent images`.
        count: number of occurrences.
        examples: places of the first occurrences.
        remedy: what to do.
    """

    severity: Severity
    kind: str
    count: int
    examples: tuple[str, ...]
    remedy: str


def findings_of(
    severity: Severity, kind: str, places: Iterable[object], remedy: str, count: int | None = None
) -> Iterator[Finding]:
    """One finding with these places; nothing if there are no places.

    Args:
        severity: see `Finding`.
        kind: see `Finding`.
        remedy: see `Finding`.
        places: of all occurrences, or of the first of `count`.
        count: number of occurrences; None: as many as `places`.
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
        counts: images, objects and relations.
        findings: errors first.
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
        """All findings as JSON; written atomically.

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


def merged(findings: Iterable[Finding]) -> list[Finding]:
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
