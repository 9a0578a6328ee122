"""A region that a registration lost is found, named and, where it is far off, refused."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from engine.arrays import BoolArray
from engine.geometry import RigidTransform
from engine.kernels.backend import KernelBackend
from engine.registration.coarse_to_fine import settled
from engine.registration.comparison import ScanComparison, compare_whole
from engine.registration.control_grid import positions
from engine.registration.deformation import Deformation, Level, deform
from engine.registration.judging.remaining_motion import DOUBTFUL_MM, RemainingMotion, remaining_motion
from tests.support.spheres import centered_grid
from tests.support.textures import bump, scan

GRID = centered_grid((1.5, 1.5, 1.5), 48.0)
LOST = np.array([12.0, -9.0, 8.0])


@cache
def unmoved() -> tuple[ScanComparison, Deformation]:
    ct = scan(1, GRID)
    comparison = compare_whole(ct, ct, None, RigidTransform.identity())
    at = comparison.fine
    level = Level(1.5, 4.5, 9.0, 0, 10.0)
    return comparison, deform(at.fixed, at.moving, at.evidence, RigidTransform.identity(), (level,))


def with_lost_region(off_mm: float) -> RemainingMotion:
    """What the images ask for where a region was left ``off_mm`` beside its place."""
    comparison, found = unmoved()
    way = off_mm * np.array([0.6, 0.0, 0.8])
    nodes = bump(LOST, way, 25.0)(positions(found.lattice))[..., ::-1]
    lost = replace(found, nodes_mm=np.asarray(nodes, dtype=np.float64))
    return remaining_motion(settled(comparison, lost, KernelBackend.CPU))


def everywhere() -> BoolArray:
    return np.ones(unmoved()[1].lattice.shape_zyx, dtype=np.bool_)


def test_where_nothing_is_lost_nothing_is_asked_for() -> None:
    rest = with_lost_region(0.0)
    assert rest.largest_mm(everywhere()) < 0.1
    assert rest.rms_mm(everywhere()) < 0.05
    assert rest.doubtful_regions() == ()


@pytest.mark.parametrize("off_mm", [4.0, 6.0, -5.0])
def test_a_lost_region_is_named(off_mm: float) -> None:
    lost = with_lost_region(off_mm)
    worst, *_ = lost.doubtful_regions()
    assert worst.largest_mm == lost.largest_mm(everywhere())
    assert DOUBTFUL_MM < worst.largest_mm < 1.5 * abs(off_mm)
    assert np.linalg.norm(np.array(worst.place_lps_mm) - LOST) < 35.0
    assert 5.0 < worst.volume_ml < 200.0
    assert lost.rms_mm(everywhere()) < 0.6 * worst.largest_mm


def test_only_what_is_near_counts_where_that_is_asked() -> None:
    lost = with_lost_region(6.0)
    lattice = unmoved()[1].lattice
    far = np.linalg.norm(positions(lattice) - LOST, axis=-1) > 60.0
    assert lost.largest_mm(far) < 0.5 * lost.largest_mm(everywhere())
    assert lost.largest_mm(np.zeros_like(far)) == 0.0
    assert lost.rms_mm(np.zeros_like(far)) == 0.0


def test_places_without_evidence_are_not_named() -> None:
    lost = with_lost_region(6.0)
    blind = replace(lost, strength=np.full_like(lost.strength, 0.2))
    assert blind.doubtful_regions() == ()
    assert blind.largest_mm(everywhere()) == 0.0
