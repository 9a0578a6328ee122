"""The connected parts of a segmentation: which voxels they have, how far they may go on, how sure their contour is."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from engine.geometry import VolumeGeometry, VoxelBox
from engine.kernels.components import find_components
from engine.structures.model_contour import Parts, model_sd_mm
from engine.volume import CtVolume

CT_SHAPE = (14, 26, 30)
SPACING = (3.0, 1.0, 2.0)
CT = CtVolume(
    np.zeros(CT_SHAPE, dtype=np.int16), VolumeGeometry(CT_SHAPE, SPACING, origin_lps_mm=(5.0, -7.0, 100.0))
)
BOX = VoxelBox((2, 3, 4), (12, 24, 26))
SHAPE = BOX.shape_zyx


def voxels(*boxes: tuple[slice, slice, slice]) -> npt.NDArray[np.bool_]:
    marked = np.zeros(SHAPE, dtype=np.bool_)
    for box in boxes:
        marked[box] = True
    return marked


LARGE = voxels((slice(2, 5), slice(4, 12), slice(6, 12)))
SMALL = voxels((slice(7, 9), slice(15, 18), slice(14, 17)))


def parts(
    marked: npt.NDArray[np.bool_], probability: npt.NDArray[np.float32] | None = None, box: VoxelBox = BOX
) -> Parts:
    share = marked.astype(np.float32) if probability is None else probability
    labels = marked.astype(np.uint8)
    return Parts(CT, CT.geometry.crop(box), labels, share, find_components(marked, SPACING))


def test_parts_are_numbered_by_size() -> None:
    both = parts(LARGE | SMALL)
    assert both.box == BOX
    for part, own in enumerate((LARGE, SMALL)):
        assert np.array_equal(both.voxels(part), own)
        assert np.array_equal(both.voxel_indices(part), np.argwhere(own))
        on_ct = both.on_ct(both.voxels(part), "a name")
        assert (on_ct.name, on_ct.geometry) == ("a name", CT.geometry)
        assert np.array_equal(on_ct.voxels[BOX.slices], own)
        assert np.count_nonzero(on_ct.voxels) == np.count_nonzero(own)


def test_a_box_is_padded_by_millimeters_as_far_as_the_grid_goes() -> None:
    both = parts(LARGE | SMALL)
    assert both.box_of(0) == VoxelBox((2, 4, 6), (5, 12, 12))
    assert both.box_of(0, 4.0) == VoxelBox((0, 0, 4), (7, 16, 14))
    assert both.box_of(1, 8.0) == VoxelBox((4, 7, 10), (10, 21, 21))


def test_the_place_of_a_part_is_its_voxel_nearest_to_the_middle() -> None:
    """Of a U along y the middle lies in the gap; a voxel is 3 mm in z and 2 mm in x."""
    bent = voxels(
        (slice(4, 5), slice(4, 15), slice(6, 7)),
        (slice(4, 5), slice(4, 15), slice(12, 13)),
        (slice(4, 5), slice(4, 5), slice(6, 13)),
    )
    index = np.argwhere(bent)
    away = (index - index.mean(axis=0)) * np.array(SPACING)
    nearest = index[np.argmin((away**2).sum(axis=1))] + np.array(BOX.start_zyx)
    assert parts(bent).place_lps_mm(0) == pytest.approx(tuple(CT.geometry.to_lps(nearest)))
    assert bent[tuple(nearest - np.array(BOX.start_zyx))]


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("end", ["low", "high"])
def test_a_part_is_cut_where_the_box_ends_and_the_ct_does_not(axis: int, end: str) -> None:
    reach = [slice(4, 6)] * 3
    reach[axis] = slice(0, 6) if end == "low" else slice(4, SHAPE[axis])
    assert parts(voxels((reach[0], reach[1], reach[2]))).cut_by_box(0)
    inward = list(reach)
    inward[axis] = slice(1, 6) if end == "low" else slice(4, SHAPE[axis] - 1)
    assert not parts(voxels((inward[0], inward[1], inward[2]))).cut_by_box(0)

    start, stop = list(BOX.start_zyx), list(BOX.stop_zyx)
    if end == "low":
        start[axis] = 0
    else:
        stop[axis] = CT_SHAPE[axis]
    to_the_end = VoxelBox((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))
    marked = np.zeros(to_the_end.shape_zyx, dtype=np.bool_)
    reach[axis] = slice(0, 6) if end == "low" else slice(4, to_the_end.shape_zyx[axis])
    marked[tuple(reach)] = True
    assert not parts(marked, box=to_the_end).cut_by_box(0)


def test_a_part_grows_to_all_that_hangs_together_with_it() -> None:
    share = np.where(LARGE | SMALL, 1.0, 0.0).astype(np.float32)
    corner, exact, doubtful = (5, 12, 12), (3, 12, 8), (3, 3, 8)
    share[corner] = 0.3  # touches the part's corner alone
    share[exact] = 0.25
    share[doubtful] = 0.24
    share[8, 2, 20] = 0.9  # near, but apart
    grown = parts(LARGE | SMALL, share).grown_to(0, 0.25)
    expected = LARGE.copy()
    expected[corner] = expected[exact] = True
    assert grown.dtype == np.bool_
    assert np.array_equal(grown, expected)


def test_a_part_neither_grows_into_another_one_nor_beyond_8_mm() -> None:
    share = np.full(SHAPE, 0.5, dtype=np.float32)
    both = parts(LARGE | SMALL, share)
    grown = both.grown_to(0, 0.25)
    near = np.zeros(SHAPE, dtype=np.bool_)
    near[both.box_of(0, 8.0).slices] = True
    assert np.array_equal(grown, near & ~SMALL)


def test_a_part_shrinks_to_what_is_sure() -> None:
    share = np.where(LARGE | SMALL, 0.75, 0.9).astype(np.float32)
    share[3, 6, 8] = 0.74
    expected = LARGE.copy()
    expected[3, 6, 8] = False
    assert np.array_equal(parts(LARGE | SMALL, share).shrunk_to(0, 0.75), expected)


def test_the_doubt_of_a_contour_is_its_own_and_the_least_of_any_in_quadrature() -> None:
    rng = np.random.default_rng(4)
    share = np.where(LARGE | SMALL, 0.9, 0.1) + rng.uniform(-0.1, 0.1, SHAPE)
    both = parts(LARGE | SMALL, share.astype(np.float32))
    box = both.box_of(0, 8.0).slices
    own = model_sd_mm(np.where(SMALL, 0.0, share).astype(np.float32)[box], SPACING)
    assert own > 0.2
    assert both.contour_sd_mm(0, 0.0) == pytest.approx(own)
    assert both.contour_sd_mm(0, 1.5) == pytest.approx(np.hypot(own, 1.5))
    assert both.contour_sd_mm(1, 0.0) != pytest.approx(own)
