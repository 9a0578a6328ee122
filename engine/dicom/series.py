"""A CT series from DICOM."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from engine.dicom.attributes import acquired_at, text
from engine.dicom.frames import CtFrame, ct_frames, shared_warnings
from engine.dicom.instances import DicomInstance, read_instances
from engine.dicom.pixels import stored_values
from engine.dicom.stacking import stack
from engine.dicom.transfer_syntaxes import require_lossless
from engine.errors import MixedSeriesError, NotCtError
from engine.geometry import DIRECTION_TOLERANCE, VolumeGeometry
from engine.input_warning import InputWarning, InputWarningCode
from engine.volume import Acquisition, CtVolume

_SAME_SPACING_MM = 1e-3
_THICKNESS_TOLERANCE = 0.01

_NOT_IMAGES = frozenset({"SEG", "RTSTRUCT", "RTPLAN", "RTDOSE", "SR", "PR", "KO", "REG", "DOC", "FID"})
"""Modalities of objects that archives keep beside the slices and that hold no slice of it."""


def read_series(source: Path | Sequence[bytes]) -> CtVolume:
    """Read one CT series.

    Slices are ordered by position along their normal, and the spacing between them comes from the
    positions. Padding becomes -1024 HU. Enhanced and legacy converted multi-frame CT are read too.

    Parameters
    ----------
    source : Path or sequence of bytes
        A folder (and those right below it), or the content of each DICOM instance.

    Returns
    -------
    CtVolume
        Array axes are slice (along the slice normal), row, column.

    Raises
    ------
    UnreadableFileError
        If there is no DICOM instance, or a damaged one.
    NotCtError
        If it is another modality, a localizer, or not in HU.
    MixedSeriesError
        If instances differ in series, patient, frame of reference, orientation, spacing or size.
    DuplicateSlicePositionError, MissingSliceError, NonUniformSpacingError, GantryTiltError,
    InvalidGeometryError
        If the slices make no regular stack.
    LossyCompressionError, UndecodableTransferSyntaxError
        If pixel data lost information, or cannot be decoded.
    """
    instances, warnings = _images(read_instances(source))
    _require_one_series(instances)
    decoders = {id(instance): require_lossless(instance) for instance in instances}
    frames = [frame for instance in instances for frame in ct_frames(instance)]
    _require_one_grid(frames)
    first = instances[0]
    frame_of_reference = text(first.dataset, "FrameOfReferenceUID", first.name)
    order, geometry = stack([frame.plane for frame in frames], frame_of_reference)
    frames = [frames[i] for i in order]
    voxels = np.empty(geometry.shape_zyx, dtype=np.int16)
    clipped = 0
    for voxel_slice, frame in zip(voxels, frames, strict=True):
        stored = stored_values(frame.instance, decoders[id(frame.instance)], frame.index)
        clipped += frame.rescale.to_hu(stored, out=voxel_slice)
    if clipped:
        message = f"{clipped} voxels lie outside the range of int16 HU and were clipped to it"
        warnings.append(InputWarning(InputWarningCode.HU_CLIPPED, message))
    warnings += shared_warnings(frames) + _thickness_warnings(frames, geometry)
    return CtVolume(voxels, geometry, _acquisition(frames, warnings))


def _images(instances: Sequence[DicomInstance]) -> tuple[list[DicomInstance], list[InputWarning]]:
    """Leave out objects that are not images; a series of nothing else is not a CT."""
    modalities = [text(i.dataset, "Modality", i.name) for i in instances]
    images = [i for i, modality in zip(instances, modalities, strict=True) if modality not in _NOT_IMAGES]
    others = sorted(set(modalities) & _NOT_IMAGES)
    if "CT" not in modalities:
        raise NotCtError(
            f"{instances[0].name} is {modalities[0] or 'of no modality'}, and no CT image is beside it; "
            "choose the folder of a CT series"
        )
    if not others:
        return images, []
    message = f"{', '.join(others)} beside the CT slices was left out"
    return images, [InputWarning(InputWarningCode.FILES_LEFT_OUT, message)]


def _require_one_series(instances: Sequence[DicomInstance]) -> None:
    for keyword, what in (
        ("Modality", "modalities"),
        ("SeriesInstanceUID", "series"),
        ("PatientID", "patients"),
        ("FrameOfReferenceUID", "frames of reference"),
    ):
        values = Counter(text(i.dataset, keyword, i.name) for i in instances)
        if len(values) > 1:
            # A patient's identifier is not written into messages, which end in logs.
            named = (
                [] if keyword == "PatientID" else [f"{v or 'none'} ({n} slices)" for v, n in values.items()]
            )
            raise MixedSeriesError(
                f"{len(instances)} instances belong to {len(values)} {what} ({keyword})"
                f"{': ' if named else ''}{', '.join(named[:3])}; send one series"
            )


def _require_one_grid(frames: Sequence[CtFrame]) -> None:
    first = frames[0].plane
    for plane in (frame.plane for frame in frames):
        differing = [
            f"{what} {a} and {b}"
            for what, a, b, tolerance in (
                ("rows and columns", first.shape_yx, plane.shape_yx, 0.0),
                ("pixel spacing (mm)", first.spacing_yx_mm, plane.spacing_yx_mm, _SAME_SPACING_MM),
                ("orientation", first.orientation, plane.orientation, DIRECTION_TOLERANCE),
            )
            if not np.allclose(a, b, rtol=0, atol=tolerance)
        ]
        if differing:
            raise MixedSeriesError(
                f"{first.name} and {plane.name} differ: {'; '.join(differing)}; "
                "send one series of parallel slices"
            )


def _thickness_warnings(frames: Sequence[CtFrame], geometry: VolumeGeometry) -> list[InputWarning]:
    thickness, spacing = frames[0].slice_thickness_mm, geometry.spacing_zyx_mm[0]
    if thickness is None or abs(thickness - spacing) <= _THICKNESS_TOLERANCE * spacing:
        return []
    how = (
        "they overlap"
        if thickness > spacing
        else f"{spacing - thickness:.3g} mm between them were not imaged"
    )
    message = f"slices of {thickness:.3g} mm lie {spacing:.3g} mm apart: {how}"
    return [InputWarning(InputWarningCode.SLICE_THICKNESS, message)]


def _acquisition(frames: Sequence[CtFrame], warnings: list[InputWarning]) -> Acquisition:
    frame = frames[0]
    dataset, where = frame.instance.dataset, frame.plane.name

    def read(keyword: str) -> str:
        return text(dataset, keyword, where)

    return Acquisition(
        patient_id=read("PatientID"),
        study_instance_uid=read("StudyInstanceUID"),
        series_instance_uid=read("SeriesInstanceUID"),
        series_description=read("SeriesDescription"),
        patient_position=read("PatientPosition"),
        slice_thickness_mm=frame.slice_thickness_mm,
        acquired_at=acquired_at(dataset, where),
        convolution_kernel=read("ConvolutionKernel"),
        instance_count=len({id(frame.instance) for frame in frames}),
        warnings=tuple(warnings),
    )
