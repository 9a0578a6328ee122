"""The zone with its core: what is dense enough, where both came from, and a zone that the scan cuts off."""

from __future__ import annotations

import numpy as np
import pytest

from engine.errors import GridMismatchError
from engine.findings import NO_CONTOUR, SUPPLIED, THRESHOLDED
from engine.geometry import VolumeGeometry
from engine.refusal import RefusalCode, RefusedError
from engine.structures.core import find_core
from engine.structures.zone import ZoneContour, require_uncut, supplied_zone
from engine.volume import CtVolume, LabelMask

SHAPE = (16, 18, 20)
GRID = VolumeGeometry(SHAPE, (1.0, 1.0, 1.0))


def block(low: int, high: int, grid: VolumeGeometry = GRID) -> LabelMask:
    """A cube of marked voxels."""
    voxels = np.zeros(grid.shape_zyx, dtype=np.bool_)
    voxels[low:high, low:high, low:high] = True
    return LabelMask(voxels, grid, "ablation zone")


def ct(dense: np.ndarray | None = None, hu: int = -100, glass: int = -550) -> CtVolume:
    voxels = np.full(SHAPE, glass, dtype=np.int16)
    if dense is not None:
        voxels[dense] = hu
    return CtVolume(voxels, GRID)


def slab(thickness: int, width: int = 6) -> np.ndarray:
    """A dense plate within the zone."""
    dense = np.zeros(SHAPE, dtype=np.bool_)
    dense[6 : 6 + thickness, 4 : 4 + width, 4 : 4 + width] = True
    return dense


def test_the_core_is_what_is_denser_than_ground_glass() -> None:
    core = find_core(ct(slab(4), hu=-349), block(3, 13))
    assert core is not None
    assert core.geometry is GRID
    assert core.name == "ablation core"
    assert not (core.voxels & ~slab(4)).any()
    assert core.voxels[7:9, 5:9, 5:9].all()
    assert find_core(ct(slab(4), hu=-350), block(3, 13)) is None


def test_a_vessel_and_noise_are_no_core() -> None:
    assert find_core(ct(slab(4, width=3)), block(3, 13)) is None
    speckled = np.zeros(SHAPE, dtype=np.bool_)
    speckled[::2, ::2, ::2] = True
    assert find_core(ct(speckled), block(3, 13)) is None
    assert find_core(ct(), block(3, 13)) is None


@pytest.mark.parametrize(("high", "enough"), [(8, True), (7, False)])
def test_the_smallest_core_has_a_twentieth_of_a_milliliter(high: int, enough: bool) -> None:
    """All is dense, so the core is the zone: 5 x 5 x 2 voxels of 1 mm are 0.05 mL."""
    voxels = np.zeros(SHAPE, dtype=np.bool_)
    voxels[4:6, 3:8, 3:high] = True
    core = find_core(ct(glass=-100), LabelMask(voxels, GRID, "ablation zone"))
    assert (core is not None) is enough
    if core is not None:
        assert np.array_equal(core.voxels, voxels)


def test_the_core_lies_within_the_zone_and_is_its_largest_part() -> None:
    dense = np.ones(SHAPE, dtype=np.bool_)
    dense[8] = dense[9] = False
    core = find_core(ct(dense), block(3, 13))
    assert core is not None
    assert not (core.voxels & ~block(3, 13).voxels).any()
    assert core.voxels[3:7, 4:12, 4:12].all()
    assert not core.voxels[9:].any()


def test_a_zone_at_the_edge_of_its_ct_has_a_core_too() -> None:
    core = find_core(ct(np.ones(SHAPE, dtype=np.bool_)), block(0, 5))
    assert core is not None
    assert np.array_equal(core.voxels, block(0, 5).voxels)


def test_a_supplied_zone_keeps_its_supplied_core() -> None:
    zone, inner = block(3, 13), block(5, 9)
    contour = supplied_zone(ct(), zone, inner)
    assert contour.zone is zone
    assert contour.core is not None
    assert np.array_equal(contour.core.voxels, inner.voxels)
    assert (contour.origin, contour.core_origin) == (SUPPLIED, SUPPLIED)
    assert (contour.contour_sd_mm, contour.cautious, contour.warnings) == (None, None, ())


def test_a_core_that_was_not_supplied_is_looked_for() -> None:
    zone = block(3, 13)
    found = supplied_zone(ct(slab(4)), zone, None)
    assert found.zone is zone
    assert found.core is not None
    assert (found.origin, found.core_origin) == (SUPPLIED, THRESHOLDED)
    none = supplied_zone(ct(), block(3, 13), None)
    assert (none.core, none.core_origin) == (None, NO_CONTOUR)


def test_masks_on_another_grid_are_an_error() -> None:
    other = block(3, 13, VolumeGeometry(SHAPE, (1.0, 1.0, 1.5)))
    with pytest.raises(GridMismatchError):
        supplied_zone(ct(), other, None)
    with pytest.raises(GridMismatchError):
        supplied_zone(ct(), block(3, 13), other)


def test_a_zone_at_the_edge_of_the_scan_is_refused() -> None:
    require_uncut(block(1, 15))
    for cut in (block(0, 5), block(12, 16)):
        with pytest.raises(RefusedError) as caught:
            supplied_zone(ct(), cut, None)
        assert caught.value.refusal.code is RefusalCode.ZONE_CUT_BY_FIELD_OF_VIEW
        assert "larger field of view" in caught.value.refusal.reason


def test_surfaces_are_computed_once_and_ahead_of_their_use() -> None:
    contour = ZoneContour(block(3, 13), block(5, 9), SUPPLIED, SUPPLIED)
    contour.draw_surfaces()
    assert contour.core_surface is not None
    for surface, mask in ((contour.zone_surface, contour.zone), (contour.core_surface, contour.core)):
        assert surface.mask is mask
        assert "occupancy" in vars(surface)
    coreless = ZoneContour(block(3, 13), None, SUPPLIED, NO_CONTOUR)
    coreless.draw_surfaces()
    assert coreless.core_surface is None
    assert "occupancy" in vars(coreless.zone_surface)
