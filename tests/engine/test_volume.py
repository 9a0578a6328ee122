"""Voxels with their place."""

from __future__ import annotations

import numpy as np
import pytest

from engine.errors import EmptyMaskError, GridMismatchError, InvalidGeometryError
from engine.geometry import VolumeGeometry, VoxelBox
from engine.volume import CtVolume, LabelMask

GRID = VolumeGeometry((3, 4, 5), (2.0, 1.0, 1.0))


def test_voxels_are_read_only() -> None:
    ct = CtVolume(np.zeros((3, 4, 5), dtype=np.int16), GRID)
    mask = LabelMask(np.ones((3, 4, 5), dtype=np.bool_), GRID)
    for voxels in (ct.voxels_hu, mask.voxels):
        with pytest.raises(ValueError, match="read-only"):
            voxels[0, 0, 0] = 1


def test_wrong_types_and_shapes_are_refused() -> None:
    for dtype in (np.float32, np.uint16, np.int32):
        with pytest.raises(InvalidGeometryError, match="int16"):
            CtVolume(np.zeros((3, 4, 5), dtype=dtype), GRID)
    with pytest.raises(InvalidGeometryError, match="bool"):
        LabelMask(np.zeros((3, 4, 5), dtype=np.uint8), GRID)
    with pytest.raises(InvalidGeometryError, match="do not fit"):
        CtVolume(np.zeros((5, 4, 3), dtype=np.int16), GRID)
    with pytest.raises(InvalidGeometryError, match="do not fit"):
        LabelMask(np.zeros((5, 4, 3), dtype=np.bool_), GRID)


def test_a_mask_knows_its_volume_and_its_box() -> None:
    voxels = np.zeros((3, 4, 5), dtype=np.bool_)
    voxels[1, 2:4, 3] = True
    mask = LabelMask(voxels, GRID)
    assert mask.volume_ml == pytest.approx(0.004)
    assert mask.bounding_box() == VoxelBox((1, 2, 3), (2, 4, 4))


def test_a_crop_has_the_voxels_of_its_box() -> None:
    box = VoxelBox((1, 0, 2), (3, 4, 4))
    hu = np.arange(60, dtype=np.int16).reshape(3, 4, 5)
    ct, mask = CtVolume(hu, GRID), LabelMask(hu % 7 == 0, GRID, "tumor")
    assert np.array_equal(ct.crop(box).voxels_hu, hu[1:3, :, 2:4])
    assert ct.crop(box).geometry == mask.crop(box).geometry == GRID.crop(box)
    assert np.array_equal(mask.crop(box).voxels, (hu % 7 == 0)[1:3, :, 2:4])
    assert mask.crop(box).name == "tumor"


def test_a_mask_must_lie_on_its_ct_and_have_a_voxel() -> None:
    ct = CtVolume(np.zeros((3, 4, 5), dtype=np.int16), GRID)
    empty = LabelMask(np.zeros((3, 4, 5), dtype=np.bool_), GRID, "tumor")
    with pytest.raises(EmptyMaskError, match="tumor"):
        empty.require_on(ct)
    with pytest.raises(EmptyMaskError):
        empty.bounding_box()
    elsewhere = VolumeGeometry((3, 4, 5), (2.0, 1.0, 1.0), origin_lps_mm=(0.0, 0.0, 1.0))
    with pytest.raises(GridMismatchError, match="export the mask on the grid of its CT"):
        LabelMask(np.ones((3, 4, 5), dtype=np.bool_), elsewhere, "tumor").require_on(ct)
    full = LabelMask(np.ones((3, 4, 5), dtype=np.bool_), GRID)
    assert full.require_on(ct) is full
