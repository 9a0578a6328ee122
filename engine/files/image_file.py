"""CT and masks from NIfTI, NRRD and MetaImage files, and volumes back to NIfTI.

ITK keeps positions in LPS as DICOM does, whatever the file format says; its axes are (x, y, z).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from engine.errors import InvalidGeometryError, InvalidRequestError, NotCtError, UnreadableFileError
from engine.files.nifti_file import require_intact
from engine.geometry import Vector3, VolumeGeometry
from engine.input_warning import InputWarning, InputWarningCode
from engine.volume import Acquisition, CtVolume, LabelMask

_NIFTI = "NiftiImageIO"
_IMAGE_READERS = {
    ".nii": _NIFTI,
    ".nii.gz": _NIFTI,
    ".nrrd": "NrrdImageIO",
    ".nhdr": "NrrdImageIO",
    ".mha": "MetaImageIO",
    ".mhd": "MetaImageIO",
}
MAX_VOXELS = 2**30
_EIGHT_BIT_MAXIMUM = 255
_LUNG_IS_BELOW_HU = -200
INT16 = np.iinfo(np.int16)


def read_ct_image(path: Path) -> CtVolume:
    """Read a CT from an image file.

    Parameters
    ----------
    path : Path
        ``.nii``, ``.nii.gz``, ``.nrrd``, ``.nhdr``, ``.mha`` or ``.mhd``.

    Returns
    -------
    CtVolume
        Array axes are the file's slowest to fastest; fractional HU are rounded.

    Raises
    ------
    UnreadableFileError
        If no reader knows the file, or it is damaged.
    InvalidGeometryError
        If it is not three-dimensional with one value a voxel, or its axes are sheared.
    NotCtError
        If its values can't be HU.
    """
    voxels, geometry = _read(path)
    _require_hounsfield_range(voxels, path.name)
    warnings = []
    if voxels.min() > _LUNG_IS_BELOW_HU:
        no_air = f"{path.name} has no voxel below {_LUNG_IS_BELOW_HU} HU: no lung or air is in it"
        warnings.append(InputWarning(InputWarningCode.NO_AIR, no_air))
    hu = np.rint(voxels) if np.issubdtype(voxels.dtype, np.floating) else voxels
    outside = int(np.count_nonzero((hu < INT16.min) | (hu > INT16.max))) if _exceeds_int16(hu) else 0
    if outside:
        hu = np.clip(hu, INT16.min, INT16.max)
        clipped = f"{outside} voxels of {path.name} lie outside the range of int16 HU and were clipped to it"
        warnings.append(InputWarning(InputWarningCode.HU_CLIPPED, clipped))
    return CtVolume(hu.astype(np.int16), geometry, Acquisition(warnings=tuple(warnings)))


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
    UnreadableFileError, InvalidGeometryError
        As for :func:`read_ct_image`.
    InvalidRequestError
        If voxels are not labels, or several labels are there and none was chosen.
    """
    voxels, geometry = _read(path)
    labels = _labels(voxels, path.name)
    if label is None:
        if len(labels) > 1:
            listed = ", ".join(str(value) for value in labels[:20])
            raise InvalidRequestError(
                f"{path.name} has {len(labels)} labels ({listed}); choose the one of the {name}"
            )
        return LabelMask(voxels != 0, geometry, name)
    if label not in labels:
        listed = ", ".join(str(value) for value in labels[:20]) or "none"
        raise InvalidRequestError(f"{path.name} has no label {label}, only {listed}; choose one of these")
    return LabelMask(voxels == label, geometry, name)


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
    image = sitk.GetImageFromArray(stored)
    image.SetSpacing(geometry.spacing_zyx_mm[::-1])
    image.SetOrigin(geometry.origin_lps_mm)
    image.SetDirection(np.array(geometry.directions_zyx_lps)[::-1].T.ravel().tolist())
    sitk.WriteImage(image, str(path), useCompression=True)


def write_mask(path: Path, mask: LabelMask) -> None:
    """Write a mask as 0 and 1."""
    write_volume(path, mask.voxels, mask.geometry)


