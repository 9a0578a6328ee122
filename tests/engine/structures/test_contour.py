"""Sub-voxel surfaces: no voxel changes its side, thin gaps and spicules stay."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from engine.coverage.grid import build_measurement_field
from engine.coverage.ratio import measure_coverage
from engine.geometry import RigidTransform, VolumeGeometry
from engine.structures.surface import SURFACE_LEVEL, StructureSurface, occupancy
from engine.volume import LabelMask
from tests.support.spheres import ball, centered_grid


def mask_of(voxels: np.ndarray, spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)) -> LabelMask:
    return LabelMask(voxels, VolumeGeometry(voxels.shape, spacing))


def random_blob(seed: int, share: float, sigma: float) -> np.ndarray:
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(11, 12, 13)), sigma)
    return np.asarray(noise >= np.quantile(noise, 1.0 - share))


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 10_000),
    st.floats(0.05, 0.95),
    st.floats(0.0, 2.0),
    st.sampled_from([(1.0, 1.0, 1.0), (1.25, 0.7, 0.7), (5.0, 0.7, 0.7), (0.7, 5.0, 0.7)]),
)
def test_every_voxel_center_keeps_its_side(
    seed: int, share: float, sigma: float, spacing: tuple[float, float, float]
) -> None:
    mask = mask_of(random_blob(seed, share, sigma), spacing)
    filled = occupancy(mask)
    steps = np.rint(np.divide(spacing, filled.geometry.spacing_zyx_mm)).astype(int)
    field = filled.values
    assert np.array_equal(field[tuple(slice(None, None, n) for n in steps)] >= SURFACE_LEVEL, mask.voxels)
    assert field.dtype == np.float32
    assert field.min() >= 0
    assert field.max() <= 1


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("offset", [0.0, 0.3, -0.4])
@pytest.mark.parametrize("line", [False, True], ids=["plane", "line"])
def test_a_gap_one_voxel_wide_stays_a_gap(axis: int, offset: float, line: bool) -> None:
    grid = centered_grid((1.0, 1.0, 1.0), 24.0)
    tumor = ball(grid, (offset, offset, offset), 6.0, "tumor")
    zone = ball(grid, (0.0, 0.0, 0.0), 16.0, "ablation zone").voxels.copy()
    where: list[slice | int] = [slice(None)] * 3
    where[axis] = grid.shape_zyx[axis] // 2 + 8
    if line:
        where[(axis + 1) % 3] = grid.shape_zyx[0] // 2
    zone[tuple(where)] = False
    field = build_measurement_field(
        StructureSurface(tumor),
        StructureSurface(LabelMask(zone, grid, "ablation zone")),
        None,
        None,
        RigidTransform.identity(),
    )
    whole, _ = measure_coverage(field, field.zone, field.distance_to_zone_mm)
    assert whole.tcr < 1.0
    assert not whole.complete
    assert whole.minimal_mm < 3.0


@pytest.mark.parametrize("radius", [6, 12])
def test_a_spicule_keeps_its_length(radius: int) -> None:
    grid = centered_grid((1.0, 1.0, 1.0), 24.0)
    voxels = ball(grid, (0.0, 0.0, 0.0), float(radius), "tumor").voxels.copy()
    middle = grid.shape_zyx[0] // 2
    voxels[middle, middle, middle : middle + radius + 5] = True
    field = occupancy(LabelMask(voxels, grid)).values
    tip, beyond = field[middle, middle, middle + radius + 4], field[middle, middle, middle + radius + 5]
    crossing = (tip - SURFACE_LEVEL) / (tip - beyond)
    assert 0.45 <= crossing <= 0.8  # at least its last voxel's face, at most a third of a voxel more


def test_a_mask_at_the_border_of_its_grid_is_not_rounded_off_there() -> None:
    voxels = np.zeros((12, 12, 12), dtype=np.bool_)
    voxels[:, :, :6] = True
    field = occupancy(mask_of(voxels)).values
    crossing = (field[:, :, 5] - SURFACE_LEVEL) / (field[:, :, 5] - field[:, :, 6])
    assert np.allclose(crossing, 0.5, atol=0.02)
    assert (field[:, :, 0] > 0.9).all()
    whole = mask_of(np.ones((4, 4, 4), dtype=np.bool_))
    assert (occupancy(whole).values >= SURFACE_LEVEL).all()


def test_a_tight_mask_keeps_every_marked_voxel_in_place() -> None:
    voxels = np.zeros((30, 31, 32), dtype=np.bool_)
    voxels[2:5, 20:26, 30] = True
    mask = mask_of(voxels)
    small = mask.tight(3)
    marked = small.geometry.to_lps(np.argwhere(small.voxels))
    assert np.allclose(marked, mask.geometry.to_lps(np.argwhere(voxels)))
    assert small.voxels.shape == (8, 12, 5)
