"""Tissue drawn in by an ablation is found from what lies around the zone, and led back to where it was."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from engine.arrays import Float64Array
from engine.geometry import RigidTransform
from engine.phantoms.free_deformation import Contraction
from engine.registration.comparison import compare_whole
from engine.registration.deformation import Deformation, Level, deform
from engine.registration.judging.contraction import ZoneContraction, measure_contraction
from tests.support.spheres import ball, centered_grid
from tests.support.textures import bump, scan

GRID = centered_grid((1.5, 1.5, 1.5), 48.0)
CENTER = np.array([2.0, -3.0, 1.0])
ZONE_MM = 13.0
BEND = bump(np.array([14.0, 8.0, -10.0]), np.array([2.0, -2.0, 3.0]), 26.0)
COARSE = (Level(3.0, 12.0, 9.0, 4, 1000.0, 1.5), Level(3.0, 12.0, 9.0, 3, 100.0, 1.5))
FINE = Level(1.5, 4.5, 9.0, 5, 10.0)


def before(points: Float64Array, share: float) -> Float64Array:
    """Where tissue that lies at ``points`` (..., 3) now lay before the zone shrank by ``share``."""
    flat = points.reshape(-1, 3)
    drawn_in = Contraction(CENTER, share, ZONE_MM).inverse_displacement_mm(flat)
    return np.asarray((flat + BEND(flat) + drawn_in).reshape(points.shape))


@cache
def measured(share: float) -> tuple[Deformation, ZoneContraction]:
    verification = scan(1, GRID, lambda points: before(points, share))
    zone = ball(GRID, CENTER, ZONE_MM, "ablation zone")
    comparison = compare_whole(scan(1, GRID), verification, zone, RigidTransform.identity())
    at = comparison.coarse
    coarse = deform(at.fixed, at.moving, at.evidence, RigidTransform.identity(), COARSE)
    at = comparison.fine
    found = deform(at.fixed, at.moving, at.evidence, RigidTransform.identity(), (FINE,), initial=coarse)
    contraction = measure_contraction(found, comparison)
    assert contraction is not None
    return found, contraction


def on_zone() -> Float64Array:
    way = np.random.default_rng(0).normal(size=(300, 3))
    return np.asarray(CENTER + ZONE_MM * way / np.linalg.norm(way, axis=1, keepdims=True))


@pytest.mark.parametrize("share", [0.1, 0.2, 0.25])
def test_the_zone_is_led_back_to_its_size(share: float) -> None:
    found, contraction = measured(share)
    surface = on_zone()
    off_mm = np.linalg.norm(contraction.to_fixed(before(surface, share)) - surface, axis=1).mean()
    smooth_mm = np.linalg.norm(found.to_moving(surface) - before(surface, share), axis=1).mean()
    assert off_mm < 0.8 * smooth_mm
    assert off_mm < 1.64 * contraction.surface_sd_mm
    assert contraction.share > 0.2 * share
    even = Contraction(CENTER, share, ZONE_MM).inverse_displacement_mm(surface)
    truly = float(np.linalg.norm(even, axis=1).mean()) / ZONE_MM
    assert contraction.shortening == pytest.approx(truly / (1.0 + truly), abs=0.4 * truly)


def test_where_nothing_shrank_nothing_is_made_of_it() -> None:
    found, contraction = measured(0.0)
    surface = on_zone()
    off_mm = np.linalg.norm(contraction.to_fixed(before(surface, 0.0)) - surface, axis=1).mean()
    assert abs(contraction.share) < 0.025
    assert off_mm < 0.2
    assert abs(contraction.shortening) < 0.04
    assert found.to_moving(surface) == pytest.approx(before(surface, 0.0), abs=0.6)


def test_the_way_back_undoes_the_way_there() -> None:
    found, contraction = measured(0.2)
    rng = np.random.default_rng(1)
    places = CENTER + rng.uniform(-16.0, 16.0, (200, 3))
    there = found.to_moving(places) + contraction.share * contraction.missing_mm(places)
    assert contraction.to_fixed(there) == pytest.approx(places, abs=0.4)


def test_far_from_the_zone_the_smooth_field_has_it_all() -> None:
    _, contraction = measured(0.2)
    way = on_zone() - CENTER
    near, far = (contraction.missing_mm(CENTER + reach * way) for reach in (1.0, 2.5))
    assert np.linalg.norm(near, axis=1).mean() > 2.0
    assert np.linalg.norm(far, axis=1).mean() < 0.1 * np.linalg.norm(near, axis=1).mean()


def test_without_a_zone_there_is_nothing_to_measure() -> None:
    found, _ = measured(0.0)
    comparison = compare_whole(scan(1, GRID), scan(1, GRID), None, RigidTransform.identity())
    assert measure_contraction(found, comparison) is None
