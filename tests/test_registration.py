"""Alignment: known transforms come back, wrong pairs are refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial.transform import Rotation

from engine.geometry import FloatArray, VolumeGeometry, apply_affine
from engine.refusal import RefusalCode, RefusedError
from engine.registration.alignment import PlanningSide, Registration, align_coarsely, refine_rigidly
from engine.registration.region import ComparisonRegion
from engine.registration.residual import correlation, residual_displacement
from engine.registration.translation import masked_correlation
from engine.volume import CtVolume
from tests.spheres import ball

LESION = np.array([4.0, -6.0, 3.0])
TUMOR_RADIUS_MM = 8.0


def texture(seed: int) -> tuple[np.ndarray, VolumeGeometry]:
    """Smooth random texture in HU on a 2 mm grid, 220 mm wide, around the origin."""
    noise = np.random.default_rng(seed).normal(size=(110, 110, 110))
    fine = ndimage.gaussian_filter(noise, 2.0)
    coarse = ndimage.gaussian_filter(noise[::-1], 6.0)
    hu = -500 + 170 * fine / fine.std() + 170 * coarse / coarse.std()
    return hu, VolumeGeometry((110, 110, 110), (2.0, 2.0, 2.0), origin_lps_mm=(-109.0, -109.0, -109.0))


def scan(seed: int, grid: VolumeGeometry, planning_from_scan: FloatArray) -> CtVolume:
    """Image the texture's patient, moved by the inverse of a transform, on any grid."""
    hu, world = texture(seed)
    positions = grid.to_lps(np.moveaxis(np.indices(grid.shape_zyx), 0, -1).astype(float))
    index = world.to_index(apply_affine(planning_from_scan, positions))
    voxels = ndimage.map_coordinates(hu, np.moveaxis(index, -1, 0), order=3, mode="reflect")
    return CtVolume(np.clip(voxels, -1024, 3000).astype(np.int16), grid)


def grid_at(center: FloatArray, spacing: tuple[float, float, float], half_mm: float = 75.0) -> VolumeGeometry:
    n = [round(2 * half_mm / s) for s in spacing]
    x, y, z = (float(v) for v in center - half_mm)
    return VolumeGeometry((n[0], n[1], n[2]), spacing, origin_lps_mm=(x, y, z))


def rigid(shift: tuple[float, float, float], turn_deg: tuple[float, float, float]) -> FloatArray:
    """Planning from verification, turning about the lesion."""
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", turn_deg, degrees=True).as_matrix()
    matrix[:3, 3] = LESION - matrix[:3, :3] @ (LESION + shift)
    return matrix


def flipped(ct: CtVolume) -> CtVolume:
    """The same scan, stored from head to feet with columns first."""
    grid = ct.geometry
    nz, ny, nx = grid.shape_zyx
    x, y, z = (float(v) for v in grid.to_lps([nz - 1.0, 0.0, 0.0]))
    dz, dy, dx = grid.directions_zyx_lps
    turned = replace(
        grid,
        shape_zyx=(nz, nx, ny),
        spacing_zyx_mm=(grid.spacing_zyx_mm[0], grid.spacing_zyx_mm[2], grid.spacing_zyx_mm[1]),
        directions_zyx_lps=((-dz[0], -dz[1], -dz[2]), dx, dy),
        origin_lps_mm=(x, y, z),
    )
    return CtVolume(np.ascontiguousarray(ct.voxels_hu[::-1].transpose(0, 2, 1)), turned)


PLANNING = PlanningSide(
    scan(1, grid_at(LESION, (1.5, 1.2, 1.2)), np.eye(4)),
    LESION,
    TUMOR_RADIUS_MM,
    LESION + TUMOR_RADIUS_MM * np.random.default_rng(9).uniform(-0.55, 0.55, (200, 3)),
)


def aligned(ct: CtVolume, zone_center: FloatArray) -> tuple[Registration, Registration]:
    zone = ball(ct.geometry, zone_center, 14.0, "ablation zone")
    voxels = ct.voxels_hu.copy()
    voxels[zone.voxels] = -100
    burnt = CtVolume(voxels, ct.geometry)
    coarse = align_coarsely(PLANNING, burnt, zone)
    return coarse, refine_rigidly(PLANNING, burnt, zone, coarse)


