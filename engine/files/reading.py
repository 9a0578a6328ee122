"""What was sent, whatever its format: a CT, and a mask on it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np

from engine.dicom.folder import is_dicom
from engine.dicom.masks import read_dicom_mask
from engine.dicom.series import read_series
from engine.errors import InvalidRequestError
from engine.files.image_file import read_ct_image, read_mask_image
from engine.geometry import VolumeGeometry
from engine.volume import CtVolume, LabelMask

T = TypeVar("T")

_SAME_AXIS_TOLERANCE = 1e-3
"""How far the step of one grid may be from one voxel of another that is the same but for its axis order."""


def read_ct(path: Path, series: str = "") -> CtVolume:
    """Read a CT: a folder of DICOM, a multi-frame DICOM file, or a NIfTI, NRRD or MetaImage file.

    Parameters
    ----------
    path : Path
    series : str, optional
        Which one, where the folder holds several: number, UID or description.

    Raises
    ------
    InvalidRequestError
        If a series is named for a file that has none.
    InputError
        The kind that names what is wrong; see :func:`engine.dicom.series.read_series` and
        :func:`engine.files.image_file.read_ct_image`.
    """
    if is_dicom(path):
        return read_series(path, series)
    _require_no_series(path, series)
    return read_ct_image(path)


def _require_no_series(path: Path, series: str) -> None:
    """Refuse to choose a series of a file that is no DICOM.

    Raises
    ------
    InvalidRequestError
    """
    if series:
        raise InvalidRequestError(f"{path.name} is no DICOM folder: it has no series {series!r} to choose")


def read_mask(path: Path, ct: CtVolume, name: str, *, label: str | None = None) -> LabelMask:
    """Read a mask that lies on the grid of a CT.

    Parameters
    ----------
    path : Path
        A DICOM SEG or RTSTRUCT file (or the folder that holds it), NIfTI, NRRD or MetaImage.
    ct : CtVolume
        The CT it was drawn on. An image file may list the same voxels in another axis order or
        direction, as converters do.
    name : str
        What it marks, for messages: ``tumor``, ``ablation zone``, …
    label : str, optional
        Which one, if there are several: label value, number or label of a segment, name of a region (ROI).

    Returns
    -------
    LabelMask
        Not empty, on the grid of ``ct``.

    Raises
    ------
    GridMismatchError, EmptyMaskError
        If it does not lie on its CT, or marks nothing.
    InvalidRequestError
        If there are several labels and none was chosen.
    InputError
        Else the kind that names what is wrong.
    """
    if is_dicom(path):
        mask = read_dicom_mask(path, ct, name, label=label)
    else:
        mask = read_mask_image(path, name, label=label_value(label, name))
    mask = in_axis_order_of(ct.geometry, replace(mask, name=name)).require_on(ct)
    return LabelMask(mask.voxels, ct.geometry, name, mask.warnings)


def label_value(label: str | None, name: str) -> int | None:
    """The label of an image file that a choice names; None where nothing was chosen.

    Raises
    ------
    InvalidRequestError
        If it is not a number: image files have no names for their labels.
    """
    if label is None:
        return None
    try:
        return int(label)
    except ValueError:
        raise InvalidRequestError(
            f"{label!r} is not a label value; choose the label of the {name} by its number"
        ) from None


def in_axis_order_of(grid: VolumeGeometry, mask: LabelMask) -> LabelMask:
    """The same voxels with the axes of ``grid``, if they differ only in order and direction."""
    # Column j is the step along the mask's axis j in voxels of the grid.
    steps = (grid.index_from_lps @ mask.geometry.affine_lps_mm)[:3, :3]
    whole = np.rint(steps)
    is_reordering = np.array_equal(np.abs(whole) @ np.abs(whole).T, np.eye(3))
    if not is_reordering or np.abs(steps - whole).max() > _SAME_AXIS_TOLERANCE:
        return mask
    order = [int(axis) for axis in np.abs(whole).argmax(axis=1)]
    signs = [int(whole[row, axis]) for row, axis in enumerate(order)]
    own = mask.geometry
    first = np.zeros(3)
    for axis, sign in zip(order, signs, strict=True):
        first[axis] = own.shape_zyx[axis] - 1 if sign < 0 else 0
    geometry = replace(
        own,
        shape_zyx=_vector(own.shape_zyx[axis] for axis in order),
        spacing_zyx_mm=_vector(own.spacing_zyx_mm[axis] for axis in order),
        directions_zyx_lps=_vector(
            _vector(sign * v for v in own.directions_zyx_lps[axis])
            for axis, sign in zip(order, signs, strict=True)
        ),
        origin_lps_mm=_vector(float(v) for v in own.to_lps(first)),
    )
    voxels = mask.voxels.transpose(order)[tuple(slice(None, None, sign) for sign in signs)]
    return LabelMask(np.ascontiguousarray(voxels), geometry, mask.name, mask.warnings)


def _vector(values: Iterable[T]) -> tuple[T, T, T]:
    a, b, c = values
    return a, b, c
