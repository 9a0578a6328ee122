# ruff: noqa: T201 - a report for the terminal
"""Score of ``make mutants`` by module, and every mutant that no test noticed; fails below the floor."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

MUTANTS = Path(__file__).parents[3] / "mutants"
FLOOR = 0.85
"""Share of the mutants that has to be noticed; docs/mutants.md says what may survive and why."""

_KILLED = {1, 3}
_TIMED_OUT = {24, 36, 152, 255}
_CRASHED = range(-64, 0)
"""Exit codes of a mutant's tests: failed, ran out of time, ended by a signal. All are noticed."""


def verdicts(folder: Path = MUTANTS) -> Iterator[tuple[str, str, bool]]:
    """For every mutant its source file, its name, and whether a test noticed it."""
    for path in sorted(folder.rglob("*.py.meta")):
        source = path.relative_to(folder).as_posix().removesuffix(".meta")
        exit_codes: dict[str, int | None] = json.loads(path.read_text(encoding="utf-8"))["exit_code_by_key"]
        for mutant, code in exit_codes.items():
            if code is None:
                raise ValueError(f"{mutant} was not tested: the run did not end")
            yield source, mutant, code in _KILLED or code in _TIMED_OUT or code in _CRASHED


def change(mutant: str) -> str:
    """The lines that a mutant changes."""
    run = subprocess.run(
        [Path(sys.executable).parent / "mutmut", "show", mutant],
        cwd=MUTANTS.parent,
        capture_output=True,
        text=True,
        check=True,
    )
    lines = [line for line in run.stdout.splitlines() if line[:1] in "+-" and line[:3] not in {"+++", "---"}]
    return "\n".join(f"    {line}" for line in lines)


def main() -> int:
    """Print the score of each module and what survived."""
    total: Counter[str] = Counter()
    noticed: Counter[str] = Counter()
    survivors = []
    for source, mutant, killed in verdicts():
        total[source] += 1
        noticed[source] += killed
        if not killed:
            survivors.append(mutant)
    for mutant in survivors:
        print(mutant, change(mutant), sep="\n")
    for source, count in total.items():
        print(f"{source}: {noticed[source]} of {count} noticed ({noticed[source] / count:.1%})")
    score = noticed.total() / max(total.total(), 1)
    print(f"Together: {noticed.total()} of {total.total()} ({score:.1%}; at least {FLOOR:.0%})")
    return int(score < FLOOR)


if __name__ == "__main__":
    sys.exit(main())
