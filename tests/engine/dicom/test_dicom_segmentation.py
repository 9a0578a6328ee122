"""DICOM segmentations on the grid of their CT."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from engine.dicom.segmentation import read_segmentation
from engine.errors import GridMismatchError, InputError, InvalidRequestError, UnreadableFileError
from engine.geometry import VolumeGeometry
from engine.volume import CtVolume
from tests.support.dicom_files import ct_instances, encoded, segmentation, write_segmentation

C, S = 0.96, 0.28
OBLIQUE = ((0.0, -S, C), (0.0, C, S), (1.0, 0.0, 0.0))


def oblique_ct() -> CtVolume:
    geometry = VolumeGeometry((6, 10, 12), (2.0, 0.7, 0.8), OBLIQUE, (-10.0, 20.0, -300.0), generate_uid())
    return CtVolume(np.zeros(geometry.shape_zyx, np.int16), geometry)


CT = oblique_ct()


def blob(seed: int, slices: slice = slice(1, 5)) -> npt.NDArray[np.bool_]:
    mask = np.zeros(CT.geometry.shape_zyx, np.bool_)
    mask[slices, 2:8, 3:9] = np.random.default_rng(seed).random(mask[slices, 2:8, 3:9].shape) < 0.6
    return mask


def made(masks: dict[str, npt.NDArray[Any]], kind: str = "BINARY", **overrides: Any) -> Dataset:
    return segmentation(ct_instances(CT), masks, kind=kind, **overrides)


@pytest.mark.parametrize("kind", ["BINARY", "FRACTIONAL", "LABELMAP"])
def test_a_segment_comes_back(kind: str, tmp_path: Path) -> None:
    mask = blob(1)
    path = write_segmentation(tmp_path / "seg.dcm", CT, {"tumor": mask}, kind=kind)
    read = read_segmentation(path, CT)
    assert np.array_equal(read.voxels, mask)
    assert read.name == "tumor"
    assert read.geometry == CT.geometry


def test_overlapping_segments_are_chosen_by_number() -> None:
    tumor, zone = blob(1), blob(2)
    content = encoded(made({"tumor": tumor, "zone": zone}))
    assert (tumor & zone).any()
    assert np.array_equal(read_segmentation(content, CT, segment=1).voxels, tumor)
    assert np.array_equal(read_segmentation(content, CT, segment=2).voxels, zone)
    with pytest.raises(InvalidRequestError, match="2 segments \\(1 'tumor', 2 'zone'\\)"):
        read_segmentation(content, CT)
    with pytest.raises(InvalidRequestError, match="no segment 3"):
        read_segmentation(content, CT, segment=3)


@pytest.mark.parametrize("choice", ["Lung tumor", " lung TUMOR ", "1"])
def test_a_segment_is_chosen_by_label_too(choice: str) -> None:
    content = encoded(made({"Lung tumor": blob(1), "zone": blob(2)}))
    assert np.array_equal(read_segmentation(content, CT, segment=choice).voxels, blob(1))


def relabeled(labels: list[str]) -> bytes:
    dataset = made({str(k): blob(k) for k in range(len(labels))})
    for item, label in zip(dataset.SegmentSequence, labels, strict=True):
        item.SegmentLabel = label
    return encoded(dataset)


def test_a_label_that_several_segments_have_is_refused_with_their_numbers() -> None:
    with pytest.raises(InvalidRequestError, match=r"2 segments labeled 'tumor' \(numbers 1, 3\)"):
        read_segmentation(relabeled(["tumor", "zone", "tumor"]), CT, segment="tumor")
    with pytest.raises(InvalidRequestError, match=r"numbers 1, 2"):
        read_segmentation(relabeled(["Tumor", "TUMOR"]), CT, segment="tumor")


def test_a_number_comes_before_a_label_and_exact_case_before_another() -> None:
    assert np.array_equal(read_segmentation(relabeled(["2", "1"]), CT, segment="2").voxels, blob(1))
    assert np.array_equal(read_segmentation(relabeled(["7", "x"]), CT, segment="7").voxels, blob(0))
    assert np.array_equal(
        read_segmentation(relabeled(["Tumor", "tumor"]), CT, segment="tumor").voxels, blob(1)
    )


def test_a_fractional_segment_is_cut_at_one_half() -> None:
    fraction = np.where(blob(1), 0.7, 0.3)
    assert np.array_equal(read_segmentation(encoded(made({"a": fraction}, "FRACTIONAL")), CT).voxels, blob(1))


def test_empty_segments_are_read_as_empty() -> None:
    content = encoded(made({"none": np.zeros_like(blob(1))}, omit_empty_frames=False))
    assert not read_segmentation(content, CT).voxels.any()


def test_a_flipped_grid_of_the_same_voxels_is_laid_on() -> None:
    """The CT's slices in reverse and its rows turned round: other frames, the same voxels."""
    own = CT.geometry
    flipped = VolumeGeometry(
        own.shape_zyx,
        own.spacing_zyx_mm,
        ((0.0, S, -C), (0.0, -C, -S), (1.0, 0.0, 0.0)),
        tuple(own.to_lps((5, 9, 0)).tolist()),
        own.frame_of_reference_uid,
    )
    other = CtVolume(np.zeros(own.shape_zyx, np.int16), flipped)
    mask = blob(4)
    content = encoded(segmentation(ct_instances(other), {"tumor": mask}))
    assert np.array_equal(read_segmentation(content, CT).voxels, mask[::-1, ::-1])


