"""CT slices, whether each is its own instance or a frame of a multi-frame one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from pydicom.dataset import Dataset

from engine.dicom.attributes import items, numbers, optional_number, text, whole_number
from engine.dicom.image_kind import kinds_other_than_slice
from engine.dicom.image_shape import slice_shape
from engine.dicom.instances import DicomInstance
from engine.dicom.pixels import HounsfieldRescale, read_rescale
from engine.dicom.stacking import SlicePlane
from engine.errors import InvalidGeometryError, NotCtError, UnreadableFileError
from engine.input_warning import InputWarning, InputWarningCode

_CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
_ENHANCED_CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2.1"
_LEGACY_CONVERTED_CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2.2"
_MULTI_FRAME = frozenset({_ENHANCED_CT_IMAGE, _LEGACY_CONVERTED_CT_IMAGE})

_MAX_FRAMES = 20_000
_MAX_POSITION_MM = 1e5
"""No scanner reaches a position farther than this from the origin of its frame of reference."""


@dataclass(frozen=True, eq=False)
class CtFrame:
    """One CT slice: its place, its rescale, and where its pixels are."""

    instance: DicomInstance
    index: int
    plane: SlicePlane
    rescale: HounsfieldRescale
    slice_thickness_mm: float | None


@dataclass(frozen=True, eq=False)
class _InstanceFrames:
    """The slices of an instance, and what its other frames are (a localizer, a subtraction)."""

    slices: tuple[CtFrame, ...]
    left_out: tuple[str, ...] = ()


def ct_frames(instance: DicomInstance) -> _InstanceFrames:
    """The slices of an instance: one, or one for each frame of an enhanced or legacy converted CT.

    Frames whose type says that they hold no HU of a plane are left out.

    Raises
    ------
    NotCtError, InvalidGeometryError, UnreadableFileError
    """
    _require_ct(instance)
    dataset, name = instance.dataset, instance.name
    if "PerFrameFunctionalGroupsSequence" not in dataset:
        if (optional_number(dataset, "NumberOfFrames", name) or 1) != 1:
            raise InvalidGeometryError(
                f"{name} has several frames and no position for each; send single slices"
            )
        return _InstanceFrames((_frame(instance, 0, name, _Groups(dataset, dataset, dataset, dataset)),))
    count = whole_number(dataset, "NumberOfFrames", name, UnreadableFileError)
    per_frame = items(dataset, "PerFrameFunctionalGroupsSequence", name)
    if count != len(per_frame) or not 1 <= count <= _MAX_FRAMES:
        raise UnreadableFileError(
            f"{name} declares {count} frames and describes {len(per_frame)}; export it again"
        )
    kinds = [_frame_kind(dataset, item, f"frame {i + 1} of {name}") for i, item in enumerate(per_frame)]
    slices = tuple(
        _frame(instance, i, f"frame {i + 1} of {name}", _functional_groups(dataset, item, i, name))
        for i, (item, kind) in enumerate(zip(per_frame, kinds, strict=True))
        if not kind
    )
    left_out = tuple(kind for kind in kinds if kind)
    if not slices:
        raise NotCtError(
            f"{name} holds no CT slice in HU: its frames are {', '.join(sorted(set(left_out)))} (FrameType); choose "
            "the series of the CT"
        )
    return _InstanceFrames(slices, left_out)


def _frame_kind(dataset: Dataset, item: Dataset, where: str) -> str:
    """What a frame is, empty for a CT slice."""
    group = functional_group(dataset, item, "CTImageFrameTypeSequence", where)
    return "" if group is None else " and ".join(kinds_other_than_slice(group, where))


def functional_group(dataset: Dataset, frame_item: Dataset, keyword: str, where: str) -> Dataset | None:
    """The item of a functional group, of the frame or else shared by all (PS3.3 C.7.6.16)."""
    for holder in (frame_item, *items(dataset, "SharedFunctionalGroupsSequence", where)[:1]):
        group = items(holder, keyword, where)
        if group:
            return group[0]
    return None


def vector3(dataset: Dataset, keyword: str, where: str) -> tuple[float, float, float]:
    """A position in LPS mm.

    Raises
    ------
    InvalidGeometryError
        If it is absent, not finite or out of any scanner.
    """
    x, y, z = numbers(dataset, keyword, 3, where, InvalidGeometryError)
    if max(abs(x), abs(y), abs(z)) > _MAX_POSITION_MM:
        raise InvalidGeometryError(f"{keyword} of {where} is {(x, y, z)} mm, which no scanner reaches")
    return x, y, z


@dataclass(frozen=True, eq=False)
class _Groups:
    """Where a slice's attributes are: the dataset itself, or its functional groups."""

    position: Dataset
    orientation: Dataset
    measures: Dataset
    transformation: Dataset


