"""A CT series from DICOM."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from engine.acquisition_time import TimeSource
from engine.arrays import Int16Array
from engine.dicom.attributes import acquired_at, text
from engine.dicom.concatenation import require_whole_concatenations
from engine.dicom.frames import CtFrame, ct_frames, left_out_warnings, shared_warnings
from engine.dicom.instances import DicomInstance, file_content, parse_instance, parse_instances
from engine.dicom.pixels import stored_samples
from engine.dicom.series_choice import choose_instances, choose_series, convolution_kernel
from engine.dicom.stacking import stack
from engine.dicom.transfer_syntaxes import Encoding, require_lossless
from engine.errors import MixedSeriesError, UnreadableFileError
from engine.geometry import DIRECTION_TOLERANCE, VolumeGeometry
from engine.input_warning import InputWarning, InputWarningCode
from engine.unit_doubt import unit_warnings
from engine.volume import Acquisition, CtVolume

_SAME_SPACING_MM = 1e-3
_THICKNESS_TOLERANCE = 0.01


def read_series(source: Path | Sequence[bytes], choice: str = "") -> CtVolume:
    """Read one CT series.

    Slices are ordered by position along their normal, and the spacing between them comes from the
    positions. Padding becomes -1024 HU. Enhanced and legacy converted multi-frame CT are read too.

    Parameters
    ----------
    source : Path or sequence of bytes
        A folder, with all folders below it, or the content of each DICOM instance.
    choice : str, optional
        Which series, where several lie there: its number, UID or description.

    Returns
    -------
    CtVolume
        Array axes are slice (along the slice normal), row, column.

    Raises
    ------
    UnreadableFileError
        If there is no DICOM instance, or a damaged one.
    NotCtError
        If there is no CT slice, or it is not in HU.
    MixedSeriesError
        If there are several CT series and none was chosen, or the slices of one differ in modality, patient, frame
        of reference, orientation, spacing or size.
    InvalidRequestError
        If no series is the chosen one.
    DuplicateSlicePositionError, MissingSliceError, NonUniformSpacingError, GantryTiltError,
    InvalidGeometryError
        If the slices make no regular stack.
    LossyCompressionError, UndecodableTransferSyntaxError
        If pixel data lost information, or cannot be decoded.
    """
    instances, warnings = _instances(source, choice)
    _require_one_series(instances)
    encodings = {id(instance): require_lossless(instance) for instance in instances}
    require_whole_concatenations(instances)
    read = [ct_frames(instance) for instance in instances]
    frames = [frame for of_instance in read for frame in of_instance.slices]
    warnings += left_out_warnings(read)
    _require_one_grid(frames)
    first = instances[0]
    frame_of_reference = text(first.dataset, "FrameOfReferenceUID", first.name)
    order, geometry = stack([frame.plane for frame in frames], frame_of_reference)
    frames = [frames[i] for i in order]
    voxels, noticed = _voxels(frames, encodings, geometry)
    warnings += noticed
    warnings += shared_warnings(frames) + _thickness_warnings(frames, geometry)
    return CtVolume(voxels, geometry, _acquisition(frames, warnings))


def _instances(source: Path | Sequence[bytes], choice: str) -> tuple[list[DicomInstance], list[InputWarning]]:
    """The instances of one CT series, and what was left out beside them."""
    if not isinstance(source, Path):
        if not source:
            raise UnreadableFileError("nothing was sent; send the instances of one CT series")
        chosen, warnings = choose_instances(parse_instances(source), choice)
        return chosen, list(warnings)
    series = choose_series(source, choice)
    instances = [
        parse_instance(file_content(file, name), name)
        for file, name in ((file, series.found.name(file)) for file in series.files)
    ]
    return instances, list(series.warnings)


def _voxels(
    frames: Sequence[CtFrame], encodings: Mapping[int, Encoding], geometry: VolumeGeometry
) -> tuple[Int16Array, list[InputWarning]]:
    """Decode the slices of a volume; encodings are by the identity of their instance."""
    voxels = np.empty(geometry.shape_zyx, dtype=np.int16)
    clipped = with_other_bits = 0
    for voxel_slice, frame in zip(voxels, frames, strict=True):
        samples = stored_samples(frame.instance, encodings[id(frame.instance)], frame.index)
        with_other_bits += samples.with_other_bits
        clipped += frame.rescale.to_hu(samples.values, out=voxel_slice)
    warnings = []
    if with_other_bits:
        message = (
            f"{with_other_bits} voxels held something beyond the bits of the image (BitsStored), such as an overlay; "
            "it was left out"
        )
        warnings.append(InputWarning(InputWarningCode.UNUSED_BITS, message))
    if clipped:
        message = f"{clipped} voxels lie outside the range of int16 HU and were clipped to it"
        warnings.append(InputWarning(InputWarningCode.HU_CLIPPED, message))
    return voxels, [*warnings, *unit_warnings(voxels, "the CT")]


def _require_one_series(instances: Sequence[DicomInstance]) -> None:
    for keyword, what in (
        ("Modality", "modalities"),
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

    moment, source = _began_at(frames)
    return Acquisition(
        patient_id=read("PatientID"),
        patient_birth_date=read("PatientBirthDate"),
        study_instance_uid=read("StudyInstanceUID"),
        series_instance_uid=read("SeriesInstanceUID"),
        series_description=read("SeriesDescription"),
        patient_position=read("PatientPosition"),
        slice_thickness_mm=frame.slice_thickness_mm,
        acquired_at=moment,
        time_source=source,
        convolution_kernel=convolution_kernel(frame.instance),
        instance_count=len({id(frame.instance) for frame in frames}),
        warnings=tuple(warnings),
    )


def _began_at(frames: Sequence[CtFrame]) -> tuple[str, TimeSource]:
    """When the first of the slices was acquired; what is nearest to that, of all that the headers give."""
    instances = {id(frame.instance): frame.instance for frame in frames}.values()
    times = [time for time in (acquired_at(i.dataset, i.name) for i in instances) if time[0]]
    if not times:
        return "", TimeSource.ACQUISITION
    ranks = list(TimeSource)
    best = min((source for _, source in times), key=ranks.index)
    return min(moment for moment, source in times if source is best), best
