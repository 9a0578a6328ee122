"""Displacement fields as vector images: NIfTI, one vector in LPS mm a voxel, as ITK keeps them."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np

from engine.errors import InvalidGeometryError
from engine.files.image_writing import write_image
from engine.files.nifti_header import NiftiHeader, read_nifti, stated_axes
from engine.files.stated_grid import grid_of
from engine.files.stored_bytes import read_stored
from engine.registration.field import DisplacementField

_VECTORS_LPS: Final = 1007
"""NIFTI_INTENT_VECTOR: components as ITK keeps them. DISPVECT (1006) is in RAS for some programs, LPS for others."""


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
    unfinished = path.with_name(f".unfinished-{path.name}")
    try:
        write_image(
            unfinished, np.asarray(vectors, dtype=np.float32), grid, is_vector=True, compression_level=1
        )
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
    InvalidGeometryError, GantryTiltError
        If it is not one vector of three finite numbers a voxel in three dimensions, or its grid is not stated or stated
        twice and differently.
    """
    header = read_nifti(path)
    _require_vectors(header)
    axes, warnings = stated_axes(header)
    if warnings:
        raise InvalidGeometryError("; ".join(warning.message for warning in warnings))
    grid = grid_of(axes, header.shape_xyz, header.name)
    components = read_stored(header.stored).view(header.stored_type).reshape(3, *grid.shape_zyx)
    vectors = np.ascontiguousarray(np.moveaxis(components, 0, -1), dtype=np.float32)
    if not np.isfinite(vectors).all():
        raise InvalidGeometryError(f"{header.name} has displacements that are not finite numbers")
    return DisplacementField(vectors, grid)


def _require_vectors(header: NiftiHeader) -> None:
    if len(header.shape) != 5 or header.shape[3:] != (1, 3) or header.intent_code != _VECTORS_LPS:
        raise InvalidGeometryError(
            f"{header.name} has {' × '.join(map(str, header.shape))} values of intent {header.intent_code}, not one "
            "vector in three dimensions (intent 1007); send a displacement field"
        )
