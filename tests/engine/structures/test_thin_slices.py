"""Thin slices: the smoothest surface that the voxels allow, and the mask's own faces where they allow none."""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt
import pytest
from scipy.special import ndtri

from engine.geometry import VolumeGeometry
from engine.structures.surface import StructureSurface, occupancy
from engine.volume import LabelMask

Voxels = npt.NDArray[np.bool_]
FACES = 0.5 / 3.0 / 2.0
"""Half a voxel of depth, of the three to either side that occupancy spans."""


@cache
def ball(radius: float) -> Voxels:
    half = int(radius) + 9
    offset = np.moveaxis(np.indices((2 * half + 1,) * 3), 0, -1) - (half + np.array([0.2, -0.3, 0.1]))
    return np.asarray((offset**2).sum(axis=-1) <= radius**2)


def spiculated(radius: float) -> Voxels:
    voxels = ball(radius).copy()
    middle = voxels.shape[0] // 2
    voxels[middle, middle, middle : middle + int(radius) + 5] = True
    return voxels


def field(voxels: Voxels) -> npt.NDArray[np.float32]:
    return occupancy(LabelMask(voxels, VolumeGeometry(voxels.shape, (1.0, 1.0, 1.0)))).values


def depth(voxels: Voxels) -> npt.NDArray[np.float64]:
    """Signed depth below the surface, voxels, cut off at three."""
    return (field(voxels).astype(float) - 0.5) * 6.0


def test_a_mask_that_was_drawn_voxel_by_voxel_has_its_own_faces() -> None:
    rough = np.random.default_rng(2).random((24, 24, 24)) < 0.5
    assert field(rough) == pytest.approx(np.where(rough, 0.5 + FACES, 0.5 - FACES))


@pytest.mark.parametrize("radius", [4.0, 6.0, 8.0, 12.0])
def test_the_surface_of_a_ball_is_where_it_was_drawn(radius: float) -> None:
    """To a tenth of a voxel on average, though its voxels are a staircase."""
    voxels = ball(radius)
    half = voxels.shape[0] // 2
    offset = np.moveaxis(np.indices(voxels.shape), 0, -1) - (half + np.array([0.2, -0.3, 0.1]))
    true = radius - np.linalg.norm(offset, axis=-1)
    near = np.abs(true) < 1.0
    error = depth(voxels)[near] - true[near]
    assert abs(error.mean()) < 0.06
    assert np.sqrt((error**2).mean()) < 0.16
    assert np.corrcoef(depth(voxels)[near], true[near])[0, 1] > 0.97


def test_a_flat_surface_has_the_depth_of_its_voxels() -> None:
    voxels = np.zeros((40, 40, 40), dtype=np.bool_)
    voxels[:, :, :20] = True
    near = slice(14, 26)
    expected = np.clip(19.5 - np.arange(40), -3.0, 3.0)[near]
    assert depth(voxels)[20, 20, near] == pytest.approx(expected, abs=0.03)
    assert depth(voxels)[0, 0, near] == pytest.approx(expected, abs=0.03), "at the border of the grid too"


def test_far_from_the_surface_depth_is_what_the_tail_of_the_smoothing_allows() -> None:
    voxels = ball(3.0)
    sigmas = 0.8 * np.sqrt([1.0, 2.0, 3.0])
    tail = -ndtri(1e-3) * sigmas
    sag = 1.0 / 6.0 / 0.8**2
    floor = 3.0 * (tail[0] - tail[1]) + tail[2] + sag * (tail[0] - tail[1])
    assert depth(voxels)[0, 0, 0] == pytest.approx(-floor, abs=1e-4)


def test_the_rest_of_a_spiculated_ball_is_as_smooth_as_the_ball() -> None:
    plain, spicule = depth(ball(8.0)), depth(spiculated(8.0))
    x = np.arange(plain.shape[2])
    assert spicule[:, :, x < 12] == pytest.approx(plain[:, :, x < 12], abs=1e-5)
    assert np.abs(spicule - plain).max() > 1.0


RECORDED = {
    "a ball of 2": (ball(2.0), 21.72269082069397, -11555.401352226734),
    "a ball of 4": (ball(4.0), 287.43211340904236, -38240.839349627495),
    "a ball of 7": (ball(7.0), 2264.6303819417953, -87222.0751939416),
    "a ball of 12": (ball(12.0), 14901.388862371445, -200227.53739017248),
    "a spiculated ball of 6": (spiculated(6.0), 1279.5830619335175, -72385.75328743458),
    "a spiculated ball of 12": (spiculated(12.0), 14883.712154746056, -199598.1906017661),
}
"""Sums of the depths inside and outside, as first measured; every figure of an assessment hangs on them."""


@pytest.mark.parametrize("name", RECORDED)
def test_surfaces_stay_what_they_were(name: str) -> None:
    voxels, inside, outside = RECORDED[name]
    signed = depth(voxels)
    assert signed[voxels].sum() == pytest.approx(inside, rel=1e-5)
    assert signed[~voxels].sum() == pytest.approx(outside, rel=1e-5)


def test_the_surface_is_computed_on_a_crop_with_room_around_it() -> None:
    voxels = np.zeros((40, 41, 42), dtype=np.bool_)
    voxels[10:16, 20:25, 30:38] = True
    mask = LabelMask(voxels, VolumeGeometry(voxels.shape, (1.0, 1.5, 2.0), origin_lps_mm=(3.0, 5.0, 7.0)))
    surface = StructureSurface(mask)
    assert surface.crop.voxels.shape == (14, 13, 16)
    assert surface.occupancy.shape == surface.crop.voxels.shape
    assert not surface.occupancy.flags.writeable
    corners = surface.corners_lps_mm
    assert corners.shape == (8, 3)
    assert corners.min(axis=0) == pytest.approx((3.0 + 29.5 * 2.0, 5.0 + 19.5 * 1.5, 7.0 + 9.5))
    assert corners.max(axis=0) == pytest.approx((3.0 + 37.5 * 2.0, 5.0 + 24.5 * 1.5, 7.0 + 15.5))
    assert len(np.unique(corners, axis=0)) == 8
