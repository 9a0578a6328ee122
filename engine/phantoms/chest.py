"""The chest that a procedure is simulated in: procedural, or a real CT with its lung found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy import ndimage

from engine.arrays import BoolArray, Float32Array, Float64Array
from engine.errors import InvalidRequestError
from engine.geometry import VolumeGeometry, VoxelBox
from engine.hounsfield import LUNG_THRESHOLD_HU, OUTSIDE_AIR_HU
from engine.kernels.resampling import resample
from engine.phantoms.sliding import Pleura
from engine.phantoms.thorax import lung_depth_mm, render_thorax
from engine.phantoms.truth import Sampler
from engine.volume import CtVolume

LUNG_SPACING_MM: Final = 1.5
VESSEL_CLOSING_MM: Final = 6.0
"""Vessels and nodules up to about twice this width belong to the lung."""

_PAD_MM: Final = 18.0
"""A real CT goes on beyond its edge as its mirror image, so that a scan shifted by a breath has no void."""

_STILL_SHARE: Final = 0.25
_FREE_SHARE: Final = 0.6
"""From the mediastinal to the lateral end of the lung: held up to the first share, free from the second."""


@dataclass(frozen=True, eq=False)
class Chest:
    """HU of a chest in the planning frame.

    Parameters
    ----------
    hu : ndarray of float32, (z, y, x)
    geometry : VolumeGeometry
    lung_depth_mm : callable
        Depth of positions (..., 3) below the pleura, negative outside lung.
    pleura : Pleura
    low_lps_mm, high_lps_mm : ndarray, (3,)
        The box that was really scanned or rendered.
    slice_mm : float
        Slice thickness it was scanned with.
    """

    hu: Float32Array
    geometry: VolumeGeometry
    lung_depth_mm: Sampler
    pleura: Pleura
    low_lps_mm: Float64Array
    high_lps_mm: Float64Array
    slice_mm: float = 0.0


def procedural_chest(rng: np.random.Generator, center_lps_mm: Float64Array, half_width_mm: float) -> Chest:
    """The part of the procedural thorax around a point."""
    thorax = render_thorax(rng, center_lps_mm, np.full(3, half_width_mm))
    corners = thorax.geometry.corners_lps_mm()
    return Chest(
        thorax.hu,
        thorax.geometry,
        lung_depth_mm,
        Pleura(lung_depth_mm, still_at_x_mm=-40.0, free_at_x_mm=-75.0),
        corners.min(axis=0),
        corners.max(axis=0),
    )


def chest_of_ct(ct: CtVolume, lesion_lps_mm: Float64Array) -> Chest:
    """The chest of a real CT, with the lung that a lesion lies in.

    Parameters
    ----------
    ct : CtVolume
        Upright: axes along LPS.
    lesion_lps_mm : ndarray, (3,)
        A point in or next to that lung; it decides which side is lateral.

    Raises
    ------
    InvalidRequestError
        No lung is found.
    """
    depth, lattice = _lung_depth(ct)

    def sampled(points: Float64Array) -> Float64Array:
        index = lattice.to_index(points).reshape(-1, 3).T
        sampled = ndimage.map_coordinates(depth, index, order=1, mode="nearest")
        return np.asarray(sampled, dtype=np.float64).reshape(points.shape[:-1])

    at_x = lattice.origin_lps_mm[0] + LUNG_SPACING_MM * np.flatnonzero((depth > 0.0).any(axis=(0, 1)))
    x_mm = float(lesion_lps_mm[0])
    medial, lateral = (
        (float(at_x.max()), float(at_x.min())) if x_mm < 0.0 else (float(at_x.min()), float(at_x.max()))
    )
    if at_x.min() < 0.0 < at_x.max():  # both lungs
        medial = 0.0
    pleura = Pleura(
        sampled, medial + _STILL_SHARE * (lateral - medial), medial + _FREE_SHARE * (lateral - medial)
    )
    corners = ct.geometry.corners_lps_mm()
    pad = [int(np.ceil(_PAD_MM / s)) for s in ct.geometry.spacing_zyx_mm]
    pad = [min(p, n - 1) for p, n in zip(pad, ct.geometry.shape_zyx, strict=True)]
    padded = np.pad(ct.voxels_hu.astype(np.float32), [(p, p) for p in pad], mode="reflect")
    grid = ct.geometry.crop(VoxelBox.whole(ct.geometry.shape_zyx).padded(pad))
    thick = ct.geometry.spacing_zyx_mm[0]
    return Chest(padded, grid, sampled, pleura, corners.min(axis=0), corners.max(axis=0), thick)


def random_place(
    rng: np.random.Generator,
    lung_depth_mm: Sampler,
    low_lps_mm: Float64Array,
    high_lps_mm: Float64Array,
    depth_mm: tuple[float, float],
) -> Float64Array:
    """A place in lung at some depth below the pleura, within a box.

    Raises
    ------
    InvalidRequestError
        There is none.
    """
    places = rng.uniform(low_lps_mm, high_lps_mm, (4000, 3))
    depth = lung_depth_mm(places)
    fitting = np.flatnonzero((depth >= depth_mm[0]) & (depth <= depth_mm[1]))
    if not fitting.size:
        raise InvalidRequestError(
            f"no place {depth_mm[0]:.1f} to {depth_mm[1]:.1f} mm below the pleura lies in the box; "
            "ask for a smaller tumor or margin"
        )
    return np.asarray(places[fitting[0]])


def _lung_of_ct(ct: CtVolume) -> tuple[BoolArray, VolumeGeometry]:
    """All lung of a CT, its vessels and small nodules included, on an upright isotropic grid.

    Raises
    ------
    InvalidRequestError
        No lung is found.
    """
    corners = ct.geometry.corners_lps_mm()
    grid = ct.geometry.around(corners.min(axis=0), corners.max(axis=0), LUNG_SPACING_MM)
    hu = resample(
        ct.voxels_hu, ct.geometry.index_from_lps @ grid.affine_lps_mm, grid.shape_zyx, order=1, fill=-1000
    )
    labels, count = ndimage.label(hu < LUNG_THRESHOLD_HU)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    sizes[0] = 0
    for label in np.argsort(-sizes)[:10]:
        if sizes[label] and np.median(hu[labels == label]) > OUTSIDE_AIR_HU:
            return _closed(labels == label), grid
    raise InvalidRequestError("no lung is found in the CT: nothing large is between air and soft tissue")


def _lung_depth(ct: CtVolume) -> tuple[Float32Array, VolumeGeometry]:
    lung, grid = _lung_of_ct(ct)
    padded = np.pad(lung, 1, mode="edge")
    inside = ndimage.distance_transform_edt(padded, sampling=LUNG_SPACING_MM)
    outside = ndimage.distance_transform_edt(~padded, sampling=LUNG_SPACING_MM)
    depth = ndimage.gaussian_filter((inside - outside).astype(np.float32), 0.7)
    return np.asarray(depth[1:-1, 1:-1, 1:-1]), grid


def _closed(marked: BoolArray) -> BoolArray:
    """Morphological closing with a ball of ``VESSEL_CLOSING_MM``."""
    pad = int(np.ceil(VESSEL_CLOSING_MM / LUNG_SPACING_MM)) + 1
    padded = np.pad(marked, pad, mode="edge")
    grown = ndimage.distance_transform_edt(~padded, sampling=LUNG_SPACING_MM) <= VESSEL_CLOSING_MM
    closed = ndimage.distance_transform_edt(grown, sampling=LUNG_SPACING_MM) > VESSEL_CLOSING_MM
    return np.asarray(closed[pad:-pad, pad:-pad, pad:-pad] | marked)
