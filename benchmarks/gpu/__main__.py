"""All measurements that need a GPU, in one command of at most eight minutes: ``python -m benchmarks.gpu``.

Every GPU twin is first compared with its CPU twin; one that differs is not timed. Then: copy bandwidth, each kernel
beside it and beside CuPy, cuCIM and torch where they are installed, latency per patch of TensorRT, TensorRT-RTX and
ONNX Runtime CUDA, and one whole assessment. The receipt goes to ``benchmarks/results/gpu`` and names the device.
Exit codes: 0 everything that ran agreed, 1 something did not, 2 this machine has no GPU.
"""

from __future__ import annotations

import argparse
import datetime as dt
import importlib.metadata
import json
import math
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

from benchmarks.gpu.cases import KernelCase, installed, kernel_cases, largest_difference
from benchmarks.gpu.device import Device, Launch, NumbaDevice
from engine import __version__
from engine.errors import BackendError, ColdspotError
from engine.kernels.backend import KernelBackend

ROOT: Final = Path(__file__).resolve().parents[2]
RESULTS: Final = ROOT / "benchmarks" / "results" / "gpu"
MINUTES: Final = 8.0
REPEATS: Final = 11
EDGE: Final = 256
SUITE_SHARE: Final = 0.4
"""At most this share of the time is for the tests of the GPU twins."""

LIBRARIES: Final = (
    "numpy",
    "numba",
    "numba-cuda",
    "cupy-cuda13x",
    "cucim-cu13",
    "torch",
    "onnxruntime",
    "onnxruntime-gpu",
    "tensorrt-cu13-bindings",
    "tensorrt-rtx-cu13-bindings",
    "cuda-toolkit",
)

NO_GPU, DIFFERS = 2, 1

Row = dict[str, Any]
Announce = Callable[[str], None]


class Clock:
    """Countdown from the time that was given to the benchmark."""

    def __init__(self, minutes: float) -> None:
        self._total_s, self._began = 60.0 * minutes, time.monotonic()

    def left_s(self) -> float:
        """Seconds until the receipt has to be written; negative when the time is over."""
        return self._total_s - (time.monotonic() - self._began)


def run_suite(limit_s: float) -> Row:
    """Run those tests of the GPU twins that run on a GPU: the ones with ``gpu`` as their backend."""
    files = sorted(
        str(path.relative_to(ROOT))
        for path in (ROOT / "tests" / "engine" / "kernels").glob("test_*.py")
        if "KernelBackend.GPU" in (text := path.read_text(encoding="utf-8")) and "parametrize" in text
    )
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-k",
        "gpu and not simulator",
        *files,
    ]
    try:
        run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=limit_s)
    except subprocess.TimeoutExpired:
        return {"passed": False, "said": f"not through after {limit_s:.0f} s"}
    last_line = (run.stdout.strip().splitlines() or [run.stderr.strip()])[-1]
    passed = re.search(r"(\d+) passed", last_line)
    return {"passed": run.returncode == 0 and passed is not None, "said": last_line}


def measure_kernel(device: Device, case: KernelCase, copy_gb_s: float, repeats: int = REPEATS) -> Row:
    """Compare a kernel with its CPU twin, and time it only if it agrees."""
    row: Row = {"kernel": case.name}
    worst = largest_difference(case.run(kernels=KernelBackend.GPU), case.run(kernels=KernelBackend.CPU))
    row |= {
        "largest_difference": worst if math.isfinite(worst) else None,
        "tolerance": case.tolerance,
        "passed": bool(worst <= case.tolerance),
    }
    if not row["passed"]:
        return row
    runs = [device.launches(lambda: case.run(kernels=KernelBackend.GPU)) for _ in range(repeats)]
    totals = [sum(launch.ms for launch in run) for run in runs]
    kernels_ms = statistics.median(totals)
    host = device.host_ms(lambda: case.run(kernels=KernelBackend.GPU), repeats)
    floor_ms = case.min_bytes / copy_gb_s / 1e6
    row |= {
        "kernels_ms": kernels_ms,
        "kernels_ms_spread": [min(totals), max(totals)],
        "with_transfers_ms": statistics.median(host),
        "floor_ms": floor_ms,
        "share_of_floor": floor_ms / kernels_ms if kernels_ms else None,
        "launches": launch_rows(runs, copy_gb_s),
        "peers": {name: measure_peer(device, name, make, kernels_ms) for name, make in case.peers.items()},
    }
    return row


