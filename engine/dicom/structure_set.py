"""A region of a DICOM RT structure set as a mask on its CT."""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from engine.arrays import Float64Array
from engine.dicom.attributes import items, numbers, text, whole_number
from engine.dicom.contours import rasterize_contours
from engine.dicom.instances import DicomInstance, parse_instance, read_instances
from engine.errors import GridMismatchError, InvalidRequestError, UnreadableFileError
from engine.volume import CtVolume, LabelMask

_PLANE_TOLERANCE = 0.25
"""A contour belongs to a slice when it lies within this share of the slice distance from its center."""

_CLOSED_TYPES = frozenset({"CLOSED_PLANAR", "CLOSEDPLANAR_XOR"})
_MIN_VERTICES = 3


def read_structure_set(source: Path | bytes, ct: CtVolume, *, roi: str | None = None) -> LabelMask:
    """Rasterize the contours of one region (ROI) on the slices of a CT.

    A voxel is inside if its center is. Contours on one slice follow the even-odd rule (PS3.3
    C.8.8.6), so holes, several parts and keyhole contours are right; a contour given twice counts
    once.

    Parameters
    ----------
    source : Path or bytes
        An RTSTRUCT file, or its content.
    ct : CtVolume
        The CT it was drawn on.
    roi : str, optional
        Name of the region; may be left out when there is only one.

    Returns
    -------
    LabelMask
        On the grid of ``ct``; empty if the region has no contour.

    Raises
    ------
    UnreadableFileError
        If it is not a structure set, or a damaged one.
    InvalidRequestError
        If the region is not there, or several are and none was chosen.
    GridMismatchError
        If a contour lies in another frame of reference, between or across slices, outside the CT, or
        if contours are missing between slices.
    """
    if isinstance(source, Path):
        instance = read_instances(source)[0]
    else:
        instance = parse_instance(source, "the structure set")
    dataset, where = instance.dataset, instance.name
    if text(dataset, "Modality", where) != "RTSTRUCT":
        raise UnreadableFileError(f"{where} is not an RT structure set; choose the RTSTRUCT file")
    region = _choose(instance, roi)
    name = text(region, "ROIName", where)
    _require_same_frame(region, ct, where)
    by_slice = _contours_by_slice(instance, region, ct, name)
    voxels = np.zeros(ct.geometry.shape_zyx, dtype=np.bool_)
    for slice_index, contours in by_slice.items():
        voxels[slice_index] = rasterize_contours(contours, ct.geometry.shape_zyx[1:])
    _require_no_slice_left_out(voxels, sorted(by_slice), name)
    return LabelMask(voxels, ct.geometry, name)


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


def _contours_by_slice(
    instance: DicomInstance, region: Dataset, ct: CtVolume, name: str
) -> dict[int, list[Float64Array]]:
    """Contours of a region as (row, column) vertices, by slice index."""
    where = instance.name
    number = whole_number(region, "ROINumber", where, UnreadableFileError)
    by_slice: dict[int, list[Float64Array]] = defaultdict(list)
    for drawn in items(instance.dataset, "ROIContourSequence", where):
        if whole_number(drawn, "ReferencedROINumber", where, UnreadableFileError) != number:
            continue
        for contour in items(drawn, "ContourSequence", where):
            vertices = _vertices(contour, ct, name, where)
            slice_index = int(np.rint(vertices[0, 0]))
            if not any(np.array_equal(vertices[:, 1:], known) for known in by_slice[slice_index]):
                by_slice[slice_index].append(vertices[:, 1:])
    return dict(by_slice)


def _vertices(contour: Dataset, ct: CtVolume, name: str, where: str) -> Float64Array:
    """Fractional (z, y, x) indices of a contour that lies on one slice of the CT."""
    kind = text(contour, "ContourGeometricType", where)
    values = numbers(contour, "ContourData", None, where, UnreadableFileError)
    if kind not in _CLOSED_TYPES or len(values) % 3 or len(values) < 3 * _MIN_VERTICES:
        raise UnreadableFileError(
            f"a contour of {name!r} in {where} is {kind or 'of no type'} with {len(values) / 3:g} points, "
            "not a closed planar one; remove points and open lines from the region"
        )
    points = np.array(values, dtype=np.float64).reshape(-1, 3)
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
    return index


def _require_no_slice_left_out(voxels: npt.NDArray[np.bool_], slices: list[int], name: str) -> None:
    """A slice without contour between two whose contours overlap would be a notch that nobody drew."""
    for below, above in pairwise(slices):
        if above - below > 1 and bool((voxels[below] & voxels[above]).any()):
            raise GridMismatchError(
                f"{name!r} has contours on slices {below} and {above} and none between; send the region "
                "with a contour on every slice (interpolated in the planning system)"
            )
