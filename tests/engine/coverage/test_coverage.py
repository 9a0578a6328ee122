"""Coverage and margin against closed forms, and the one statement that both make."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from scipy.optimize import minimize_scalar

from engine.coverage.grid import MeasurementField, build_measurement_field
from engine.coverage.ratio import (
    measure_coverage,
    not_assessable_share,
    uncovered_in_lung,
)
from engine.coverage.surface_margin import measure_surface_margin
from engine.errors import InvalidRequestError
from engine.findings import TARGET_MARGIN_MM
from engine.geometry import RigidTransform, Vector3, VolumeGeometry
from engine.structures.surface import StructureSurface
from engine.volume import LabelMask
from tests.support.spheres import ball, centered_grid, true_coverage

TCR_BOUND = 0.005
MAM_BOUND_MM = 0.2
TIP_MM = 0.3
"""A margin may read this much too small: the one voxel in which a sphere ends looks like a spicule, and counts
as one. Too large it may read by ``MAM_BOUND_MM`` at most; nearly always both are within that."""
SMALL_TUMOR_TCR_BOUND = 0.006
"""Tumor of 5 mm radius at 1 mm: its 524 voxels alone leave its radius open by 0.03 mm."""
KNIFE_EDGE_TCR_BOUND = 0.012
"""Zone and target surfaces coincide: every roughness of either counts as a miss, none as a gain."""
THICK_TCR_BOUND = 0.03
THICK_MAM_BOUND_MM = 2.5
"""At 0.7 x 0.7 x 5 mm a structure's end lies anywhere within half a slice distance, at both contours."""

SHAPES = {
    "covered": (7.0, 0.0),
    "shifted": (5.0, 4.0),
    "slightly shifted": (5.0, 1.27),
    "too small": (2.0, 0.0),
    "tumor outside": (2.0, 5.0),
}


def measured(
    tumor_mm: float, zone_mm: float, shift_mm: float, seed: int, spacing: Vector3 = (1.0, 1.0, 1.0)
) -> tuple[float, float, MeasurementField]:
    rng = np.random.default_rng(seed)
    grid = centered_grid(spacing, max(tumor_mm, zone_mm + shift_mm) + 3.0 * max(spacing))
    center = rng.uniform(-0.5, 0.5, 3) * np.array(spacing)[::-1]
    direction = rng.normal(size=3)
    tumor = ball(grid, center, tumor_mm, "tumor")
    zone = ball(grid, center + shift_mm * direction / np.linalg.norm(direction), zone_mm, "ablation zone")
    field = build_measurement_field(
        StructureSurface(tumor), StructureSurface(zone), None, None, RigidTransform.identity()
    )
    whole, _ = measure_coverage(field, field.zone, field.distance_to_zone_mm)
    return whole.tcr, whole.minimal_mm, field


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("tumor_mm", [5.0, 6.4, 9.0, 15.0])
def test_spheres_at_1_mm(tumor_mm: float, shape: str) -> None:
    more, shift = SHAPES[shape]
    tcr, margin, _ = measured(tumor_mm, tumor_mm + more, shift, seed=int(100 * tumor_mm))
    true_tcr, true_margin = true_coverage(tumor_mm, tumor_mm + more, shift)
    assert tcr == pytest.approx(true_tcr, abs=TCR_BOUND if tumor_mm > 5 else SMALL_TUMOR_TCR_BOUND)
    assert true_margin - TIP_MM <= margin <= true_margin + MAM_BOUND_MM


def test_the_margin_of_spheres_is_within_its_bound_nine_times_in_ten() -> None:
    off = [
        abs(measured(7.3, 7.3 + more, shift, seed)[1] - true_coverage(7.3, 7.3 + more, shift)[1])
        for seed in range(4)
        for more, shift in SHAPES.values()
    ]
    assert np.mean(np.array(off) <= MAM_BOUND_MM) >= 0.9


@pytest.mark.parametrize("tumor_mm", [5.0, 9.0])
def test_a_disjoint_zone(tumor_mm: float) -> None:
    shift = 2 * tumor_mm + 12.0
    tcr, margin, _ = measured(tumor_mm, tumor_mm + 3.0, shift, seed=3)
    assert tcr == 0.0
    assert margin == pytest.approx(3.0 - shift, abs=MAM_BOUND_MM)