def _read(path: Path) -> tuple[npt.NDArray[Any], VolumeGeometry]:
    """Voxels (z, y, x) as stored, and their grid."""
    kind = _image_reader(path)
    if kind == _NIFTI:
        require_intact(path)
    reader = sitk.ImageFileReader()
    reader.SetImageIO(kind)
    reader.SetFileName(str(path))
    # ITK prints its warnings; whatever matters in them is checked here.
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        reader.ReadImageInformation()
        _require_volume(reader, path.name)
        image = reader.Execute()
    except RuntimeError as error:
        raise _damage(path, str(error)) from error
    if image.GetDimension() == 4:
        image = image[:, :, :, 0]
    voxels: npt.NDArray[Any] = sitk.GetArrayFromImage(image)
    return voxels, _geometry(image, voxels.shape)


def _image_reader(path: Path) -> str:
    name = path.name.lower()
    for suffix, reader in _IMAGE_READERS.items():
        if name.endswith(suffix):
            if not path.is_file():
                raise UnreadableFileError(f"{path.name} does not exist; check the path")
            return reader
    raise UnreadableFileError(
        f"{path.name} is not in a format that is read here; send DICOM or one of {', '.join(_IMAGE_READERS)}"
    )


def _require_volume(reader: sitk.ImageFileReader, name: str) -> None:
    size = reader.GetSize()
    if not (len(size) == 3 or (len(size) == 4 and size[3] == 1)) or reader.GetNumberOfComponents() != 1:
        raise InvalidGeometryError(
            f"{name} has {' × '.join(map(str, size))} voxels of {reader.GetNumberOfComponents()} values, "
            "not one value in three dimensions; send a single volume"
        )
    if np.prod(size, dtype=np.float64) > MAX_VOXELS:
        raise InvalidGeometryError(f"{name} has more than {MAX_VOXELS} voxels; send a smaller volume")


def _damage(path: Path, report: str) -> UnreadableFileError | InvalidGeometryError:
    """What an exception of ITK means; the report's last line has its reason."""
    reason = report.strip().splitlines()[-1].split("): ")[-1]
    if "orthonormal" in report.lower():
        return InvalidGeometryError(
            f"the axes of {path.name} are not orthogonal (sheared or tilted); resample to an orthogonal grid"
        )
    return UnreadableFileError(
        f"{path.name} is damaged or not what its suffix says ({reason}); export it again"
    )


def _geometry(image: sitk.Image, shape: tuple[int, ...]) -> VolumeGeometry:
    axes_xyz = np.array(image.GetDirection()).reshape(3, 3).T
    z, y, x = (_vector(axis) for axis in axes_xyz[::-1])
    return VolumeGeometry(
        shape_zyx=(shape[0], shape[1], shape[2]),
        spacing_zyx_mm=_vector(image.GetSpacing()[::-1]),
        directions_zyx_lps=(z, y, x),
        origin_lps_mm=_vector(image.GetOrigin()),
    )


def _vector(values: npt.ArrayLike) -> Vector3:
    a, b, c = (float(v) for v in np.asarray(values))
    return a, b, c


def _require_hounsfield_range(voxels: npt.NDArray[Any], name: str) -> None:
    """HU need a sign: what lies in 0 to 255 was scaled for display, or is a mask."""
    if np.issubdtype(voxels.dtype, np.complexfloating) or not np.isfinite(voxels).all():
        raise NotCtError(f"{name} has voxels that are not finite numbers; export it in Hounsfield units")
    low, high = float(voxels.min()), float(voxels.max())
    if low >= 0 and high <= _EIGHT_BIT_MAXIMUM:
        raise NotCtError(
            f"the values of {name} run from {low:g} to {high:g}: a mask or gray values, not Hounsfield units; "
            "export the CT itself"
        )


def _exceeds_int16(hu: npt.NDArray[Any]) -> bool:
    return bool(hu.min() < INT16.min or hu.max() > INT16.max)


def _labels(voxels: npt.NDArray[Any], name: str) -> list[int]:
    """The labels besides zero."""
    values = np.unique(voxels)
    if not np.isfinite(values).all() or (values != np.rint(values)).any():
        raise InvalidRequestError(
            f"{name} has fractional values, so it is not a mask; send labels (0 outside, 1 inside)"
        )
    return [int(value) for value in values if value != 0]
