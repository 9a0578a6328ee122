"""In which lung a tumor lies, on chests made of two ellipsoids, and on a real one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.arrays import Float64Array
from engine.files.reading import read_ct
from engine.findings import LungSide
from engine.geometry import Vector3, VolumeGeometry, VoxelBox
from engine.structures.lung_side import lung_side_of
from engine.volume import CtVolume
from tests.support.ablation_cases import ROOT, needs_real_ct

_SHAPE = (50, 60, 90)
_SPACING_MM = 4.0
_LUNG_AWAY_MM = 75.0


def chest(middle_mm: float = 0.0, *, right_air: float = 1.0) -> CtVolume:
    """A body in air, with two lungs beside ``middle_mm``; the right one aerated in so much of its width."""
    geometry = VolumeGeometry(_SHAPE, (_SPACING_MM,) * 3, origin_lps_mm=(-178.0, -118.0, -98.0))
    z, y, x = np.moveaxis(geometry.to_lps(np.moveaxis(np.indices(_SHAPE), 0, -1)), -1, 0)[::-1]
    x = x - middle_mm
    hu = np.full(_SHAPE, -1000, dtype=np.int16)
    hu[(x / 150) ** 2 + (y / 105) ** 2 < 1] = 40
    for side in (-1, 1):
        away = (x - side * _LUNG_AWAY_MM) / 55
        lung = away**2 + (y / 80) ** 2 + (z / 140) ** 2 < 1
        hu[lung & ((side > 0) | (away < 2 * right_air - 1))] = -850
    return CtVolume(hu, geometry)


def vector(values: Float64Array) -> Vector3:
    x, y, z = (float(v) for v in values)
    return x, y, z


@pytest.mark.parametrize(
    ("x_mm", "side"), [(-75, LungSide.RIGHT), (-20, LungSide.RIGHT), (20, LungSide.LEFT), (75, LungSide.LEFT)]
)
def test_the_side_is_found_where_both_lungs_are_seen(x_mm: float, side: LungSide) -> None:
    assert lung_side_of(chest(), (x_mm, 0.0, 0.0)) is side


def test_a_tumor_in_the_middle_has_no_side() -> None:
    assert lung_side_of(chest(), (4.0, 0.0, 0.0)) is None


@settings(max_examples=30, deadline=None)
@given(
    middle_mm=st.floats(-20, 20),
    axes=st.permutations((0, 1, 2)),
    flips=st.tuples(st.booleans(), st.booleans(), st.booleans()),
)
def test_the_side_is_the_patients_however_the_array_lies(
    middle_mm: float, axes: list[int], flips: tuple[bool, bool, bool]
) -> None:
    ct = chest(middle_mm)
    kept = ct.geometry
    directions = np.array(kept.directions_zyx_lps)
    origin = np.array(kept.origin_lps_mm)
    voxels = ct.voxels_hu
    for axis, flipped in enumerate(flips):
        if flipped:
            voxels = np.flip(voxels, axis)
            origin = origin + directions[axis] * _SPACING_MM * (voxels.shape[axis] - 1)
            directions[axis] *= -1
    turned = np.ascontiguousarray(voxels.transpose(axes))
    geometry = VolumeGeometry(
        turned.shape,
        kept.spacing_zyx_mm,
        (vector(directions[axes[0]]), vector(directions[axes[1]]), vector(directions[axes[2]])),
        vector(origin),
    )
    for side, away_mm in ((LungSide.RIGHT, -_LUNG_AWAY_MM), (LungSide.LEFT, _LUNG_AWAY_MM)):
        assert lung_side_of(CtVolume(turned, geometry), (middle_mm + away_mm, 0.0, 0.0)) is side


@pytest.mark.parametrize(("low_mm", "high_mm"), [(-140, 10), (-178, 40), (-60, 178), (-110, 110), (-178, 0)])
def test_the_middle_of_a_cropped_field_of_view_is_never_taken_for_the_patients(
    low_mm: float, high_mm: float
) -> None:
    ct = chest()
    start, stop = (int((edge + 178.0) / _SPACING_MM) for edge in (low_mm, high_mm))
    cropped = ct.crop(VoxelBox((0, 0, start), (_SHAPE[0], _SHAPE[1], stop)))
    for x_mm in (-75.0, -40.0, 75.0):
        assert lung_side_of(cropped, (x_mm, 0.0, 0.0)) in {
            None,
            LungSide.LEFT if x_mm > 0 else LungSide.RIGHT,
        }
    assert lung_side_of(cropped, (-75.0, 0.0, 0.0)) is None


def test_a_lung_without_air_leaves_the_side_open() -> None:
    assert lung_side_of(chest(right_air=0.0), (-75.0, 0.0, 0.0)) is None
    airless = replace(chest(), voxels_hu=np.full(_SHAPE, 40, np.int16))
    assert lung_side_of(airless, (-75.0, 0.0, 0.0)) is None


def test_gas_in_the_bowel_is_not_a_lung() -> None:
    ct = chest()
    hu = ct.voxels_hu.copy()
    hu[:, 25:35, 38:42] = np.where(hu[:, 25:35, 38:42] > -500, 40, hu[:, 25:35, 38:42])
    hu[:4, 20:40, 40:50] = -900
    assert lung_side_of(CtVolume(hu, ct.geometry), (-75.0, 0.0, 20.0)) is LungSide.RIGHT


@needs_real_ct
def test_the_lungs_of_a_real_chest() -> None:
    folder = ROOT.parent / "ct-cip-small"
    for name in ("ct-64.nrrd", "ct-64-transformed.nrrd"):
        ct = read_ct(folder / name)
        middle = ct.geometry.corners_lps_mm().mean(axis=0)
        for side, x_mm in ((LungSide.RIGHT, -60.0), (LungSide.LEFT, 60.0)):
            x, y, z = (float(v) for v in middle + np.array((x_mm, 0.0, 0.0)))
            assert lung_side_of(ct, (x, y, z)) is side
