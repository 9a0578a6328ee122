"""Register pairs of known truth with Coldspot and its peers in one run; error against time.

    python -m benchmarks.registration [--repeats 1] [--paired-repeats 5] [--cases lidc-half …]

The peers come with `make setup-bench`; one that is not installed is printed and drawn as such. Real CT is found
through COLDSPOT_DATA. Every run is one line of the runs file, and a run in that file is not repeated: a run that was
stopped goes on. --redo METHOD … forgets a method's lines. Coldspot and elastix take turns, so that their ratio
compares like with like on a machine that others use too.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from benchmarks.registration.cases import Case, all_cases, scores
from benchmarks.registration.peers import PEERS, Pair
from benchmarks.registration.report import draw, summary, table
from benchmarks.threads import THREADS
from engine import __version__
from engine.geometry import RigidTransform
from engine.refusal import RefusedError
from engine.registration.field import DisplacementField

RESULTS: Final = Path(__file__).parents[1] / "results"
OURS: Final = "coldspot"
PAIRED: Final = (OURS, "elastix")
"""They take turns and are both repeated."""


@dataclass(frozen=True)
class Registration:
    """Result of one method: its field, and its own account of uncertainty and method."""

    field: DisplacementField
    moving_from_fixed: RigidTransform | None = None
    uncertainty_mm: float | None = None
    method: str = ""


@dataclass(frozen=True)
class Method:
    """A method by name, with the version that is installed here (None: it is not)."""

    name: str
    version: str | None
    settings: str
    register: Callable[[Pair], Registration]
    load: Callable[[], object] = lambda: None
    """Imports what it needs, before the clock starts."""


def coldspot(pair: Pair) -> Registration:
    """Coldspot's own registration, as ``coldspot register`` calls it."""
    from engine.registration.register import register

    registered = register(pair.fixed, pair.moving, fixed_zone=pair.zone, moving_tumor=pair.tumor)
    alignment = registered.alignment
    return Registration(
        registered.field, alignment.planning_from_verification, alignment.uncertainty_mm, alignment.method
    )


def methods() -> list[Method]:
    """All methods, Coldspot's first."""
    peers = [
        Method(peer.name, peer.version, peer.settings, partial(_by_peer, peer.register), peer.load)
        for peer in PEERS
    ]
    return [Method(OURS, __version__, "defaults, zone and tumor given where there are any", coldspot), *peers]


def _by_peer(register: Callable[[Pair], DisplacementField], pair: Pair) -> Registration:
    return Registration(register(pair))


def measure(method: Method, case: Case) -> dict[str, Any]:
    """Run one method once: wall clock and processor time around the whole call, then the scores."""
    line: dict[str, Any] = {
        "case": case.name,
        "method": method.name,
        "version": method.version,
        "threads": THREADS,
        "load_before": round(os.getloadavg()[0], 2),
        "at": time.strftime("%Y-%m-%dT%H:%M:%S"),
    }
    method.load()
    started, processor = time.perf_counter(), time.process_time()
    try:
        registration = method.register(case.pair)
    except RefusedError as refused:
        return line | {"refusal": {"code": str(refused.refusal.code), "reason": refused.refusal.reason}}
    except Exception as error:  # noqa: BLE001 - a peer that fails is a row of the table, not the end of the run
        traceback.print_exc()
        return line | {"error": f"{type(error).__name__}: {error}"}
    return line | {
        "seconds": time.perf_counter() - started,
        "processor_s": time.process_time() - processor,
        "says": {"method": registration.method, "uncertainty_mm": registration.uncertainty_mm},
        "scores": scores(case, registration.field, registration.moving_from_fixed),
    }


def planned(chosen: list[Method], repeats: int, paired_repeats: int) -> Iterator[tuple[int, Method]]:
    """Which method runs when: those that are compared in pairs take turns."""
    for repeat in range(max(repeats, paired_repeats)):
        for method in chosen:
            if repeat < (paired_repeats if method.name in PAIRED else repeats):
                yield repeat, method


def run(
    cases: dict[str, Callable[[], Case]],
    chosen: list[Method],
    runs_file: Path,
    *,
    repeats: int,
    paired_repeats: int,
) -> None:
    """Run what the runs file does not hold yet, and again what failed; one line after each."""
    done = [(line["case"], line["method"]) for line in read_runs(runs_file) if "error" not in line]
    for name, make in cases.items():
        missing = [
            (repeat, method)
            for repeat, method in planned(chosen, repeats, paired_repeats)
            if method.version is not None and repeat >= done.count((name, method.name))
        ]
        if not missing:
            continue
        case = make()
        for _, method in missing:
            if method.name == OURS and (name, OURS) not in done:
                measure(method, case)  # the first call compiles, or loads what was compiled
                done.append((name, OURS))
            line = measure(method, case)
            with runs_file.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
            outcome = f"{line['seconds']:7.1f} s" if "seconds" in line else line.get("error") or "refused"
            print(f"{name:22s} {method.name:12s} {outcome}", flush=True)


def read_runs(runs_file: Path) -> list[dict[str, Any]]:
    """All runs so far; the last line may be cut off where a run was stopped."""
    if not runs_file.exists():
        return []
    runs = []
    for text in runs_file.read_text(encoding="utf-8").splitlines():
        try:
            runs.append(json.loads(text))
        except json.JSONDecodeError:
            print(f"a line of {runs_file.name} is cut off and left out")
    return runs


def forget(runs_file: Path, names: list[str]) -> None:
    """Drop the lines of some methods, and a line that was cut off."""
    remaining = [line for line in read_runs(runs_file) if line["method"] not in names]
    runs_file.write_text("".join(json.dumps(line) + "\n" for line in remaining), encoding="utf-8")


def write_results(folder: Path, runs: list[dict[str, Any]], known: list[Method]) -> None:
    """Write registration.json, .md and .png."""
    ran = {line["method"]: line["version"] for line in runs}
    described = {
        method.name: {
            "version": ran.get(method.name) or method.version or "not installed",
            "settings": method.settings,
        }
        for method in known
    }
    report = {
        "machine": f"{_processor()}, {len(os.sched_getaffinity(0))} cores",
        "python": platform.python_version(),
        "threads": THREADS,
        "methods": described,
        "results": summary(runs),
    }
    (folder / "registration.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    (folder / "registration.md").write_text(table(report), encoding="utf-8")
    draw(report, folder / "registration.png")


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=1, help="of a peer")
    parser.add_argument("--paired-repeats", type=int, default=5, help=f"of {' and '.join(PAIRED)}, in turns")
    parser.add_argument("--cases", nargs="*", help="all where left out")
    parser.add_argument("--methods", nargs="*", help="all where left out")
    parser.add_argument("--redo", nargs="*", default=[], metavar="METHOD", help="forget its runs first")
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    known = methods()
    for method in known:
        print(f"{method.name}: {method.version or 'not installed'}")
    data = os.environ.get("COLDSPOT_DATA")
    if not data:
        print("COLDSPOT_DATA is not set: no real CT, phantoms only")
    cases = all_cases(Path(data) if data else None)
    runs_file = options.results / "registration.jsonl"
    forget(runs_file, options.redo)
    run(
        {name: make for name, make in cases.items() if not options.cases or name in options.cases},
        [method for method in known if not options.methods or method.name in options.methods],
        runs_file,
        repeats=options.repeats,
        paired_repeats=options.paired_repeats,
    )
    write_results(options.results, read_runs(runs_file), known)
    print(options.results / "registration.md")


if __name__ == "__main__":
    main()
