"""A segment of a DICOM segmentation as a mask on its CT."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import highdicom
import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from engine.arrays import Float64Array
from engine.dicom.attributes import items, numbers, optional_number, text, whole_number
from engine.dicom.frames import functional_group, vector3
from engine.dicom.image_shape import slice_shape
from engine.dicom.instances import DicomInstance, InstanceSource, one_instance
from engine.dicom.stacking import slice_axes
from engine.errors import GridMismatchError, InvalidGeometryError, InvalidRequestError, UnreadableFileError
from engine.geometry import VolumeGeometry
from engine.volume import CtVolume, LabelMask

_ON_GRID_TOLERANCE = 0.1
"""A segmented pixel center may be this share of a voxel away from a voxel center of the CT."""

_FRACTIONAL_THRESHOLD = 0.5
"""A fractional segment is inside where probability or occupancy reaches one half."""


def read_segmentation(source: InstanceSource, ct: CtVolume, *, segment: int | str | None = None) -> LabelMask:
    """Lay one segment on the grid of a CT, frame by frame, by physical position.

    Frames may be sparse, cropped, flipped or in another plane of the same grid; segments may
    overlap. BINARY, FRACTIONAL and LABELMAP segmentations (PS3.3 C.8.20.2) are read.

    Parameters
    ----------
    source : Path, bytes or DicomInstance
        A DICOM SEG file, or its content.
    ct : CtVolume
        The CT it was drawn on.
    segment : int or str, optional
        Segment number, or its label; may be left out when there is only one.

    Returns
    -------
    LabelMask
        On the grid of ``ct``; empty if no pixel of the segment is set.

    Raises
    ------
    UnreadableFileError
        If it is not a segmentation, or a damaged one.
    InvalidRequestError
        If the segment is not there, or several are and none was chosen or the label names several.
    GridMismatchError
        If its pixels are not voxels of the CT.
    """
    instance = one_instance(source, "the segmentation")
    if text(instance.dataset, "Modality", instance.name) != "SEG":
        raise UnreadableFileError(f"{instance.name} is not a DICOM segmentation; choose the SEG file")
    _require_same_frame(instance, ct)
    slice_shape(instance.dataset, instance.name)
    segmentation = _parse(instance)
    number, label = _choose(segmentation, segment, instance.name)
    voxels = np.zeros(ct.geometry.shape_zyx, dtype=np.bool_)
    slices: set[int] = set()
    for frame, item in _frames_of(segmentation, number, instance.name):
        inside = _inside(segmentation, frame, number, instance.name)
        index = _voxel_indices(segmentation, item, inside, ct.geometry, f"frame {frame} of {instance.name}")
        voxels[tuple(index.T)] = True
        slices.update(np.unique(index[:, 0]).tolist())
    _require_no_comb(slices, instance)
    return LabelMask(voxels, ct.geometry, label)


def _parse(instance: DicomInstance) -> highdicom.seg.Segmentation:
    try:
        return highdicom.seg.Segmentation.from_dataset(instance.dataset, copy=False)
    except Exception as error:  # highdicom and pydicom raise anything on damaged objects
        raise UnreadableFileError(
            f"{instance.name} is a damaged segmentation ({error}); export it again"
        ) from error


def _require_same_frame(instance: DicomInstance, ct: CtVolume) -> None:
    referenced = text(instance.dataset, "FrameOfReferenceUID", instance.name)
    own = ct.geometry.frame_of_reference_uid
    if referenced and own and referenced != own:
        raise GridMismatchError(
            f"{instance.name} was drawn in frame of reference {referenced}, the CT has {own}; "
            "send the segmentation of this CT"
        )


def _choose(dataset: Dataset, segment: int | str | None, where: str) -> tuple[int, str]:
    """Number and label of the segment to read; the background of a label map is none."""
    labels = {
        whole_number(item, "SegmentNumber", where, UnreadableFileError): text(item, "SegmentLabel", where)
        for item in items(dataset, "SegmentSequence", where)
    }
    labels.pop(0, None)
    listed = ", ".join(f"{number} {label!r}" for number, label in sorted(labels.items())) or "none"
    if segment is None:
        if len(labels) != 1:
            raise InvalidRequestError(
                f"{where} has {len(labels)} segments ({listed}); choose one by its number or label"
            )
        return next(iter(labels.items()))
    named = _named(labels, str(segment).strip())
    if not named:
        raise InvalidRequestError(f"{where} has no segment {segment!r}, only {listed}; choose one of these")
    if len(named) > 1:
        raise InvalidRequestError(
            f"{where} has {len(named)} segments labeled {segment!r} (numbers {', '.join(map(str, named))}); "
            "choose one by its number"
        )
    return named[0], labels[named[0]]


def _named(labels: Mapping[int, str], choice: str) -> list[int]:
    """Numbers of the segments that a choice names: a number names one, else the label, in whatever case."""
    if choice.isdecimal() and int(choice) in labels:
        return [int(choice)]
    exact = [number for number, label in labels.items() if label == choice]
    return exact or [number for number, label in labels.items() if label.casefold() == choice.casefold()]


def _frames_of(dataset: Dataset, number: int, where: str) -> list[tuple[int, Dataset]]:
    """One-based frame numbers and functional groups of the frames that may show a segment."""
    per_frame = items(dataset, "PerFrameFunctionalGroupsSequence", where)
    count = whole_number(dataset, "NumberOfFrames", where, UnreadableFileError)
    if count != len(per_frame):
        raise UnreadableFileError(
            f"{where} declares {count} frames and describes {len(per_frame)}; export it again"
        )
    if text(dataset, "SegmentationType", where) == "LABELMAP":
        return list(enumerate(per_frame, start=1))
    return [
        (frame, item)
        for frame, item in enumerate(per_frame, start=1)
        if _segment_of(dataset, item, f"frame {frame} of {where}") == number
    ]


def _segment_of(dataset: Dataset, item: Dataset, where: str) -> int:
    group = functional_group(dataset, item, "SegmentIdentificationSequence", where)
    if group is None:
        raise UnreadableFileError(f"{where} does not name its segment; export it again")
    return whole_number(group, "ReferencedSegmentNumber", where, UnreadableFileError)


def _inside(
    segmentation: highdicom.seg.Segmentation, frame: int, number: int, where: str
) -> npt.NDArray[np.bool_]:
    """The pixels of one frame that belong to the segment."""
    try:
        stored: npt.NDArray[Any] = segmentation.get_stored_frame(frame)
    except Exception as error:  # every codec raises its own kinds
        raise UnreadableFileError(
            f"frame {frame} of {where} cannot be decoded ({error}); export it again"
        ) from error
    kind = text(segmentation, "SegmentationType", where)
    if kind == "BINARY":
        return np.asarray(stored != 0)
    if kind == "LABELMAP":
        return np.asarray(stored == number)
    if kind == "FRACTIONAL":
        highest = whole_number(segmentation, "MaximumFractionalValue", where, UnreadableFileError)
        return np.asarray(stored >= _FRACTIONAL_THRESHOLD * highest)
    raise UnreadableFileError(f"{where} is of the unknown SegmentationType {kind!r}; export it as BINARY")


def _voxel_indices(
    dataset: Dataset, item: Dataset, inside: npt.NDArray[np.bool_], grid: VolumeGeometry, where: str
) -> npt.NDArray[np.intp]:
    """(n, 3) voxel indices of the marked pixels of a frame."""
    origin_mm, step_row_mm, step_column_mm, spacing_mm = _frame_plane(dataset, item, where)
    pixels = np.argwhere(inside)
    if not len(pixels):
        return np.empty((0, 3), dtype=np.intp)
    # The outermost marked pixels decide whether the frame's grid is the CT's.
    exact = grid.to_index(origin_mm + pixels @ np.stack([step_row_mm, step_column_mm]))
    index = np.rint(exact).astype(np.intp)
    off = float(np.abs(exact - index).max())
    if off > _ON_GRID_TOLERANCE or _is_coarser(step_row_mm, step_column_mm, spacing_mm, grid):
        raise GridMismatchError(
            f"{where} is not on the voxels of the CT (up to {off:.2f} voxels off, or of another spacing); "
            "export the segmentation on the grid of this CT"
        )
    if index.min() < 0 or (index >= np.array(grid.shape_zyx)).any():
        raise GridMismatchError(f"{where} marks pixels outside the CT; send the CT it was drawn on")
    return index


def _frame_plane(
    dataset: Dataset, item: Dataset, where: str
) -> tuple[Float64Array, Float64Array, Float64Array, float | None]:
    """First pixel, step to the next row and column (LPS mm), and the distance between frames if given."""
    groups = {
        keyword: functional_group(dataset, item, keyword, where)
        for keyword in ("PlanePositionSequence", "PlaneOrientationSequence", "PixelMeasuresSequence")
    }
    position, orientation, measures = groups.values()
    if position is None or orientation is None or measures is None:
        raise InvalidGeometryError(
            f"{where} has no {next(k for k, group in groups.items() if group is None)}; export it again"
        )
    origin = np.array(vector3(position, "ImagePositionPatient", where))
    six = numbers(orientation, "ImageOrientationPatient", 6, where, InvalidGeometryError)
    row_mm, column_mm = numbers(measures, "PixelSpacing", 2, where, InvalidGeometryError)
    _, along_column, along_row = slice_axes(six, where)
    between = optional_number(measures, "SpacingBetweenSlices", where)
    return origin, along_column * row_mm, along_row * column_mm, between


def _is_coarser(
    step_row_mm: Float64Array, step_column_mm: Float64Array, between_mm: float | None, grid: VolumeGeometry
) -> bool:
    """Whether a step of the segmentation is not one voxel, so that it would leave voxels out."""
    to_index = grid.index_from_lps[:3, :3]
    normal = np.cross(step_row_mm, step_column_mm)
    steps = [to_index @ step_row_mm, to_index @ step_column_mm]
    if between_mm:
        steps.append(to_index @ (normal / np.linalg.norm(normal) * between_mm))
    return any(abs(float(np.abs(step).max()) - 1) > _ON_GRID_TOLERANCE for step in steps)


def _require_no_comb(slices: set[int], instance: DicomInstance) -> None:
    """Where the header does not say the frame distance, a comb of slices tells of a coarser grid."""
    measures = functional_group(instance.dataset, Dataset(), "PixelMeasuresSequence", instance.name)
    gaps = np.diff(sorted(slices))
    if (measures is not None and "SpacingBetweenSlices" in measures) or not gaps.size:
        return
    if gaps.min() > 1:
        raise GridMismatchError(
            f"{instance.name} marks no two neighboring slices of the CT (every {int(gaps.min())} slices at "
            "best); export it on the grid of this CT"
        )
