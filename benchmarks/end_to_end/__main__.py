"""From the last byte of the verification CT to the final assessment, compared with the best chain of existing tools.

    COLDSPOT_DATA=... python -m benchmarks.end_to_end [--cases lidc-half] [--rounds 3] [--runs FILE] [--json]

Both sides do beforehand whatever needs only the planning CT. A standard nnU-Net of 31 million random weights draws the
zone on 128 mm; its output is replaced by the supplied mask for what follows. Coldspot is called in this process, where
the clock starts with the voxels in memory, as for the chain; and through its service on loopback, where it starts with
the last byte of the upload. All in turns, in one process. ``--runs`` keeps every run in a file and goes on from it.
Without COLDSPOT_DATA there is the phantom alone. Needs ``make setup-bench``; a tool that is not installed is named.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Final

from benchmarks.end_to_end.chain import REPLACED_BY, Chain, missing_tools
from benchmarks.end_to_end.own import (
    AblationCase,
    LoopbackService,
    ReplacedSegmenter,
    assess,
    loopback_service,
)
from benchmarks.end_to_end.report import CHAIN, NETWORK, Row, summary, table
from benchmarks.machine import machine
from benchmarks.segmentation.standard_bundle import DEMO_ZONE, risk_with_signature, standard_network
from engine.risk.model import SurvivalModel
from engine.segmentation import open_segmenter

CASES: Final = ("lidc-half", "lidc-5mm-under")
PHANTOM: Final = "phantom"
CACHE: Final = Path(__file__).parents[2] / "build" / "benchmark-models"
BACKEND: Final = "openvino"
"""The fastest in f32 on a CPU (``coldspot`` measures that at its start); the chain has the same."""

Contender = Callable[[AblationCase], Row]


@contextmanager
def contenders(cache: Path) -> Iterator[tuple[dict[str, Contender], dict[str, Contender]]]:
    """All contenders, ready to run; and shorter warm-up calls for those that have one."""
    source, bundle = standard_network(cache)
    risk = risk_with_signature(cache)
    model = SurvivalModel.load(risk)
    with ExitStack() as opened:
        standard, demo = (
            ReplacedSegmenter(opened.enter_context(open_segmenter(folder, BACKEND)))
            for folder in (bundle, DEMO_ZONE)
        )
        state = Path(opened.enter_context(tempfile.TemporaryDirectory())) / "state"
        service = opened.enter_context(loopback_service(state, risk.parents[1]))
        warm_ups: dict[str, Contender] = {}
        entrants: dict[str, Contender] = {
            f"Coldspot, {NETWORK}": lambda case: assess(case, model, standard),
            "Coldspot, demo network": lambda case: assess(case, model, demo),
            "Coldspot, zone supplied": lambda case: assess(case, model, None),
            f"service, {NETWORK}": partial(_through, service, standard),
            "service, demo network": partial(_through, service, demo),
            "service, zone supplied": partial(_through, service, None),
        }
        if not missing_tools():
            chain = Chain(source, bundle, standard.open())
            entrants[CHAIN] = chain.assess
            warm_ups[CHAIN] = chain.warm
        yield entrants, warm_ups


def _through(service: LoopbackService, segmenter: ReplacedSegmenter | None, case: AblationCase) -> Row:
    return service.assess(case, segmenter)


def measure(case: AblationCase, taking_part: dict[str, Contender], rounds: int) -> Iterator[Row]:
    """Run all in turn, in reverse order every other round."""
    for number in range(rounds):
        for name in list(taking_part)[:: -1 if number % 2 else 1]:
            gc.collect()
            load = round(os.getloadavg()[0], 2)
            run = taking_part[name](case)
            result = run.get("refusal") or f"{run['total_s']:.2f} s"
            print(f"{case.name}, round {number + 1} of {rounds}, {name}: {result}", file=sys.stderr)
            yield {"case": case.name, "true_tcr": case.tcr, "contender": name, "load": load, **run}


def measured(names: list[str], rounds: int, cache: Path) -> Iterator[Row]:
    """The runs of all cases, after one uncounted run of every contender."""
    if rounds == 0:
        return
    with contenders(cache) as (taking_part, warm_ups):
        # Kernels, networks and libraries are loaded and tuned by their first call.
        list(measure(read_case(names[0]), {**taking_part, **warm_ups}, 1))
        for name in names:
            yield from measure(read_case(name), taking_part, rounds)


def read_case(name: str) -> AblationCase:
    """A case by name."""
    data = os.environ.get("COLDSPOT_DATA")
    if name == PHANTOM:
        return AblationCase.of_phantom(name)
    if not data:
        raise SystemExit(
            f"COLDSPOT_DATA must name the folder of the real CTs; without it there is --cases {PHANTOM}"
        )
    return AblationCase.read(Path(data) / "ablation-cases" / name)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    default = CASES if os.environ.get("COLDSPOT_DATA") else (PHANTOM,)
    parser.add_argument("--cases", nargs="+", default=list(default))
    parser.add_argument(
        "--rounds", type=int, default=3, help="runs of each on each case; 0: report those of --runs"
    )
    parser.add_argument("--quick", action="store_true", help="the first case, one round")
    parser.add_argument("--runs", type=Path, help="JSON lines: rounds are added to those that it holds")
    parser.add_argument("--cache", type=Path, default=CACHE, help="where the network is kept once it is made")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    cases, rounds = (options.cases[:1], 1) if options.quick else (options.cases, options.rounds)
    report: Row = {**machine(), "replaced": REPLACED_BY, "not_installed": missing_tools()}
    lines: list[Row] = []
    if options.runs and options.runs.exists():
        lines = [json.loads(line) for line in options.runs.read_text(encoding="utf-8").splitlines()]
    with contextlib.redirect_stdout(sys.stderr):  # the service and the tools talk
        for line in measured(cases, rounds, options.cache):
            lines.append(line)
            if options.runs:
                with options.runs.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(line) + "\n")
    report["cases"] = summary(lines)
    report["load_after"] = round(os.getloadavg()[0], 2)
    print(json.dumps(report, indent=1) if options.json else table(report))


if __name__ == "__main__":
    main()
