"""Thick slices: in-slice distances to the outline, interpolated by shape, and what closes a structure at its ends."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from scipy import ndimage

from engine.geometry import VolumeGeometry
from engine.structures.surface import occupancy
from engine.volume import LabelMask

PIXEL_MM = (0.6, 1.0)
RANGE_MM = 8.0
"""Depths are cut off here, so that occupancy runs from 0 to 1 over twice as much."""
LEAST = 0.02
"""How far occupancy stays from the surface's 0.5 at every voxel center."""
Slices = npt.NDArray[np.bool_]


def discs(**radii_mm: float) -> Slices:
    """Seven slices with a disc of 9 mm in some: ``discs(s2=6.0)`` has one of 6 mm in the third."""
    voxels = np.zeros((7, 51, 41), dtype=np.bool_)
    y, x = np.meshgrid((np.arange(51) - 25) * 0.6, (np.arange(41) - 20) * 1.0, indexing="ij")
    for name, radius in radii_mm.items():
        voxels[int(name[1:])] = np.hypot(y, x) <= radius
    return voxels


def field(voxels: Slices, spacing: tuple[float, float, float] = (5.0, *PIXEL_MM)) -> npt.NDArray[np.float32]:
    return occupancy(LabelMask(voxels, VolumeGeometry(voxels.shape, spacing)))


def depth_mm(marked: Slices) -> npt.NDArray[np.float64]:
    """Signed distance to an outline that runs half a pixel (their mean) off the centers, cut off."""
    inside = ndimage.distance_transform_edt(marked, sampling=PIXEL_MM) - 0.4
    outside = ndimage.distance_transform_edt(~marked, sampling=PIXEL_MM) - 0.4
    return np.clip(np.where(marked, inside, -outside), -RANGE_MM, RANGE_MM)


def as_occupancy(depth: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    side = np.where(depth > 0, 1.0, -1.0)
    return 0.5 + 0.5 * side * np.clip(np.abs(depth) / RANGE_MM, 2 * LEAST, 1.0)


@pytest.mark.parametrize("radius", [3.0, 6.0, 14.0])
def test_occupancy_is_the_distance_to_the_outline_within_the_slice(radius: float) -> None:
    voxels = discs(s2=9.0, s3=radius)
    occupied = field(voxels)
    assert occupied.dtype == np.float32
    for k in (2, 3):
        assert occupied[k] == pytest.approx(as_occupancy(depth_mm(voxels[k])), abs=1e-6)
    assert occupied.min() == 0.0
    assert occupied.max() == 1.0


def test_a_structure_ends_a_little_before_half_a_slice_past_its_last_one() -> None:
    voxels = discs(s2=5.0, s3=9.0)
    occupied = field(voxels)
    for end, past in ((2, 1), (3, 4)):
        beyond = as_occupancy(-np.abs(depth_mm(voxels[end])) - 0.5)
        assert occupied[past] == pytest.approx(beyond, abs=1e-6)
        middle = (25, 20)
        crossing = (occupied[end][middle] - 0.5) / (occupied[end][middle] - occupied[past][middle])
        assert 0.4 < crossing <= 0.5
    for far in (0, 5, 6):
        assert (occupied[far] == 0.0).all()


def test_the_first_and_the_last_slice_of_the_grid_close_a_structure_too() -> None:
    voxels = discs(s1=6.0, s5=6.0)
    occupied = field(voxels)
    closing = as_occupancy(-np.abs(depth_mm(voxels[1])) - 0.5)
    for past in (0, 2, 4, 6):
        assert occupied[past] == pytest.approx(closing, abs=1e-6)
    assert (occupied[3] == 0.0).all()


def test_a_slice_between_two_ends_takes_the_nearer_outline() -> None:
    voxels = discs(s2=4.0, s4=9.0)
    depth = np.maximum(-np.abs(depth_mm(voxels[2])), -np.abs(depth_mm(voxels[4]))) - 0.5
    assert field(voxels)[3] == pytest.approx(as_occupancy(depth), abs=1e-6)


def test_a_slice_that_is_marked_as_a_whole_is_occupied_as_a_whole() -> None:
    voxels = discs(s2=6.0)
    voxels[3] = True
    occupied = field(voxels)
    assert (occupied[3] == 1.0).all()
    assert occupied[2] == pytest.approx(as_occupancy(depth_mm(voxels[2])), abs=1e-6)
    assert (occupied[4] == 0.0).all()


@pytest.mark.parametrize("axis", [1, 2])
def test_whichever_axis_has_the_thick_slices(axis: int) -> None:
    voxels = discs(s2=5.0, s3=9.0)
    order = [1, 0, 2] if axis == 1 else [1, 2, 0]
    spacing = tuple((5.0, *PIXEL_MM)[a] for a in order)
    turned = field(np.ascontiguousarray(voxels.transpose(order)), (spacing[0], spacing[1], spacing[2]))
    assert np.array_equal(turned, field(voxels).transpose(order))


@pytest.mark.parametrize(("slice_mm", "by_shape"), [(2.5, True), (2.49, False)])
def test_slices_are_thick_from_two_and_a_half_pixels_on(slice_mm: float, by_shape: bool) -> None:
    voxels = discs(s2=9.0, s3=9.0)
    occupied = occupancy(LabelMask(voxels, VolumeGeometry(voxels.shape, (slice_mm, 1.0, 1.0))))
    assert bool((occupied[5] == 0.0).all()) is by_shape
