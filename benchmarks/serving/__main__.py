"""The overhead of the service: uploads compared with a bare stream, cold start, latency, memory, many clients.

    python -m benchmarks.serving [upload] [starts] [latency] [clients] [--runs 7] [--quick] [--json]

The service runs in a process of its own, over loopback. The bare stream is the generated code of the same call, its
messages and options, in a process that only counts their bytes.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

from benchmarks.machine import machine
from benchmarks.serving.latency import measure_clients, measure_latency, measure_starts
from benchmarks.serving.upload import measure_upload

PARTS = ("upload", "starts", "latency", "clients")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; without any: all")
    parser.add_argument("--runs", type=int, default=7, help="uploads of each kind")
    parser.add_argument("--quick", action="store_true", help="a tenth of the CT, five assessments")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    parts = options.parts or list(PARTS)
    if unknown := set(parts) - set(PARTS):
        parser.error(f"there is no part {', '.join(sorted(unknown))}")
    report: dict[str, Any] = {"machine": machine(["coldspot", "grpcio", "numba", "onnxruntime", "openvino"])}
    if "upload" in parts:
        report["upload"] = measure_upload(options.runs, quick=options.quick)
    if "starts" in parts:
        report["starts"] = measure_starts(quick=options.quick)
    if "latency" in parts:
        report["latency"] = measure_latency(quick=options.quick)
    if "clients" in parts:
        report["clients"] = measure_clients(quick=options.quick)
    if options.json:
        print(json.dumps(report, indent=1))
        return
    for name, value in _lines(report):
        print(f"{name:60s} {value}")


def _lines(report: Any, above: str = "") -> list[tuple[str, str]]:
    """One line for each figure, named by where it stands."""
    if isinstance(report, dict):
        return [line for name, inner in report.items() for line in _lines(inner, f"{above}{name} ")]
    if isinstance(report, list) and report and isinstance(report[0], dict):
        return [line for number, inner in enumerate(report) for line in _lines(inner, f"{above}{number} ")]
    return [(above.strip(), f"{report:.3f}" if isinstance(report, float) else str(report))]


if __name__ == "__main__":
    main()