def test_the_knife_edge() -> None:
    tcr, margin, _ = measured(6.0, 11.0, 0.0, seed=4)
    assert tcr == pytest.approx(1.0, abs=KNIFE_EDGE_TCR_BOUND)
    assert margin == pytest.approx(5.0, abs=MAM_BOUND_MM)


@pytest.mark.parametrize("shape", SHAPES)
def test_spheres_in_slices_of_5_mm(shape: str) -> None:
    more, shift = SHAPES[shape]
    tcr, margin, _ = measured(10.0, 10.0 + more, shift, seed=5, spacing=(5.0, 0.7, 0.7))
    true_tcr, true_margin = true_coverage(10.0, 10.0 + more, shift)
    assert tcr == pytest.approx(true_tcr, abs=THICK_TCR_BOUND)
    assert margin == pytest.approx(true_margin, abs=THICK_MAM_BOUND_MM)


@pytest.mark.parametrize("shift", [0.0, 3.0])
def test_ellipsoids_at_1_mm(shift: float) -> None:
    """The tumor is a prolate spheroid; truth by its meridian ellipse and a fine grid."""
    half_axes, zone_mm = np.array([6.0, 6.0, 11.0]), 15.0
    rng = np.random.default_rng(8)
    grid = centered_grid((1.0, 1.0, 1.0), 22.0)
    center = rng.uniform(-0.5, 0.5, 3)
    tumor = ball(grid, center, half_axes, "tumor")
    zone = ball(grid, center + np.array([shift, 0.0, 0.0]), zone_mm, "ablation zone")
    field = build_measurement_field(
        StructureSurface(tumor), StructureSurface(zone), None, None, RigidTransform.identity()
    )
    whole, _ = measure_coverage(field, field.zone, field.distance_to_zone_mm)
    true_tcr, true_margin = spheroid_truth(6.0, 11.0, zone_mm, shift)
    assert whole.tcr == pytest.approx(true_tcr, abs=TCR_BOUND)
    assert whole.minimal_mm == pytest.approx(true_margin, abs=MAM_BOUND_MM)


def spheroid_truth(across: float, along: float, zone_mm: float, shift: float) -> tuple[float, float]:
    """TCR by a radial profile on a 0.25 mm grid, margin by the farthest tumor point from the zone's center."""
    step = 0.25
    rho, height = np.meshgrid(np.arange(step / 2, 18, step), np.arange(step / 2, 18, step), indexing="ij")
    angle = np.linspace(0, np.pi / 2, 4001)
    outline = np.stack([across * np.sin(angle), along * np.cos(angle)], axis=1)
    points = np.stack([rho.ravel(), height.ravel()], axis=1)
    near = np.sqrt(((points[:, None] - outline[None, ::10]) ** 2).sum(-1).min(axis=1)).reshape(rho.shape)
    target = (near < TARGET_MARGIN_MM) | ((rho / across) ** 2 + (height / along) ** 2 <= 1)
    turn = (np.arange(360) + 0.5) * np.pi / 180
    inside = (rho[..., None] * np.cos(turn) - shift) ** 2 + (rho[..., None] * np.sin(turn)) ** 2 + height[
        ..., None
    ] ** 2 <= zone_mm**2
    weight = rho * target
    farthest = minimize_scalar(
        lambda a: -np.hypot(across * np.sin(a) + shift, along * np.cos(a)),
        bounds=(0, np.pi / 2),
        method="bounded",
    )
    return float((weight * inside.mean(axis=-1)).sum() / weight.sum()), zone_mm + float(farthest.fun)


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 10_000),
    st.floats(0.02, 0.2),
    st.floats(0.1, 0.98),
    st.sampled_from([3.0, 5.0, 7.5]),
)
def test_complete_full_coverage_and_a_margin_of_the_target_are_one_statement(
    seed: int, tumor_share: float, zone_share: float, margin_mm: float
) -> None:
    rng = np.random.default_rng(seed)
    noise = ndimage.gaussian_filter(rng.normal(size=(20, 20, 20)), 3.0)
    edge = np.minimum.outer(np.minimum.outer(bump(20), bump(20)), bump(20))
    shaped = noise / noise.std() + 2.0 * edge
    geometry = VolumeGeometry((20, 20, 20), (1.0, 1.0, 1.0))
    tumor = LabelMask(shaped >= np.quantile(shaped, 1 - tumor_share), geometry, "tumor")
    zone = LabelMask(shaped >= np.quantile(shaped, 1 - zone_share), geometry, "ablation zone")
    field = build_measurement_field(
        StructureSurface(tumor), StructureSurface(zone), None, None, RigidTransform.identity()
    )
    for coverage in measure_coverage(
        field, field.zone, field.distance_to_zone_mm, target_margin_mm=margin_mm
    ):
        assert coverage.complete == (coverage.tcr == 1.0) == (coverage.minimal_mm >= margin_mm)
        assert 0.0 <= coverage.tcr <= 1.0
    assert sum(measure_surface_margin(field).shares) == pytest.approx(1.0)


