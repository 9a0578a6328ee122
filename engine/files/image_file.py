"""CT and masks from NIfTI, NRRD and MetaImage files, and volumes back to NIfTI.

Headers and voxels are read here and not by ITK: what ITK lacks it fills in, or passes over (decision 0018). Positions
become LPS whatever the format says; the axes of files are (x, y, z).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from engine.arrays import AnyArray
from engine.errors import InvalidGeometryError, InvalidRequestError, NotCtError, UnreadableFileError
from engine.files.file_names import require_regular, shown_name
from engine.files.image_header import ImageHeader
from engine.files.image_writing import write_image
from engine.files.metaimage_header import read_metaimage
from engine.files.nifti_header import NIFTI_SUFFIXES, read_nifti_image
from engine.files.nrrd_header import read_nrrd
from engine.geometry import VolumeGeometry
from engine.hounsfield import padding_to_air
from engine.input_warning import InputWarning, InputWarningCode
from engine.unit_doubt import unit_warnings
from engine.volume import Acquisition, CtVolume, LabelMask

_READERS: Final[dict[str, Callable[[Path], ImageHeader]]] = {
    **dict.fromkeys(NIFTI_SUFFIXES, read_nifti_image),
    ".nrrd": read_nrrd,
    ".nhdr": read_nrrd,
    ".mha": read_metaimage,
    ".mhd": read_metaimage,
}
_FORMATS: Final[dict[Callable[[Path], ImageHeader], str]] = {
    read_nifti_image: "NIfTI",
    read_nrrd: "NRRD",
    read_metaimage: "MetaImage",
}
_EIGHT_BIT_MAXIMUM: Final = 255
_INT16: Final = np.iinfo(np.int16)


def read_ct_image(path: Path) -> CtVolume:
    """Read a CT from an image file.

    Parameters
    ----------
    path : Path
        NIfTI (``.nii``, ``.nii.gz``, ``.hdr`` with ``.img``), ``.nrrd``, ``.nhdr``, ``.mha`` or ``.mhd``.

    Returns
    -------
    CtVolume
        Array axes are the file's slowest to fastest; fractional HU are rounded, padding below -1024 HU is air.

    Raises
    ------
    UnreadableFileError
        If no reader knows the file, or it is damaged.
    InvalidGeometryError
        If it is not three-dimensional with one value a voxel, states no voxel size, or states its grid twice and
        differently.
    GantryTiltError
        If its slices are not stacked along their normal.
    NotCtError
        If its values can't be HU.
    """
    name, header = shown_name(path), _read_header(path)
    voxels = header.read_voxels()
    high = _require_hounsfield_range(voxels, name)
    warnings = [*header.warnings, *unit_warnings(voxels, name)]
    if np.issubdtype(voxels.dtype, np.floating):
        np.rint(voxels, out=voxels)
    voxels = padding_to_air(voxels)
    if high > _INT16.max:
        clipped = int(np.count_nonzero(voxels > _INT16.max))
        voxels = np.minimum(voxels, _INT16.max)
        message = f"{clipped} voxels of {name} lie above {_INT16.max} HU and were clipped to it"
        warnings.append(InputWarning(InputWarningCode.HU_CLIPPED, message))
    return CtVolume(voxels.astype(np.int16, copy=False), header.grid, Acquisition(warnings=tuple(warnings)))


def read_mask_image(path: Path, name: str = "mask", *, label: int | None = None) -> LabelMask:
    """Read one label of a mask file.

    Parameters
    ----------
    path : Path
        As for :func:`read_ct_image`.
    name : str
        What it marks, for messages.
    label : int, optional
        The label to read; may be left out when the file has no more than one besides zero.

    Returns
    -------
    LabelMask
        On the file's own grid; empty if every voxel is zero.

    Raises
    ------
    UnreadableFileError, InvalidGeometryError, GantryTiltError
        As for :func:`read_ct_image`.
    InvalidRequestError
        If voxels are not labels, or several labels are there and none was chosen.
    """
    shown, header = shown_name(path), _read_header(path)
    voxels = header.read_voxels()
    labels = _labels(voxels, shown)
    if label is None:
        if len(labels) > 1:
            listed = ", ".join(str(value) for value in labels[:20])
            raise InvalidRequestError(
                f"{shown} has {len(labels)} labels ({listed}); choose the one of the {name}"
            )
        return LabelMask(voxels != 0, header.grid, name, header.warnings)
    if label not in labels:
        listed = ", ".join(str(value) for value in labels[:20]) or "none"
        raise InvalidRequestError(f"{shown} has no label {label}, only {listed}; choose one of these")
    return LabelMask(voxels == label, header.grid, name, header.warnings)


def write_volume(path: Path, voxels: npt.NDArray[Any], geometry: VolumeGeometry) -> None:
    """Write voxels (z, y, x) with their place; the suffix of ``path`` names the format (``.nii.gz``).

    Raises
    ------
    InvalidGeometryError
        If array and geometry have different shapes.
    """
    if voxels.shape != geometry.shape_zyx:
        raise InvalidGeometryError(f"{voxels.shape} voxels do not fit a grid of {geometry.shape_zyx}")
    stored = voxels.astype(np.uint8) if voxels.dtype == np.bool_ else voxels
    write_image(path, stored, geometry)


def write_mask(path: Path, mask: LabelMask) -> None:
    """Write a mask as 0 and 1."""
    write_volume(path, mask.voxels, mask.geometry)


def image_format(path: Path) -> str:
    """Return the name of the format that a file is read as: by its suffix.

    Raises
    ------
    UnreadableFileError
        If no reader knows it.
    """
    return _FORMATS[_reader_of(path)]


def _read_header(path: Path) -> ImageHeader:
    require_regular(path)
    return _reader_of(path)(path)


def _reader_of(path: Path) -> Callable[[Path], ImageHeader]:
    name = path.name.lower()
    for suffix, read in _READERS.items():
        if name.endswith(suffix):
            return read
    raise UnreadableFileError(
        f"{shown_name(path)} is not in a format that is read here; send DICOM or one of {', '.join(_READERS)}"
    )


def _require_hounsfield_range(voxels: AnyArray, name: str) -> float:
    """The greatest value; HU need a sign: what lies in 0 to 255 was scaled for display, or is a mask."""
    low, high = float(voxels.min()), float(voxels.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise NotCtError(f"{name} has voxels that are not finite numbers; export it in Hounsfield units")
    if low >= 0 and high <= _EIGHT_BIT_MAXIMUM:
        raise NotCtError(
            f"the values of {name} run from {low:g} to {high:g}: a mask or gray values, not Hounsfield units; "
            "export the CT itself"
        )
    return high


def _labels(voxels: npt.NDArray[Any], name: str) -> list[int]:
    """The labels besides zero."""
    values = np.unique(voxels)
    if not np.isfinite(values).all() or (values != np.rint(values)).any():
        raise InvalidRequestError(
            f"{name} has fractional values, so it is not a mask; send labels (0 outside, 1 inside)"
        )
    return [int(value) for value in values if value != 0]
