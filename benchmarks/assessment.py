"""Time one assessment through the real service on loopback, stage by stage.

.venv/bin/python benchmarks/assessment.py [--runs 7] [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

from engine.phantoms import make_procedure
from service.client import ColdspotClient
from service.engine_pipeline import EnginePipeline
from service.server import running_server
from service.settings import read_settings


def processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()


def measure(runs: int) -> dict[str, Any]:
    phantom = make_procedure(0, kind="miss", minimal_margin_mm=1.0)
    timed: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        settings = read_settings(port=0, metrics_port=None, state_dir=Path(folder))
        started = time.perf_counter()
        with running_server(settings, EnginePipeline(settings)) as server:
            to_serving_s = time.perf_counter() - started
            with ColdspotClient(f"127.0.0.1:{server.port}") as client:
                for _ in range(runs + 1):
                    case = client.open_case(request_id=str(uuid4()), sex="m", fibrinogen_g_per_l=3.1)
                    planning = client.upload_ct(case, phantom.planning, "planning")
                    client.upload_mask(case, phantom.tumor, "tumor", planning)
                    client.prepare(case)
                    verification = client.upload_ct(case, phantom.verification, "verification")
                    client.upload_mask(case, phantom.zone, "zone", verification)
                    final = client.assess(case)
                    timed.append({**final.timings_s, "latency": final.latency_s})
    timed = timed[1:]  # the first one warms up
    stages = {
        name: {
            "median_s": statistics.median(run[name] for run in timed),
            "greatest_s": max(run[name] for run in timed),
        }
        for name in timed[0]
    }
    return {
        "machine": f"{processor()}, {len(os.sched_getaffinity(0))} cores",
        "python": platform.python_version(),
        "verification_voxels_zyx": list(phantom.verification.geometry.shape_zyx),
        "runs": runs,
        "start_to_serving_s": to_serving_s,
        "stages": stages,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    found = measure(asked.runs)
    if asked.json:
        print(json.dumps(found, indent=1))
        return
    stages = found.pop("stages")
    print(found)
    for name, times in stages.items():
        print(f"{name:22s} {times['median_s']:7.3f} s median   {times['greatest_s']:7.3f} s greatest")


if __name__ == "__main__":
    main()
