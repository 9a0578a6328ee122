"""The machine, versions and load of a measurement, recorded with every result."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from benchmarks.threads import THREADS

PACKAGES: Final = (
    "coldspot",
    "numpy",
    "scipy",
    "numba",
    "SimpleITK",
    "onnxruntime",
    "openvino",
    "torch",
    "nnunetv2",
    "pyradiomics-bhklab",
    "scikit-image",
    "edt",
    "connected-components-3d",
    "itk-elastix",
    "convexadam",
    "grpcio",
)
"""The libraries that are timed and those they are compared with."""

NOT_INSTALLED: Final = "not installed"
SAYS_NOTHING: Final = re.compile(r"\((r|tm)\)|@.*|\b(cpu|processor|\d+-core)\b", re.IGNORECASE)
VECTORS: Final = ("amx_tile", "avx512f", "avx2", "asimd")
"""Widest first: a network computes three times as fast with AVX-512 as without, on processors of one name."""

KIB_IN_GIB: Final = 1 << 20


def machine(packages: Iterable[str] = PACKAGES) -> dict[str, Any]:
    """The record at the head of a result.

    Parameters
    ----------
    packages : iterable of str
        Distributions whose versions matter; one that is not installed is recorded as such.

    Returns
    -------
    dict
        ``measured_at`` (UTC), ``machine`` (the name of its folder of results), ``processor``, ``vectors`` (the
        widest vector instructions), ``cores`` that this process may use, ``threads``, ``memory_gib``,
        ``load_before`` (of the last minute), ``python``, ``versions``.
    """
    return {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine_name(),
        "processor": processor(),
        "vectors": vectors(),
        "cores": cores(),
        "threads": THREADS,
        "memory_gib": memory_gib(),
        "load_before": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "versions": {package: version(package) for package in packages},
    }


def machine_name() -> str:
    """Processor, vector instructions and cores, fit for a folder's name."""
    parts = re.findall(r"[a-z0-9]+", SAYS_NOTHING.sub(" ", processor()).lower())
    return "-".join([*parts, vectors(), str(cores()), "cores"])


def processor() -> str:
    """The processor as the kernel names it."""
    return _cpuinfo("model name") or platform.processor() or platform.machine()


def vectors() -> str:
    """The widest vector instructions of the processor."""
    flags = (_cpuinfo("flags") or _cpuinfo("Features")).split()
    return next((name for name in VECTORS if name in flags), "scalar")


def _cpuinfo(field: str) -> str:
    path = Path("/proc/cpuinfo")
    text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
    match = re.search(rf"^{field}\s*: (.*)$", text, re.MULTILINE)
    return match.group(1).strip() if match else ""


def cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0))


def memory_gib() -> float:
    """Memory of the machine, GiB."""
    match = re.search(
        r"^MemTotal:\s+(\d+) kB", Path("/proc/meminfo").read_text(encoding="ascii"), re.MULTILINE
    )
    return round(int(match.group(1)) / KIB_IN_GIB, 1) if match else 0.0


def version(package: str) -> str:
    """Installed version of a distribution."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return NOT_INSTALLED
