"""Tumor shapes: where the surface is, and how far any point is from it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from engine.arrays import Float64Array
from engine.phantoms.crossings import distance_to_samples
from engine.structures.surface import SURFACE_LEVEL, SURFACE_PAD_VOXELS, Occupancy, occupancy
from engine.volume import LabelMask

_LOG_VOLUME_ML: Final = (-0.32, 1.18)
"""Mean and standard deviation of ln(volume in mL) over 250 nodules of LIDC-IDRI, 0.15 to 16.7 mL (Armato
et al., Med Phys 38:915-931, 2011)."""

_SECOND_AXIS_SHARE: Final = (0.55, 0.94)
_THIRD_AXIS_SHARE: Final = (0.45, 0.83)
"""Second and third axis against the first, over the same nodules (about the 5th to the 95th percentile)."""

_SURFACE_POINTS: Final = 15_000
"""About 0.3 mm apart on an 18 mm tumor: the distance 5 mm away is then exact to 0.003 mm."""

_GAP_MM: Final = 0.35
"""No place on the surface is farther from its nearest point than this."""

_LATTICE_MM: Final = 1.25
"""Distances are smooth: cubic interpolation on this lattice is good to about 0.03 mm."""

_PADDING_MM: Final = 15.0
"""How far beyond ``max_radius_mm`` of the tumor the lattice of its distances goes."""


class TumorShape(Protocol):
    """A closed surface in the planning frame."""

    @property
    def center_lps_mm(self) -> Float64Array:
        """A point inside."""

    @property
    def max_radius_mm(self) -> float:
        """Greatest distance of the surface from the center."""

    @property
    def volume_ml(self) -> float:
        """Volume, mL."""

    def signed_distance_mm(self, points_lps_mm: Float64Array) -> Float64Array:
        """Distance of points (..., 3) to the surface, negative inside; at least ``_PADDING_MM`` far out."""


@dataclass(frozen=True, eq=False)
class _DistanceLattice:
    """Signed distances on a cubic lattice, read off by cubic interpolation."""

    coefficients: Float64Array
    origin_lps_mm: Float64Array

    @staticmethod
    def around(
        center: Float64Array, half_width_mm: float, signed: Callable[[Float64Array], Float64Array]
    ) -> _DistanceLattice:
        """Fill a lattice from a function of positions (N, 3)."""
        axis = np.arange(-half_width_mm, half_width_mm + _LATTICE_MM, _LATTICE_MM)
        x, y, z = np.meshgrid(axis, axis, axis, indexing="ij")
        points = np.stack([x, y, z], axis=-1) + center
        values = signed(points.reshape(-1, 3)).reshape(x.shape)
        return _DistanceLattice(
            ndimage.spline_filter(values, order=3, mode="nearest"), center - half_width_mm
        )

    def at(self, points_lps_mm: Float64Array) -> Float64Array:
        """Values at positions (..., 3); the border's beyond it."""
        index = np.moveaxis((points_lps_mm - self.origin_lps_mm) / _LATTICE_MM, -1, 0)
        return np.asarray(
            ndimage.map_coordinates(self.coefficients, index, order=3, mode="nearest", prefilter=False)
        )


@dataclass(frozen=True, eq=False)
class LobulatedTumor:
    """A star-shaped surface: an ellipsoid with lobes and spicules.

    Parameters
    ----------
    center : ndarray, (3,)
        LPS mm.
    radii_mm : ndarray, (3,)
    rotation : ndarray, (3, 3)
    bumps : sequence of (direction (3,), relative height, sharpness)
    """

    center: Float64Array
    radii_mm: Float64Array
    rotation: Float64Array
    bumps: Sequence[tuple[Float64Array, float, float]] = field(default_factory=tuple)

    @property
    def center_lps_mm(self) -> Float64Array:
        """Center of the star."""
        return self.center

    @cached_property
    def max_radius_mm(self) -> float:
        """Greatest radius."""
        return float(self._radius(evenly_spread(_SURFACE_POINTS)).max())

    @cached_property
    def volume_ml(self) -> float:
        """Volume from the radius over evenly spread directions."""
        return float(4.0 / 3.0 * np.pi * (self._radius(evenly_spread(20_000)) ** 3).mean()) / 1000.0

    def signed_distance_mm(self, points_lps_mm: Float64Array) -> Float64Array:
        """See :class:`TumorShape`."""
        return self._lattice.at(points_lps_mm)

    def _radius(self, unit: Float64Array) -> Float64Array:
        direction_in_own_axes = unit @ self.rotation
        radius = 1.0 / np.sqrt(((direction_in_own_axes / self.radii_mm) ** 2).sum(axis=-1))
        relative_radius = np.ones(radius.shape)
        for direction, height, sharpness in self.bumps:
            relative_radius += height * np.exp(sharpness * (unit @ direction - 1.0))
        return np.asarray(radius * relative_radius)

    def _beyond(self, offset: Float64Array) -> Float64Array:
        """How far offsets (N, 3) from the center lie beyond the surface along their ray."""
        length = np.linalg.norm(offset, axis=-1)
        unit = np.where(length[:, None] > 0, offset / np.maximum(length, 1e-9)[:, None], [1.0, 0.0, 0.0])
        return np.asarray(length - self._radius(unit))

    def _normals(self, offset: Float64Array) -> Float64Array:
        """Outward unit normals at offsets (N, 3) on the surface, by central differences."""
        steps = 1e-4 * np.eye(3)
        slope = np.stack([self._beyond(offset + s) - self._beyond(offset - s) for s in steps], axis=-1)
        return np.asarray(slope / np.linalg.norm(slope, axis=-1, keepdims=True))

    @cached_property
    def _lattice(self) -> _DistanceLattice:
        unit = evenly_spread(_SURFACE_POINTS)
        samples = unit * self._radius(unit)[:, None]
        normals = self._normals(samples)

        def signed(points: Float64Array) -> Float64Array:
            offset = points - self.center
            beyond = self._beyond(offset)
            # Farther out than anybody asks: the search is slow there, the distance along the ray will do.
            distance = np.abs(beyond)
            near = np.linalg.norm(offset, axis=-1) <= self.max_radius_mm + _PADDING_MM + 1.5 * _LATTICE_MM
            distance[near] = distance_to_samples(offset[near], samples, normals, _GAP_MM)
            return np.copysign(distance, beyond)

        return _DistanceLattice.around(self.center, self.max_radius_mm + _PADDING_MM, signed)


