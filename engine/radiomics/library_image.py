"""Voxels as the image that PyRadiomics works on, SimpleITK's, and back; loaded with it, when features are asked for."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt

from engine.geometry import Vector3
from engine.radiomics.extractor import load_library


def itk_image(voxels: npt.NDArray[Any], spacing_zyx_mm: Vector3) -> Any:
    """Voxels (z, y, x) as SimpleITK's image."""
    image = load_library("SimpleITK").GetImageFromArray(voxels)
    image.SetSpacing(spacing_zyx_mm[::-1])
    return image


def voxels_of(image: Any) -> npt.NDArray[Any]:
    """A view of the voxels (z, y, x) of SimpleITK's image."""
    view: npt.NDArray[Any] = load_library("SimpleITK").GetArrayViewFromImage(image)
    return view
