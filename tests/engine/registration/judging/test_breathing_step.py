"""A breath between two slabs of a scan is found, weighed where it is near the tumor, and refused in the target."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from engine.arrays import Float64Array
from engine.assessment.verification import assess_ablation
from engine.geometry import RigidTransform
from engine.refusal import RefusalCode, RefusedError
from engine.registration.acceptance import MAX_STEP_THROUGH_TARGET_MM, require_one_breath
from engine.registration.comparison import ScanComparison, compare_whole
from engine.registration.deformation import Deformation, Level, deform
from engine.registration.judging.breathing_step import BreathingStep, find_breathing_step
from engine.volume import CtVolume, LabelMask
from tests.support.ablation_cases import assessed, case, needs_real_ct
from tests.support.spheres import centered_grid
from tests.support.textures import Mapping, bump, scan

GRID = centered_grid((1.5, 1.5, 1.5), 42.0)
COARSE = (Level(3.0, 12.0, 9.0, 4, 1000.0, 1.5), Level(3.0, 12.0, 9.0, 3, 100.0, 1.5))
FINE = Level(1.5, 4.5, 9.0, 5, 10.0)
BEND = bump(np.array([10.0, 0.0, -5.0]), np.array([3.0, -2.0, 3.0]), 24.0)


def registered(to_texture: Mapping) -> tuple[ScanComparison, Deformation]:
    """A scan whose place ``p`` shows the place ``to_texture(p)`` of the other, registered."""
    comparison = compare_whole(scan(1, GRID), scan(1, GRID, to_texture), None, RigidTransform.identity())
    at = comparison.coarse
    coarse = deform(at.fixed, at.moving, at.evidence, RigidTransform.identity(), COARSE)
    at = comparison.fine
    return comparison, deform(
        at.fixed, at.moving, at.evidence, RigidTransform.identity(), (FINE,), initial=coarse
    )


def stepped(offset_lps_mm: Float64Array, plane_mm: float, normal: Float64Array) -> Mapping:
    def to_texture(points: Float64Array) -> Float64Array:
        bent = points + BEND(points)
        return np.asarray(bent + (points @ normal > plane_mm)[..., None] * offset_lps_mm)

    return to_texture


@pytest.mark.parametrize(
    ("offset_lps_mm", "plane_mm"),
    [((0.0, 0.0, 2.0), 5.0), ((0.0, 2.8, -2.8), -9.0), ((2.0, 0.0, 4.0), 0.0), ((0.0, 4.0, 0.0), 14.0)],
)
def test_a_step_is_measured(offset_lps_mm: tuple[float, float, float], plane_mm: float) -> None:
    offset = np.array(offset_lps_mm)
    comparison, found = registered(stepped(offset, plane_mm, np.array([0.0, 0.0, 1.0])))
    step = find_breathing_step(found, comparison)
    assert step is not None
    assert step.offset_lps_mm == pytest.approx(offset, abs=0.35 * float(np.linalg.norm(offset)))
    assert step.place_mm == pytest.approx(plane_mm, abs=5.0)
    assert step.distance_mm(np.array([30.0, -20.0, plane_mm])) < 5.0


@pytest.mark.parametrize("height_mm", [0.0, 4.0, 8.0])
def test_a_bend_is_no_step(height_mm: float) -> None:
    bend = bump(np.array([10.0, 0.0, -5.0]), np.array([0.6, -0.4, 0.7]) * height_mm, 22.0)
    comparison, found = registered(lambda points: points + bend(points))
    assert find_breathing_step(found, comparison) is None


def test_neither_are_slices_too_far_apart() -> None:
    comparison, found = registered(lambda points: points * np.array([1.0, 1.0, 1.08]))
    assert find_breathing_step(found, comparison) is None


def test_the_plane_is_one_of_the_slices_of_either_scan() -> None:
    """Across the first axis of the scan, whichever way it points; along another axis it is no step between slices."""
    sideways = np.array([1.0, 0.0, 0.0])
    comparison, found = registered(stepped(np.array([0.0, 3.0, 0.0]), 0.0, sideways))
    sagittal = replace(
        comparison, fixed_directions_zyx_lps=((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, -1.0))
    )
    step = find_breathing_step(found, sagittal)
    assert step is not None
    assert step.normal == pytest.approx(sideways)
    assert step.size_mm == pytest.approx(3.0, abs=0.8)
    assert find_breathing_step(found, comparison) is None


def test_without_evidence_there_is_no_step() -> None:
    comparison, found = registered(lambda points: points)
    blind = replace(found, tensor=np.zeros_like(found.tensor), force=np.zeros_like(found.force))
    assert find_breathing_step(blind, comparison) is None


UP = np.array([0.0, 0.0, 1.0])


@pytest.mark.parametrize(
    ("size_mm", "place_mm", "refused"),
    [
        (MAX_STEP_THROUGH_TARGET_MM, 12.0, True),
        (MAX_STEP_THROUGH_TARGET_MM - 0.1, 0.0, False),
        (6.0, -17.0, True),
        (6.0, 19.0, False),
    ],
)
def test_a_large_step_in_the_target_is_refused(size_mm: float, place_mm: float, refused: bool) -> None:
    step = BreathingStep(size_mm * UP, UP, place_mm)
    if not refused:
        require_one_breath(step, np.zeros(3), 10.0)
        return
    with pytest.raises(RefusedError) as caught:
        require_one_breath(step, np.zeros(3), 10.0)
    assert caught.value.refusal.code is RefusalCode.ALIGNMENT_RESIDUAL_TOO_HIGH
    assert "one breath-hold" in caught.value.refusal.reason


@needs_real_ct
@pytest.mark.parametrize("name", ["lidc-rigid-under", "lidc-5mm-under"])
def test_a_step_beside_a_real_lesion_widens_the_interval(name: str) -> None:
    it = case(name)
    plane_mm = _center_z_mm(it.zone) + 12.0
    verification = _stepped_ct(it.verification, plane_mm, np.array([0.0, 1.8, -2.4]))
    zone = _stepped_mask(it.zone, plane_mm, np.array([0.0, 1.8, -2.4]))
    assessment = assess_ablation(it.prepared, verification, zone)
    quality, straight = assessment.alignment.quality, assessed(name).alignment
    assert quality is not None
    assert quality.breathing_step_mm == pytest.approx(3.0, abs=1.0)
    assert straight.quality is not None
    assert straight.quality.breathing_step_mm == 0.0
    assert assessment.alignment.pose_sd_mm is not None
    assert straight.pose_sd_mm is not None
    assert assessment.alignment.pose_sd_mm > straight.pose_sd_mm + 0.1


@needs_real_ct
def test_a_step_through_a_real_lesion_is_refused() -> None:
    it = case("lidc-rigid-under")
    plane_mm, offset = _center_z_mm(it.zone), np.array([0.0, 0.0, 5.0])
    zone = _stepped_mask(it.zone, plane_mm, offset)
    assessment = assess_ablation(it.prepared, _stepped_ct(it.verification, plane_mm, offset), zone)
    assert assessment.refusal is not None
    assert "breath" in assessment.refusal.reason


def _center_z_mm(mask: LabelMask) -> float:
    return float(mask.geometry.to_lps(np.argwhere(mask.voxels).mean(axis=0))[2])


def _stepped_ct(ct: CtVolume, plane_mm: float, offset_lps_mm: Float64Array) -> CtVolume:
    hu = _beyond(ct.voxels_hu.astype(np.float32), ct, plane_mm, offset_lps_mm)
    return replace(ct, voxels_hu=np.rint(hu).astype(np.int16))


def _stepped_mask(mask: LabelMask, plane_mm: float, offset_lps_mm: Float64Array) -> LabelMask:
    return replace(mask, voxels=_beyond(mask.voxels.astype(np.float32), mask, plane_mm, offset_lps_mm) >= 0.5)


def _beyond(
    voxels: Float64Array, of: CtVolume | LabelMask, plane_mm: float, offset_lps_mm: Float64Array
) -> Float64Array:
    """Slices above a plane show what lies ``offset_lps_mm`` farther."""
    grid = of.geometry
    by_voxels = np.array(grid.directions_zyx_lps) @ offset_lps_mm / np.array(grid.spacing_zyx_mm)
    moved = ndimage.shift(voxels, -by_voxels, order=1, mode="nearest")
    slices = grid.to_lps(np.outer(np.arange(grid.shape_zyx[0]), [1.0, 0.0, 0.0]))[:, 2]
    return np.where((slices > plane_mm)[:, None, None], moved, voxels)
