"""Backends and inputs that every kernel is tested on.

``gpu`` runs where CUDA answers: on a GPU, or in Numba's simulator (tests/engine/kernels/test_kernels_gpu.py).
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from numba import config, cuda

from engine.kernels.backend import KernelBackend

SIMULATED = bool(config.ENABLE_CUDASIM)
NEEDS_CUDA = pytest.mark.skipif(
    not cuda.is_available(), reason="no CUDA device; see tests/engine/kernels/test_kernels_gpu.py"
)
EVERY_BACKEND = pytest.mark.parametrize(
    "kernels", [KernelBackend.REFERENCE, KernelBackend.CPU, pytest.param(KernelBackend.GPU, marks=NEEDS_CUDA)]
)
FAST_BACKENDS = pytest.mark.parametrize(
    "kernels", [KernelBackend.CPU, pytest.param(KernelBackend.GPU, marks=NEEDS_CUDA)]
)
EXAMPLES = settings(
    max_examples=3 if SIMULATED else 60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
LARGEST = (3, 4, 5) if SIMULATED else (9, 12, 40)

SHAPES = st.tuples(*(st.integers(1, n) for n in LARGEST))
SPACINGS = st.tuples(*(st.sampled_from([0.5, 0.7, 1.0, 2.5]),) * 3)
DENSITIES = st.sampled_from([0.0, 0.01, 0.1, 0.5, 0.95, 1.0])
BOUNDS = st.sampled_from([None, 0.4, 1.0, 3.3])
SEEDS = st.integers(0, 2**32 - 1)


def frozen(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    array.setflags(write=False)
    return array


def a_region(rng: np.random.Generator, shape: tuple[int, ...]) -> tuple[slice, slice, slice]:
    starts = [int(rng.integers(0, n)) for n in shape]
    a, b, c = (slice(s, int(rng.integers(s + 1, n + 1))) for s, n in zip(starts, shape, strict=True))
    return a, b, c


def an_index_map(rng: np.random.Generator, aligned: bool) -> np.ndarray[Any, Any]:
    matrix = np.diag(rng.uniform(0.4, 1.6, 3) * rng.choice([-1, 1], 3))
    if not aligned:
        matrix += rng.uniform(-0.3, 0.3, (3, 3))
    return np.column_stack([matrix, rng.uniform(-1, 4, 3)])


def shifted_by(x: float) -> np.ndarray[Any, Any]:
    return np.column_stack([np.eye(3), [0.0, 0.0, x]])


def same_tables(a: Any, b: Any, rtol: float = 1e-12) -> None:
    for field in fields(a):
        x, y = getattr(a, field.name), getattr(b, field.name)
        np.testing.assert_allclose(x, y, rtol=rtol, err_msg=field.name)
        assert np.asarray(x).dtype == np.asarray(y).dtype, field.name
