"""Displacement fields as vector images: NIfTI, one vector in LPS mm a voxel, as ITK keeps them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk

from engine.errors import InvalidGeometryError, UnreadableFileError
from engine.files.nifti_file import require_intact
from engine.geometry import Vector3, VolumeGeometry
from engine.registration.field import DisplacementField


def write_displacement(path: Path, field: DisplacementField) -> None:
    """Write a displacement field; a place p of its frame lies at p plus the vector there.

    Parameters
    ----------
    path : Path
        ``.nii.gz`` or ``.nii``. Takes the place of an older file only when it is complete.
    field : DisplacementField

    Raises
    ------
    InvalidGeometryError
        If the vectors do not fit their grid, or one of them is not a finite number.
    """
    vectors, grid = field.displacement_lps_mm, field.geometry
    if vectors.shape != (*grid.shape_zyx, 3):
        raise InvalidGeometryError(f"{vectors.shape} displacements do not fit a grid of {grid.shape_zyx}")
    if not np.isfinite(vectors).all():
        raise InvalidGeometryError(f"{path.name} is not written: displacements must be finite numbers")
    image = sitk.GetImageFromArray(np.asarray(vectors, dtype=np.float32), isVector=True)
    image.SetSpacing(grid.spacing_zyx_mm[::-1])
    image.SetOrigin(grid.origin_lps_mm)
    image.SetDirection(np.array(grid.directions_zyx_lps)[::-1].T.ravel().tolist())
    unfinished = path.with_name(f".unfinished-{path.name}")
    try:
        sitk.WriteImage(image, str(unfinished), useCompression=True, compressionLevel=1)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def read_displacement(path: Path) -> DisplacementField:
    """Read a displacement field.

    Parameters
    ----------
    path : Path
        A NIfTI of three values a voxel, LPS mm.

    Returns
    -------
    DisplacementField

    Raises
    ------
    UnreadableFileError
        If the file is not there, damaged, or no NIfTI.
    InvalidGeometryError
        If it is not one vector of three numbers a voxel in three dimensions.
    """
    if not path.is_file():
        raise UnreadableFileError(f"{path.name} does not exist; check the path")
    require_intact(path)
    try:
        image = sitk.ReadImage(str(path), imageIO="NiftiImageIO")
    except RuntimeError as error:
        raise UnreadableFileError(
            f"{path.name} is damaged or no NIfTI ({str(error).strip().splitlines()[-1]}); export it again"
        ) from error
    if image.GetDimension() != 3 or image.GetNumberOfComponentsPerPixel() != 3:
        raise InvalidGeometryError(
            f"{path.name} has {image.GetNumberOfComponentsPerPixel()} values a voxel in "
            f"{image.GetDimension()} dimensions, not one vector in three; send a displacement field"
        )
    vectors = sitk.GetArrayFromImage(image).astype(np.float32)
    z, y, x = (_vector(axis) for axis in np.array(image.GetDirection()).reshape(3, 3).T[::-1])
    sx, sy, sz = image.GetSpacing()
    geometry = VolumeGeometry(
        shape_zyx=(vectors.shape[0], vectors.shape[1], vectors.shape[2]),
        spacing_zyx_mm=(sz, sy, sx),
        directions_zyx_lps=(z, y, x),
        origin_lps_mm=_vector(image.GetOrigin()),
    )
    return DisplacementField(vectors, geometry)


def _vector(values: tuple[float, ...] | np.ndarray) -> Vector3:
    a, b, c = (float(v) for v in values)
    return a, b, c
