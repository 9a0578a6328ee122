"""A wrong slice distance or pixel spacing is told from breathing, bending and turning."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from engine.arrays import Float64Array
from engine.assessment.verification import assess_ablation
from engine.geometry import RigidTransform, VolumeGeometry
from engine.refusal import RefusalCode, RefusedError
from engine.registration.acceptance import MAX_AXIS_SCALE_ERROR, require_trustworthy
from engine.registration.comparison import ScanComparison, compare_whole
from engine.registration.control_grid import positions
from engine.registration.deformation import Deformation, Level, deform
from engine.registration.judging.axis_scale import axis_scale_error
from engine.volume import CtVolume
from tests.support.ablation_cases import case, needs_real_ct
from tests.support.registration_quality import GOOD
from tests.support.spheres import centered_grid
from tests.support.textures import bump, scan

GRID = centered_grid((1.5, 1.5, 1.5), 42.0)
BONE_HU = 500


@cache
def unbent(*, bone: bool = False) -> tuple[ScanComparison, Deformation]:
    """A scan compared with itself, on request with a spine of 3 x 3 cm along its back."""
    ct = scan(1, GRID)
    if bone:
        hu = ct.voxels_hu.copy()
        hu[:, -20:, 18:38] = BONE_HU + hu[:, -20:, 18:38] // 4
        ct = replace(ct, voxels_hu=hu)
    comparison = compare_whole(ct, ct, None, RigidTransform.identity())
    at = comparison.fine
    found = deform(
        at.fixed,
        at.moving,
        at.evidence,
        RigidTransform.identity(),
        (Level(1.5, 4.5, 9.0, 0, 10.0),),
    )
    return comparison, found


def error_of(motion: Callable[[Float64Array], Float64Array], *, bone: bool = False) -> float:
    """The scale error of a field that was not found but made."""
    comparison, found = unbent(bone=bone)
    nodes = np.asarray(motion(positions(found.lattice))[..., ::-1], dtype=np.float64)
    return axis_scale_error(replace(found, nodes_mm=nodes), comparison)


def scaled(z: float, y: float = 1.0, x: float = 1.0) -> Callable[[Float64Array], Float64Array]:
    return lambda points: points * (np.array([x, y, z]) - 1.0)


def bend(points: Float64Array) -> Float64Array:
    near = bump(np.array([10.0, 0.0, -5.0]), np.array([3.0, -3.0, 4.0]), 20.0)
    far = bump(np.array([-25.0, 20.0, 20.0]), np.array([-3.0, 2.0, -3.0]), 25.0)
    return np.asarray(near(points) + far(points))


@given(share=st.floats(0.06, 0.3), sign=st.sampled_from((-1, 1)), axis=st.sampled_from((0, 1, 2)))
@settings(max_examples=12, deadline=None)
def test_a_stretch_along_one_axis_is_measured(share: float, sign: int, axis: int) -> None:
    factors = [1.0, 1.0, 1.0]
    factors[axis] += sign * share
    assert error_of(scaled(*factors)) == pytest.approx(abs(np.log(1.0 + sign * share)), abs=1e-6)


def test_both_axes_in_plane_count_as_much_as_the_slices() -> None:
    assert error_of(scaled(1.0, 0.9, 0.9)) == pytest.approx(-np.log(0.9), abs=1e-6)


@pytest.mark.parametrize("share", [0.08, -0.08, 0.15])
def test_inflation_to_all_sides_is_no_fault_of_a_header(share: float) -> None:
    assert error_of(scaled(1.0 + share, 1.0 + share, 1.0 + share)) == pytest.approx(0.0, abs=1e-6)


def test_neither_is_a_bend_nor_a_turn() -> None:
    turned = Rotation.from_euler("x", 15, degrees=True).as_matrix() - np.eye(3)
    assert error_of(bend) < 0.5 * MAX_AXIS_SCALE_ERROR
    assert error_of(lambda points: points @ turned.T) == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("z", [0.8, 0.9, 1.1, 1.25])
def test_a_stretch_is_seen_through_a_bend(z: float) -> None:
    assert error_of(lambda points: scaled(z)(points + bend(points)) + bend(points)) > MAX_AXIS_SCALE_ERROR


def test_lung_that_stretches_beside_bones_that_do_not_is_breathing() -> None:
    def breath(points: Float64Array) -> Float64Array:
        in_front = np.clip((12.0 - points[..., 1]) / 6.0, 0.0, 1.0)  # the spine lies behind
        out = np.zeros_like(points)
        out[..., 2] = 0.12 * in_front * points[..., 2]
        return out

    assert error_of(breath) > MAX_AXIS_SCALE_ERROR
    assert error_of(breath, bone=True) < MAX_AXIS_SCALE_ERROR
    assert error_of(scaled(1.1), bone=True) == pytest.approx(np.log(1.1), abs=1e-6)


def test_an_oblique_scan_is_judged_along_its_own_axes() -> None:
    comparison, found = unbent()
    turn = Rotation.from_euler("xyz", (25, -15, 10), degrees=True).as_matrix()
    slices, columns, rows = ((float(x), float(y), float(z)) for x, y, z in turn[::-1])
    oblique = replace(comparison, fixed_directions_zyx_lps=(slices, columns, rows))
    normal = turn[2]
    nodes = 0.12 * (positions(found.lattice) @ normal)[..., None] * normal
    stretched = replace(found, nodes_mm=np.ascontiguousarray(nodes[..., ::-1]))
    assert axis_scale_error(stretched, oblique) == pytest.approx(np.log(1.12), abs=1e-6)
    assert axis_scale_error(stretched, comparison) < np.log(1.12) - 0.02


def test_without_evidence_nothing_is_said() -> None:
    comparison, found = unbent()
    blind = replace(found, tensor=np.zeros_like(found.tensor), nodes_mm=0.2 * found.nodes_mm)
    assert axis_scale_error(blind, comparison) == 0.0


def test_beyond_the_limit_the_headers_are_doubted() -> None:
    require_trustworthy(replace(GOOD, axis_scale_error=MAX_AXIS_SCALE_ERROR))
    with pytest.raises(RefusedError) as caught:
        require_trustworthy(replace(GOOD, axis_scale_error=0.06))
    assert caught.value.refusal.code is RefusalCode.SLICE_DISTANCE_DOUBTFUL
    assert "6%" in caught.value.refusal.reason
    assert "slice distance" in caught.value.refusal.reason


@needs_real_ct
@pytest.mark.parametrize(
    ("name", "spacing_factors"),
    [
        ("lidc-rigid-under", (1.1, 1.0, 1.0)),
        ("lidc-5mm-under", (0.9, 1.0, 1.0)),
        ("lidc-shell-complete", (1.1, 1.0, 1.0)),
        ("lidc-rigid-under", (1.25, 1.0, 1.0)),
        ("lidc-rigid-under", (1.0, 0.9, 0.9)),
    ],
)
def test_a_real_scan_with_a_wrong_header_is_refused(
    name: str, spacing_factors: tuple[float, float, float]
) -> None:
    it = case(name)
    verification = _with_spacing(it.verification, spacing_factors)
    zone = replace(it.zone, geometry=verification.geometry)
    assessment = assess_ablation(it.prepared, verification, zone)
    assert assessment.refusal is not None
    assert assessment.refusal.code is RefusalCode.SLICE_DISTANCE_DOUBTFUL


def _with_spacing(ct: CtVolume, factors: tuple[float, float, float]) -> CtVolume:
    """The same voxels under a header that is wrong by ``factors`` (z, y, x); the middle stays in place."""
    before = ct.geometry
    z, y, x = (s * f for s, f in zip(before.spacing_zyx_mm, factors, strict=True))
    middle = 0.5 * (np.array(before.shape_zyx) - 1.0)
    wrong: VolumeGeometry = replace(before, spacing_zyx_mm=(z, y, x))
    px, py, pz = (
        float(v) for v in np.array(wrong.origin_lps_mm) + before.to_lps(middle) - wrong.to_lps(middle)
    )
    return replace(ct, geometry=replace(wrong, origin_lps_mm=(px, py, pz)))
