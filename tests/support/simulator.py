"""Runs a test file's GPU cases in Numba's CUDA simulator, in a process of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def run_in_the_simulator(*test_files: str, selected: str = "gpu", passed: int) -> None:
    """Run the selected tests of files in the simulator; exactly ``passed`` of them must pass and none fail."""
    run = subprocess.run(
        [sys.executable, "-m", "pytest", *test_files, "-k", selected, "-q", "-p", "no:cacheprovider"],
        env={**os.environ, "NUMBA_ENABLE_CUDASIM": "1"},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert f"{passed} passed" in run.stdout, run.stdout
