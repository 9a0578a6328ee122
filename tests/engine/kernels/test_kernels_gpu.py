"""The GPU kernels without a GPU: run in Numba's simulator, and compiled for real devices."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import pytest
from numba import config, cuda

from tests.support.kernels.gpu_signatures import KERNELS, has_nvvm
from tests.support.simulator import run_in_the_simulator

TESTS = Path(__file__).parent


@pytest.mark.skipif(bool(config.ENABLE_CUDASIM), reason="already in the simulator")
def test_gpu_twins_pass_the_kernel_tests_in_the_simulator() -> None:
    files = (str(TESTS / f"test_{subject}.py") for subject in ("distance", "kernels", "resampling"))
    run_in_the_simulator(*files, passed=29)


@pytest.mark.parametrize("capability", [(8, 7), (9, 0)], ids=["orin", "hopper"])
def test_gpu_kernels_compile_to_ptx(capability: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    if config.ENABLE_CUDASIM or not has_nvvm():
        pytest.skip("needs libnvvm of a CUDA toolkit (set CUDA_HOME) and no simulator")
    dispatcher = import_module("numba.cuda.dispatcher")
    monkeypatch.setattr(
        dispatcher, "get_current_device", lambda: SimpleNamespace(compute_capability=capability)
    )
    for name, signature in KERNELS.items():
        module, function = name.split(".")
        kernel = getattr(import_module(f"engine.kernels.gpu.{module}"), function)
        ptx, _ = cuda.compile_ptx(kernel.py_func, signature, cc=capability)
        assert f".target sm_{capability[0]}{capability[1]}" in ptx, name