def shifted(offset_lps_mm: tuple[float, float, float]) -> bytes:
    dataset = made({"tumor": blob(1)})
    for item in dataset.PerFrameFunctionalGroupsSequence:
        plane = item.PlanePositionSequence[0]
        plane.ImagePositionPatient = [
            f"{float(v) + d:.6f}" for v, d in zip(plane.ImagePositionPatient, offset_lps_mm, strict=True)
        ]
    return encoded(dataset)


def test_a_whole_voxel_shift_moves_the_mask_and_leaving_the_ct_is_refused() -> None:
    assert np.array_equal(read_segmentation(shifted((0.8, 0, 0)), CT).voxels, np.roll(blob(1), 1, axis=2))
    with pytest.raises(GridMismatchError, match="outside the CT"):
        read_segmentation(shifted((8.0, 0, 0)), CT)


@pytest.mark.parametrize("offset", [(0.4, 0, 0), (0, -0.28, 0.96)])
def test_pixels_between_voxels_are_refused(offset: tuple[float, float, float]) -> None:
    with pytest.raises(GridMismatchError, match="not on the voxels"):
        read_segmentation(shifted(offset), CT)


def test_a_coarser_grid_is_refused() -> None:
    """Every second slice of a CT: each frame lies on a slice, the segmentation does not."""
    own = CT.geometry
    coarse = VolumeGeometry(
        (3, 10, 12), (4.0, 0.7, 0.8), OBLIQUE, own.origin_lps_mm, own.frame_of_reference_uid
    )
    source = ct_instances(CtVolume(np.zeros((3, 10, 12), np.int16), coarse))
    dataset = segmentation(source, {"tumor": np.ones((3, 10, 12), np.bool_)})
    measures = dataset.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    del measures.SpacingBetweenSlices
    with pytest.raises(GridMismatchError, match="no two neighboring slices"):
        read_segmentation(encoded(dataset), CT)
    measures.SpacingBetweenSlices = 4
    with pytest.raises(GridMismatchError, match="another spacing"):
        read_segmentation(encoded(dataset), CT)
    measures.PixelSpacing = [1.4, 1.6]
    with pytest.raises(GridMismatchError):
        read_segmentation(encoded(dataset), CT)


def test_another_frame_of_reference_is_refused() -> None:
    dataset = made({"tumor": blob(1)})
    dataset.FrameOfReferenceUID = "1.2.3"
    with pytest.raises(GridMismatchError, match="frame of reference"):
        read_segmentation(encoded(dataset), CT)


def test_what_is_no_segmentation_is_refused() -> None:
    with pytest.raises(UnreadableFileError, match="not a DICOM segmentation"):
        read_segmentation(encoded(ct_instances(CT)[0]), CT)
    with pytest.raises(UnreadableFileError):
        read_segmentation(b"", CT)


@pytest.mark.parametrize(
    "keyword",
    ["SegmentSequence", "PerFrameFunctionalGroupsSequence", "SharedFunctionalGroupsSequence", "PixelData",
     "NumberOfFrames", "SegmentationType", "Rows"],
)  # fmt: skip
def test_missing_attributes_are_typed_errors(keyword: str) -> None:
    dataset = made({"tumor": blob(1)})
    delattr(dataset, keyword)
    with pytest.raises(InputError):
        read_segmentation(encoded(dataset), CT)


def test_truncated_pixels_are_unreadable() -> None:
    dataset = made({"tumor": blob(1)})
    dataset.PixelData = dataset.PixelData[:10]
    with pytest.raises(UnreadableFileError):
        read_segmentation(encoded(dataset), CT)