def bump(n: int) -> np.ndarray:
    return 1.0 - np.abs(np.linspace(-1, 1, n))


def test_a_margin_of_exactly_the_target_is_complete_and_one_voxel_less_is_not() -> None:
    _, _, field = measured(6.0, 14.0, 0.0, seed=6)
    reached = measure_coverage(field, field.zone, field.distance_to_zone_mm)[0].minimal_mm
    for margin, complete in ((reached, True), (np.nextafter(np.float32(reached), np.float32(99)), False)):
        whole, _ = measure_coverage(
            field, field.zone, field.distance_to_zone_mm, target_margin_mm=float(margin)
        )
        assert whole.complete is complete
        assert (whole.tcr == 1.0) is complete


def test_what_lies_outside_the_lung_is_not_assessable_and_not_a_miss() -> None:
    grid = centered_grid((1.0, 1.0, 1.0), 20.0)
    tumor = ball(grid, (0.0, 0.3, -0.4), 6.0, "tumor")
    zone = ball(grid, (0.0, 0.3, -0.4), 13.0, "ablation zone").voxels.copy()
    lung = np.ones(grid.shape_zyx, dtype=np.bool_)
    wall = grid.shape_zyx[2] // 2 + 8
    zone[:, :, wall:] = False
    lung[:, :, wall:] = False
    field = build_measurement_field(
        StructureSurface(tumor),
        StructureSurface(LabelMask(zone, grid, "ablation zone")),
        None,
        LabelMask(lung, grid, "lung"),
        RigidTransform.identity(),
    )
    whole, in_lung = measure_coverage(field, field.zone, field.distance_to_zone_mm)
    cap = np.pi * 3.1**2 * (3 * 11.0 - 3.1) / 3 / (4 / 3 * np.pi * 11.0**3)
    assert whole.tcr == pytest.approx(1.0 - cap, abs=0.01)
    assert whole.minimal_mm == pytest.approx(1.9, abs=0.3)  # a sharp edge is smoothed a little
    assert in_lung.tcr == 1.0
    assert not uncovered_in_lung(field).any()
    assert in_lung.minimal_mm == pytest.approx(7.0, abs=TIP_MM)
    # Half a measurement voxel of the wall is a hundredth of this target.
    assert not_assessable_share(field) == pytest.approx(cap, abs=0.01)


def test_margin_shares_of_a_concentric_zone_fall_in_one_band() -> None:
    for more, band in ((-2.0, 0), (3.0, 1), (7.0, 2), (12.0, 3)):
        _, _, field = measured(7.0, 7.0 + more, 0.0, seed=1)
        assert measure_surface_margin(field).shares[band] == 1.0


def test_a_zone_of_a_whole_lung_is_refused() -> None:
    grid = centered_grid((2.0, 2.0, 2.0), 100.0)
    tumor, lung = ball(grid, (0.0, 0.0, 0.0), 9.0, "tumor"), ball(grid, (0.0, 0.0, 0.0), 90.0, "zone")
    with pytest.raises(InvalidRequestError, match="more than any one ablation"):
        build_measurement_field(
            StructureSurface(tumor), StructureSurface(lung), None, None, RigidTransform.identity()
        )
