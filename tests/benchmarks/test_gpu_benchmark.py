"""The GPU benchmark where there is no GPU: what it refuses, what it writes, and its device in the simulator."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from benchmarks.gpu import __main__ as gpu
from benchmarks.gpu import sessions as gpu_sessions
from benchmarks.gpu.cases import KernelCase, kernel_cases, largest_difference
from benchmarks.gpu.device import Launch
from engine.errors import BackendError
from engine.kernels.backend import KernelBackend
from engine.kernels.gpu import device
from engine.kernels.gpu.residency import Traffic

ROOT = Path(__file__).parents[2]


class PretendedDevice:
    """A device on which every kernel takes 2 ms for 1 MB, and a peer 5 ms."""

    name = "NVIDIA Pretended (8 GB)"

    def describe(self) -> dict[str, Any]:
        return {"name": self.name, "driver": "none"}

    def copy_bandwidths_gb_s(self) -> dict[str, float]:
        return {"device_to_device": 1.0}

    def between_events_ms(self, call: Callable[[], Any], repeats: int) -> list[float]:
        call()
        return [5.0] * repeats

    def launches(self, call: Callable[[], Any]) -> list[Launch]:
        call()
        return [Launch("a", 1.5, 1_000_000), Launch("b", 0.25, 500_000), Launch("b", 0.25, 500_000)]

    def host_ms(self, call: Callable[[], Any], repeats: int) -> list[float]:
        call()
        return [9.0] * repeats

    def resident(self, array: Any) -> Any:
        return array


def case(tolerance: float = 0.0, off: float = 0.0, **peers: Any) -> KernelCase:
    def run(kernels: KernelBackend) -> Any:
        return np.zeros(3) + (off if kernels == KernelBackend.GPU else 0.0)

    return KernelCase("a kernel", run, tolerance, 1_000_000, peers)


def measured(*cases: KernelCase, minutes: float = 1.0, **changes: Any) -> dict[str, Any]:
    chosen: dict[str, Any] = {
        "suite": lambda _limit_s: {"passed": True, "said": "9 passed"},
        "cases": cases,
        "networks": lambda: [{"model": "m", "backend": "tensorrt", "passed": True, "median_ms": 3.0}],
        "assessment": lambda: {"passed": True, "median_ms": 400.0},
    }
    clock = gpu.Clock(minutes)
    return gpu.measure(PretendedDevice(), clock, lambda _what: None, **{**chosen, **changes})


def test_without_a_gpu_it_says_so_and_leaves_no_receipt(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def nothing_there() -> Any:
        raise BackendError("no CUDA device answers here")

    assert gpu.main(["--out", str(tmp_path)], nothing_there) == 2
    assert "nothing was measured: no CUDA device answers here" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_kernel_is_held_against_the_copy_bandwidth_its_floor_and_its_peers() -> None:
    (row,) = measured(case(numpy=lambda put: partial(np.sum, put(np.ones(3)))))["kernels"]
    assert (row["kernels_ms"], row["with_transfers_ms"]) == (2.0, 9.0)
    assert row["floor_ms"] == 1.0
    assert row["share_of_floor"] == 0.5
    shares = {launch["kernel"]: launch["share_of_copy"] for launch in row["launches"]}
    assert shares == pytest.approx({"a": 1 / 1.5, "b": 2.0})
    assert row["peers"]["numpy"] == {"ms": 5.0, "times_coldspot": 2.5}


@pytest.mark.parametrize("off", [0.1, np.nan, np.inf])
def test_what_differs_from_its_cpu_twin_is_not_timed(off: float) -> None:
    receipt = measured(case(tolerance=0.01, off=off))
    (row,) = receipt["kernels"]
    assert not row["passed"]
    assert "kernels_ms" not in row
    assert not gpu.agreed(receipt)
    json.dumps(receipt, allow_nan=False)
    assert "not timed" in gpu.table(receipt)


def test_peers_that_are_not_there_or_fail_are_named() -> None:
    def fails(_put: Any) -> Any:
        raise RuntimeError("out of memory")

    (row,) = measured(case(numpy=fails, no_such_library=fails))["kernels"]
    assert row["peers"] == {
        "numpy": {"not_run": "RuntimeError: out of memory"},
        "no_such_library": {"not_run": "not installed"},
    }


def test_what_there_was_no_time_for_is_listed() -> None:
    receipt = measured(case(), minutes=0.0)
    assert receipt["kernels"] == receipt["sessions"] == []
    assert receipt["end_to_end"] is None
    assert receipt["not_measured"] == ["a kernel: out of time", "what came last: out of time"]
    assert not gpu.agreed(receipt)


def test_backends_and_kernels_that_cannot_run_are_listed() -> None:
    def refused(**_: Any) -> Any:
        raise BackendError("no such kernel")

    def whole() -> Any:
        raise BackendError("no such stage")

    receipt = measured(
        replace(case(), run=refused),
        case(),
        networks=lambda: [{"model": "m", "backend": "tensorrt", "not_run": "no libnvinfer"}],
        assessment=whole,
    )
    assert len(receipt["kernels"]) == 1
    assert receipt["not_measured"] == [
        "a kernel: no such kernel",
        "m, tensorrt: no libnvinfer",
        "assessment: no such stage",
    ]
    assert gpu.agreed(receipt)


@pytest.mark.parametrize("part", ["suite", "networks", "assessment"])
def test_one_difference_anywhere_is_a_failure(part: str) -> None:
    assert gpu.agreed(measured(case()))
    wrong: dict[str, Any] = {
        "suite": lambda _limit_s: {"passed": False, "said": "1 failed"},
        "networks": lambda: [{"model": "m", "backend": "tensorrt", "passed": False}],
        "assessment": lambda: {"passed": False},
    }
    receipt = measured(case(), **{part: wrong[part]})
    assert not gpu.agreed(receipt)
    gpu.table(receipt)


def test_the_receipt_says_what_an_assessment_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    held = SimpleNamespace(traffic=Traffic(uploads=3, uploaded_bytes=2_000_000, spared_uploads=9))

    @contextmanager
    def kept(kernels: KernelBackend) -> Iterator[Any]:
        yield held if kernels == KernelBackend.GPU else None

    found = SimpleNamespace(coverage=SimpleNamespace(tcr=0.9), timings_s={"coverage": 0.1})
    phantom = SimpleNamespace(planning=None, tumor=None, verification=None, zone=None, core=None)
    monkeypatch.setattr(gpu_sessions, "resident", kept)
    monkeypatch.setattr(gpu_sessions, "make_procedure", lambda *_, **__: phantom)
    monkeypatch.setattr(gpu_sessions, "prepare_planning", lambda *_, **__: None)
    monkeypatch.setattr(gpu_sessions, "assess_ablation", lambda *_, **__: found)
    receipt = measured(case(), assessment=lambda: gpu_sessions.end_to_end(KernelBackend.GPU, repeats=1))
    assert receipt["end_to_end"]["traffic"]["spared_uploads"] == 9
    assert "copied up 3 arrays (2.0 MB)" in gpu.table(receipt)
    json.dumps(receipt, allow_nan=False)
    assert gpu_sessions.end_to_end(KernelBackend.CPU, repeats=1)["traffic"] is None


def test_the_receipt_names_device_versions_and_commit(tmp_path: Path) -> None:
    receipt = gpu.identity() | measured(case())
    path = gpu.write_receipt(receipt, tmp_path / "gpu")
    assert path.name == f"{receipt['written'][:10]}-nvidia-pretended-8-gb.json"
    stored = json.loads(path.read_text(encoding="utf-8"))
    assert stored["versions"]["numpy"] == np.__version__
    assert stored["commit"]
    assert stored["device"]["name"] == PretendedDevice.name


def test_the_suite_takes_every_test_that_names_the_gpu_as_a_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def run(command: list[str], **_: Any) -> Any:
        asked.extend(command)
        return subprocess.CompletedProcess(command, 0, "no tests ran in 0.01s", "")

    monkeypatch.setattr(subprocess, "run", run)
    assert gpu.run_suite(1.0) == {"passed": False, "said": "no tests ran in 0.01s"}
    named = {Path(each).name for each in asked if each.endswith(".py")}
    assert {"test_kernels.py", "test_matching.py", "test_bending.py", "test_self_similarity.py"} <= named


def test_every_gpu_twin_is_timed() -> None:
    twins = {path.stem for path in (ROOT / "engine" / "kernels" / "gpu").glob("[a-z]*.py")}
    twins -= {"device", "residency"}
    text = (ROOT / "benchmarks" / "gpu" / "cases.py").read_text(encoding="utf-8")
    assert not {name for name in twins if f"engine.kernels.{name} import" not in text}


def all_cases() -> Iterator[KernelCase]:
    return kernel_cases(16)


@pytest.mark.acceptance
def test_the_cases_run_and_agree_with_themselves() -> None:
    names = []
    for one in all_cases():
        names.append(one.name)
        assert one.min_bytes > 0
        assert (
            largest_difference(one.run(kernels=KernelBackend.CPU), one.run(kernels=KernelBackend.CPU)) == 0.0
        )
    assert len(names) == len(set(names)) >= 12


@pytest.mark.parametrize(
    ("found", "expected", "worst"),
    [
        (np.array([1.0, np.nan]), np.array([1.0, np.nan]), 0.0),
        (np.array([1.0, np.nan]), np.array([1.0, 2.0]), np.inf),
        (np.array([1.0]), np.array([1.0, 2.0]), np.inf),
        (np.array([-3], np.int16), np.array([4], np.int16), 7.0),
        (np.array([True, False]), np.array([True, True]), 1.0),
        (np.array([1 << 63], np.uint64), np.array([1], np.uint64), 1.0),
        ((1.0, np.float32(np.inf)), (1.5, np.inf), 0.5),
    ],
)
def test_differences(found: Any, expected: Any, worst: float) -> None:
    assert largest_difference(found, expected) == worst


@pytest.mark.acceptance
def test_the_real_device_in_the_simulator() -> None:
    """Events, kernels seen one by one, comparison: everything but the times."""
    program = (
        "from benchmarks.gpu.__main__ import measure_kernel\n"
        "from benchmarks.gpu.cases import kernel_cases\n"
        "from benchmarks.gpu.device import NumbaDevice\n"
        "device = NumbaDevice(rehearse=True)\n"
        "assert set(device.copy_bandwidths_gb_s()) >= {'device_to_device', 'pinned_to_device'}\n"
        "rows = [measure_kernel(device, case, 1.0, repeats=1) for case in kernel_cases(5)]\n"
        "assert all(row['passed'] for row in rows), [row for row in rows if not row['passed']]\n"
        "assert all(row['launches'] for row in rows)\n"
    )
    environment = {**os.environ, "NUMBA_ENABLE_CUDASIM": "1", "PYTHONWARNINGS": "ignore"}
    run = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr


def test_the_simulator_is_no_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(device, "require", lambda: None)
    monkeypatch.setattr(device, "is_simulated", lambda: True)
    assert gpu.main(["--out", str(tmp_path)]) == 2
    assert "the simulator is no GPU" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
