"""Contours to masks: the rasterizer against matplotlib and closed forms, and the guards around it."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.path import Path as MatplotlibPath
from pydicom.uid import generate_uid

from engine.dicom.contours import rasterize_contours
from engine.dicom.structure_set import read_structure_set
from engine.errors import GridMismatchError, InputError, InvalidRequestError, UnreadableFileError
from engine.geometry import VolumeGeometry
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


def distance_to_edges(
    points: npt.NDArray[np.float64], vertices: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    start, along = vertices, np.roll(vertices, -1, axis=0) - vertices
    length2 = np.maximum((along**2).sum(axis=1), 1e-30)
    share = np.clip(((points[:, None] - start) * along).sum(axis=2) / length2, 0, 1)
    nearest = start + share[..., None] * along
    return np.asarray(np.linalg.norm(points[:, None] - nearest, axis=2).min(axis=1))


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(st.floats(-3, 23), st.floats(-3, 18)), min_size=3, max_size=12))
def test_any_polygon_equals_matplotlib(points: list[tuple[float, float]]) -> None:
    """Self-intersecting ones too: both follow the even-odd rule. On an edge either answer is right."""
    vertices = np.array(points)
    centers = np.argwhere(np.ones((20, 15))).astype(float)
    expected = MatplotlibPath(np.vstack([vertices, vertices[:1]]), closed=True).contains_points(centers)
    is_clear = distance_to_edges(centers, vertices) > 1e-6
    ours = rasterize_contours([vertices], (20, 15)).ravel()
    assert np.array_equal(ours[is_clear], expected[is_clear])


def test_area_of_a_circle_and_a_ring() -> None:
    disk = rasterize_contours([circle((50, 50), 40, 720)], (101, 101))
    ring = rasterize_contours([circle((50, 50), 40, 720), circle((50, 50), 20, 720)[::-1]], (101, 101))
    assert disk.sum() == pytest.approx(math.pi * 1600, rel=0.005)
    assert ring.sum() == pytest.approx(math.pi * 1200, rel=0.005)
    assert not ring[50, 50]


def test_neighbors_that_share_an_edge_neither_overlap_nor_leave_a_gap() -> None:
    left = np.array([(2.0, 2.0), (2.0, 6.0), (8.0, 6.0), (8.0, 2.0)])
    right = left + np.array([0.0, 4.0])
    both = rasterize_contours([left], (12, 14)).astype(int) + rasterize_contours([right], (12, 14))
    assert both.max() == 1
    assert both.sum() == 6 * 8


def test_a_contour_is_marked_on_its_slice_in_oblique_space() -> None:
    mask = read(on_slice(SQUARE))
    expected = np.zeros(GEOMETRY.shape_zyx, np.bool_)
    expected[3, 10:31, 10:31] = True
    assert np.array_equal(mask.voxels, expected)
    assert mask.name == "tumor"


def test_holes_and_parts_follow_the_even_odd_rule() -> None:
    hole, part = circle((20, 20), 4.2), circle((35, 40), 3.1)
    mask = read(on_slice(SQUARE), on_slice(hole), on_slice(part)).voxels[3]
    assert not mask[20, 20]
    assert mask[12, 12]
    assert mask[35, 40]
    assert (
        mask.sum()
        == 441 - rasterize_contours([hole], (40, 50)).sum() + rasterize_contours([part], (40, 50)).sum()
    )


def test_a_keyhole_contour_is_a_ring() -> None:
    inner = np.array([(16, 16), (24, 16), (24, 24), (16, 24)], dtype=float)
    keyhole = np.vstack([SQUARE, SQUARE[:1], inner, inner[:1]])
    separate = read(on_slice(SQUARE), on_slice(inner)).voxels
    assert np.array_equal(read(on_slice(keyhole)).voxels, separate)


def test_a_contour_given_twice_counts_once() -> None:
    assert read(on_slice(SQUARE), on_slice(SQUARE)).voxels.sum() == 441


def test_contours_around_any_mask_give_the_mask_back() -> None:
    voxels = np.zeros(GEOMETRY.shape_zyx, np.bool_)
    voxels[2:6, 5:35, 5:45] = np.random.default_rng(5).random((4, 30, 40)) < 0.7
    mask = LabelMask(voxels, GEOMETRY)
    assert np.array_equal(read(*mask_contours(mask)).voxels, voxels)


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


@pytest.mark.parametrize("offset", [0.1, -0.2])
def test_rounding_of_the_plane_is_tolerated(offset: float) -> None:
    assert read(on_slice(SQUARE, 3 + offset)).voxels[3].sum() == 441


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
