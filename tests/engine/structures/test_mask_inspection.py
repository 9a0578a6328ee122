"""Lost slices, holes, stray voxels and parts of a mask are found where they are, and a whole mask has none."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from engine.errors import EmptyMaskError
from engine.geometry import VolumeGeometry, index3
from engine.structures import mask_inspection
from engine.structures.mask_inspection import MaskInspection, inspect_mask
from engine.volume import LabelMask
from tests.support.spheres import ball, centered_grid

T = TypeVar("T")
DATA = os.environ.get("COLDSPOT_DATA")

GRID = centered_grid((1.0, 0.75, 0.75), 40.0)
ZONE = ball(GRID, (0.0, 0.0, 0.0), 18.0, "ablation zone")
MIDDLE = np.array(GRID.shape_zyx) // 2


def changed(*holes: tuple[slice | int, ...], plus: tuple[tuple[slice | int, ...], ...] = ()) -> LabelMask:
    """The zone without some voxels and with others."""
    voxels = ZONE.voxels.copy()
    for hole in holes:
        voxels[hole] = False
    for part in plus:
        voxels[part] = True
    return LabelMask(voxels, GRID, ZONE.name)


def counts(found: MaskInspection) -> tuple[int, int, int, int, int]:
    return (len(found.parts), len(found.holes), found.empty_slices, len(found.channels), len(found.pits))


def require_same(found: MaskInspection, expected: MaskInspection) -> None:
    assert counts(found) == counts(expected)
    for kind in ("parts", "holes", "gaps", "channels", "pits"):
        one, other = (
            sorted((*it.place_lps_mm, it.volume_ml) for it in getattr(of, kind)) for of in (found, expected)
        )
        assert np.allclose(one, other, rtol=0.0, atol=1e-6)


def three(values: Iterable[T]) -> tuple[T, T, T]:
    a, b, c = values
    return a, b, c


def position(index_zyx: npt.ArrayLike) -> tuple[float, float, float]:
    return three(float(v) for v in GRID.to_lps(index_zyx))


@pytest.mark.parametrize(
    "whole",
    [
        ZONE,
        ball(centered_grid((5.0, 0.7, 0.7), 40.0), (1.0, 2.0, 1.0), 15.0, "tumor"),
        ball(centered_grid((1.0, 1.0, 1.0), 30.0), (0.3, 0.2, 0.4), (4.0, 9.0, 14.0), "tumor"),
        LabelMask(np.ones((3, 4, 5), dtype=np.bool_), VolumeGeometry((3, 4, 5), (1.0, 1.0, 1.0))),
        LabelMask(np.ones((1, 1, 1), dtype=np.bool_), VolumeGeometry((1, 1, 1), (1.0, 1.0, 1.0))),
    ],
)
def test_a_whole_mask_has_nothing_to_name(whole: LabelMask) -> None:
    found = inspect_mask(whole)
    assert counts(found) == (1, 0, 0, 0, 0)
    assert found.gaps == ()
    assert found.voxels == np.count_nonzero(whole.voxels)
    assert found.volume_ml == pytest.approx(whole.volume_ml)


def test_an_empty_mask_is_refused() -> None:
    with pytest.raises(EmptyMaskError):
        inspect_mask(
            LabelMask(np.zeros((3, 4, 5), dtype=np.bool_), VolumeGeometry((3, 4, 5), (1.0, 1.0, 1.0)))
        )


@pytest.mark.parametrize("slices", [(0,), (-9, 5), (-12, -11), (-15, -14, -13, 0, 15)])
def test_empty_slices_between_marked_ones_are_lost(slices: tuple[int, ...]) -> None:
    found = inspect_mask(changed(*((int(MIDDLE[0]) + k,) for k in slices)))
    assert found.empty_slices == len(slices)
    lost = sorted(k for gap in found.gaps for k in range(gap.first, gap.first + gap.count))
    assert lost == sorted(int(MIDDLE[0]) + k for k in slices)
    assert all(gap.lost and gap.empty and gap.axis == 0 for gap in found.gaps)


def test_a_lost_slice_has_its_volume_and_place() -> None:
    (gap,) = inspect_mask(changed((int(MIDDLE[0]),))).gaps
    slice_ml = np.count_nonzero(ZONE.voxels[MIDDLE[0]]) * GRID.voxel_volume_ml
    assert gap.volume_ml == pytest.approx(slice_ml, rel=0.02)
    assert gap.place_lps_mm == pytest.approx((0.0, 0.0, 0.0), abs=0.1)


@pytest.mark.parametrize("axis", [1, 2])
def test_a_plane_lost_across_another_axis_is_found(axis: int) -> None:
    where: list[slice | int] = [slice(None)] * 3
    where[axis] = int(MIDDLE[axis]) + 3
    found = inspect_mask(changed(tuple(where)))
    assert [(gap.axis, gap.first, gap.lost, gap.empty) for gap in found.gaps] == [
        (axis, MIDDLE[axis] + 3, True, True)
    ]
    assert found.empty_slices == 1


def test_a_slice_that_only_one_of_two_lobes_has_lost_is_found() -> None:
    lobe = ball(GRID, (26.0, 0.0, 0.0), 7.0, "ablation zone").voxels
    voxels = ZONE.voxels | lobe
    voxels[MIDDLE[0] + 1] &= ~lobe[MIDDLE[0] + 1]
    (gap,) = inspect_mask(LabelMask(voxels, GRID)).gaps
    assert (gap.axis, gap.first, gap.lost, gap.empty) == (0, MIDDLE[0] + 1, True, False)
    assert gap.place_lps_mm == pytest.approx((26.0, 0.0, 1.0), abs=0.5)


def test_a_slice_that_has_lost_half_its_area_is_named_and_not_called_lost() -> None:
    found = inspect_mask(changed((int(MIDDLE[0]) + 2, slice(None), slice(0, int(MIDDLE[2])))))
    assert [(gap.axis, gap.first, gap.lost, gap.empty) for gap in found.gaps] == [
        (0, MIDDLE[0] + 2, False, False)
    ]
    assert found.empty_slices == 0


def test_two_lobes_above_each_other_have_no_lost_slice_between_them() -> None:
    lobes = [ball(GRID, (0.0, 0.0, z), 8.0, "tumor").voxels for z in (-10.0, 10.0)]
    found = inspect_mask(LabelMask(lobes[0] | lobes[1], GRID))
    assert len(found.parts) == 2
    assert found.empty_slices == 3
    assert not any(gap.lost for gap in found.gaps)
    assert found.parts[1].distance_mm == pytest.approx(4.0)


@pytest.mark.parametrize("offset", [(0, 0, 0), (5, -6, 9), (-12, 3, 0)])
@pytest.mark.parametrize("size", [1, 2, 6])
def test_a_hole_has_its_volume_and_place(offset: tuple[int, int, int], size: int) -> None:
    start = MIDDLE + offset
    found = inspect_mask(changed(tuple(slice(int(k), int(k) + size) for k in start)))
    assert counts(found) == (1, 1, 0, 0, 0)
    (hole,) = found.holes
    assert hole.voxels == size**3
    assert hole.volume_ml == pytest.approx(size**3 * GRID.voxel_volume_ml)
    center = position(tuple(start + (size - 1) / 2))
    assert hole.place_lps_mm == pytest.approx(center)


def test_a_hole_that_touches_the_outside_by_a_corner_alone_is_a_hole() -> None:
    voxels = np.zeros((7, 7, 7), dtype=np.bool_)
    voxels[1:6, 1:6, 1:6] = True
    voxels[2, 2, 2] = voxels[1, 1, 1] = False
    assert len(inspect_mask(LabelMask(voxels, VolumeGeometry((7, 7, 7), (1.0, 1.0, 1.0)))).holes) == 1


def test_a_lost_row_is_a_channel_and_a_lost_voxel_of_the_surface_a_pit() -> None:
    row = inspect_mask(changed((int(MIDDLE[0]), int(MIDDLE[1]) + 4)))
    assert counts(row) == (1, 0, 0, 1, 0)
    assert row.channels[0].voxels > 40
    bottom = int(np.flatnonzero(ZONE.voxels[:, MIDDLE[1], MIDDLE[2]])[0])
    pit = inspect_mask(
        changed((bottom + 1, int(MIDDLE[1]), int(MIDDLE[2])), (bottom, int(MIDDLE[1]), int(MIDDLE[2])))
    )
    assert counts(pit) == (1, 0, 0, 0, 1)


@pytest.mark.parametrize("far", [(0, 0, 30), (35, 0, 0), (-20, 35, -35)])
def test_a_stray_voxel_is_a_part_with_its_distance(far: tuple[int, int, int]) -> None:
    place = index3(MIDDLE + far)
    found = inspect_mask(changed(plus=(place,)))
    assert (len(found.parts), len(found.holes)) == (2, 0)
    stray = found.parts[1]
    marked = GRID.to_lps(np.argwhere(ZONE.voxels))
    nearest_mm = np.linalg.norm(marked - GRID.to_lps(place), axis=1).min()
    assert stray.voxels == 1
    assert stray.place_lps_mm == pytest.approx(position(place))
    assert stray.distance_mm == pytest.approx(nearest_mm)
    assert not any(gap.lost for gap in found.gaps)


def test_clusters_apart_are_found_as_in_one_box(monkeypatch: pytest.MonkeyPatch) -> None:
    faulty = changed(
        (int(MIDDLE[0]) + 5,),
        (int(MIDDLE[0]), int(MIDDLE[1]), int(MIDDLE[2])),
        plus=((2, 3, 4), (75, 90, 90)),
    )
    at_once = inspect_mask(faulty)
    monkeypatch.setattr(mask_inspection, "_BOX_VOXELS", 0)
    monkeypatch.setattr(mask_inspection, "_BLOCK_VOXELS", 8)
    assert len(list(mask_inspection._clusters(faulty))) == 3
    require_same(inspect_mask(faulty), at_once)
    monkeypatch.setattr(mask_inspection, "_CLUSTERS", 2)
    assert len(list(mask_inspection._clusters(faulty))) == 1


@settings(max_examples=60, deadline=None)
@given(arrays(np.bool_, st.tuples(*[st.integers(1, 7)] * 3)))
def test_parts_holes_and_empty_slices_are_those_of_their_definitions(voxels: np.ndarray) -> None:
    grid = VolumeGeometry(voxels.shape, (1.0, 0.9, 0.8))
    if not voxels.any():
        return
    found = inspect_mask(LabelMask(voxels.copy(), grid))
    assert len(found.parts) == ndimage.label(voxels, np.ones((3, 3, 3)))[1]
    cavities = ndimage.binary_fill_holes(voxels) & ~voxels
    assert len(found.holes) == ndimage.label(cavities)[1]
    assert sum(hole.voxels for hole in found.holes) == np.count_nonzero(cavities)
    marked = np.flatnonzero(voxels.any(axis=(1, 2)))
    empty = marked[-1] - marked[0] + 1 - marked.size
    assert sum(gap.count for gap in found.gaps if gap.axis == 0 and gap.empty) == empty


@settings(max_examples=20, deadline=None)
@given(st.permutations(range(3)), st.tuples(*[st.sampled_from([1, -1])] * 3), st.integers(0, 3))
def test_the_axis_order_of_a_file_changes_nothing(
    order: list[int], signs: tuple[int, ...], fault: int
) -> None:
    middle = tuple(int(k) for k in MIDDLE)
    mask = (changed((middle[0] + 3,)), changed(middle), changed(plus=((2, 2, 2),)), ZONE)[fault]
    first = [GRID.shape_zyx[axis] - 1 if signs[axis] < 0 else 0 for axis in range(3)]
    stored = replace(
        GRID,
        shape_zyx=three(GRID.shape_zyx[axis] for axis in order),
        spacing_zyx_mm=three(GRID.spacing_zyx_mm[axis] for axis in order),
        directions_zyx_lps=three(
            three(signs[axis] * v for v in GRID.directions_zyx_lps[axis]) for axis in order
        ),
        origin_lps_mm=three(float(v) for v in GRID.to_lps(first)),
    )
    voxels = mask.voxels[tuple(slice(None, None, sign) for sign in signs)].transpose(order)
    require_same(inspect_mask(LabelMask(np.ascontiguousarray(voxels), stored)), inspect_mask(mask))


@pytest.mark.skipif(not DATA, reason="COLDSPOT_DATA is not set: no readers' contours to inspect")
def test_readers_contours_are_seldom_called_faulty() -> None:
    folder = Path(DATA or "absent") / "shapes-lidc"
    stored = np.load(folder / "lidc_nodule_masks_250.npz")
    lost, with_holes, with_channels = [], 0, 0
    for row in csv.DictReader((folder / "index.csv").read_text().splitlines()):
        shape = three(int(row[key]) for key in ("nz", "ny", "nx"))
        bits = np.unpackbits(stored[f"m{int(row['index']):03d}"])[: int(np.prod(shape))]
        grid = VolumeGeometry(shape, three(float(row[key]) for key in ("dz_mm", "dy_mm", "dx_mm")))
        found = inspect_mask(LabelMask(bits.reshape(shape).astype(np.bool_), grid))
        lost += [int(row["index"]) for gap in found.gaps if gap.lost]
        with_holes += bool(found.holes)
        with_channels += bool(found.channels)
    assert lost == [149, 235], "one has a lobe without one slice, the other an empty slice"
    assert with_holes <= 8
    assert with_channels == 0