def _functional_groups(dataset: Dataset, item: Dataset, index: int, name: str) -> _Groups:
    groups = []
    for keyword in (
        "PlanePositionSequence",
        "PlaneOrientationSequence",
        "PixelMeasuresSequence",
        "PixelValueTransformationSequence",
    ):
        group = functional_group(dataset, item, keyword, name)
        if group is None:
            error = NotCtError if keyword.startswith("PixelValue") else InvalidGeometryError
            raise error(f"frame {index + 1} of {name} has no {keyword}; export it with its functional groups")
        groups.append(group)
    return _Groups(*groups)


def _frame(instance: DicomInstance, index: int, name: str, groups: _Groups) -> CtFrame:
    row_mm, column_mm = numbers(groups.measures, "PixelSpacing", 2, name, InvalidGeometryError)
    plane = SlicePlane(
        name=name,
        position_lps_mm=vector3(groups.position, "ImagePositionPatient", name),
        orientation=numbers(groups.orientation, "ImageOrientationPatient", 6, name, InvalidGeometryError),
        spacing_yx_mm=(row_mm, column_mm),
        shape_yx=slice_shape(instance.dataset, name),
    )
    rescale = read_rescale(instance.dataset, groups.transformation, name)
    return CtFrame(instance, index, plane, rescale, optional_number(groups.measures, "SliceThickness", name))


def is_ct_class(sop_class: str) -> bool:
    """Whether a SOP class is a CT image's; anonymised files may have lost the class, never the modality."""
    return sop_class in {"", _CT_IMAGE, *_MULTI_FRAME}


def _require_ct(instance: DicomInstance) -> None:
    dataset, name = instance.dataset, instance.name
    modality, sop_class = text(dataset, "Modality", name), text(dataset, "SOPClassUID", name)
    if modality != "CT" or not is_ct_class(sop_class):
        raise NotCtError(
            f"{name} is {modality or 'of no modality'} (SOP class {sop_class or 'absent'}), not a CT image; "
            "choose the folder of one CT series"
        )
    kinds = kinds_other_than_slice(dataset, name)
    if kinds:
        raise NotCtError(f"{name} is a {', '.join(kinds)} (ImageType), not a CT slice in HU; leave it out")


def left_out_warnings(read: Sequence[_InstanceFrames]) -> list[InputWarning]:
    """Frames that are no CT slices, counted by kind."""
    kinds = Counter(kind for frames in read for kind in frames.left_out)
    if not kinds:
        return []
    named = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
    message = f"frames that are no CT slices in HU (FrameType), left out: {named}"
    return [InputWarning(InputWarningCode.OTHER_OBJECTS_LEFT_OUT, message)]


def shared_warnings(frames: Sequence[CtFrame]) -> list[InputWarning]:
    """What a reader should know of slices that can be read."""
    first = frames[0]
    where, dataset = first.plane.name, first.instance.dataset
    warnings = []
    if not all(frame.rescale.unit_is_stated for frame in frames):
        unit = "the header leaves the unit of the pixel values unspecified (RescaleType US); taken as HU"
        warnings.append(InputWarning(InputWarningCode.UNIT_NOT_STATED, unit))
    if any(frame.rescale.padding_hides_tissue() for frame in frames):
        padding = f"the padding value of {where} stands for HU that tissue can have; such voxels read as air"
        warnings.append(InputWarning(InputWarningCode.PADDING, padding))
    tilt = optional_number(dataset, "GantryDetectorTilt", where)
    if tilt:
        tilted = f"the header names a gantry tilt of {tilt:.1f}°, the slice positions show none"
        warnings.append(InputWarning(InputWarningCode.GANTRY_TILT, tilted))
    return warnings