@dataclass(frozen=True, eq=False)
class SmoothedMask:
    """The surface of a contoured mask, as a phantom painted into a real CT needs it."""

    mask: LabelMask

    @cached_property
    def center_lps_mm(self) -> Float64Array:
        """Center of gravity."""
        return self.mask.geometry.to_lps(np.array(ndimage.center_of_mass(self.mask.voxels)))

    @cached_property
    def max_radius_mm(self) -> float:
        """Greatest distance of a marked voxel from the center, and a voxel."""
        marked = self.mask.geometry.to_lps(np.argwhere(self.mask.voxels).astype(float))
        return float(np.linalg.norm(marked - self.center_lps_mm, axis=1).max()) + 1.0

    @property
    def volume_ml(self) -> float:
        """Volume of the marked voxels."""
        return self.mask.volume_ml

    def signed_distance_mm(self, points_lps_mm: Float64Array) -> Float64Array:
        """See :class:`TumorShape`."""
        return self._lattice.at(points_lps_mm)

    @cached_property
    def _lattice(self) -> _DistanceLattice:
        field = occupancy(self.mask.tight(SURFACE_PAD_VOXELS))
        surface = cKDTree(_surface_points(field))

        def signed(points: Float64Array) -> Float64Array:
            distance, _ = surface.query(points, workers=-1)
            index = field.geometry.to_index(points)
            value = ndimage.map_coordinates(field.values, index.T, order=1, mode="constant")
            return np.where(value >= SURFACE_LEVEL, -distance, distance)

        return _DistanceLattice.around(self.center_lps_mm, self.max_radius_mm + _PADDING_MM, signed)


def _surface_points(field: Occupancy) -> Float64Array:
    """LPS positions where a line between neighboring fine samples crosses the surface."""
    fine = ndimage.zoom(field.values, 2, order=1, grid_mode=True, mode="nearest")
    points = []
    for axis in range(3):
        low, high = np.moveaxis(fine, axis, 0)[:-1], np.moveaxis(fine, axis, 0)[1:]
        crossing = (low >= SURFACE_LEVEL) != (high >= SURFACE_LEVEL)
        index = np.argwhere(crossing).astype(np.float64)
        index[:, 0] += (SURFACE_LEVEL - low[crossing]) / (high[crossing] - low[crossing])
        order = [axis, *(a for a in range(3) if a != axis)]
        points.append(index[:, np.argsort(order)])
    return field.geometry.to_lps((np.concatenate(points) + 0.5) / 2.0 - 0.5)


def random_tumor(
    rng: np.random.Generator, center_lps_mm: npt.ArrayLike, *, volume_ml: float | None = None
) -> LobulatedTumor:
    """A tumor whose volume, elongation and lobulation are drawn like those of real nodules."""
    if volume_ml is None:
        volume_ml = float(np.clip(np.exp(rng.normal(*_LOG_VOLUME_ML)), 0.15, 16.7))
    elongation = np.array([1.0, rng.uniform(*_SECOND_AXIS_SHARE), rng.uniform(*_THIRD_AXIS_SHARE)])
    bumps = [(_unit(rng), rng.uniform(0.08, 0.28), rng.uniform(4.0, 10.0)) for _ in range(6)]
    bumps += [(_unit(rng), rng.uniform(0.15, 0.4), rng.uniform(40.0, 90.0)) for _ in range(5)]
    rotation = Rotation.random(random_state=rng).as_matrix()
    shape = LobulatedTumor(np.asarray(center_lps_mm, dtype=float), elongation * 9.0, rotation, tuple(bumps))
    scale = (volume_ml / shape.volume_ml) ** (1.0 / 3.0)
    return LobulatedTumor(shape.center, shape.radii_mm * scale, rotation, tuple(bumps))


def _unit(rng: np.random.Generator) -> Float64Array:
    vector = rng.normal(size=3)
    return np.asarray(vector / np.linalg.norm(vector))


def evenly_spread(count: int) -> Float64Array:
    """Unit vectors (count, 3) spread evenly: a Fibonacci sphere."""
    i = np.arange(count) + 0.5
    z = 1.0 - 2.0 * i / count
    angle = np.pi * (1.0 + np.sqrt(5.0)) * i
    ring = np.sqrt(1.0 - z * z)
    return np.stack([ring * np.cos(angle), ring * np.sin(angle), z], axis=-1)
