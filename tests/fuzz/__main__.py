"""`python -m tests.fuzz FORMAT… [--number 5000]`: the row of docs/results.md for each format."""

from __future__ import annotations

import argparse

from tests.fuzz.formats import FORMATS
from tests.fuzz.fuzzing import run_in_workers


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("formats", nargs="*", default=list(FORMATS))
    parser.add_argument("--number", type=int, default=5000)
    parser.add_argument("--first", type=int, default=0)
    options = parser.parse_args()
    print(
        "| format | inputs | accepted | refused in one line | other exceptions | crashes "
        "| largest memory, MB | longest message |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for name in options.formats:
        turns = range(options.first, options.first + options.number)
        outcomes = run_in_workers(FORMATS[name], turns)
        others = len(outcomes.faults) - outcomes.crashes
        counts = (len(turns), outcomes.accepted, outcomes.refused, others, outcomes.crashes)
        cells = (name, *counts, outcomes.peak_megabytes, outcomes.longest)
        print("| " + " | ".join(map(str, cells)) + " |", flush=True)
        for number, fault in outcomes.faults[:20]:
            print(f"<!-- {name} {number}: {fault} -->", flush=True)


if __name__ == "__main__":
    main()
