"""A patient who lies turned in the second scan is measured as one who does not."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from engine.arrays import Float64Array
from engine.geometry import RigidTransform, Vector3, VolumeGeometry
from engine.registration.region import ComparisonRegion
from engine.registration.register import register
from engine.registration.search.rigid_fit import RigidFit, RigidScene, fit_rigidly, rigid_template
from engine.volume import CtVolume, LabelMask
from tests.support.spheres import ball, centered_grid, positions
from tests.support.textures import fixed_region, texture_hu

LESION = np.array([4.0, -6.0, 3.0])
TUMOR_MM = 8.0
ZONE_MM = 14.0
WALL_MM = 34.0
"""Beyond this distance from the lesion, on its left, the chest wall begins: it bends around the lung."""


def turning(degrees: float, axis: Vector3, shift: Vector3 = (0.0, 0.0, 0.0)) -> RigidTransform:
    """Planning from verification, about the lesion; it lies ``shift`` off in the verification CT."""
    unit = np.array(axis) / np.linalg.norm(axis)
    turn = Rotation.from_rotvec(np.deg2rad(degrees) * unit).as_matrix()
    return RigidTransform.from_rotation(turn, LESION - turn @ (LESION + np.array(shift)))


def chest(grid: VolumeGeometry, to_planning: RigidTransform) -> CtVolume:
    """Lung, a wall with ribs on one side, and the tumor."""
    places = to_planning.apply(positions(grid))
    hu = texture_hu(3, places)
    wall = np.linalg.norm((places - LESION)[..., :2] * (1.0, 0.6), axis=-1) - WALL_MM
    ribs = 60.0 + 300.0 * (np.sin(places[..., 2] / 4.0) > 0.6)
    share = np.clip(wall / 2.0, 0.0, 1.0) * ((places - LESION)[..., 0] > 0.0)
    hu = hu + share * (ribs - hu)
    return CtVolume(np.rint(np.clip(hu, -1024, 3000)).astype(np.int16), grid)


def painted(ct: CtVolume, mask: LabelMask, hu: int) -> CtVolume:
    voxels = ct.voxels_hu.copy()
    voxels[mask.voxels] = hu
    return CtVolume(voxels, ct.geometry)


def shifted(center: Float64Array, half_mm: float, spacing: Vector3) -> VolumeGeometry:
    grid = centered_grid(spacing, half_mm)
    x, y, z = (float(v) for v in np.array(grid.origin_lps_mm) + center)
    return VolumeGeometry(grid.shape_zyx, spacing, origin_lps_mm=(x, y, z))


@pytest.mark.parametrize(
    ("degrees", "axis", "shift"),
    [
        (14.0, (0.0, 0.0, 1.0), (0.0, 0.0, 0.0)),
        (25.0, (0.1, -1.0, 0.2), (-6.0, 8.0, 12.0)),
        (30.0, (0.2, 0.1, -1.0), (5.0, -9.0, 4.0)),
        (40.0, (1.0, 1.0, 1.0), (0.0, 6.0, -5.0)),
    ],
)
def test_a_turned_patient_is_registered_and_the_rotation_is_told(
    degrees: float, axis: Vector3, shift: Vector3
) -> None:
    truth = turning(degrees, axis, shift)
    before = shifted(LESION, 62.0, (1.5, 1.3, 1.3))
    tumor = ball(before, LESION, TUMOR_MM, "tumor")
    planning = painted(chest(before, RigidTransform.identity()), tumor, 20)
    place = LESION + np.array(shift)
    after = shifted(place + 2.0, 52.0, (1.5, 1.4, 1.4))
    zone = ball(after, place + np.array([3.0, 2.0, -2.0]), ZONE_MM, "ablation zone")
    found = register(
        painted(chest(after, truth), zone, -100), planning, fixed_zone=zone, moving_tumor=tumor
    ).alignment
    around = place + TUMOR_MM * np.array([[0, 0, 0], [1, 0, 0], [0, -1, 0], [0, 0, 1]])
    off = found.planning_from_verification.apply(around) - truth.apply(around)
    assert np.linalg.norm(off, axis=1).max() < 0.8
    assert found.quality.rotation_deg == pytest.approx(degrees, abs=1.5)


def test_a_rigid_fit_comes_back_from_any_start_within_its_reach() -> None:
    grid = centered_grid((3.0, 3.0, 3.0), 48.0)
    truth = turning(9.0, (1.0, -2.0, 1.0), (3.0, -4.0, 2.0))
    planning, scene = fixed_region(5, grid), fixed_region(5, grid, truth.apply)
    template = rigid_template(planning, planning.inside, LESION, 40.0, places=3000, blur_voxels=0.7)
    fit = fit_rigidly(
        template, RigidScene.of(scene, scene.inside, 0.7), RigidFit(np.eye(3), LESION, 0.0, 1.0)
    )
    assert np.linalg.norm(fit.center_lps_mm - truth.inverse.apply(LESION)) < 0.3
    error = fit.planning_from_verification(LESION) @ truth.inverse
    assert error.rotation_deg < 0.5
    assert fit.correlation > 0.97


def test_a_rigid_fit_without_evidence_says_so() -> None:
    grid = centered_grid((3.0, 3.0, 3.0), 48.0)
    planning = fixed_region(5, grid)
    template = rigid_template(planning, planning.inside, LESION, 40.0, places=3000, blur_voxels=0.7)
    nothing = RigidScene.of(planning, np.zeros_like(planning.inside), 0.7)
    fit = fit_rigidly(template, nothing, RigidFit(np.eye(3), LESION, 0.0, 1.0))
    assert fit.correlation == -1.0
    assert fit.seen_share == 0.0
    flat = ComparisonRegion(np.zeros_like(planning.hu), planning.inside, grid)
    same = fit_rigidly(template, RigidScene.of(flat, flat.inside, 0.7), RigidFit(np.eye(3), LESION, 0.0, 1.0))
    assert abs(same.correlation) < 0.1


@pytest.mark.parametrize("degrees", [0.0, 1e-3, 20.0, 90.0, 179.0, 180.0])
def test_the_angle_of_a_rotation(degrees: float) -> None:
    assert turning(degrees, (1.0, 2.0, -1.0)).rotation_deg == pytest.approx(degrees, abs=1e-4)
