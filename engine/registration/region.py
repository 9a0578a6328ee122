"""The lesion region of a CT on an isotropic grid, windowed for comparison."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from engine.geometry import FloatArray, VolumeGeometry
from engine.kernels.backend import BackendName
from engine.kernels.resampling import resample
from engine.volume import CtVolume

WINDOW_HU: Final = (-1000.0, 200.0)
"""Lung and soft tissue; metal, bone and table do not steer the alignment."""

SLICE_PROFILE_SHARE: Final = 0.3
"""A slice of thickness t blurs like a Gaussian of standard deviation 0.3 t."""


@dataclass(frozen=True, eq=False)
class ComparisonRegion:
    """Windowed HU on an isotropic LPS grid, and where they are known.

    Parameters
    ----------
    hu : ndarray of float32, (z, y, x)
    inside : ndarray of bool, (z, y, x)
        Within the field of view.
    geometry : VolumeGeometry
    """

    hu: npt.NDArray[np.float32]
    inside: npt.NDArray[np.bool_]
    geometry: VolumeGeometry


def comparison_region(
    ct: CtVolume,
    center_lps_mm: FloatArray,
    half_width_mm: FloatArray | float,
    spacing_mm: float,
    *,
    match_slice_mm: float = 0.0,
    backend: BackendName = "cpu",
) -> ComparisonRegion:
    """Cut, resample and window the surroundings of a point.

    Parameters
    ----------
    ct : CtVolume
    center_lps_mm : ndarray, (3,)
    half_width_mm : float or ndarray, (3,)
    spacing_mm : float
    match_slice_mm : float
        Slice distance of the CT to compare with; a thinner one is blurred to its profile along the
        slice normal. Without this, thick slices pull every contour along the table axis.

    Returns
    -------
    ComparisonRegion
    """
    half = np.broadcast_to(np.asarray(half_width_mm, dtype=float), (3,))
    grid = ct.geometry.around(center_lps_mm - half, center_lps_mm + half, spacing_mm)
    source, geometry = _crop_around(ct, grid)
    windowed = np.clip(source.astype(np.float32), *WINDOW_HU)
    own = np.array(geometry.spacing_zyx_mm)
    # In-plane: averaging to the target spacing; across: the thicker slice's profile.
    sigma_mm = np.where(own < spacing_mm, 0.4 * spacing_mm, 0.0)
    if own[0] < match_slice_mm:
        sigma_mm[0] = SLICE_PROFILE_SHARE * np.sqrt(match_slice_mm**2 - own[0] ** 2)
    blurred = ndimage.gaussian_filter(windowed, sigma_mm / own, mode="nearest")
    hu = resample(
        np.ascontiguousarray(blurred, dtype=np.float32),
        geometry.index_from_lps @ grid.affine_lps_mm,
        grid.shape_zyx,
        order=1,
        fill=WINDOW_HU[0],
        backend=backend,
    )
    index = grid.to_lps(np.moveaxis(np.indices(grid.shape_zyx), 0, -1))
    return ComparisonRegion(hu, ct.geometry.contains(index), grid)


def _crop_around(ct: CtVolume, grid: VolumeGeometry) -> tuple[npt.NDArray[np.int16], VolumeGeometry]:
    """The part of the CT that the grid touches, with room for blurring."""
    corners = ct.geometry.to_index(grid.corners_lps_mm())
    room = 8.0 / np.array(ct.geometry.spacing_zyx_mm)
    last = np.array(ct.geometry.shape_zyx) - 1
    low = np.clip(np.floor(corners.min(axis=0) - room), 0, last).astype(int)
    high = np.clip(np.ceil(corners.max(axis=0) + room), 0, last).astype(int) + 1
    box = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    return ct.voxels_hu[box], ct.geometry.crop([int(v) for v in low], [int(v) for v in high])
