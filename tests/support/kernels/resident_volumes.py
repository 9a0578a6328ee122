"""Volumes for kernels that keep them on the device."""

from __future__ import annotations

import gc

import numpy as np
import pytest
from numba import config, cuda

from engine.arrays import AnyArray, read_only
from engine.kernels.backend import KernelBackend
from engine.kernels.resampling import resample

SIMULATED = bool(config.ENABLE_CUDASIM)
NEEDS_CUDA = pytest.mark.skipif(not cuda.is_available(), reason="no CUDA device")
ON_THE_GPU = pytest.mark.parametrize("kernels", [pytest.param(KernelBackend.GPU, marks=NEEDS_CUDA)])

SHAPE = (5, 6, 7)
SHIFTED = np.array([[1.0, 0, 0, 0.5], [0, 1.0, 0, 0.25], [0, 0, 1.0, 0]])
SPACING = (1.0, 1.0, 1.0)


def hu(seed: int = 0, shape: tuple[int, ...] = SHAPE) -> AnyArray:
    return np.random.default_rng(seed).integers(-1000, 400, shape, dtype=np.int16)


def shifted(voxels: AnyArray, kernels: KernelBackend) -> AnyArray:
    return resample(voxels, SHIFTED, voxels.shape, kernels=kernels)


def distances_and_masks() -> tuple[AnyArray, AnyArray, AnyArray]:
    mask = read_only(hu(1) > 0)
    return read_only(hu().astype(np.float32)), mask, mask


def on_device() -> int:
    gc.collect()
    return sum(bool(getattr(type(thing), "__cuda_ndarray__", False)) for thing in gc.get_objects())
