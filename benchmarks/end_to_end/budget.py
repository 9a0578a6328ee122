"""The latency budget: each stage of Assess and each kernel against the least time that its bytes and operations need.

    COLDSPOT_DATA=... python -m benchmarks.end_to_end.budget [--case lidc-half] [--runs 7] [--json]

Bytes are those of the arrays that go into and come out of each call of a kernel, every one once; their floor is the
time to copy that many at the bandwidth measured in the same run. A kernel that computes much on few bytes (draws
of a pose, the bending energy's equations) lies far above that floor, and is no slower for it. Kernels of one stage may
run concurrently: their sum can exceed the stage. The rate of a large product of matrices in single precision is
there too; it is the floor of a network's convolutions. Without COLDSPOT_DATA there is the phantom.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

import numpy as np

from benchmarks.end_to_end.__main__ import CACHE, PHANTOM, read_case
from benchmarks.end_to_end.own import SEX, AblationCase
from benchmarks.kernels.timing import bandwidth
from benchmarks.machine import machine
from benchmarks.segmentation.standard_bundle import risk_with_signature
from benchmarks.threads import THREADS
from engine.assessment.planning import prepare_planning
from engine.assessment.verification import assess_ablation
from engine.risk.clinical_inputs import ClinicalInputs
from engine.risk.model import SurvivalModel
from engine.stages import SilentListener, Stage

KERNELS: Final = (
    "bending",
    "components",
    "coverage",
    "distance",
    "matching",
    "pose_draws",
    "power_sums",
    "resampling",
    "self_similarity",
)
MATRIX_EDGE: Final = 2048

Row = dict[str, Any]


class Ledger(SilentListener):
    """Bytes and time of every call of a kernel, by stage."""

    def __init__(self) -> None:
        self.calls: list[Row] = []
        self.stages: dict[str, float] = {}
        self._stage = ""

    def stage_started(self, stage: Stage) -> None:
        """Attribute calls from here on to this stage."""
        self._stage = stage.value

    def stage_finished(self, stage: Stage, duration_s: float) -> None:
        """Record its duration."""
        self.stages[stage.value] = duration_s

    def called(self, kernel: str, seconds: float, moved_bytes: int) -> None:
        """Record one call."""
        self.calls.append({"stage": self._stage, "kernel": kernel, "s": seconds, "bytes": moved_bytes})


class _Watched:
    """A twin's module whose functions are timed."""

    def __init__(self, twin: Any, name: str, ledger: Ledger) -> None:
        self._twin, self._name, self._ledger = twin, name, ledger

    def __getattr__(self, function: str) -> Any:
        call = getattr(self._twin, function)

        def timed(*positional: Any, **named: Any) -> Any:
            started = time.perf_counter()
            result = call(*positional, **named)
            seconds = time.perf_counter() - started
            moved_bytes = sum(_bytes((*positional, *named.values()))) + sum(_bytes((result,)))
            self._ledger.called(f"{self._name}.{function}", seconds, moved_bytes)
            return result

        return timed


def _bytes(values: Iterable[Any]) -> Iterator[int]:
    """Sizes of the arrays among the values, however they are nested."""
    for value in values:
        if isinstance(value, np.ndarray):
            yield value.nbytes
        elif isinstance(value, tuple | list):
            yield from _bytes(value)
        elif hasattr(value, "__dataclass_fields__"):
            yield from _bytes(getattr(value, name) for name in value.__dataclass_fields__)


@contextmanager
def watched(ledger: Ledger) -> Iterator[None]:
    """Make every facade call its twin through the ledger."""
    facades = [importlib.import_module(f"engine.kernels.{name}") for name in KERNELS]
    with ExitStack() as patched:
        for facade in facades:
            patched.enter_context(patch.object(facade, "select", _watching(facade.select, ledger)))
        yield


def _watching(select: Callable[[Any, str], Any], ledger: Ledger) -> Callable[[Any, str], Any]:
    """A facade's choice of its twin, watched."""
    return lambda backend, kernel: _Watched(select(backend, kernel), kernel, ledger)


def assess(case: AblationCase, risk: SurvivalModel) -> Ledger:
    """One assessment with supplied masks."""
    case, ledger = case.as_new(), Ledger()
    prepared = prepare_planning(case.planning, case.tumor)
    with watched(ledger):
        assessment = assess_ablation(
            prepared,
            case.verification,
            case.zone,
            clinical=ClinicalInputs(SEX),
            risk_model=risk,
            on_preliminary=lambda _answer: None,
            listener=ledger,
        )
    if assessment.refusal is not None:
        raise SystemExit(f"{case.name} is refused: {assessment.refusal.reason}")
    return ledger


