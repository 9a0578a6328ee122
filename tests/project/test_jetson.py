"""What docs/jetson.md promises without a Jetson: wheels for it, and kernels that compile for its GPU."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from numba import config, cuda, float32, float64, int64
from packaging.tags import Tag
from packaging.utils import canonicalize_name, parse_wheel_filename

from benchmarks.gpu.device import gpu_kernel_modules, is_launched
from deploy.aarch64_wheels import LOCKS, NEWEST_GLIBC, OLDEST_GLIBC, WHEELS
from tests.support.kernels.gpu_signatures import KERNELS, has_nvvm, volume

ROOT = Path(__file__).parents[2]
ORIN = (8, 7)
REGISTERS = 128
"""More, and half of an Orin's threads would idle."""

SIGNATURES: dict[str, Any] = {
    "pose_draws._evaluate": (
        volume(float32),
        volume(float64, 2),
        volume(float64, 1),
        volume(float64, 2),
        volume(float64, 3),
        *(volume(float64, 1),) * 2,
        *(volume(float64, 2),) * 2,
        *(volume(int64, 1),) * 2,
        volume(float64, 1),
    ),
    **KERNELS,
}


def locked() -> dict[str, str]:
    lines = [line for lock in LOCKS for line in (ROOT / lock).read_text(encoding="utf-8").splitlines()]
    found = (re.match(r"^([a-z0-9-]+)==(\S+) ", line) for line in lines)
    return {match[1]: match[2] for match in found if match}


def test_every_locked_package_has_a_wheel_for_a_jetson() -> None:
    """Asked of the index by deploy/aarch64_wheels.py; run it again after `make lock`."""
    names = WHEELS.read_text(encoding="utf-8").split()
    versions = {}
    for name in names:
        package, version, _, tags = parse_wheel_filename(name)
        versions[str(package)] = str(version)
        assert any(runs_on_jetpack_7(tag) for tag in tags), name
    assert {canonicalize_name(package) for package in versions} == set(versions)
    assert versions == locked()
    assert len(names) == len(versions)


def runs_on_jetpack_7(tag: Tag) -> bool:
    """Python 3.12, aarch64, glibc 2.39."""
    if tag.platform == "any":
        return tag.interpreter in {"py3", "py2.py3"} and tag.abi == "none"
    stable = re.fullmatch(r"cp3(\d+)", tag.interpreter)
    python = (
        tag.interpreter == "py3"
        or (tag.interpreter == "cp312" and tag.abi in {"cp312", "abi3", "none"})
        or (stable is not None and tag.abi == "abi3" and int(stable[1]) <= 12)
    )
    glibc = re.fullmatch(r"manylinux_2_(\d+)_aarch64", tag.platform)
    fits = glibc is not None and OLDEST_GLIBC <= int(glibc[1]) <= NEWEST_GLIBC
    return python and (fits or tag.platform == "manylinux2014_aarch64")


@pytest.mark.parametrize(
    ("tag", "runs"),
    [
        (Tag("cp312", "cp312", "manylinux_2_28_aarch64"), True),
        (Tag("cp311", "abi3", "manylinux2014_aarch64"), True),
        (Tag("py3", "none", "any"), True),
        (Tag("cp312", "cp312", "manylinux_2_28_x86_64"), False),
        (Tag("cp311", "cp311", "manylinux_2_28_aarch64"), False),
        (Tag("cp312", "cp312", "manylinux_2_41_aarch64"), False),
        (Tag("cp312", "cp312", "musllinux_1_2_aarch64"), False),
    ],
)
def test_which_wheels_run_there(tag: Tag, runs: bool) -> None:
    assert runs_on_jetpack_7(tag) is runs


def test_every_gpu_kernel_has_a_signature_to_compile() -> None:
    launched = {
        f"{module.__name__.rsplit('.', maxsplit=1)[-1]}.{name}"
        for module in gpu_kernel_modules()
        for name, thing in vars(module).items()
        if is_launched(thing)
    }
    assert launched <= set(SIGNATURES)


@pytest.mark.acceptance
def test_every_gpu_kernel_is_assembled_for_an_orin(monkeypatch: pytest.MonkeyPatch) -> None:
    """To machine code, by the assembler of a CUDA toolkit: without a spilled register."""
    home = os.environ.get("CUDA_HOME", "/usr/local/cuda")
    assembler = shutil.which("ptxas") or shutil.which(f"{home}/bin/ptxas")
    if config.ENABLE_CUDASIM or not has_nvvm() or assembler is None:
        pytest.skip("needs libnvvm and ptxas of a CUDA toolkit (set CUDA_HOME) and no simulator")
    dispatcher = import_module("numba.cuda.dispatcher")
    monkeypatch.setattr(dispatcher, "get_current_device", lambda: SimpleNamespace(compute_capability=ORIN))
    for name, signature in SIGNATURES.items():
        module, function = name.split(".")
        kernel = getattr(import_module(f"engine.kernels.gpu.{module}"), function)
        ptx, _ = cuda.compile_ptx(kernel.py_func, signature, cc=ORIN)
        run = subprocess.run(
            [assembler, "-arch=sm_87", "-v", "-o", "/dev/null", "-"],
            input=ptx,
            capture_output=True,
            text=True,
            check=False,
        )
        assert run.returncode == 0, (name, run.stderr)
        used = re.search(r"Used (\d+) registers", run.stderr)
        spilled = re.search(r"(\d+) bytes spill stores", run.stderr)
        assert used is not None
        assert int(used[1]) <= REGISTERS, name
        assert spilled is not None
        assert spilled[1] == "0", name


def test_every_gpu_kernel_is_listed_as_unverified() -> None:
    """Until a receipt of a GPU lies in benchmarks/results/gpu."""
    if list((ROOT / "benchmarks" / "results" / "gpu").glob("*.json")):
        pytest.skip("a GPU has been measured: docs/unverified.md says what is left")
    listed = (ROOT / "docs" / "unverified.md").read_text(encoding="utf-8")
    modules = {module.__name__.rsplit(".", maxsplit=1)[-1] for module in gpu_kernel_modules()} - {"device"}
    for module in modules:
        assert re.search(rf"\b{module}\b", listed), module
    assert f"all {len(SIGNATURES)} are assembled" in listed
