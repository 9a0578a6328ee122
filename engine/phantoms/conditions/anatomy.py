"""Where a tumor lies, and a chest changed before anything is scanned: its lung, a fissure, a vessel."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np

from engine.arrays import Float32Array, Float64Array
from engine.geometry import VolumeGeometry
from engine.kernels.resampling import resample
from engine.phantoms.chest import Chest, random_place
from engine.phantoms.conditions.description import Place
from engine.phantoms.conditions.zone import VESSEL_RADIUS_MM, CooledZone
from engine.phantoms.thorax import EDGE_MM, lung_depth_mm

_BOXES_LPS_MM: Final[dict[Place, tuple[tuple[float, float, float], tuple[float, float, float]]]] = {
    "central": ((-95.0, -40.0, -50.0), (-50.0, 45.0, 50.0)),
    "subpleural": ((-135.0, -45.0, -60.0), (-90.0, 50.0, 60.0)),
    "wall": ((-135.0, -40.0, -60.0), (-100.0, 45.0, 60.0)),
    "diaphragm": ((-95.0, -35.0, -126.0), (-55.0, 35.0, -80.0)),
    "mediastinum": ((-40.0, -40.0, -60.0), (-15.0, 40.0, 60.0)),
}
"""Of the procedural chest's right lung."""

_ALONG_AXIS: Final[dict[Place, float]] = {"diaphragm": 58.0 / 125.0}
"""The procedural lung's depth is in millimeters across; along its long axis it grows more slowly."""

_DEEP_SHARE: Final = 0.8
_BY_PLEURA_MM: Final = 5.0
_FISSURE_HU: Final = 160.0
_FISSURE_MM: Final = 0.7
_LUNG_FROM_HU: Final = -500.0
_VESSEL_HU: Final = 40.0
_FROM_EDGE_MM: Final = 45.0


def place_in(
    rng: np.random.Generator, place: Place, max_radius_mm: float, clear_mm: float, chest: Chest | None
) -> Float64Array:
    """A center for a tumor.

    Parameters
    ----------
    rng : numpy.random.Generator
    place : str
        See ``ProcedureDescription``.
    max_radius_mm : float
        Of the tumor.
    clear_mm : float
        Depth of its center that leaves lung all around its zone.
    chest : Chest, optional
        A real one, where the deepest places will do if no place is deep enough; the procedural one otherwise.
    """
    depth = {
        "central": (clear_mm, np.inf),
        "subpleural": (max_radius_mm + 1.0, max_radius_mm + _BY_PLEURA_MM),
        "wall": (0.55 * max_radius_mm, 0.9 * max_radius_mm),
        "diaphragm": (0.8 * max_radius_mm, max_radius_mm + 4.0),
        "mediastinum": (0.8 * max_radius_mm, max_radius_mm + 4.0),
    }[place]
    if chest is None:
        low, high = (np.array(corner) for corner in _BOXES_LPS_MM[place])
        share = _ALONG_AXIS.get(place, 1.0)
        return random_place(rng, lung_depth_mm, low, high, (share * depth[0], share * depth[1]))
    room = np.minimum(_FROM_EDGE_MM, 0.35 * (chest.high_lps_mm - chest.low_lps_mm))
    low, high = chest.low_lps_mm + room, chest.high_lps_mm - room
    deepest = float(chest.lung_depth_mm(rng.uniform(low, high, (4000, 3))).max())
    return random_place(rng, chest.lung_depth_mm, low, high, (min(depth[0], _DEEP_SHARE * deepest), depth[1]))


def with_lung_hu(chest: Chest, mean_hu: float) -> Chest:
    """The same chest with lighter or denser lung; vessels and walls keep their HU."""
    in_lung = np.asarray(_lung_depth_on_voxels(chest) >= 0.0)
    typical = float(np.median(chest.hu[in_lung & (chest.hu < _LUNG_FROM_HU)]))
    lighter = in_lung * np.clip((_LUNG_FROM_HU - chest.hu) / 200.0, 0.0, 1.0)
    return replace(chest, hu=(chest.hu + lighter * (mean_hu - typical)).astype(np.float32))


def with_fissure(chest: Chest, point: Float64Array, normal: Float64Array) -> Chest:
    """The same chest with a plane of thin pleura through its lung."""
    x, y, z = _axes_lps_mm(chest.geometry)
    across = (x - point[0]) * normal[0] + (y - point[1]) * normal[1] + (z - point[2]) * normal[2]
    share = np.exp(-((across / _FISSURE_MM) ** 2)) * (_lung_depth_on_voxels(chest) >= 0.0)
    return replace(
        chest, hu=(chest.hu + share * (_FISSURE_HU * (chest.hu < _LUNG_FROM_HU))).astype(np.float32)
    )


def with_vessel(chest: Chest, cooled: CooledZone) -> Chest:
    """The same chest with the vessel that cools a zone."""
    x, y, z = _axes_lps_mm(chest.geometry)
    points = np.stack(np.broadcast_arrays(x, y, z), axis=-1)
    share = np.clip(0.5 + (VESSEL_RADIUS_MM - cooled.distance_to_axis_mm(points)) / (2.0 * EDGE_MM), 0.0, 1.0)
    share *= _lung_depth_on_voxels(chest) >= 0.0
    return replace(
        chest, hu=np.maximum(chest.hu, chest.hu + share * (_VESSEL_HU - chest.hu)).astype(np.float32)
    )


def _axes_lps_mm(geometry: VolumeGeometry) -> tuple[Float64Array, Float64Array, Float64Array]:
    """Coordinates x, y, z of a grid with axes along LPS, each along its own array axis."""
    start, steps = geometry.affine_lps_mm[:3, 3], np.diag(geometry.affine_lps_mm[:3, :3][:, ::-1])
    x, y, z = (s + d * np.arange(n) for s, d, n in zip(start, steps, geometry.shape_zyx[::-1], strict=True))
    return x[None, None, :], y[None, :, None], z[:, None, None]


_LATTICE_MM: Final = 3.0


def _lung_depth_on_voxels(chest: Chest) -> Float32Array:
    """Depth below the pleura of every voxel, by way of a lattice: it is smooth."""
    corners = chest.geometry.corners_lps_mm()
    lattice = chest.geometry.around(corners.min(axis=0), corners.max(axis=0), _LATTICE_MM)
    points = lattice.to_lps(np.moveaxis(np.indices(lattice.shape_zyx), 0, -1))
    depth = chest.lung_depth_mm(points.reshape(-1, 3)).reshape(lattice.shape_zyx).astype(np.float32)
    index_map = lattice.index_from_lps @ chest.geometry.affine_lps_mm
    return np.asarray(resample(depth, index_map, chest.geometry.shape_zyx, order=1))
