"""Every contender of a benchmark has the same number of threads."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.threads import THREADS, VARIABLES, limit_threads

ROOT = Path(__file__).parents[2]
LIMITED = ("end_to_end", "kernels", "radiomics", "registration", "segmentation", "serving")
LOADED = "import importlib, os, sys; importlib.import_module('benchmarks.' + sys.argv[1]); "


@pytest.mark.parametrize("subject", LIMITED)
def test_a_benchmark_sets_its_threads_before_any_library_reads_them(subject: str) -> None:
    code = f"{LOADED} assert 'numpy' not in sys.modules; print(*(os.environ[v] for v in sys.argv[2:]))"
    command = [sys.executable, "-c", code, subject, *VARIABLES]
    environment = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    assert run.stdout.split() == [str(THREADS)] * len(VARIABLES)


def test_an_import_by_a_test_leaves_the_threads_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "numpy" in sys.modules
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    limit_threads()
    assert not set(VARIABLES) & set(os.environ)