def launch_rows(runs: list[list[Launch]], copy_gb_s: float) -> list[Row]:
    """Sum up the launches of each kernel, ms and GB/s; an array counts once, so that the share is a lower bound."""
    times: dict[str, list[float]] = defaultdict(list)
    sizes: dict[str, int] = {}
    for run in runs:
        by_kernel: dict[str, list[Launch]] = defaultdict(list)
        for launch in run:
            by_kernel[launch.kernel].append(launch)
        for kernel, launches in by_kernel.items():
            times[kernel].append(sum(launch.ms for launch in launches))
            sizes[kernel] = sum(launch.bytes for launch in launches)
    rows = []
    for kernel, milliseconds in times.items():
        ms = statistics.median(milliseconds)
        gb_s = sizes[kernel] / 1e6 / ms if ms else 0.0
        rows.append({"kernel": kernel, "ms": ms, "gb_s": gb_s, "share_of_copy": gb_s / copy_gb_s})
    return rows


def measure_peer(device: Device, name: str, make: Callable[..., Any], own_ms: float) -> Row:
    """Time a peer whose data lie on the device (ms); ``not_run`` has the reason if it cannot run."""
    if not installed(name):
        return {"not_run": "not installed"}
    try:
        peer_ms = statistics.median(device.between_events_ms(make(device.resident), REPEATS))
    except Exception as error:  # noqa: BLE001 - a peer's failure is a finding, not the end of the benchmark
        return {"not_run": f"{type(error).__name__}: {error}"[:300]}
    return {"ms": peer_ms, "times_coldspot": peer_ms / own_ms if own_ms else None}


def measure(
    device: Device,
    clock: Clock,
    announce: Announce,
    *,
    suite: Callable[[float], Row],
    cases: Iterable[KernelCase],
    networks: Callable[[], Iterable[Row]],
    assessment: Callable[[], Row],
) -> Row:
    """Run everything that the time allows; the rest is listed as not measured.

    Returns
    -------
    dict
        The receipt.
    """
    receipt: Row = {"device": device.describe(), "kernels": [], "sessions": [], "not_measured": []}
    announce("tests of the GPU twins")
    receipt["parity_suite"] = suite(SUITE_SHARE * clock.left_s())
    receipt["copy_gb_s"] = device.copy_bandwidths_gb_s()
    copy_gb_s = receipt["copy_gb_s"]["device_to_device"]
    for case in cases:
        if clock.left_s() <= 0.0:
            receipt["not_measured"].append(f"{case.name}: out of time")
            continue
        announce(case.name)
        try:
            receipt["kernels"].append(measure_kernel(device, case, copy_gb_s))
        except ColdspotError as error:
            receipt["not_measured"].append(f"{case.name}: {error}")
    for row in networks() if clock.left_s() > 0.0 else ():
        announce(f"{row['model']}, {row['backend']}")
        if "not_run" in row:
            receipt["not_measured"].append(f"{row['model']}, {row['backend']}: {row['not_run']}")
        else:
            receipt["sessions"].append(row)
    announce("assessment")
    try:
        receipt["end_to_end"] = assessment() if clock.left_s() > 0.0 else None
    except ColdspotError as error:
        receipt["end_to_end"] = None
        receipt["not_measured"].append(f"assessment: {error}")
    if clock.left_s() <= 0.0:
        receipt["not_measured"].append("what came last: out of time")
    return receipt


def agreed(receipt: Row) -> bool:
    """Whether everything that ran agreed with its reference, and something did run."""
    rows = [receipt["parity_suite"], *receipt["kernels"], *receipt["sessions"]]
    if receipt["end_to_end"] is not None:
        rows.append(receipt["end_to_end"])
    return len(rows) > 1 and all(row["passed"] for row in rows)


def identity() -> Row:
    """Versions of the program, its libraries and Python, for the receipt."""
    versions = {}
    for name in LIBRARIES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    git = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=40"],  # noqa: S607 - whichever git is here
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return {
        "coldspot": __version__,
        "commit": git.stdout.strip() or "unknown: no git checkout",
        "written": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "versions": versions,
    }


