"""Grids in patient space: round trips, crops, and the same answer from a rotated header."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from engine.coverage.grid import build_measurement_field
from engine.coverage.ratio import measure_coverage
from engine.errors import InvalidGeometryError
from engine.geometry import (
    SAME_GRID_TOLERANCE_MM,
    RigidTransform,
    Vector3,
    VolumeGeometry,
    VoxelBox,
    apply_affine,
)
from engine.structures.surface import StructureSurface
from engine.volume import LabelMask
from tests.support.spheres import ball, centered_grid, everywhere

OBLIQUE = Rotation.from_euler("zyx", [20, -35, 50], degrees=True).as_matrix()


def rows(matrix: np.ndarray) -> tuple[Vector3, Vector3, Vector3]:
    a, b, c = ((float(x), float(y), float(z)) for x, y, z in matrix)
    return a, b, c


def oblique() -> VolumeGeometry:
    return VolumeGeometry((7, 8, 9), (2.5, 0.7, 0.8), rows(OBLIQUE), (12.0, -30.0, 400.0), "1.2.3")


@given(st.lists(st.floats(-500, 500), min_size=3, max_size=3))
def test_index_and_position_round_trip(position: list[float]) -> None:
    assert np.allclose(oblique().to_lps(oblique().to_index(position)), position, atol=1e-9)


def test_the_affine_is_spacing_times_direction_plus_origin() -> None:
    grid = oblique()
    expected = (
        np.array(grid.origin_lps_mm) + 2 * 2.5 * OBLIQUE[0] + 3 * 0.7 * OBLIQUE[1] + 4 * 0.8 * OBLIQUE[2]
    )
    assert np.allclose(grid.to_lps([2, 3, 4]), expected)
    assert np.allclose(apply_affine(grid.affine_lps_mm[:3], [2, 3, 4]), expected)


def test_a_crop_keeps_voxels_in_place() -> None:
    part = oblique().crop(VoxelBox((1, 2, 3), (4, 6, 9)))
    assert part.shape_zyx == (3, 4, 6)
    assert np.allclose(part.to_lps([0, 1, 2]), oblique().to_lps([1, 3, 5]))
    assert part.frame_of_reference_uid == "1.2.3"


def test_same_grid_ends_at_its_tolerance() -> None:
    grid = oblique()
    for shift, same in ((0.9, True), (1.1, False)):
        x, y, z = grid.origin_lps_mm
        moved = replace(grid, origin_lps_mm=(x + shift * SAME_GRID_TOLERANCE_MM, y, z))
        assert grid.same_grid(moved) is same
    assert not grid.same_grid(replace(grid, shape_zyx=(7, 8, 10)))


def test_a_voxel_reaches_half_a_spacing_beyond_its_center() -> None:
    grid = oblique()
    inside = grid.contains(grid.to_lps([[-0.49, 0, 0], [-0.51, 0, 0], [6.49, 7.4, 8.4], [0, 0, 8.51]]))
    assert inside.tolist() == [True, False, True, False]


def test_an_isotropic_grid_covers_its_box() -> None:
    around = oblique().around((-3.0, 4.0, 5.0), (7.2, 9.0, 5.0), 0.5)
    low, high = around.corners_lps_mm().min(axis=0), around.corners_lps_mm().max(axis=0)
    assert np.allclose(low, (-3.0, 4.0, 5.0))
    assert (high >= (7.2, 9.0, 5.0)).all()
    assert around.spacing_zyx_mm == (0.5, 0.5, 0.5)


@pytest.mark.parametrize(
    "broken",
    [
        {"spacing_zyx_mm": (0.0, 1.0, 1.0)},
        {"spacing_zyx_mm": (-1.0, 1.0, 1.0)},
        {"spacing_zyx_mm": (float("nan"), 1.0, 1.0)},
        {"shape_zyx": (0, 4, 4)},
        {"shape_zyx": (4, 4)},
        {"origin_lps_mm": (float("inf"), 0.0, 0.0)},
        {"directions_zyx_lps": ((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (0.0, 1.0, 0.0))},
        {"directions_zyx_lps": ((0.0, 0.1, 1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0))},
        {"directions_zyx_lps": ((0.0, 0.0, 2.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0))},
    ],
)
def test_what_describes_no_volume_is_refused(broken: dict[str, object]) -> None:
    sound: dict[str, object] = {"shape_zyx": (4, 4, 4), "spacing_zyx_mm": (1.0, 1.0, 1.0)}
    with pytest.raises(InvalidGeometryError):
        VolumeGeometry(**(sound | broken))  # type: ignore[arg-type]  # hostile


def reordered(mask: LabelMask, order: tuple[int, int, int], flips: tuple[int, ...]) -> LabelMask:
    """The same mask in space, stored along other axes and in the other sense."""
    voxels, grid = mask.voxels, mask.geometry
    corner = [n - 1 if axis in flips else 0 for axis, n in enumerate(grid.shape_zyx)]
    sign = [-1.0 if axis in flips else 1.0 for axis in range(3)]
    x, y, z = (float(v) for v in grid.to_lps(np.array(corner, dtype=float)))
    voxels = np.flip(voxels, flips).transpose(order)
    axes = np.array(grid.directions_zyx_lps) * np.array(sign)[:, None]
    spacing = tuple(grid.spacing_zyx_mm[a] for a in order)
    geometry = VolumeGeometry(voxels.shape, spacing, rows(axes[list(order)]), (x, y, z))  # type: ignore[arg-type]  # three each
    return LabelMask(np.ascontiguousarray(voxels), geometry, mask.name)


def answer(tumor: LabelMask, zone: LabelMask, lung: LabelMask) -> tuple[float, float]:
    field = build_measurement_field(
        StructureSurface(tumor), StructureSurface(zone), None, lung, RigidTransform.identity()
    )
    whole, _ = measure_coverage(field, field.zone, field.distance_to_zone_mm)
    return whole.tcr, whole.minimal_mm


@pytest.mark.parametrize(
    ("order", "flips"), [((0, 1, 2), (0,)), ((0, 1, 2), (1, 2)), ((2, 0, 1), ()), ((1, 2, 0), (0, 2))]
)
def test_a_rotated_header_gives_the_same_answer(order: tuple[int, int, int], flips: tuple[int, ...]) -> None:
    grid = centered_grid((1.25, 0.8, 0.8), 22.0)
    tumor = ball(grid, (0.3, 0.2, -0.1), (6.0, 7.0, 9.0), "tumor")
    masks = (tumor, ball(grid, (3.1, 0.2, 0.4), 12.0, "ablation zone"), everywhere(grid))
    tcr, margin = answer(*masks)
    turned_tcr, turned_margin = answer(*(reordered(m, order, flips) for m in masks))
    assert turned_tcr == pytest.approx(tcr, abs=0.005)
    assert turned_margin == pytest.approx(margin, abs=0.1)


def test_an_oblique_patient_gives_the_same_answer() -> None:
    """The whole scene turned in space: other voxels of the fine grid, the same lengths."""
    grid = centered_grid((1.0, 0.8, 0.8), 22.0)
    masks = (
        ball(grid, (0.3, 0.2, -0.1), (6.0, 7.0, 9.0), "tumor"),
        ball(grid, (3.1, 0.2, 0.4), 12.0, "ablation zone"),
        everywhere(grid),
    )
    turned = replace(
        grid,
        directions_zyx_lps=rows(np.array(grid.directions_zyx_lps) @ OBLIQUE.T),
        origin_lps_mm=tuple(OBLIQUE @ grid.origin_lps_mm),
    )
    tcr, margin = answer(*masks)
    turned_tcr, turned_margin = answer(*(LabelMask(m.voxels, turned, m.name) for m in masks))
    assert turned_tcr == pytest.approx(tcr, abs=0.005)
    assert turned_margin == pytest.approx(margin, abs=0.15)


def test_a_box_is_padded_clipped_and_counted_from_another() -> None:
    box = VoxelBox((1, 2, 3), (4, 6, 8))
    assert box.shape_zyx == (3, 4, 5)
    assert np.zeros((9, 9, 9))[box.slices].shape == (3, 4, 5)
    assert box.padded(2) == VoxelBox((-1, 0, 1), (6, 8, 10))
    assert box.padded(2).clipped((5, 9, 9)) == VoxelBox((0, 0, 1), (5, 8, 9))
    assert box.padded((0, 1, 2)) == VoxelBox((1, 1, 1), (4, 7, 10))
    assert box.within(VoxelBox((1, 1, 1), (9, 9, 9))) == VoxelBox((0, 1, 2), (3, 5, 7))
    assert box.within(VoxelBox((1, 1, 1), (9, 9, 9))).moved((1, 1, 1)) == box
    assert VoxelBox.placed((1, 2, 3), (3, 4, 5)) == box
    assert VoxelBox.between(np.array([1, 2, 3]), np.array([4.0, 6.0, 8.0])) == box
    assert VoxelBox.whole((3, 4, 5)) == VoxelBox((0, 0, 0), (3, 4, 5))


def test_a_grid_says_where_a_part_of_it_lies() -> None:
    box = VoxelBox((1, 2, 3), (4, 6, 9))
    assert oblique().box_of(oblique().crop(box)) == box
