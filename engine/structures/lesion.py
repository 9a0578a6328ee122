"""The lesion in the planning CT: which part of the tumor mask it is, and how large."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.spatial import ConvexHull, QhullError
from scipy.spatial.distance import pdist

from engine.arrays import Float64Array
from engine.errors import InvalidRequestError
from engine.findings import ContourOrigin, LesionFinding
from engine.geometry import Vector3, VolumeGeometry
from engine.kernels.components import Components, find_components
from engine.volume import LabelMask

_MASK_REACH_MM: Final = 20.0
"""A navigation target farther than this from every part of a supplied tumor mask belongs to another lesion."""

_NAMED: Final = 4
"""So many parts are named with their places; the others are counted."""


def choose_lesion(tumor: LabelMask, target_lps_mm: Vector3 | None) -> tuple[LabelMask, tuple[str, ...]]:
    """Choose the part of a tumor mask that is meant; return it with warnings about the choice.

    Parameters
    ----------
    tumor : LabelMask
        Not empty.
    target_lps_mm : tuple of float, optional
        The navigation system's point; without it the whole mask is the lesion.

    Raises
    ------
    InvalidRequestError
        The target lies far from the tumor mask.
    """
    spacing = tumor.geometry.spacing_zyx_mm
    parts = find_components(tumor.voxels, spacing)
    if target_lps_mm is None:
        if len(parts) == 1:
            return tumor, ()
        return tumor, (
            (
                f"the tumor mask has {len(parts)} separate parts ({_listed(parts, tumor.geometry)}), measured as one "
                "lesion; give a target point to choose one"
            ),
        )
    index = tumor.geometry.to_index(np.array(target_lps_mm))
    offset_mm = (np.argwhere(tumor.voxels) - index) * np.array(spacing)
    nearest = int(np.argmin((offset_mm**2).sum(axis=1)))
    distance = float(np.linalg.norm(offset_mm[nearest]))
    if distance > _MASK_REACH_MM:
        raise InvalidRequestError(
            f"the target point lies {distance:.0f} mm from the tumor mask (at most {_MASK_REACH_MM:g} mm); "
            "check that it is in LPS mm of the planning CT"
        )
    label = int(parts.labels[tuple(np.argwhere(tumor.voxels)[nearest])])
    if len(parts) == 1:
        return tumor, ()
    chosen = LabelMask(parts.labels == label, tumor.geometry, tumor.name)
    return chosen, (f"of {len(parts)} parts of the tumor mask the one at the target was measured",)


def _listed(parts: Components, grid: VolumeGeometry) -> str:
    named = [
        f"{volume_ml:.3g} mL at LPS ({x:.1f}, {y:.1f}, {z:.1f}) mm"
        for volume_ml, (x, y, z) in zip(
            parts.volumes_ml[:_NAMED], grid.to_lps(parts.centroids_index_zyx[:_NAMED]), strict=True
        )
    ]
    more = len(parts) - len(named)
    return "; ".join([*named, *([f"and {more} more"] if more > 0 else [])])


def describe_lesion(tumor: LabelMask, origin: ContourOrigin) -> LesionFinding:
    """Volume, centroid and longest diameter of a tumor mask."""
    crop = tumor.tight()
    center = crop.geometry.to_lps(np.array(ndimage.center_of_mass(crop.voxels)))
    return LesionFinding(
        volume_ml=tumor.volume_ml,
        centroid_lps_mm=(float(center[0]), float(center[1]), float(center[2])),
        verification_centroid_lps_mm=None,
        origin=origin,
        longest_diameter_mm=longest_diameter_mm(tumor),
    )


def longest_diameter_mm(mask: LabelMask) -> float:
    """Greatest distance between two corners of marked voxels, mm."""
    corners = np.array(list(np.ndindex(2, 2, 2))) - 0.5
    marked = mask.tight().voxels
    edge = marked & ~ndimage.binary_erosion(marked)
    points = (np.argwhere(edge)[:, None, :] + corners[None]).reshape(-1, 3) * np.array(
        mask.geometry.spacing_zyx_mm
    )
    return float(pdist(points[_hull(points)]).max())


def touches_border(mask: LabelMask) -> bool:
    """Whether marked voxels lie in the outermost layer of the grid: the structure may go on beyond."""
    box, shape = mask.bounding_box(), mask.geometry.shape_zyx
    return min(box.start_zyx) == 0 or any(b == n for b, n in zip(box.stop_zyx, shape, strict=True))


def grown_box_inside(mask: LabelMask, margin_mm: float, geometry: VolumeGeometry) -> bool:
    """Whether the box of a mask grown by ``margin_mm`` lies within a field of view."""
    box = mask.bounding_box()
    padding = margin_mm / np.array(mask.geometry.spacing_zyx_mm)
    low: Float64Array = np.array(box.start_zyx) - 0.5 - padding
    high: Float64Array = np.array(box.stop_zyx) - 0.5 + padding
    ends = np.array(list(np.ndindex(2, 2, 2)), dtype=float)
    return bool(geometry.contains(mask.geometry.to_lps(low + ends * (high - low))).all())


def _hull(points: Float64Array) -> npt.NDArray[np.int64]:
    try:
        return np.asarray(ConvexHull(points).vertices, dtype=np.int64)
    except QhullError:  # voxel corners always span a volume; kept for degenerate rounding
        return np.arange(len(points))
