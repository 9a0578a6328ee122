"""Run the benchmarks, each in a process of its own with a time limit, and keep their results: ``make bench``.

    python -m benchmarks.run [--only NAME ...] [--quick]

Every benchmark becomes ``benchmarks/results/<date>-<machine>/<name>.json``; the table in benchmarks/README.md and the
picture of all ratios are drawn anew from the newest result of each on this machine. ``--quick`` shows only that all of
them run: its figures go to build/benchmarks and into no table. Exit code 1 if a benchmark failed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from benchmarks.machine import machine, machine_name
from benchmarks.result_folders import RESULTS, folder_for, result_folders
from benchmarks.results_page import PICTURE, draw, page, put_between

ROOT: Final = Path(__file__).parents[1]
README: Final = Path(__file__).parent / "README.md"
QUICK_RESULTS: Final = ROOT / "build" / "benchmarks"
ABLATION_CASES: Final = (
    "lidc-5mm-under",
    "lidc-deep-complete",
    "lidc-half",
    "lidc-pleural-complete",
    "lidc-rigid-under",
    "lidc-shell-complete",
    "lidc-shell-miss",
    "lidc-waist-needle",
    "lung1-5mm-under",
)
PHANTOMS: Final = ("phantom-deep", "phantom-pleural")

Row = dict[str, Any]


@dataclass(frozen=True)
class Benchmark:
    """One benchmark.

    Parameters
    ----------
    module : str
        Below ``benchmarks``.
    arguments, quick : tuple of str
        ``{folder}`` stands for the folder of results, ``{scratch}`` for one that is thrown away.
    limit_s : float
        It is stopped after this long.
    writes : str
        File in the scratch folder that holds its JSON; empty: its standard output is the JSON.
    needs_data : bool
        It cannot run without COLDSPOT_DATA.
    """

    module: str
    arguments: tuple[str, ...]
    quick: tuple[str, ...]
    limit_s: float
    writes: str = ""
    needs_data: bool = False


BENCHMARKS: Final = {
    "kernels": Benchmark(
        "kernels", ("--json",), ("--json", "--edge", "64", "--only", "distance", "counting"), 1800
    ),
    "growth": Benchmark(
        "kernels.growth", ("--json", "--plot", "{folder}/growth.png"), ("--json", "--only", "tumor"), 1800
    ),
    "registration": Benchmark(
        "registration",
        ("--paired-repeats", "3", "--results", "{scratch}", "--cases", *ABLATION_CASES, *PHANTOMS),
        ("--paired-repeats", "1", "--results", "{scratch}", "--cases", PHANTOMS[0], "--methods", "coldspot"),
        7200,
        writes="registration.json",
    ),
    "segmentation": Benchmark(
        "segmentation",
        ("--standard", "--out", "{scratch}/segmentation.json"),
        ("--scopes", "region", "--repeats", "1", "--out", "{scratch}/segmentation.json"),
        7200,
        writes="segmentation.json",
        needs_data=True,
    ),
    "radiomics": Benchmark("radiomics", ("--library", "--json"), ("--repeats", "3", "--json"), 900),
    "service": Benchmark("serving", ("--json",), ("--quick", "--json"), 1800),
    "end_to_end": Benchmark("end_to_end", ("--json",), ("--quick", "--json"), 3600),
}


def run_benchmark(name: str, folder: Path, *, quick: bool) -> Row | str:
    """Run one benchmark; returns its record, or why there is none."""
    benchmark = BENCHMARKS[name]
    if benchmark.needs_data and not os.environ.get("COLDSPOT_DATA"):
        return "COLDSPOT_DATA is not set: it needs the real CTs"
    record: Row = {"benchmark": name, "machine": machine(), "quick": quick}
    record["arguments"] = list(benchmark.quick if quick else benchmark.arguments)
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as scratch:
        arguments = [argument.format(folder=folder, scratch=scratch) for argument in record["arguments"]]
        command = [sys.executable, "-m", f"benchmarks.{benchmark.module}", *arguments]
        try:
            # What it tells of its progress goes to the terminal.
            run = subprocess.run(
                command, cwd=ROOT, stdout=subprocess.PIPE, text=True, timeout=benchmark.limit_s, check=False
            )
        except subprocess.TimeoutExpired:
            return f"stopped after its limit of {benchmark.limit_s:g} s"
        if run.returncode:
            return f"ended with {run.returncode}; see above"
        written = Path(scratch) / benchmark.writes
        text = written.read_text(encoding="utf-8") if benchmark.writes else run.stdout
    record["duration_s"] = round(time.perf_counter() - started, 1)
    record["load_after"] = round(os.getloadavg()[0], 2)
    try:
        record["report"] = json.loads(text)
    except json.JSONDecodeError as error:
        return f"printed no JSON ({error})"
    return record


def newest_records(root: Path, machine: str) -> dict[str, tuple[Row, Path]]:
    """The newest record of every benchmark on a machine with its folder, in the order above."""
    newest: dict[str, tuple[Row, Path]] = {}
    for folder in result_folders(root, machine):
        newest |= {name: (record, folder.path) for name, record in folder.reports().items()}
    return {name: newest[name] for name in BENCHMARKS if name in newest}


def write_page() -> None:
    """Draw the picture and write the table of this machine's newest results."""
    newest = newest_records(RESULTS, machine_name())
    if not newest:
        raise SystemExit(f"there is no result of {machine_name()} in {RESULTS} yet")
    records = {name: record for name, (record, _) in newest.items()}
    folders = {name: folder.relative_to(README.parent).as_posix() for name, (_, folder) in newest.items()}
    newest_folder = result_folders(RESULTS, machine_name())[-1].path
    draw(records, newest_folder / PICTURE)
    content = page(records, folders, (newest_folder / PICTURE).relative_to(README.parent).as_posix())
    README.write_text(put_between(README.read_text(encoding="utf-8"), content), encoding="utf-8")


def run_all(names: Iterable[str], *, quick: bool) -> dict[str, str]:
    """Run benchmarks and keep their records; returns those that failed, and why."""
    names, root = list(names), QUICK_RESULTS if quick else RESULTS
    folder = folder_for(root, machine_name(), names, datetime.now(UTC).date())
    folder.mkdir(parents=True, exist_ok=True)
    failed = {}
    for name in names:
        print(f"{name}: at most {BENCHMARKS[name].limit_s / 60:.0f} minutes", file=sys.stderr)
        outcome = run_benchmark(name, folder, quick=quick)
        if isinstance(outcome, str):
            failed[name] = outcome
            print(f"{name}: {outcome}", file=sys.stderr)
            continue
        path = folder / f"{name}.json"
        path.write_text(json.dumps(outcome, indent=1) + "\n", encoding="utf-8")
        print(f"{name}: {outcome['duration_s']:g} s, written to {path}", file=sys.stderr)
    return failed


def main() -> int:
    """Run the benchmarks of the command line, then write the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=BENCHMARKS, help=", ".join(BENCHMARKS))
    parser.add_argument("--quick", action="store_true", help="few repeats, to see that all of them run")
    parser.add_argument("--page", action="store_true", help="run nothing; write table and picture anew")
    options = parser.parse_args()
    failed = {} if options.page else run_all(options.only or BENCHMARKS, quick=options.quick)
    if not options.quick and len(failed) < len(options.only or BENCHMARKS):
        write_page()
    for name, why in failed.items():
        print(f"FAILED  {name}: {why}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