def budget(case: AblationCase, risk: SurvivalModel, runs: int) -> Row:
    """Medians over runs; the first is not counted."""
    assess(case, risk)
    ledgers = [assess(case, risk) for _ in range(runs)]
    copy_gb_s = bandwidth(THREADS)["copy"] / 1e6
    stages = []
    for stage in ledgers[0].stages:
        kernels = [_sums(ledger, "stage", stage) for ledger in ledgers]
        row: Row = {"stage": stage, "ms": 1e3 * statistics.median(led.stages[stage] for led in ledgers)}
        row |= {"kernels_ms": statistics.median(sums[0] for sums in kernels), "mb": kernels[0][1] / 1e6}
        row["floor_ms"] = row["mb"] / copy_gb_s
        stages.append(row)
    rows = []
    for kernel in dict.fromkeys(call["kernel"] for call in ledgers[0].calls):
        sums_of_runs = [_sums(ledger, "kernel", kernel) for ledger in ledgers]
        of_kernel = [call for call in ledgers[0].calls if call["kernel"] == kernel]
        rows.append(
            {
                "kernel": kernel,
                "calls": len(of_kernel),
                "ms": statistics.median(sums[0] for sums in sums_of_runs),
                "mb": sums_of_runs[0][1] / 1e6,
                "floor_ms": sums_of_runs[0][1] / 1e6 / copy_gb_s,
            }
        )
    return {
        "case": case.name,
        "verification_voxels_zyx": list(case.verification.geometry.shape_zyx),
        "runs": runs,
        "copy_gb_s": copy_gb_s,
        "gflop_s": matrix_gflop_s(),
        "stages": stages,
        "kernels": sorted(rows, key=lambda row: -row["ms"]),
    }


def _sums(ledger: Ledger, key: str, value: str) -> tuple[float, int]:
    """Milliseconds and bytes of some calls."""
    calls = [call for call in ledger.calls if call[key] == value]
    return 1e3 * sum(call["s"] for call in calls), sum(call["bytes"] for call in calls)


def matrix_gflop_s() -> float:
    """Rate of a large product of matrices in single precision."""
    a, b = np.random.default_rng(0).standard_normal((2, MATRIX_EDGE, MATRIX_EDGE), dtype=np.float32)
    seconds = []
    for _ in range(5):
        started = time.perf_counter()
        a @ b
        seconds.append(time.perf_counter() - started)
    return 2e-9 * MATRIX_EDGE**3 / min(seconds)


def table(report: Row) -> str:
    """Return both tables as Markdown."""
    rates = f"{report['copy_gb_s']:.1f} GB/s, {report['gflop_s']:.0f} GFLOP/s"
    lines = [
        f"{report['case']}, {report['runs']} runs; copy {rates}",
        "",
        "| stage | ms | of it kernels | MB through kernels | floor, ms |",
        "|---|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {row['stage']} | {row['ms']:.0f} | {row['kernels_ms']:.0f} | {row['mb']:.0f} | {row['floor_ms']:.1f} |"
        for row in report["stages"]
    ]
    total = {key: sum(row[key] for row in report["stages"]) for key in ("ms", "kernels_ms", "mb", "floor_ms")}
    lines.append(
        f"| **all** | {total['ms']:.0f} | {total['kernels_ms']:.0f} | {total['mb']:.0f} | {total['floor_ms']:.1f} |"
    )
    lines += ["", "| kernel | calls | ms | MB | floor, ms | times floor |", "|---|---:|---:|---:|---:|---:|"]
    lines += [
        f"| {row['kernel']} | {row['calls']} | {row['ms']:.1f} | {row['mb']:.1f} | {row['floor_ms']:.2f} "
        f"| {row['ms'] / row['floor_ms']:.1f} |"
        for row in report["kernels"]
    ]
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--case", default="lidc-half" if os.environ.get("COLDSPOT_DATA") else PHANTOM)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--cache", type=Path, default=CACHE, help="where the risk model is kept")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    risk = SurvivalModel.load(risk_with_signature(options.cache))
    report = machine() | budget(read_case(options.case), risk, options.runs)
    print(json.dumps(report, indent=1) if options.json else table(report))


if __name__ == "__main__":
    main()
