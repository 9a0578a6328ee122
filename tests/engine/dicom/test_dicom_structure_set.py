"""A region of a structure set on its CT, and the guards around it."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pydicom
import pytest
from pydicom.uid import generate_uid

from engine.dicom.outlines import combine_outlines
from engine.dicom.structure_set import read_structure_set
from engine.errors import (
    GridMismatchError,
    InputError,
    InvalidGeometryError,
    InvalidRequestError,
    UnreadableFileError,
)
from engine.geometry import VolumeGeometry
from engine.input_warning import InputWarningCode
from engine.volume import CtVolume, LabelMask
from tests.support.dicom_files import ct_instances, encoded, mask_contours, structure_set, write_structure_set

C, S = 0.96, 0.28
GEOMETRY = VolumeGeometry(
    (8, 40, 50),
    (2.0, 0.7, 0.8),
    ((0.0, -S, C), (0.0, C, S), (1.0, 0.0, 0.0)),
    (-10.0, 20.0, -300.0),
    generate_uid(),
)
CT = CtVolume(np.zeros(GEOMETRY.shape_zyx, np.int16), GEOMETRY)
SQUARE = np.array([(9.5, 9.5), (9.5, 30.5), (30.5, 30.5), (30.5, 9.5)])
BESIDE = SQUARE + np.array([0, 10])


def on_slice(vertices_yx: npt.ArrayLike, slice_index: float = 3.0) -> npt.NDArray[np.float64]:
    """LPS points of (row, column) vertices on a slice."""
    yx = np.asarray(vertices_yx, dtype=float)
    return GEOMETRY.to_lps(np.column_stack([np.full(len(yx), slice_index), yx]))


def read(*contours: npt.NDArray[np.float64]) -> LabelMask:
    dataset = structure_set({"tumor": contours}, frame_of_reference_uid=GEOMETRY.frame_of_reference_uid)
    return read_structure_set(encoded(dataset), CT)


def circle(center_yx: tuple[float, float], radius: float, count: int = 90) -> npt.NDArray[np.float64]:
    angle = np.linspace(0, 2 * math.pi, count, endpoint=False)
    return np.column_stack([center_yx[0] + radius * np.sin(angle), center_yx[1] + radius * np.cos(angle)])


def test_a_contour_is_marked_on_its_slice_in_oblique_space() -> None:
    mask = read(on_slice(SQUARE))
    expected = np.zeros(GEOMETRY.shape_zyx, np.bool_)
    expected[3, 10:31, 10:31] = True
    assert np.array_equal(mask.voxels, expected)
    assert mask.name == "tumor"


def pixels(*outlines: npt.NDArray[np.float64]) -> int:
    return int(combine_outlines(outlines, (40, 50)).inside.sum())


def codes(mask: LabelMask) -> list[InputWarningCode]:
    return [warning.code for warning in mask.warnings]


def test_holes_and_parts() -> None:
    hole, part = circle((20, 20), 4.2), circle((35, 40), 3.1)
    mask = read(on_slice(SQUARE), on_slice(hole), on_slice(part))
    inside = mask.voxels[3]
    assert not inside[20, 20]
    assert inside[12, 12]
    assert inside[35, 40]
    assert inside.sum() == 441 - pixels(hole) + pixels(part)
    assert mask.warnings == ()


@pytest.mark.parametrize(
    "again",
    [SQUARE, np.roll(SQUARE, 2, axis=0), SQUARE[::-1], SQUARE + 0.01, np.vstack([SQUARE, SQUARE])],
    ids=["as it is", "another start", "other way round", "rounded", "wound twice"],
)
def test_a_contour_given_twice_counts_once(again: npt.NDArray[np.float64]) -> None:
    mask = read(on_slice(SQUARE), on_slice(again))
    assert mask.voxels.sum() == 441
    assert mask.warnings == ()


def test_crossing_contours_are_united_and_said() -> None:
    mask = read(on_slice(SQUARE), on_slice(BESIDE))
    assert mask.voxels[3].sum() == 21 * 31
    assert codes(mask) == [InputWarningCode.OUTLINES_UNITED]
    assert "slice 3;" in str(mask.warnings[0])


def test_a_contour_that_crosses_another_and_its_hole_is_refused() -> None:
    with pytest.raises(InvalidGeometryError, match="on slice 3 of 'tumor' an outline crosses"):
        read(on_slice(SQUARE), on_slice(circle((20, 20), 5)), on_slice(BESIDE))


def test_contours_that_exclude_each_other_and_cross_are_refused() -> None:
    dataset = structure_set(
        {"tumor": [on_slice(SQUARE), on_slice(BESIDE)]},
        frame_of_reference_uid=GEOMETRY.frame_of_reference_uid,
    )
    for contour in dataset.ROIContourSequence[0].ContourSequence:
        contour.ContourGeometricType = "CLOSEDPLANAR_XOR"
    with pytest.raises(InvalidGeometryError, match="CLOSEDPLANAR_XOR"):
        read_structure_set(encoded(dataset), CT)


@pytest.mark.parametrize("other", [SQUARE, SQUARE + 1, circle((20, 20), 3)])
def test_two_planes_on_one_slice_are_refused(other: npt.NDArray[np.float64]) -> None:
    with pytest.raises(GridMismatchError, match=r"slice index 2.80 to 3.20\) fall on slice 3"):
        read(on_slice(SQUARE, 2.8), on_slice(other, 3.2))


def test_a_contour_too_small_for_a_voxel_is_said() -> None:
    speck = circle((20.5, 20.5), 0.3, 8)
    mask = read(on_slice(SQUARE, 2), on_slice(speck, 3), on_slice(SQUARE, 4))
    assert not mask.voxels[3].any()
    assert codes(mask) == [InputWarningCode.OUTLINE_WITHOUT_VOXEL]
    assert "slice 3" in str(mask.warnings[0])
    hole = read(on_slice(SQUARE), on_slice(speck))
    assert hole.voxels.sum() == 441
    assert codes(hole) == [InputWarningCode.OUTLINE_WITHOUT_VOXEL]


def test_contours_around_any_mask_give_the_mask_back() -> None:
    voxels = np.zeros(GEOMETRY.shape_zyx, np.bool_)
    voxels[2:6, 5:35, 5:45] = np.random.default_rng(5).random((4, 30, 40)) < 0.7
    again = read(*mask_contours(LabelMask(voxels, GEOMETRY)))
    assert np.array_equal(again.voxels, voxels)
    assert again.warnings == ()


def test_regions_are_chosen_by_name(tmp_path: Path) -> None:
    regions = {"tumor": [on_slice(SQUARE)], "zone": [on_slice(circle((20, 20), 5))]}
    path = write_structure_set(
        tmp_path / "rs.dcm", regions, frame_of_reference_uid=GEOMETRY.frame_of_reference_uid
    )
    assert read_structure_set(path, CT, roi="tumor").voxels.sum() == 441
    with pytest.raises(InvalidRequestError, match="2 regions \\('tumor', 'zone'\\)"):
        read_structure_set(path, CT)
    with pytest.raises(InvalidRequestError, match="0 regions named 'lung'"):
        read_structure_set(path, CT, roi="lung")


@pytest.mark.parametrize(("offset", "is_said"), [(0.08, False), (-0.08, False), (0.15, True), (-0.2, True)])
def test_a_plane_beside_its_slice_is_said_beyond_rounding(offset: float, is_said: bool) -> None:
    mask = read(on_slice(SQUARE, 3 + offset))
    assert mask.voxels[3].sum() == 441
    assert codes(mask) == [InputWarningCode.OUTLINE_BESIDE_SLICE] * is_said


@pytest.mark.parametrize("offset", [0.3, 0.5])
def test_contours_between_slices_are_refused(offset: float) -> None:
    with pytest.raises(GridMismatchError, match="between or across slices"):
        read(on_slice(SQUARE, 3 + offset))


def test_contours_across_slices_are_refused() -> None:
    tilted = np.vstack([on_slice(SQUARE[:2]), on_slice(SQUARE[2:], 5)])
    with pytest.raises(GridMismatchError, match="across slices"):
        read(tilted)


@pytest.mark.parametrize(
    "contour",
    [on_slice(SQUARE, 9), on_slice(SQUARE + np.array([15, 0])), on_slice(SQUARE - np.array([0, 12]))],
)
def test_contours_outside_the_ct_are_refused(contour: npt.NDArray[np.float64]) -> None:
    with pytest.raises(GridMismatchError, match="leaves the CT"):
        read(contour)


def test_a_slice_left_out_is_refused_and_two_separate_parts_are_not() -> None:
    with pytest.raises(GridMismatchError, match="slices 3 and 5 and none between"):
        read(on_slice(SQUARE, 3), on_slice(SQUARE, 5))
    apart = read(on_slice(circle((8, 8), 4), 2), on_slice(circle((30, 40), 4), 6))
    assert sorted(set(np.nonzero(apart.voxels)[0].tolist())) == [2, 6]
    assert codes(apart) == [InputWarningCode.SLICE_WITHOUT_OUTLINE]
    assert "slices 3, 4, 5" in str(apart.warnings[0])


def test_another_frame_of_reference_is_refused() -> None:
    dataset = structure_set({"tumor": [on_slice(SQUARE)]}, frame_of_reference_uid="1.2.3")
    with pytest.raises(GridMismatchError, match="frame of reference"):
        read_structure_set(encoded(dataset), CT)


@pytest.mark.parametrize(
    ("kind", "points"),
    [("POINT", 1), ("OPEN_PLANAR", 4), ("", 4), ("CLOSED_PLANAR", 2), ("CLOSED_PLANAR", 1)],
)
def test_what_is_no_closed_contour_is_refused(kind: str, points: int) -> None:
    dataset = structure_set({"tumor": [on_slice(SQUARE)[:points]]})
    dataset.StructureSetROISequence[0].ReferencedFrameOfReferenceUID = ""
    dataset.ROIContourSequence[0].ContourSequence[0].ContourGeometricType = kind
    with pytest.raises(UnreadableFileError, match="closed planar"):
        read_structure_set(encoded(dataset), CT)


def test_points_that_were_lost_or_are_no_numbers_are_refused() -> None:
    dataset = structure_set({"tumor": [on_slice(SQUARE)]})
    dataset.StructureSetROISequence[0].ReferencedFrameOfReferenceUID = ""
    contour = dataset.ROIContourSequence[0].ContourSequence[0]
    contour.NumberOfContourPoints = 5
    with pytest.raises(UnreadableFileError, match="announces 5 points and has 4"):
        read_structure_set(encoded(dataset), CT)
    contour.NumberOfContourPoints = 4
    for damaged in ("nan", "inf"):
        contour["ContourData"] = pydicom.DataElement(
            "ContourData", "LO", [damaged, *map(str, contour.ContourData[1:])]
        )
        with pytest.raises(UnreadableFileError, match="ContourData"):
            read_structure_set(encoded(dataset), CT)


def test_a_contour_that_is_to_be_moved_is_refused() -> None:
    dataset = structure_set(
        {"tumor": [on_slice(SQUARE)]}, frame_of_reference_uid=GEOMETRY.frame_of_reference_uid
    )
    contour = dataset.ROIContourSequence[0].ContourSequence[0]
    contour.ContourOffsetVector = [0, 0, 0]
    assert read_structure_set(encoded(dataset), CT).voxels.sum() == 441
    contour.ContourOffsetVector = [0, 0, 2.5]
    with pytest.raises(UnreadableFileError, match="ContourOffsetVector"):
        read_structure_set(encoded(dataset), CT)


def test_a_region_without_contours_is_empty() -> None:
    assert not read().voxels.any()


def test_what_is_no_structure_set_is_refused() -> None:
    with pytest.raises(UnreadableFileError, match="not an RT structure set"):
        read_structure_set(encoded(ct_instances(CT)[0]), CT)
    dataset = structure_set(
        {"tumor": [on_slice(SQUARE)]}, frame_of_reference_uid=GEOMETRY.frame_of_reference_uid
    )
    del dataset.ROIContourSequence[0].ContourSequence[0].ContourData
    with pytest.raises(InputError, match="ContourData"):
        read_structure_set(encoded(dataset), CT)