@pytest.mark.parametrize(
    ("shift", "turn", "spacing", "turned"),
    [
        ((0.0, 0.0, 0.0), (0.0, 0.0, 0.0), (1.5, 1.2, 1.2), False),
        ((-25.0, 12.0, 28.0), (4.0, -2.0, 2.0), (1.25, 1.5, 1.5), True),
        ((3.0, 38.0, -8.0), (0.0, 5.0, 0.0), (2.0, 1.0, 1.3), False),
    ],
)
def test_a_known_rigid_motion_is_found(
    shift: tuple[float, float, float],
    turn: tuple[float, float, float],
    spacing: tuple[float, float, float],
    turned: bool,
) -> None:
    truth = rigid(shift, turn)
    place = LESION + shift
    ct = scan(1, grid_at(place, spacing), truth)
    coarse, fine = aligned(flipped(ct) if turned else ct, place + np.array([3.0, 2.0, -2.0]))
    around = place + 8.0 * np.array([[0, 0, 0], [1, 0, 0], [0, -1, 0], [0, 0, 1]])
    error = apply_affine(fine.planning_from_verification, around) - apply_affine(truth, around)
    assert np.linalg.norm(error, axis=1).max() < 0.3
    at_lesion = apply_affine(coarse.planning_from_verification, place) - LESION
    assert np.linalg.norm(at_lesion) < 3.0
    assert fine.residual_mm is not None
    assert fine.residual_mm < 1.0
    assert np.allclose(
        fine.planning_from_verification[:3, :3] @ fine.planning_from_verification[:3, :3].T, np.eye(3)
    )


def test_another_patient_is_refused() -> None:
    ct = scan(2, grid_at(LESION, (2.0, 1.5, 1.5)), np.eye(4))
    with pytest.raises(RefusedError, match="another patient") as caught:
        aligned(ct, LESION)
    assert caught.value.refusal.code is RefusalCode.ALIGNMENT_RESIDUAL_TOO_HIGH


def test_a_mirrored_patient_is_refused_as_the_wrong_side() -> None:
    mirror = np.eye(4)
    mirror[0, 0], mirror[0, 3] = -1.0, 2 * LESION[0]
    with pytest.raises(RefusedError, match="left and right") as caught:
        aligned(scan(1, grid_at(LESION, (2.0, 1.5, 1.5)), mirror), LESION)
    assert caught.value.refusal.code is RefusalCode.WRONG_SIDE


def test_a_scan_without_structure_is_refused() -> None:
    grid = grid_at(LESION, (2.0, 2.0, 2.0))
    with pytest.raises(RefusedError):
        aligned(CtVolume(np.full(grid.shape_zyx, -850, dtype=np.int16), grid), LESION)


def test_masked_correlation_is_that_of_every_overlap() -> None:
    rng = np.random.default_rng(0)
    fixed, moving = rng.normal(size=(4, 5, 3)) * 300, rng.normal(size=(3, 2, 4)) * 300
    known, moving_known = rng.random(fixed.shape) > 0.2, rng.random(moving.shape) > 0.2
    found = masked_correlation(fixed.astype(np.float32), known, moving.astype(np.float32), moving_known)
    least = 0.3 * min(known.sum(), moving_known.sum())
    compared = 0
    for shift in np.ndindex(*found.shape):
        one, other = [], []
        for index in np.argwhere(moving_known):
            at = index + np.array(shift) - (np.array(moving.shape) - 1)
            if (at >= 0).all() and (at < fixed.shape).all() and known[tuple(at)]:
                one.append(fixed[tuple(at)])
                other.append(moving[tuple(index)])
        if len(one) < max(least, 1):
            assert found[shift] == 0.0
        elif len(one) > 2:
            assert found[shift] == pytest.approx(np.corrcoef(one, other)[0, 1], abs=1e-4)
            compared += 1
    assert compared > 20


def test_the_residual_is_the_displacement_that_is_left() -> None:
    hu, _ = texture(3)
    grid = VolumeGeometry((40, 40, 40), (1.5, 1.5, 1.5))
    index = np.indices(grid.shape_zyx).astype(float) + 20.0
    wave = np.stack([1.2 * np.sin(index[1] / 12.0), 0.9 * np.cos(index[2] / 14.0), 0.8 + 0.0 * index[0]])
    everywhere = np.ones(grid.shape_zyx, dtype=np.bool_)
    planning = ComparisonRegion(
        ndimage.map_coordinates(hu, index, order=3).astype(np.float32), everywhere, grid
    )
    moved = ndimage.map_coordinates(hu, index + wave / 1.5, order=3).astype(np.float32)
    evidence = everywhere.copy()
    evidence[:6], evidence[-6:] = False, False
    evidence[:, :6], evidence[:, -6:] = False, False
    evidence[:, :, :6], evidence[:, :, -6:] = False, False
    left = residual_displacement(planning, ComparisonRegion(moved, everywhere, grid), evidence, np.eye(4))
    at = np.round(grid.to_index(left.points_lps_mm)).astype(int)
    truth = wave[:, at[:, 0], at[:, 1], at[:, 2]].T[:, ::-1]
    assert len(at) > 100
    assert np.sqrt(((left.displacement_mm - truth) ** 2).sum(axis=1).mean()) < 0.35
    assert 0.5 < left.similarity < 1.0


def test_correlation_of_a_constant_is_zero() -> None:
    one, where = np.ones((3, 3, 3), dtype=np.float32), np.ones((3, 3, 3), dtype=np.bool_)
    varied = np.arange(27, dtype=np.float32).reshape(3, 3, 3)
    assert correlation(one, varied, where) == 0.0
    assert correlation(varied, -varied, where) == pytest.approx(-1.0)
    assert correlation(varied, varied, np.zeros_like(where)) == 0.0
