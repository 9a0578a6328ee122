"""Distances on every backend: one test body, judged by closed forms, SciPy and SimpleITK."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from engine.kernels.backend import KernelBackend
from engine.kernels.distance import distance_mm, signed_distance_mm, surface_points_mm
from tests.support.kernels.kernel_inputs import (
    BOUNDS,
    DENSITIES,
    EVERY_BACKEND,
    EXAMPLES,
    FAST_BACKENDS,
    SEEDS,
    SHAPES,
    SPACINGS,
    a_region,
    frozen,
)

# --- distance to a mask ----------------------------------------------------------------------


@EVERY_BACKEND
def test_distance_to_one_voxel_is_the_norm(kernels: KernelBackend) -> None:
    shape, spacing = (3, 4, 5), (2.5, 0.7, 1.1)
    mask = np.zeros(shape, dtype=bool)
    mask[2, 0, 4] = True
    offset = (np.moveaxis(np.mgrid[:3, :4, :5], 0, -1) - (2, 0, 4)) * spacing
    np.testing.assert_allclose(
        distance_mm(frozen(mask), spacing, kernels=kernels), np.linalg.norm(offset, axis=-1), rtol=1e-6
    )


@EVERY_BACKEND
def test_distance_of_empty_and_full_masks(kernels: KernelBackend) -> None:
    empty, full = np.zeros((2, 3, 4), dtype=bool), np.ones((2, 3, 4), dtype=bool)
    assert np.isposinf(distance_mm(empty, (1, 1, 1), kernels=kernels)).all()
    assert np.isposinf(distance_mm(empty, (1, 1, 1), bound_mm=2, kernels=kernels)).all()
    assert (distance_mm(full, (1, 1, 1), kernels=kernels) == 0).all()


@FAST_BACKENDS
@EXAMPLES
@given(shape=SHAPES, spacing=SPACINGS, density=DENSITIES, bound=BOUNDS, seed=SEEDS)
def test_distance_is_scipys(
    kernels: KernelBackend, shape: Any, spacing: Any, density: float, bound: float | None, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    mask = frozen(rng.random(shape) < density)
    region = a_region(rng, shape)
    expected = np.full(shape, np.inf)
    if mask.any():
        expected = ndimage.distance_transform_edt(~mask, sampling=spacing)
    if bound is not None:
        expected = np.where(expected > bound * (1 + 1e-6), np.inf, expected)
    found = distance_mm(mask, spacing, bound_mm=bound, region=region, kernels=kernels)
    assert found.dtype == np.float32
    assert found.flags.c_contiguous
    np.testing.assert_allclose(found, expected[region], rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(
        distance_mm(mask, spacing, bound_mm=bound, kernels=kernels), expected, rtol=1e-6, atol=1e-6
    )


@pytest.mark.parametrize("density", [0.0005, 0.3])
def test_distance_of_a_larger_mask_takes_both_paths(density: float) -> None:
    # long rows: outward search where marks are dense, the stack of parabolas where they are few
    mask = np.random.default_rng(7).random((70, 75, 90)) < density
    expected = ndimage.distance_transform_edt(~mask, sampling=(1.0, 0.7, 0.8))
    np.testing.assert_allclose(distance_mm(mask, (1.0, 0.7, 0.8)), expected, rtol=1e-6)


def test_distance_outside_is_simpleitks() -> None:
    mask = np.zeros((20, 22, 24), dtype=bool)
    mask[8:12, 5:9, 10:20] = True
    image = sitk.GetImageFromArray(mask.astype(np.uint8))
    image.SetSpacing((0.7, 0.8, 1.25))
    maurer = sitk.GetArrayFromImage(
        sitk.SignedMaurerDistanceMap(image, squaredDistance=False, useImageSpacing=True)
    )
    np.testing.assert_allclose(distance_mm(mask, (1.25, 0.8, 0.7))[~mask], maurer[~mask], rtol=1e-5)


# --- signed distance to a sub-voxel surface ----------------------------------------------------


@EVERY_BACKEND
def test_signed_distance_to_an_oblique_free_plane(kernels: KernelBackend) -> None:
    # occupancy falls by a quarter per voxel along z and crosses one half at z = 1.6
    z = np.arange(4, dtype=np.float32).reshape(4, 1, 1)
    occupancy = np.broadcast_to(np.float32(0.5) - (z - np.float32(1.6)) / 4, (4, 3, 2)).astype(np.float32)
    found = signed_distance_mm(frozen(occupancy), (2.0, 1.0, 1.0), kernels=kernels)
    np.testing.assert_allclose(found, np.broadcast_to(2.0 * (z - 1.6), found.shape), atol=1e-5)


@EVERY_BACKEND
def test_signed_distance_without_a_surface(kernels: KernelBackend) -> None:
    nothing, everything = np.zeros((2, 2, 3), dtype=np.float32), np.ones((2, 2, 3), dtype=np.float32)
    assert np.isposinf(signed_distance_mm(nothing, (1, 1, 1), kernels=kernels)).all()
    assert np.isneginf(signed_distance_mm(everything, (1, 1, 1), kernels=kernels)).all()


def test_signed_distance_of_a_sphere_is_sub_voxel() -> None:
    index = np.moveaxis(np.mgrid[:40, :40, :40], 0, -1)
    truth = np.linalg.norm(index - (19.3, 20.1, 18.7), axis=-1) - 12.0
    occupancy = np.clip(0.5 - truth, 0, 1).astype(np.float32)
    found = signed_distance_mm(occupancy, (1, 1, 1))
    # the nearest crossing on a grid edge is never nearer than the surface, and at most a face's diagonal off
    near = np.abs(truth) > 2
    assert np.abs(found - truth)[near].max() < 0.25
    assert np.abs(found - truth)[near].mean() < 0.05
    assert ((found < 0) == (occupancy >= 0.5)).all()


@FAST_BACKENDS
@EXAMPLES
@given(
    shape=SHAPES,
    spacing=SPACINGS,
    bound=BOUNDS,
    blocky=st.booleans(),
    level=st.sampled_from([0.5, 0.2]),
    seed=SEEDS,
)
def test_signed_distance_is_the_definitions(
    kernels: KernelBackend,
    shape: Any,
    spacing: Any,
    bound: float | None,
    blocky: bool,
    level: float,
    seed: int,
) -> None:
    rng = np.random.default_rng(seed)
    occupancy = rng.random(shape, dtype=np.float32)
    if blocky:
        occupancy = np.clip(ndimage.gaussian_filter(np.round(occupancy), 1.0) * 3 - 1, 0, 1)
    frozen(occupancy)
    region = a_region(rng, shape)
    for box in (None, region):
        found = signed_distance_mm(
            occupancy, spacing, level=level, bound_mm=bound, region=box, kernels=kernels
        )
        expected = signed_distance_mm(
            occupancy, spacing, level=level, bound_mm=bound, region=box, kernels=KernelBackend.REFERENCE
        )
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected, rtol=2e-6, atol=2e-6)


def test_surface_points_lie_on_edges_at_the_level() -> None:
    occupancy = np.array([[[0.0, 1.0]], [[0.0, 0.25]]], dtype=np.float32)
    points = surface_points_mm(occupancy, (3.0, 1.0, 2.0))
    np.testing.assert_allclose(sorted(map(tuple, points)), [(0.0, 0.0, 1.0), (2.0, 0.0, 2.0)])
