"""The measurement grid: how far it reaches, what lies where on it, and what is taken for lung."""

from __future__ import annotations

import numpy as np
import pytest

from engine.coverage.grid import build_measurement_field, region_hu
from engine.errors import InvalidRequestError
from engine.geometry import RigidTransform, VolumeGeometry
from engine.kernels.backend import KernelBackend
from engine.structures.surface import StructureSurface
from engine.volume import CtVolume, LabelMask
from tests.support.spheres import ball, centered_grid

IDENTITY = RigidTransform.identity()
GRID = centered_grid((1.0, 1.0, 1.0), 40.0)


def surface(center: tuple[float, float, float], radius: float, name: str = "tumor") -> StructureSurface:
    return StructureSurface(ball(GRID, center, radius, name))


def extent(geometry: VolumeGeometry) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest voxel center, LPS mm."""
    low = geometry.to_lps([0.0, 0.0, 0.0])
    return low, geometry.to_lps(np.array(geometry.shape_zyx) - 1.0)


def test_the_grid_holds_the_widest_margin_around_the_tumor_and_the_whole_zone() -> None:
    field = build_measurement_field(surface((0, 0, 0), 5.0), surface((12.0, 0, 0), 9.0), None, None, IDENTITY)
    low, high = extent(field.geometry)
    assert field.geometry.spacing_zyx_mm == (0.5, 0.5, 0.5)
    assert low == pytest.approx((-5.5 - 12.0,) * 3)
    # Along x the zone ends last (21.5 mm, and 2 mm more), along y and z the tumor does.
    assert high == pytest.approx((23.5, 17.5, 17.5))


def test_the_tumor_is_brought_into_the_verification_frame() -> None:
    planning_from_verification = RigidTransform.from_translation((6.0, -2.0, 3.0))
    field = build_measurement_field(
        surface((6.0, -2.0, 3.0), 6.0), surface((0, 0, 0), 9.0), None, None, planning_from_verification
    )
    for voxels in (field.tumor, field.zone):
        center = field.geometry.to_lps(np.argwhere(voxels).mean(axis=0))
        assert center == pytest.approx((0.0, 0.0, 0.0), abs=0.05)


def test_without_a_lung_everything_counts_as_lung() -> None:
    field = build_measurement_field(surface((0, 0, 0), 5.0), surface((0, 0, 0), 9.0), None, None, IDENTITY)
    assert field.lung.all()
    assert field.assessable.all()
    assert np.isinf(field.distance_to_pleura_mm).all()
    assert field.core is None
    assert field.distance_to_core_mm is None


def test_the_tumor_and_what_the_planning_ct_does_not_reach_count_as_lung() -> None:
    """A miss where nothing is known of the lung must not be clipped away."""
    small = centered_grid((1.0, 1.0, 1.0), 8.0)
    nowhere = LabelMask(np.zeros(small.shape_zyx, dtype=np.bool_), small, "lung")
    field = build_measurement_field(surface((0, 0, 0), 5.0), surface((0, 0, 0), 9.0), None, nowhere, IDENTITY)
    away = np.abs(field.geometry.to_lps(np.argwhere(np.ones(field.lung.shape, dtype=np.bool_)))).max(axis=1)
    away = away.reshape(field.lung.shape)
    assert field.lung[away > 9.0].all()
    assert np.array_equal(field.lung[away < 7.0], field.tumor[away < 7.0])


def test_what_lies_within_a_millimeter_of_the_pleura_is_not_assessable() -> None:
    lung = np.ones(GRID.shape_zyx, dtype=np.bool_)
    lung[:, :, GRID.shape_zyx[2] // 2 + 8 :] = False
    field = build_measurement_field(
        surface((0, 0, 0), 5.0), surface((0, 0, 0), 9.0), None, LabelMask(lung, GRID, "lung"), IDENTITY
    )
    assert np.array_equal(field.assessable, field.distance_to_pleura_mm > 1.0)
    x = field.geometry.to_lps(np.argwhere(field.assessable))[:, 0]
    assert x.max() == pytest.approx(6.5, abs=0.51)


def test_a_core_has_its_own_voxels_and_distances() -> None:
    field = build_measurement_field(
        surface((0, 0, 0), 5.0), surface((0, 0, 0), 11.0), surface((0, 0, 0), 7.0), None, IDENTITY
    )
    assert field.core is not None
    assert field.distance_to_core_mm is not None
    assert np.count_nonzero(field.core) * field.voxel_ml == pytest.approx(4 / 3 * np.pi * 0.343, rel=0.04)
    middle = tuple(n // 2 for n in field.core.shape)
    assert field.distance_to_core_mm[middle] == pytest.approx(-7.0, abs=0.4)
    assert field.distance_to_zone_mm[middle] == pytest.approx(-11.0, abs=0.4)
    assert field.distance_to_tumor_mm[middle] == pytest.approx(-5.0, abs=0.4)


def test_more_voxels_than_any_ablation_has_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    tumor, zone = surface((0, 0, 0), 5.0), surface((12.0, 0, 0), 9.0)
    grid = build_measurement_field(tumor, zone, None, None, IDENTITY).geometry
    voxels = float(np.prod(np.array(grid.shape_zyx) - 1.0))
    monkeypatch.setattr("engine.coverage.grid._MAX_VOXELS", voxels)
    build_measurement_field(tumor, zone, None, None, IDENTITY)
    monkeypatch.setattr("engine.coverage.grid._MAX_VOXELS", voxels - 1.0)
    with pytest.raises(InvalidRequestError, match=r"span 41 x 35 x 35 mm, more than any one ablation"):
        build_measurement_field(tumor, zone, None, None, IDENTITY)


def test_the_ct_on_the_grid_keeps_its_values_and_is_air_beyond_its_field_of_view() -> None:
    hu = np.full((11, 11, 11), 40, dtype=np.int16)
    hu[5, 5, 5:] = 90
    ct = CtVolume(hu, centered_grid((1.0, 1.0, 1.0), 5.0))
    wider = centered_grid((1.0, 1.0, 1.0), 8.0)
    region = region_hu(ct, wider, KernelBackend.CPU)
    assert np.array_equal(region[3:-3, 3:-3, 3:-3], hu)
    assert (region[0] == -1024).all()
    between = VolumeGeometry((1, 1, 1), (1.0, 1.0, 1.0), origin_lps_mm=(-0.5, 0.0, 0.0))
    assert region_hu(ct, between, KernelBackend.CPU).item() == 65
