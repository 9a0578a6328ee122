"""Thick slices: what lies between them and past the last one, measured on solids whose surface has a formula."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.coverage.grid import build_measurement_field
from engine.coverage.ratio import measure_coverage
from engine.geometry import RigidTransform, Vector3, VolumeGeometry
from engine.phantoms.closed_form import (
    rasterize_ellipsoid,
    rasterize_sphere,
    sphere_minimal_margin_mm,
    sphere_overlap_tcr,
)
from engine.structures.surface import SURFACE_LEVEL, Occupancy, StructureSurface, occupancy
from engine.volume import LabelMask

PIXEL_MM = 0.75
SPACINGS: list[Vector3] = [(slice_mm, PIXEL_MM, PIXEL_MM) for slice_mm in (2.5, 3.0, 5.0)]
Slices = npt.NDArray[np.bool_]


def slices_around(radius_mm: float, spacing: Vector3, phase: float = 0.0) -> VolumeGeometry:
    """A grid around the origin; the slices lie ``phase`` of their distance off it."""
    counts = [2 * int(np.ceil((radius_mm + 2 * s) / s)) + 1 for s in spacing]
    first = [-(n // 2) * s + phase * s for n, s in zip(counts, spacing, strict=True)]
    return VolumeGeometry(
        (counts[0], counts[1], counts[2]), spacing, origin_lps_mm=(first[2], first[1], first[0])
    )


def volume_ml(found: Occupancy) -> float:
    """Volume within the surface, each voxel counted by the share of it that a plane through it leaves inside."""
    depth_mm = (found.values.astype(float) - SURFACE_LEVEL) * 16.0
    return float(np.clip(depth_mm / PIXEL_MM + 0.5, 0.0, 1.0).sum()) * found.geometry.voxel_volume_ml


def discs(**radii_mm: float) -> Slices:
    """Seven slices with a disc in some: ``discs(s2=6.0)`` has one of 6 mm radius in the third."""
    voxels = np.zeros((7, 61, 61), dtype=np.bool_)
    y, x = np.mgrid[-30:31, -30:31] * 0.7
    for name, radius in radii_mm.items():
        voxels[int(name[1:])] = np.hypot(y, x) <= radius
    return voxels


def filled(voxels: Slices, spacing: Vector3 = (5.0, 0.7, 0.7)) -> Occupancy:
    return occupancy(LabelMask(voxels, VolumeGeometry(voxels.shape, spacing)))


def radius_mm(found: Occupancy, fine_slice: int) -> float:
    return float(np.sqrt(np.count_nonzero(found.values[fine_slice] >= SURFACE_LEVEL) * 0.49 / np.pi))


def end_mm(found: Occupancy) -> tuple[float, float]:
    """Where the surface crosses the axis of the discs, mm from the first slice."""
    along = found.values[:, 30, 30].astype(float)
    spacing = found.geometry.spacing_zyx_mm[0]
    inside = np.flatnonzero(along >= SURFACE_LEVEL)
    ends = []
    for last, way in ((inside[0], -1), (inside[-1], 1)):
        share = (along[last] - SURFACE_LEVEL) / (along[last] - along[last + way])
        ends.append(float(last + way * share) * spacing)
    return ends[0], ends[1]


@pytest.mark.parametrize("spacing", SPACINGS, ids=lambda s: f"{s[0]:g}mm")
@pytest.mark.parametrize("phase", [-0.4, -0.2, 0.0, 0.25, 0.5])
@pytest.mark.parametrize("radius", [6.0, 9.0, 14.0, 20.0])
def test_a_ball_has_its_volume_at_every_phase_of_the_slices(
    spacing: Vector3, phase: float, radius: float
) -> None:
    ball = rasterize_sphere(slices_around(radius, spacing, phase), (0.1, -0.2, 0.0), radius)
    true_ml = 4.0 / 3.0 * np.pi * radius**3 / 1000.0
    assert volume_ml(occupancy(ball)) == pytest.approx(true_ml, rel=0.04)


@pytest.mark.parametrize("spacing", SPACINGS, ids=lambda s: f"{s[0]:g}mm")
@pytest.mark.parametrize(
    "radii", [(9.0, 11.0, 15.0), (12.0, 12.0, 8.0), (7.0, 10.0, 10.0), (16.0, 12.0, 18.0)]
)
def test_an_ellipsoid_is_neither_cut_off_nor_drawn_out(spacing: Vector3, radii: Vector3) -> None:
    true_ml = 4.0 / 3.0 * np.pi * float(np.prod(radii)) / 1000.0
    found = [
        volume_ml(occupancy(rasterize_ellipsoid(slices_around(20.0, spacing, phase), (0, 0, 0), radii)))
        for phase in (-0.4, -0.15, 0.1, 0.35)
    ]
    assert np.mean(found) == pytest.approx(true_ml, rel=0.03)
    assert np.ptp(found) < 0.12 * true_ml


@pytest.mark.parametrize("spacing", SPACINGS, ids=lambda s: f"{s[0]:g}mm")
def test_a_small_ball_of_8_mm_has_its_volume_on_average(spacing: Vector3) -> None:
    """One or two sections of 5 mm slices show it."""
    found = [
        volume_ml(occupancy(rasterize_sphere(slices_around(4.0, spacing, phase), (0, 0, 0), 4.0)))
        for phase in np.arange(-0.45, 0.5, 0.1)
    ]
    assert np.mean(found) == pytest.approx(4.0 / 3.0 * np.pi * 0.064, rel=0.06)


@settings(max_examples=30, deadline=None)
@given(
    st.sampled_from(SPACINGS),
    st.sampled_from(SPACINGS),
    st.tuples(st.floats(-0.5, 0.5), st.floats(-0.5, 0.5)),
    st.floats(5.0, 12.0),
    st.floats(1.0, 7.0),
    st.tuples(st.floats(-1.2, 1.2), st.floats(-1.2, 1.2), st.floats(-1.2, 1.2)),
)
def test_coverage_and_margin_of_balls_on_thick_slices(
    planning: Vector3,
    verification: Vector3,
    phases: tuple[float, float],
    tumor_mm: float,
    margin_mm: float,
    shift: Vector3,
) -> None:
    off = float(np.linalg.norm(shift))
    zone_mm = tumor_mm + margin_mm + off
    tumor = rasterize_sphere(slices_around(tumor_mm, planning, phases[0]), (0, 0, 0), tumor_mm)
    zone = rasterize_sphere(slices_around(zone_mm + 6.0, verification, phases[1]), shift, zone_mm, "zone")
    field = build_measurement_field(
        StructureSurface(tumor), StructureSurface(zone), None, None, RigidTransform.identity()
    )
    whole, _ = measure_coverage(field, field.zone, field.distance_to_zone_mm)
    assert whole.tcr == pytest.approx(sphere_overlap_tcr(tumor_mm, 5.0, zone_mm, off), abs=0.03)
    assert whole.minimal_mm == pytest.approx(sphere_minimal_margin_mm(tumor_mm, zone_mm, off), abs=0.6)


def test_a_truncated_ball_goes_on_past_its_last_section_as_a_ball_does() -> None:
    """Sections of a ball of 12 mm whose center lies 1 mm off a slice."""
    found = filled(
        discs(
            s1=np.sqrt(144 - 121),
            s2=np.sqrt(144 - 36),
            s3=np.sqrt(144 - 1),
            s4=np.sqrt(144 - 16),
            s5=np.sqrt(144 - 81),
        )
    )
    low, high = end_mm(found)
    assert low == pytest.approx(16.0 - 12.0, abs=0.5)
    assert high == pytest.approx(16.0 + 12.0, abs=0.5)


def test_between_two_discs_of_a_ball_lies_the_ball_and_not_the_chord() -> None:
    found = filled(discs(s2=np.sqrt(100 - 6.25), s3=np.sqrt(100 - 6.25)))
    steps = round(5.0 / found.geometry.spacing_zyx_mm[0])
    chord, ball = np.sqrt(100 - 6.25), 10.0
    assert radius_mm(found, 2 * steps + steps // 2) == pytest.approx(ball, abs=0.25)
    assert radius_mm(found, 2 * steps) == pytest.approx(chord, abs=0.25)


@pytest.mark.parametrize("radius", [3.0, 6.0, 14.0])
def test_a_section_in_one_slice_alone_ends_before_the_next(radius: float) -> None:
    low, high = end_mm(filled(discs(s3=radius)))
    expected = min(radius, 0.75 * 5.0)
    assert (15.0 - low, high - 15.0) == pytest.approx((expected, expected), abs=0.35)


def test_a_part_that_ends_is_rounded_off_beside_one_that_goes_on() -> None:
    voxels = discs(s1=4.0, s2=5.0, s3=5.0)
    y, x = np.mgrid[-30:31, -30:31] * 0.7
    beside = np.hypot(y, x - 14.0) <= 5.0
    voxels[1:3] |= beside  # ends here, while the one in the middle goes on to the fourth slice
    along = filled(voxels).values[:, 30, 50]
    steps = round(5.0 / filled(voxels).geometry.spacing_zyx_mm[0])
    assert (along[steps : 2 * steps + 1] >= SURFACE_LEVEL).all()
    assert along[2 * steps + 1] >= SURFACE_LEVEL  # not cut off at its last slice
    assert along[3 * steps] < SURFACE_LEVEL


@pytest.mark.parametrize("axis", [1, 2])
def test_whichever_axis_has_the_thick_slices(axis: int) -> None:
    voxels = discs(s2=5.0, s3=9.0)
    order = [1, 0, 2] if axis == 1 else [1, 2, 0]
    spacing = tuple((5.0, 0.7, 0.7)[a] for a in order)
    turned = filled(np.ascontiguousarray(voxels.transpose(order)), (spacing[0], spacing[1], spacing[2]))
    assert np.array_equal(turned.values, filled(voxels).values.transpose(order))
    assert turned.geometry.spacing_zyx_mm[axis] == 1.25


@pytest.mark.parametrize(("slice_mm", "by_shape"), [(2.5, True), (2.49, False)])
def test_slices_are_thick_from_two_and_a_half_pixels_on(slice_mm: float, by_shape: bool) -> None:
    found = filled(discs(s2=9.0, s3=9.0), (slice_mm, 1.0, 1.0))
    assert (found.values.shape[0] > 7) is by_shape


def test_the_box_of_a_surface_holds_what_lies_past_the_last_section() -> None:
    mask = LabelMask(discs(s2=9.0, s3=9.0), VolumeGeometry((7, 61, 61), (5.0, 0.7, 0.7)))
    surface = StructureSurface(mask)
    inside = surface.geometry.to_lps(np.argwhere(surface.occupancy >= SURFACE_LEVEL).astype(float))
    corners = surface.corners_lps_mm
    bulge = np.array([1.0, 1.0, 0.0])  # between the slices, sections are a little larger
    assert (inside >= corners.min(axis=0) - bulge).all()
    assert (inside <= corners.max(axis=0) + bulge).all()
