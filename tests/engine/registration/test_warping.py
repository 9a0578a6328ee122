"""The warped CT beside a plain evaluation of what a displacement field says."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from engine.geometry import VolumeGeometry
from engine.hounsfield import AIR_HU
from engine.kernels.backend import KernelBackend
from engine.registration.field import DisplacementField
from engine.registration.warping import warp
from engine.volume import CtVolume

FIXED = VolumeGeometry((14, 16, 18), (1.5, 1.0, 1.25), origin_lps_mm=(3.0, -4.0, 5.0))
TURNED = VolumeGeometry(
    (20, 22, 24), (1.0, 1.2, 0.9), ((0.0, 0.0, -1.0), (0.0, 1.0, 0.0), (-1.0, 0.0, 0.0)), (26.0, -7.0, 27.0)
)
COARSE = VolumeGeometry((5, 5, 6), (6.0, 5.0, 5.0), origin_lps_mm=(2.0, -5.0, 4.0))


def smooth(grid: VolumeGeometry, seed: int) -> CtVolume:
    noise = np.random.default_rng(seed).normal(-700.0, 300.0, grid.shape_zyx)
    return CtVolume(np.rint(ndimage.gaussian_filter(noise, 1.5)).astype(np.int16), grid)


@pytest.mark.parametrize("kernels", [KernelBackend.CPU, KernelBackend.REFERENCE])
def test_each_voxel_is_where_the_field_says(kernels: KernelBackend) -> None:
    moving, fixed = smooth(TURNED, 1), smooth(FIXED, 2)
    vectors = np.random.default_rng(3).normal(0.0, 1.5, (*COARSE.shape_zyx, 3)).astype(np.float32)
    field = DisplacementField(vectors, COARSE)
    warped = warp(moving, fixed, field, kernels)
    points = FIXED.to_lps(np.moveaxis(np.indices(FIXED.shape_zyx), 0, -1))
    index = TURNED.to_index(points + field.at(points))
    expected = ndimage.map_coordinates(
        moving.voxels_hu.astype(np.float64), np.moveaxis(index, -1, 0), order=1, mode="nearest"
    )
    inside = ((index > -0.49) & (index < np.array(TURNED.shape_zyx) - 0.51)).all(axis=-1)
    outside = ((index < -0.51) | (index > np.array(TURNED.shape_zyx) - 0.49)).any(axis=-1)
    assert inside.sum() > 1000
    assert outside.sum() > 100
    assert np.abs(warped.voxels_hu - expected)[inside].max() <= 1.0
    assert (warped.voxels_hu[outside] == AIR_HU).all()
    assert warped.geometry == FIXED


def test_without_displacement_on_the_same_grid_nothing_changes() -> None:
    ct = smooth(FIXED, 4)
    field = DisplacementField(np.zeros((*COARSE.shape_zyx, 3), np.float32), COARSE)
    assert np.array_equal(warp(ct, ct, field).voxels_hu, ct.voxels_hu)