def write_receipt(receipt: Row, folder: Path) -> Path:
    """Write the receipt into a file named by day and device; returns its path."""
    folder.mkdir(parents=True, exist_ok=True)
    name = re.sub(r"[^a-z0-9]+", "-", str(receipt["device"]["name"]).lower()).strip("-")
    path = folder / f"{receipt['written'][:10]}-{name}.json"
    path.write_text(json.dumps(receipt, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    return path


def table(receipt: Row) -> str:
    """Return the receipt as text: per kernel ms, and the smallest and largest share of the copy bandwidth."""
    lines = [f"{receipt['device']['name']}, copy {receipt['copy_gb_s']['device_to_device']:.0f} GB/s"]
    for row in receipt["kernels"]:
        if not row["passed"]:
            lines.append(f"{row['kernel']:30} differs by {row['largest_difference']}: not timed")
            continue
        shares = [launch["share_of_copy"] for launch in row["launches"]] or [0.0]
        peers = "  ".join(
            f"{name} {peer['ms']:.2f} (x{peer['times_coldspot']:.1f})"
            for name, peer in row["peers"].items()
            if "ms" in peer
        )
        lines.append(
            f"{row['kernel']:30}{row['kernels_ms']:9.3f} ms  {min(shares):4.0%} to {max(shares):4.0%}  {peers}"
        )
    lines += [
        f"{row['model']}, {row['backend']}: {row.get('median_ms', float('nan')):.2f} ms"
        for row in receipt["sessions"]
    ]
    if receipt["end_to_end"]:
        lines.append(f"assessment: {receipt['end_to_end'].get('median_ms', float('nan')):.0f} ms")
        lines += traffic_line(receipt["end_to_end"].get("traffic"))
    return "\n".join([*lines, *(f"not measured: {reason}" for reason in receipt["not_measured"])])


def traffic_line(traffic: Row | None) -> list[str]:
    """One line on what an assessment copied, MB; no line where that was not counted."""
    if traffic is None:
        return []
    uploaded_mb, downloaded_mb, spared_mb = (
        traffic[name] / 1e6 for name in ("uploaded_bytes", "downloaded_bytes", "spared_bytes")
    )
    line = (
        f"  copied up {traffic['uploads']} arrays ({uploaded_mb:.1f} MB), "
        f"down {traffic['downloads']} ({downloaded_mb:.1f} MB), "
        f"there already {traffic['spared_uploads']} ({spared_mb:.1f} MB); {traffic['waits']} waits"
    )
    return [line]


def main(arguments: list[str] | None = None, open_device: Callable[[], Device] = NumbaDevice) -> int:
    """Run the benchmark and return its exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for the receipt")
    parser.add_argument("--edge", type=int, default=EDGE, help="voxels along each axis")
    parser.add_argument("--minutes", type=float, default=MINUTES)
    parser.add_argument(
        "--model", type=Path, action="append", help="bundle to time; by default the demo models"
    )
    options = parser.parse_args(arguments)
    try:
        device = open_device()
    except (BackendError, ImportError) as error:
        print(f"benchmarks.gpu: nothing was measured: {error}", file=sys.stderr)
        return NO_GPU
    from benchmarks.gpu.sessions import end_to_end, sessions

    demo_bundles = [ROOT / "models" / name / "1.0.0" for name in ("tumor-demo", "zone-demo")]
    with tempfile.TemporaryDirectory() as plan_folder:
        receipt = identity() | measure(
            device,
            Clock(options.minutes),
            lambda message: print(message, file=sys.stderr, flush=True),
            suite=run_suite,
            cases=kernel_cases(options.edge),
            networks=lambda: (
                row
                for bundle in options.model or demo_bundles
                for row in sessions(bundle, Path(plan_folder) / "engines")
            ),
            assessment=lambda: end_to_end(KernelBackend.GPU),
        )
    print(table(receipt))
    print(write_receipt(receipt, options.out))
    return 0 if agreed(receipt) else DIFFERS


if __name__ == "__main__":
    sys.exit(main())
