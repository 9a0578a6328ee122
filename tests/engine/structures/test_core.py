from __future__ import annotations

import numpy as np
import pytest

from engine.structures.core import find_core
from engine.volume import CtVolume
from tests.support.spheres import ball, centered_grid

GRID = centered_grid((1.5, 0.8, 0.8), 30.0)


def test_the_core_is_the_dense_part_of_the_zone() -> None:
    zone, dense = ball(GRID, (0.0, 0.0, 0.0), 14.0, "zone"), ball(GRID, (1.0, 0.0, 0.0), 9.0, "core")
    hu = np.full(GRID.shape_zyx, -850, dtype=np.int16)
    hu[zone.voxels] = -550
    assert find_core(CtVolume(hu.copy(), GRID), zone) is None
    hu[dense.voxels] = -50
    hu[:, :, -12:] = 40
    core = find_core(CtVolume(hu, GRID), zone)
    assert core is not None
    assert core.volume_ml == pytest.approx(dense.volume_ml, rel=0.03)
    assert not (core.voxels & ~zone.voxels).any()
