"""The planning lung: vessels and tumor in, chest wall and outside air out."""

from __future__ import annotations

import numpy as np

from engine.structures.lung import segment_lung
from engine.volume import CtVolume
from tests.support.spheres import ball, centered_grid, positions

GRID = centered_grid((2.0, 1.2, 1.2), 60.0)
X = positions(GRID)[..., 0]


def chest() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Lung for x < 20, 15 mm of wall, then air; a vessel of 5 mm across through the lung."""
    place = positions(GRID)
    lung, air = X < 20.0, X > 35.0
    vessel = np.hypot(place[..., 1] - 20.0, place[..., 0] + 10.0) < 2.5
    hu = np.where(lung, -850, np.where(air, -1000, 40)).astype(np.int16)
    hu[vessel] = 40
    return hu, lung, vessel


def test_lung_vessels_and_tumor_belong_and_wall_and_air_do_not() -> None:
    hu, lung, vessel = chest()
    tumor = ball(GRID, (8.0, 0.0, 0.0), 9.0, "tumor")
    hu[tumor.voxels] = 30
    found = segment_lung(CtVolume(hu, GRID), tumor)
    index = np.round(GRID.to_index(found.geometry.to_lps([0.0, 0.0, 0.0]))).astype(int)
    box = tuple(slice(int(a), int(a) + n) for a, n in zip(index, found.voxels.shape, strict=True))
    assert found.voxels[tumor.voxels[box]].all()
    assert found.voxels[vessel[box] & lung[box]].mean() > 0.95
    assert found.voxels[lung[box] & (X[box] < 18.0)].mean() > 0.995
    assert not found.voxels[X[box] > 22.0].any()


def test_a_tumor_in_the_wall_still_belongs() -> None:
    hu, _, _ = chest()
    tumor = ball(GRID, (22.0, 0.0, 0.0), 6.0, "tumor")
    found = segment_lung(CtVolume(hu, GRID), tumor)
    assert found.volume_ml > tumor.volume_ml
    place = found.geometry.to_index(GRID.to_lps(np.argwhere(tumor.voxels).astype(float)))
    assert found.voxels[tuple(np.round(place).astype(int).T)].all()
