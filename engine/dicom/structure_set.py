"""A region of a DICOM RT structure set as a mask on its CT."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
from pydicom.dataset import Dataset

from engine.arrays import Float64Array
from engine.dicom.attributes import items, numbers, optional_number, text, whole_number
from engine.dicom.instances import DicomInstance, InstanceSource, one_instance
from engine.dicom.outlines import ContradictoryOutlinesError, PlaneRegion, combine_outlines
from engine.errors import GridMismatchError, InvalidGeometryError, InvalidRequestError, UnreadableFileError
from engine.input_warning import InputWarning, InputWarningCode
from engine.volume import CtVolume, LabelMask

_PLANE_TOLERANCE: Final = 0.25
"""A contour belongs to a slice when it lies within this share of the slice distance from its center."""

_SAME_PLANE: Final = 0.1
"""Contours this close to each other, as a share of the slice distance, were drawn in one plane."""

_EXCLUDING_TYPE: Final = "CLOSEDPLANAR_XOR"
_CLOSED_TYPES: Final = frozenset({"CLOSED_PLANAR", _EXCLUDING_TYPE})
_MIN_VERTICES: Final = 3
_NAMED_SLICES: Final = 5


def read_structure_set(source: InstanceSource, ct: CtVolume, *, roi: str | None = None) -> LabelMask:
    """Rasterize the contours of one region (ROI) on the slices of a CT.

    A voxel is inside if its center is. The contours of one plane are combined as
    :func:`engine.dicom.outlines.combine_outlines` says: holes, islands in them and keyhole contours are
    right, a contour given twice counts once, crossing ones are united with a warning.

    Parameters
    ----------
    source : Path, bytes or DicomInstance
        An RTSTRUCT file, or its content.
    ct : CtVolume
        The CT it was drawn on.
    roi : str, optional
        Name of the region; may be left out when there is only one.

    Returns
    -------
    LabelMask
        On the grid of ``ct``; empty if the region has no contour. Its warnings name united contours,
        contours that lie beside their slice, those without a voxel and slices without a contour.

    Raises
    ------
    UnreadableFileError
        If it is not a structure set, or a damaged one.
    InvalidRequestError
        If the region is not there, or several are and none was chosen.
    GridMismatchError
        If a contour lies in another frame of reference, between or across slices, outside the CT, if
        several planes fall on one slice, or if contours are missing between slices.
    InvalidGeometryError
        If the contours of a plane contradict each other.
    """
    instance = one_instance(source, "the structure set")
    dataset, where = instance.dataset, instance.name
    if text(dataset, "Modality", where) != "RTSTRUCT":
        raise UnreadableFileError(f"{where} is not an RT structure set; choose the RTSTRUCT file")
    region = _choose(instance, roi)
    name = text(region, "ROIName", where)
    _require_same_frame(region, ct, where)
    planes = _planes(_contours(instance, region, ct, name), name)
    voxels = np.zeros(ct.geometry.shape_zyx, dtype=np.bool_)
    regions: dict[int, PlaneRegion] = {}
    for slice_index, contours in sorted(planes.items()):
        regions[slice_index] = _combine(contours, ct, name)
        voxels[slice_index] = regions[slice_index].inside
    warnings = [
        *_plane_warnings(planes, name),
        *_region_warnings(regions, name),
        *_gap_warnings(regions, name),
    ]
    return LabelMask(voxels, ct.geometry, name, tuple(warnings))


def _choose(instance: DicomInstance, roi: str | None) -> Dataset:
    regions = items(instance.dataset, "StructureSetROISequence", instance.name)
    names = [text(region, "ROIName", instance.name) for region in regions]
    listed = ", ".join(repr(n) for n in names) or "none"
    if roi is None and len(regions) != 1:
        raise InvalidRequestError(
            f"{instance.name} has {len(regions)} regions ({listed}); name the one to use"
        )
    matches = [r for r, name in zip(regions, names, strict=True) if roi is None or name == roi.strip()]
    if len(matches) != 1:
        raise InvalidRequestError(
            f"{instance.name} has {len(matches)} regions named {roi!r}, only {listed}; name one of these"
        )
    return matches[0]


def _require_same_frame(region: Dataset, ct: CtVolume, where: str) -> None:
    referenced = text(region, "ReferencedFrameOfReferenceUID", where)
    own = ct.geometry.frame_of_reference_uid
    if referenced and own and referenced != own:
        raise GridMismatchError(
            f"{where} was drawn in frame of reference {referenced}, the CT has {own}; "
            "send the structure set of this CT"
        )


@dataclass(frozen=True, eq=False)
class _Contour:
    """A closed contour of one slice: where its plane lies, and its (row, column) vertices."""

    along: float
    vertices_yx: Float64Array
    excludes: bool

    @property
    def slice_index(self) -> int:
        return int(np.rint(self.along))


def _contours(instance: DicomInstance, region: Dataset, ct: CtVolume, name: str) -> list[_Contour]:
    where = instance.name
    number = whole_number(region, "ROINumber", where, UnreadableFileError)
    return [
        _contour(contour, ct, name, where)
        for drawn in items(instance.dataset, "ROIContourSequence", where)
        if whole_number(drawn, "ReferencedROINumber", where, UnreadableFileError) == number
        for contour in items(drawn, "ContourSequence", where)
    ]


def _contour(contour: Dataset, ct: CtVolume, name: str, where: str) -> _Contour:
    """A contour that lies on one slice of the CT."""
    points = _points(contour, name, where)
    index = ct.geometry.to_index(points)
    along = index[:, 0]
    at_mm = f"at {points[0].round(2).tolist()} mm (LPS)"
    if not bool(ct.geometry.contains(points).all()):
        raise GridMismatchError(f"a contour of {name!r} {at_mm} leaves the CT; send the CT it was drawn on")
    if float(np.abs(along - np.rint(along[0])).max()) > _PLANE_TOLERANCE:
        raise GridMismatchError(
            f"a contour of {name!r} {at_mm} lies between or across slices (slice index {along.min():.2f} to "
            f"{along.max():.2f}); send contours drawn on the slices of this CT"
        )
    is_excluding = text(contour, "ContourGeometricType", where) == _EXCLUDING_TYPE
    return _Contour(float(along.mean()), index[:, 1:], is_excluding)


def _points(contour: Dataset, name: str, where: str) -> Float64Array:
    """The points (n, 3) of a closed contour, LPS mm."""
    kind = text(contour, "ContourGeometricType", where)
    values = numbers(contour, "ContourData", None, where, UnreadableFileError)
    if kind not in _CLOSED_TYPES or len(values) % 3 or len(values) < 3 * _MIN_VERTICES:
        raise UnreadableFileError(
            f"a contour of {name!r} in {where} is {kind or 'of no type'} with {len(values) / 3:g} points, "
            "not a closed planar one; remove points and open lines from the region"
        )
    announced = optional_number(contour, "NumberOfContourPoints", where)
    if announced is not None and announced != len(values) / 3:
        raise UnreadableFileError(
            f"a contour of {name!r} in {where} announces {announced:g} points and has {len(values) / 3:g}; "
            "export it again"
        )
    if text(contour, "ContourOffsetVector", where) and any(
        numbers(contour, "ContourOffsetVector", 3, where, UnreadableFileError)
    ):
        raise UnreadableFileError(
            f"a contour of {name!r} in {where} is to be moved by an offset (ContourOffsetVector), which is not "
            "supported; export contours at their place"
        )
    return np.array(values, dtype=np.float64).reshape(-1, 3)


def _planes(contours: Iterable[_Contour], name: str) -> dict[int, list[_Contour]]:
    """Contours by slice, each of which may take those of one plane only."""
    by_slice: dict[int, list[_Contour]] = defaultdict(list)
    for contour in contours:
        by_slice[contour.slice_index].append(contour)
    for slice_index, together in by_slice.items():
        along = [contour.along for contour in together]
        if max(along) - min(along) > _SAME_PLANE:
            raise GridMismatchError(
                f"contours of {name!r} in several planes (slice index {min(along):.2f} to {max(along):.2f}) "
                f"fall on slice {slice_index}: they were not drawn on the slices of this CT; send the CT they "
                "were drawn on, or contours drawn on this one"
            )
    return dict(by_slice)


def _combine(contours: Sequence[_Contour], ct: CtVolume, name: str) -> PlaneRegion:
    outlines = [contour.vertices_yx for contour in contours]
    excludes = any(contour.excludes for contour in contours)
    try:
        return combine_outlines(outlines, ct.geometry.shape_zyx[1:], excludes=excludes)
    except ContradictoryOutlinesError as error:
        raise InvalidGeometryError(
            f"on slice {contours[0].slice_index} of {name!r} {error}, so that what is inside is not clear; "
            "correct the contours there"
        ) from error


def _plane_warnings(planes: Mapping[int, Sequence[_Contour]], name: str) -> list[InputWarning]:
    """Contours that lie beside the slice they are taken for."""
    offset = {k: max(abs(c.along - k) for c in contours) for k, contours in planes.items()}
    beside = [k for k, share in offset.items() if share > _SAME_PLANE]
    if not beside:
        return []
    farthest = max(offset[k] for k in beside)
    return [
        InputWarning(
            InputWarningCode.OUTLINE_BESIDE_SLICE,
            f"contours of {name!r} lie up to {farthest:.2f} of a slice distance beside {_slices(beside)}, which "
            "they are taken for; check that they were drawn on this CT",
        )
    ]


def _region_warnings(regions: Mapping[int, PlaneRegion], name: str) -> list[InputWarning]:
    warnings = []
    united = [k for k, region in regions.items() if region.is_united]
    if united:
        warnings.append(
            InputWarning(
                InputWarningCode.OUTLINES_UNITED,
                f"contours of {name!r} cross each other or themselves on {_slices(united)}; everything within "
                "any of them was taken as inside, check it",
            )
        )
    without = {k: region.without_pixel for k, region in regions.items() if region.without_pixel}
    if without:
        warnings.append(
            InputWarning(
                InputWarningCode.OUTLINE_WITHOUT_VOXEL,
                f"{sum(without.values())} contours of {name!r} go round no voxel center and count for nothing, "
                f"on {_slices(without)}",
            )
        )
    return warnings


def _gap_warnings(regions: Mapping[int, PlaneRegion], name: str) -> list[InputWarning]:
    """Slices without contour between others; where both sides overlap, that is a notch which nobody drew."""
    gaps: list[int] = []
    for below, above in pairwise(sorted(regions)):
        if above - below == 1:
            continue
        if bool((regions[below].inside & regions[above].inside).any()):
            raise GridMismatchError(
                f"{name!r} has contours on slices {below} and {above} and none between; send the region "
                "with a contour on every slice (interpolated in the planning system)"
            )
        gaps += range(below + 1, above)
    if not gaps:
        return []
    return [
        InputWarning(
            InputWarningCode.SLICE_WITHOUT_OUTLINE,
            f"{name!r} has no contour on {_slices(gaps)} between others, so it is in several parts; check that "
            "none is missing",
        )
    ]


def _slices(indices: Iterable[int]) -> str:
    """Slices for a message: the first few, and how many more."""
    every = sorted(indices)
    more = len(every) - _NAMED_SLICES
    named = ", ".join(map(str, every[:_NAMED_SLICES]))
    return f"slice{'s' * (len(every) > 1)} {named}" + (f" and {more} more" if more > 0 else "")
