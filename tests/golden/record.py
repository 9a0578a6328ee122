"""Record every figure that the public commands give, or compare with the record.

``python -m tests.golden.record`` writes ``figures.json`` anew; ``--check`` writes nothing and prints which figures
differ (exit code 1); ``--only PART`` takes one part. ``COLDSPOT_DATA`` names the folder of the real CTs.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from typing import Any

from tests.golden.cases import CASES, PARTS, Case
from tests.golden.commands import CommandFailedError, Workplace, data_folder
from tests.golden.comparing import (
    RECORD,
    differences,
    other_than_recorded,
    present_header,
    read_record,
    write_record,
)

SHOWN = 40
"""Differences printed of one case."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.golden.record", description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare and write nothing")
    parser.add_argument("--only", choices=PARTS, help="one part; the others stay as they are")
    chosen = parser.parse_args(arguments)
    cases = [case for case in CASES if chosen.only in (None, case.part)]
    if data_folder() is None and any(case.needs_data for case in cases):
        say("COLDSPOT_DATA is not set: there are no real CTs to read")
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the service ends with this process
    with Workplace() as work:
        return check(cases, work) if chosen.check else record(cases, work, whole=chosen.only is None)


def record(cases: list[Case], work: Workplace, *, whole: bool) -> int:
    """Write the figures of the cases; those of other parts stay if they were recorded on such a machine."""
    header = present_header()
    recorded: dict[str, Any] = {}
    if not whole and RECORD.exists():
        older = read_record()
        if older["header"] != header:
            say("the other parts were recorded on another machine: record all of them, without --only")
            return 2
        parts = {case.part for case in cases}
        recorded = {key: kept for key, kept in older["cases"].items() if key.partition("/")[0] not in parts}
    for case in cases:
        recorded[case.key] = measured(case, work)
    write_record(header, recorded)
    say(f"{RECORD.name}: {len(recorded)} cases, {RECORD.stat().st_size / 1000:.0f} kB")
    return 0


def check(cases: list[Case], work: Workplace) -> int:
    """Print what differs from the record."""
    record_, header = read_record(), present_header()
    differing = 0
    for part in dict.fromkeys(case.part for case in cases):
        other = other_than_recorded(record_["header"], header, part)
        say(f"{part}: {how(other)}")
        for case in (case for case in cases if case.part == part):
            try:
                found = differences(record_["cases"].get(case.key, {}), measured(case, work), exact=not other)
            except CommandFailedError as error:
                found = [str(error)]
            differing += bool(found)
            for line in found[:SHOWN]:
                say(f"  {case.key}: {line}")
            if len(found) > SHOWN:
                say(f"  {case.key}: and {len(found) - SHOWN} more")
    say(f"{differing} of {len(cases)} cases differ" if differing else f"{len(cases)} cases as recorded")
    return 1 if differing else 0


def how(other: list[str]) -> str:
    """Say whether digits have to be equal."""
    return f"within tolerances ({'; '.join(other)})" if other else "to the last digit"


def measured(case: Case, work: Workplace) -> dict[str, Any]:
    """Measure a case and say how long it took."""
    started = time.monotonic()
    figures = case.measure(work)
    say(f"  {case.key}: {time.monotonic() - started:.1f} s")
    return figures


def say(line: str) -> None:
    """Print at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
