"""The registration's own judge: blind to nothing that it is asked about."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from engine.arrays import Float64Array
from engine.findings import RegistrationQuality
from engine.geometry import RigidTransform, VolumeGeometry
from engine.phantoms.free_deformation import Contraction
from engine.registration.acceptance import MAX_MISMATCHED_SHARE, MIN_SIMILARITY
from engine.registration.comparison import ScanComparison, compare_whole
from engine.registration.control_grid import positions
from engine.registration.deformation import Deformation, Level, deform
from engine.registration.quality import correlation, jacobian_of_nodes, judge
from engine.registration.region import comparison_region
from engine.volume import CtVolume, LabelMask
from tests.support.spheres import ball, centered_grid
from tests.support.textures import Mapping, bump, scan, texture_hu

GRID = centered_grid((1.5, 1.5, 1.5), 42.0)
ZONE_MM = 14.0
CENTER = np.zeros(3)
COARSE = (Level(3.0, 12.0, 9.0, 6, 1000.0), Level(3.0, 12.0, 9.0, 4, 100.0))
FINE = Level(1.5, 4.5, 9.0, 6, 10.0)


@cache
def planning() -> CtVolume:
    return scan(1, GRID)


@cache
def zone() -> LabelMask:
    return ball(GRID, CENTER, ZONE_MM, "ablation zone")


@cache
def registered(
    seed: int = 1, motion: Mapping | None = None
) -> tuple[ScanComparison, Deformation, Deformation]:
    """ScanComparison with the texture of a seed, fine and coarse deformation."""
    verification = scan(seed, GRID, lambda p: p if motion is None else p + motion(p))
    return registered_to(verification, zone())


def registered_to(
    verification: CtVolume, hidden: LabelMask | None
) -> tuple[ScanComparison, Deformation, Deformation]:
    comparison = compare_whole(planning(), verification, hidden, RigidTransform.identity())
    at = comparison.coarse
    coarse = deform(at.fixed, at.moving, at.evidence, RigidTransform.identity(), COARSE)
    at = comparison.fine
    return (
        comparison,
        deform(at.fixed, at.moving, at.evidence, RigidTransform.identity(), (FINE,), initial=coarse),
        coarse,
    )


def judged(comparison: ScanComparison, found: Deformation, coarse: Deformation) -> RegistrationQuality:
    return judge(comparison, found, coarse, COARSE)


def bent(motion: Mapping) -> RegistrationQuality:
    """What is said of a deformation that was not found but made."""
    comparison, found, coarse = registered()
    nodes = np.asarray(motion(positions(found.lattice))[..., ::-1], dtype=np.float64)
    return judged(comparison, replace(found, nodes_mm=nodes), coarse)


def test_identical_scans_leave_nothing() -> None:
    quality = judged(*registered())
    assert quality.similarity == pytest.approx(1.0, abs=1e-3)
    assert quality.residual_mm < 0.05
    assert quality.descriptor_residual < 0.1
    assert quality.inverse_consistency_mm < 0.2
    assert quality.min_jacobian == pytest.approx(1.0, abs=0.03)
    assert quality.max_jacobian == pytest.approx(1.0, abs=0.03)
    assert quality.folding_share == 0.0
    assert quality.mismatched_share == 0.0
    assert quality.contraction == pytest.approx(0.0, abs=0.005)


shift_and_bend = bump(np.array([10.0, 0.0, -5.0]), np.array([4.0, -3.0, 3.0]), 22.0)


def test_a_followed_motion_is_good_and_an_unfollowed_one_is_not() -> None:
    comparison, found, coarse = registered(1, shift_and_bend)
    followed = judged(comparison, found, coarse)
    assert followed.similarity > 0.99
    assert followed.residual_mm < 0.15
    assert followed.inverse_consistency_mm < 1.0
    half = found.nodes_mm * 0.5
    at = comparison.fine
    left = deform(
        at.fixed,
        at.moving,
        at.evidence,
        RigidTransform.identity(),
        (replace(FINE, steps=0),),
        initial=replace(found, nodes_mm=half),
    )
    unfollowed = judged(comparison, left, coarse)
    assert unfollowed.similarity < followed.similarity
    assert unfollowed.descriptor_residual > followed.descriptor_residual + 0.02
    assert unfollowed.residual_mm > 5.0 * followed.residual_mm


def test_another_patient_does_not_match() -> None:
    quality = judged(*registered(2))
    assert quality.mismatched_share > MAX_MISMATCHED_SHARE
    assert quality.similarity < MIN_SIMILARITY + 0.2
    assert quality.inverse_consistency_mm > 10.0 * judged(*registered()).inverse_consistency_mm
    assert quality.descriptor_residual > 0.25


def test_folded_nodes_are_seen() -> None:
    def folded(points: Float64Array) -> Float64Array:
        out = np.zeros_like(points)
        out[..., 0] = 12.0 * np.sin(points[..., 0] / 5.0)
        return out

    quality = bent(folded)
    assert quality.folding_share > 0.2
    assert quality.min_jacobian < 0.0
    assert quality.max_jacobian > 1.5


def test_a_jacobian_is_that_of_the_motion() -> None:
    gradient = np.array([[0.1, 0.02, 0.0], [0.0, -0.05, 0.03], [0.04, 0.0, 0.2]])
    _, found, _ = registered()
    nodes = np.asarray((positions(found.lattice) @ gradient.T)[..., ::-1])
    determinant = np.linalg.det(np.eye(3) + gradient)
    assert jacobian_of_nodes(replace(found, nodes_mm=nodes)) == pytest.approx(determinant, rel=1e-6)


@pytest.mark.parametrize("share", [0.08, -0.08])
def test_tissue_drawn_in_converges_and_tissue_pushed_away_does_not(share: float) -> None:
    """Places around a shrunken zone come from farther out: even shrinkage within, inverse square beyond."""
    drawn_in = Contraction(CENTER, share, ZONE_MM)
    found = bent(lambda p: drawn_in.inverse_displacement_mm(p.reshape(-1, 3)).reshape(p.shape))
    assert 0.02 < np.sign(share) * found.contraction < 0.08


def test_breathing_all_over_is_no_contraction() -> None:
    even = bent(lambda points: 0.05 * points)
    assert abs(even.contraction) < 0.01


def test_evidence_is_what_both_scans_show() -> None:
    comparison, found, coarse = registered()
    whole = judged(comparison, found, coarse)
    assert whole.evidence_share > 0.9
    # Half of the moving scan is not there.
    nothing = found.warped.copy()
    nothing[:, :, : nothing.shape[2] // 2] = np.nan
    half = judged(comparison, replace(found, warped=nothing), coarse)
    assert half.evidence_share == pytest.approx(0.5 * whole.evidence_share, abs=0.05)


def test_without_a_zone_everything_is_judged() -> None:
    comparison, found, coarse = registered_to(planning(), None)
    quality = judged(comparison, found, coarse)
    assert quality.similarity == pytest.approx(1.0, abs=1e-3)
    assert quality.contraction == 0.0
    assert comparison.void_radius_mm == 0.0


def test_the_void_is_as_large_as_the_zone_with_its_halo() -> None:
    comparison, _, _ = registered()
    assert comparison.void_radius_mm == pytest.approx(ZONE_MM + 4.0, abs=0.75)


@pytest.mark.parametrize("slice_mm", [2.0, 5.0])
def test_beyond_the_outermost_voxels_nothing_is_known(slice_mm: float) -> None:
    """Half a voxel beyond the last slice a grid of its own would read air: that is no evidence, and no pneumothorax."""
    grid = VolumeGeometry((30, 60, 60), (slice_mm, 1.4, 1.4), origin_lps_mm=(-40.0, -40.0, -40.0))
    region = comparison_region(scan(1, grid), CENTER, 60.0, 1.5)
    assert region.inside.any()
    assert not region.inside.all()
    places = positions(region.geometry)[region.inside]
    assert grid.contains(places).all()
    assert np.abs(region.hu[region.inside] - texture_hu(1, places)).max() < 150.0


def test_correlation_of_a_constant_is_zero() -> None:
    one, where = np.ones((3, 3, 3), dtype=np.float32), np.ones((3, 3, 3), dtype=np.bool_)
    varied = np.arange(27, dtype=np.float32).reshape(3, 3, 3)
    assert correlation(one, varied, where) == 0.0
    assert correlation(varied, -varied, where) == pytest.approx(-1.0)
    assert correlation(varied, varied, np.zeros_like(where)) == 0.0
