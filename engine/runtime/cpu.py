"""How many CPUs a session may use."""

from __future__ import annotations

import os
from pathlib import Path

_CGROUP_CPU_LIMIT = Path("/sys/fs/cgroup/cpu.max")
"""Quota and period in microseconds, or ``max`` (cgroup v2)."""


def usable_cpus(limit_file: Path = _CGROUP_CPU_LIMIT) -> int:
    """CPUs this process may use: its affinity, and no more than its container's quota.

    The libraries count the cores of the host instead, and too many threads on few cores are slow.
    """
    cpus = len(os.sched_getaffinity(0))
    try:
        quota, period = limit_file.read_text(encoding="ascii").split()
        return cpus if quota == "max" else max(1, min(cpus, int(quota) // int(period)))
    except (OSError, ValueError):
        return cpus
