"""What the GPU benchmark measures of networks and of the whole assessment."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import numpy as np

from engine.assessment.planning import AssessmentSettings, prepare_planning
from engine.assessment.verification import assess_ablation
from engine.errors import ColdspotError
from engine.kernels.backend import KernelBackend, resident
from engine.manifest import load_bundle
from engine.phantoms import make_procedure
from engine.runtime.backends import NEEDS_A_DEVICE, REFERENCE, TOLERANCES, open_session

REPEATS: Final = 50
MAX_S: Final = 10.0
TCR_TOLERANCE: Final = 1e-3


def sessions(bundle: Path, plan_folder: Path) -> Iterator[dict[str, Any]]:
    """Yield latency per patch of a bundle's network, for every backend that needs a device.

    The times include what a caller waits for: the copy of the patch to the device, and of the logits back.
    """
    loaded = load_bundle(bundle)
    model, spec = loaded.variant("fp32")[0], loaded.manifest.inputs[0]
    shape = [1 if isinstance(size, str) else size for size in spec.shape]
    inputs = {spec.name: np.random.default_rng(0).standard_normal(shape).astype(spec.dtype)}
    with open_session(model, REFERENCE) as session:
        expected = session.run(inputs)
    name = f"{loaded.manifest.id} {loaded.manifest.version}"
    for backend in NEEDS_A_DEVICE:
        started = time.perf_counter()
        try:
            with open_session(model, backend, plan_folder=plan_folder) as session:
                ready_s = time.perf_counter() - started
                outputs = session.run(inputs)
                worst, largest = difference(outputs, expected)
                row = {
                    "model": name,
                    "patch": shape,
                    "backend": session.backend,
                    "ready_s": ready_s,
                    "largest_difference": worst,
                    "passed": bool(worst <= TOLERANCES["fp32"] * max(1.0, largest)),
                }
                if row["passed"]:
                    row |= spread([duration_s * 1e3 for duration_s in repeated(lambda: session.run(inputs))])
                yield row
        except ColdspotError as error:
            yield {"model": name, "backend": backend, "not_run": str(error)}


def difference(actual: dict[str, Any], expected: dict[str, Any]) -> tuple[float, float]:
    """Return the largest absolute difference of any output, and the largest magnitude that is expected."""
    pairs = [
        (np.asarray(actual[name], dtype=np.float64), expected_array)
        for name, expected_array in expected.items()
    ]
    worst = max(
        float(np.abs(actual_values - expected_values).max()) for actual_values, expected_values in pairs
    )
    return worst, max(float(np.abs(expected_values).max()) for _, expected_values in pairs)


def repeated(call: Any) -> list[float]:
    """Return the seconds of several runs, after one that is not timed."""
    call()
    runs: list[float] = []
    while len(runs) < REPEATS and sum(runs) < MAX_S:
        started = time.perf_counter()
        call()
        runs.append(time.perf_counter() - started)
    return runs


def spread(values_ms: list[float]) -> dict[str, float]:
    """Return median, tenth and ninetieth percentile, in milliseconds."""
    return {
        "median_ms": statistics.median(values_ms),
        "p10_ms": float(np.percentile(values_ms, 10)),
        "p90_ms": float(np.percentile(values_ms, 90)),
        "runs": len(values_ms),
    }


def end_to_end(kernels: KernelBackend, repeats: int = 7) -> dict[str, Any]:
    """Time one assessment of a phantom with supplied masks, and compare its coverage with the CPU's.

    ``traffic`` is what the last assessment copied to the device and back, and what it did not need to copy.

    Raises
    ------
    ColdspotError
        If a stage cannot run on that backend.
    """
    phantom = make_procedure(0, kind="miss", minimal_margin_mm=1.0)

    def assess(kernels: KernelBackend) -> Any:
        settings = AssessmentSettings(kernels=kernels)
        prepared = prepare_planning(phantom.planning, phantom.tumor, settings=settings)
        started = time.perf_counter()
        with resident(settings.kernels) as device_arrays:
            assessment = assess_ablation(
                prepared, phantom.verification, phantom.zone, core=phantom.core, settings=settings
            )
        traffic = None if device_arrays is None else asdict(device_arrays.traffic)
        return assessment, time.perf_counter() - started, traffic

    expected, *_ = assess(KernelBackend.CPU)
    assess(kernels)
    runs = [assess(kernels) for _ in range(repeats)]
    tcr, tcr_cpu = runs[-1][0].coverage.tcr, expected.coverage.tcr
    if tcr is None or tcr_cpu is None or not abs(tcr - tcr_cpu) <= TCR_TOLERANCE:
        return {"passed": False, "tcr": tcr, "tcr_cpu": tcr_cpu}
    stages = {
        stage: statistics.median(run.timings_s[stage] for run, *_ in runs) for stage in runs[0][0].timings_s
    }
    row = {"passed": True, "tcr": tcr, "stages_s": stages, "traffic": runs[-1][2]}
    return row | spread([1e3 * seconds for _, seconds, _ in runs])
