"""The cold spots: connected uncovered parts of the target, those in lung first, each kind largest first.

They are "uncovered region, for review", never an instruction to ablate, and void once the patient moves.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np
from scipy import ndimage

from engine.arrays import BoolArray, Float64Array
from engine.coverage.grid import MeasurementField
from engine.findings import ColdSpot, Direction
from engine.geometry import Vector3, VoxelBox
from engine.kernels.components import find_components

_MIN_VOLUME_ML: Final = 0.001
"""Regions below eight measurement voxels are not listed one by one, apart from the largest; coverage counts them."""

_DIRECTION_SHARE: Final = 0.38
"""An axis is named when it carries at least this share of the unit direction (about 22 degrees)."""

_CENTRAL_MM: Final = 1.0
"""A region whose centroid lies this close to the tumor's surrounds it and has no direction."""

_ALONG_LPS: Final = (
    (Direction.LEFT, Direction.RIGHT),
    (Direction.POSTERIOR, Direction.ANTERIOR),
    (Direction.SUPERIOR, Direction.INFERIOR),
)


def find_cold_spots(
    field: MeasurementField, in_lung: BoolArray, outside_lung: BoolArray
) -> tuple[ColdSpot, ...]:
    """Rank the uncovered regions of a target.

    Parameters
    ----------
    field : MeasurementField
    in_lung, outside_lung : ndarray of bool, (z, y, x)
        Uncovered target that can be assessed, and that cannot, on the field's grid.

    Returns
    -------
    tuple of ColdSpot
        Those in lung first, each kind largest first; positions in the verification frame. Empty only where nothing is
        uncovered.
    """
    spots = [*_regions(field, in_lung, in_lung=True), *_regions(field, outside_lung, in_lung=False)]
    return tuple(replace(spot, rank=rank) for rank, spot in enumerate(spots, 1))


def _regions(field: MeasurementField, uncovered: BoolArray, *, in_lung: bool) -> list[ColdSpot]:
    """The connected parts, largest first; small ones are left out, the largest never."""
    if not uncovered.any():
        return []
    spacing = field.geometry.spacing_zyx_mm
    parts = find_components(uncovered, spacing, kernels=field.kernels)
    tumor_center = field.geometry.to_lps(np.array(ndimage.center_of_mass(field.tumor)))
    spots = []
    for i in range(len(parts)):
        volume_ml = float(parts.volumes_ml[i])
        if i > 0 and volume_ml < _MIN_VOLUME_ML:
            break
        box = VoxelBox.between(parts.starts_zyx[i], parts.stops_zyx[i]).slices
        depth = np.where(parts.labels[box] == i + 1, field.distance_to_zone_mm[box], -np.inf)
        deepest = np.array(np.unravel_index(int(np.argmax(depth)), depth.shape)) + parts.starts_zyx[i]
        centroid = field.geometry.to_lps(parts.centroids_index_zyx[i])
        spots.append(
            ColdSpot(
                rank=i + 1,
                volume_ml=volume_ml,
                centroid_lps_mm=_vector(centroid),
                deepest_lps_mm=_vector(field.geometry.to_lps(deepest.astype(float))),
                deepest_mm=float(depth.max()),
                directions=directions_of(centroid - tumor_center),
                distance_to_pleura_mm=_finite(float(field.distance_to_pleura_mm[tuple(deepest)])),
                in_lung=in_lung,
            )
        )
    return spots


def directions_of(offset_lps_mm: Float64Array) -> tuple[Direction, ...]:
    """Name an LPS direction by the axes that carry it; by none where the offset is below 1 mm."""
    length = float(np.linalg.norm(offset_lps_mm))
    if length < _CENTRAL_MM:
        return ()
    unit = offset_lps_mm / length
    return tuple(
        positive if u > 0 else negative
        for u, (positive, negative) in zip(unit, _ALONG_LPS, strict=True)
        if abs(u) >= _DIRECTION_SHARE
    )


def _finite(distance: float) -> float | None:
    return distance if np.isfinite(distance) else None


def _vector(values: Float64Array) -> Vector3:
    return float(values[0]), float(values[1]), float(values[2])
