"""Time contestants in turns, measure the bandwidth of the memory, and describe the machine."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np

REPEATS: Final = 5
SLOW_S: Final = 1.5
"""A contestant that takes longer than this is timed fewer times."""
SLOW_REPEATS: Final = 3
VERY_SLOW_S: Final = 4.0
"""One that takes longer than this is timed once, and its first call counts."""

PEERS: Final = {
    "numpy": "numpy",
    "scipy": "scipy",
    "SimpleITK": "SimpleITK",
    "scikit-image": "skimage",
    "edt": "edt",
    "connected-components-3d": "cc3d",
}
"""Distribution and module of every library that may take part."""

Call = Callable[[], object]
Row = dict[str, Any]


def is_installed(distribution: str) -> bool:
    """Whether a peer can take part here."""
    return importlib.util.find_spec(PEERS[distribution]) is not None


def row(
    kernel: str, size: str, own: Call, others: dict[str, Call | None], floor_ms: float | None = None
) -> Row:
    """Time Coldspot and the others in turns, in ms; a peer that is None is not installed."""
    contestants = {"coldspot": own, **{name: call for name, call in others.items() if call is not None}}
    times = _in_turns(contestants)
    medians = {name: statistics.median(milliseconds) for name, milliseconds in times.items()}
    own_ms = medians.pop("coldspot")
    return {
        "kernel": kernel,
        "size": size,
        "coldspot_ms": own_ms,
        "others_ms": medians,
        "ratios": {name: ms / own_ms for name, ms in medians.items()},
        "spread_ms": {name: [min(milliseconds), max(milliseconds)] for name, milliseconds in times.items()},
        "runs": {name: len(milliseconds) for name, milliseconds in times.items()},
        "not_installed": [name for name, call in others.items() if call is None],
        "floor_ms": floor_ms,
        "times_floor": None if floor_ms is None else own_ms / floor_ms,
    }


def _in_turns(calls: dict[str, Call]) -> dict[str, list[float]]:
    """Milliseconds of every call, one contestant after the other in each round."""
    first = {name: _once(call) for name, call in calls.items()}  # compiles and warms, mostly not counted
    rounds = {name: _rounds(ms / 1000) for name, ms in first.items() if name != "coldspot"}
    rounds["coldspot"] = REPEATS
    times: dict[str, list[float]] = {name: [first[name]] if rounds[name] == 0 else [] for name in calls}
    for round_number in range(REPEATS):
        for name, call in calls.items():
            if round_number < rounds[name]:
                times[name].append(_once(call))
    return times


def _once(call: Call) -> float:
    started = time.perf_counter()
    call()
    return 1000 * (time.perf_counter() - started)


def _rounds(first_s: float) -> int:
    if first_s > VERY_SLOW_S:
        return 0
    return SLOW_REPEATS if first_s > SLOW_S else REPEATS


def bandwidth(threads: int) -> dict[str, float]:
    """Bytes per millisecond that all threads read, and copy (read and written), of 256 MiB."""
    words = np.ones(1 << 25, dtype=np.uint64)
    copy = np.zeros_like(words)
    edges = [words.size * i // threads for i in range(threads + 1)]
    parts = [slice(a, b) for a, b in pairwise(edges)]
    with ThreadPoolExecutor(threads) as pool:
        read = partial(_all, pool, parts, lambda part: np.bitwise_or.reduce(words[part]))
        write = partial(_all, pool, parts, lambda part: np.copyto(copy[part], words[part]))
        times = _in_turns({"coldspot": read, "copy": write})
    return {
        "read": words.nbytes / statistics.median(times["coldspot"]),
        "copy": 2 * words.nbytes / statistics.median(times["copy"]),
    }


def _all(pool: ThreadPoolExecutor, parts: list[slice], task: Callable[[slice], object]) -> None:
    list(pool.map(task, parts))


def machine(threads: int) -> Row:
    """Processor, load and versions of the libraries, for the record."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    versions = {
        name: importlib.metadata.version(name) if is_installed(name) else "not installed" for name in PEERS
    }
    versions["numba"] = importlib.metadata.version("numba")
    return {
        "processor": models[0] if models else platform.machine(),
        "cores": os.cpu_count(),
        "pinned_to_cores": sorted(os.sched_getaffinity(0)),
        "threads": threads,
        "load_before": os.getloadavg()[0],
        "versions": versions,
    }


def pin(threads: int) -> None:
    """Restrict this process and the threads of its kernels to so many cores."""
    os.sched_setaffinity(0, set(sorted(os.sched_getaffinity(0))[:threads]))
    os.environ["NUMBA_NUM_THREADS"] = str(threads)  # read when the first kernel is imported


def as_text(measured: Row) -> str:
    """One line of the table, times in ms."""
    low, high = measured["spread_ms"]["coldspot"]
    others = "  ".join(
        f"{k} {ms:.1f} (x{measured['ratios'][k]:.1f})" for k, ms in measured["others_ms"].items()
    )
    missing = "".join(f"  {name}: not installed" for name in measured["not_installed"])
    floor = (
        ""
        if measured["floor_ms"] is None
        else f"  floor {measured['floor_ms']:.1f} (x{measured['times_floor']:.1f})"
    )
    own = f"{measured['coldspot_ms']:9.1f} [{low:.1f}, {high:.1f}]"
    return f"{measured['kernel']:36} {measured['size']:>11} {own:28} {others}{floor}{missing}"
