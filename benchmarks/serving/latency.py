"""Cold start, first and hundredth assessment, what the service adds to the engine, memory, many clients."""

from __future__ import annotations

import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.serving.processes import Running, coldspot_service
from engine.geometry import Vector3
from engine.phantoms import PhantomProcedure, make_procedure
from engine.volume import LabelMask
from service.client.client import ColdspotClient, SentSeries

ASSESSMENTS: Final = 100
QUICK_ASSESSMENTS: Final = 5
CLIENTS: Final = (1, 2, 4, 8)
EACH: Final = 2
"""Assessments of every client on the growth curve."""
PATIENCE_S: Final = 300.0
OWN_STAGES: Final = ("read_verification", "record")
"""Stages that are the service's and not the engine's."""


@dataclass(frozen=True)
class Timed:
    """One assessment as its client saw it, seconds."""

    seen_s: float
    engine_s: float
    answer_bytes: int


@dataclass(frozen=True)
class OpenedCase:
    """A prepared case with its verification side."""

    case_id: str
    verification: SentSeries


def measure_starts(*, quick: bool) -> dict[str, Any]:
    """Seconds from the start of the process to SERVING: later starts of an appliance, its first, and without any cache.

    A first start measures the backends, which later ones know; with an empty cache every kernel is compiled too.
    """
    with tempfile.TemporaryDirectory() as folder:
        state = Path(folder) / "state"
        with coldspot_service(state) as running:
            first_s = running.to_serving_s
        later = []
        for _ in range(2 if quick else 5):
            with coldspot_service(state) as running:
                later.append(running.to_serving_s)
        starts = {"first_s": first_s, "later_s": statistics.median(later), "later_runs_s": later}
        if not quick:
            with coldspot_service(state, NUMBA_CACHE_DIR=f"{folder}/numba") as running:
                starts["empty_cache_s"] = running.to_serving_s
                starts["empty_cache_memory_mb"] = running.memory_high_water_mb()
    return starts


def measure_latency(*, quick: bool) -> dict[str, Any]:
    """One client: latency, the part of it outside the engine, and the service's memory.

    The client looks at the pictures before it asks again: they are drawn after the answer, on the same cores.
    """
    phantom = make_procedure(0, kind="miss", minimal_margin_mm=1.0)
    with (
        tempfile.TemporaryDirectory() as folder,
        coldspot_service(Path(folder) / "state") as running,
        ColdspotClient(running.address) as client,
    ):
        memory = {"serving_mb": running.memory_high_water_mb()}
        case = open_case(client, phantom)
        count = QUICK_ASSESSMENTS if quick else ASSESSMENTS
        timed = [_assess(client, case, Path(folder)) for _ in range(count)]
        memory["after_assessments_mb"] = running.memory_high_water_mb()
        memory["then_held_mb"] = running.memory_mb()
        segmented_s = _segmented(client, phantom)
        memory["after_segmentation_mb"] = running.memory_high_water_mb()
    return {
        "verification_voxels_zyx": list(phantom.verification.geometry.shape_zyx),
        "assessments": _summary(timed),
        "segmented_s": segmented_s,
        "memory_high_water": memory,
    }


def measure_clients(*, quick: bool) -> list[dict[str, Any]]:
    """Throughput and latency with a growing number of clients."""
    phantom = make_procedure(0, kind="miss", minimal_margin_mm=1.0)
    with (
        tempfile.TemporaryDirectory() as folder,
        coldspot_service(Path(folder) / "state", COLDSPOT_MAX_ADMITTED="16") as running,
    ):
        return [_clients(running, phantom, count) for count in (CLIENTS[:2] if quick else CLIENTS)]


def open_case(
    client: ColdspotClient, phantom: PhantomProcedure, *, masks_supplied: bool = True
) -> OpenedCase:
    """Upload the scans and prepare the planning side; without masks the models segment."""
    target = None if masks_supplied else _middle(phantom.tumor)
    case = client.open_case(sex="m", fibrinogen_g_per_l=3.1, target_lps_mm=target)
    planning = client.upload_ct(case, phantom.planning, "planning")
    if masks_supplied:
        client.upload_mask(case, phantom.tumor, "tumor", planning)
    client.prepare(case)
    verification = client.upload_ct(case, phantom.verification, "verification")
    if masks_supplied:
        client.upload_mask(case, phantom.zone, "zone", verification)
    return OpenedCase(case, verification)


def _assess(client: ColdspotClient, case: OpenedCase, pictures: Path | None = None) -> Timed:
    """Time one assessment; then fetch its pictures, if there is a folder for them."""
    started = time.perf_counter()
    final = client.assess(case.case_id)
    seen_s = time.perf_counter() - started
    if pictures is not None:
        client.fetch_artifact(final, "sheet.png", pictures)
    engine_s = sum(seconds for name, seconds in final.timings_s.items() if name not in OWN_STAGES)
    return Timed(seen_s, engine_s, final.ByteSize())


def _segmented(client: ColdspotClient, phantom: PhantomProcedure) -> dict[str, float]:
    """Tumor and zone drawn by the installed models."""
    case = open_case(client, phantom, masks_supplied=False)
    started = time.perf_counter()
    final = client.assess(case.case_id)
    return {"seen": time.perf_counter() - started, "segment_zone": final.timings_s.get("segment_zone", 0.0)}


def _clients(running: Running, phantom: PhantomProcedure, count: int) -> dict[str, Any]:
    """Figures of this many clients at once, each with its own case."""

    def work(_number: int) -> list[float]:
        with ColdspotClient(running.address, patience_s=PATIENCE_S) as client:
            case = open_case(client, phantom)
            return [_assess(client, case).seen_s for _ in range(EACH)]

    started = time.perf_counter()
    with ThreadPoolExecutor(count) as pool:
        latencies_s = [seconds for times in pool.map(work, range(count)) for seconds in times]
    return {
        "clients": count,
        "median_s": statistics.median(latencies_s),
        "greatest_s": max(latencies_s),
        "assessments_per_minute": 60 * len(latencies_s) / (time.perf_counter() - started),
        "memory_high_water_mb": running.memory_high_water_mb(),
    }


def _summary(timed: list[Timed]) -> dict[str, Any]:
    latencies_s = np.array([assessment.seen_s for assessment in timed])
    overhead = np.array([assessment.seen_s - assessment.engine_s for assessment in timed])
    return {
        "count": len(timed),
        "first_s": timed[0].seen_s,
        "last_s": timed[-1].seen_s,
        **{f"p{share}_s": float(np.percentile(latencies_s, share)) for share in (50, 95, 99)},
        "overhead_p50_s": float(np.percentile(overhead, 50)),
        "overhead_p95_s": float(np.percentile(overhead, 95)),
        "answer_bytes": timed[-1].answer_bytes,
    }


def _middle(mask: LabelMask) -> Vector3:
    x, y, z = mask.geometry.to_lps(np.argwhere(mask.voxels).mean(axis=0))
    return float(x), float(y), float(z)
