"""How much an ablation drew in the tissue around it, and where tissue now in the zone lay before.

Under the zone the images say nothing, and the smoothest field that fits around it knows no shrinkage. So the field may
be a smooth one and a share of the one that belongs to an evenly shrinking zone: without curl, without divergence
outside it. What the smooth prior would otherwise have to bend for says how large that share is.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from scipy import ndimage

from engine.arrays import BoolArray, Float64Array
from engine.geometry import VolumeGeometry
from engine.kernels.backend import KernelBackend
from engine.kernels.bending import solve_bending
from engine.registration.comparison import ScanComparison
from engine.registration.control_grid import coarser, interpolation, positions, thinned
from engine.registration.deformation import Deformation, times_tensor
from engine.registration.field import DisplacementField

_SOURCES: Final = 100
"""Places throughout the zone from which the field of its shrinkage is summed."""

_BALL_RADIUS: Final = (3.0 / (4.0 * np.pi)) ** (1.0 / 3.0)
"""Of a ball of volume 1: each source is one, of even attraction, and no point."""

_INFLATION: Final = 20.0
_SHARE_SD: Final = 0.025
"""The data term counts neighbors as independent (as in :mod:`engine.registration.lesion_motion`); and a lung that bends
by 6 mm looks like up to 6 % of shrinkage around a small zone."""

_EVENNESS: Final = 0.5
"""From outside it cannot be told whether all of the zone shrank evenly or lies around a tumor too stiff to. Of an even
shrinkage of 25 % the smooth field misses 0.9 mm at the zone's surface; around a stiff tumor it is right to 0.3 mm, and
the whole of the even share would be 1.3 mm too much. So half of it is taken, and half of it stays open."""

_LATTICE_MM: Final = 4.0
_ITERATIONS: Final = 5
_REACH_MM: Final = 8.0
"""How far breathing takes the border of a region beyond the lesion's own motion."""


@dataclass(frozen=True, eq=False)
class ZoneContraction:
    """Shrinkage of the zone, and the deformation with it.

    Parameters
    ----------
    share : float
        Of an even shrinkage that the smooth field lacks; negative if the zone grew.
    surface_sd_mm : float
        What is left open of the zone's surface before, as an offset of all of it.
    deformation : Deformation
        The smooth field.
    sources_lps_mm : ndarray, (N, 3)
        Places throughout the zone, fixed frame.
    source_mm3 : float
        Volume that each stands for.
    followed_mm : ndarray, (z, y, x, 3)
        What the smooth field follows of a shrinkage by one, along z, y, x at the nodes of ``lattice``.
    lattice : VolumeGeometry
    """

    share: float
    surface_sd_mm: float
    deformation: Deformation
    sources_lps_mm: Float64Array
    source_mm3: float
    followed_mm: Float64Array
    lattice: VolumeGeometry

    def missing_mm(self, points_lps_mm: Float64Array) -> Float64Array:
        """What the smooth field lacks of a shrinkage by one at points (N, 3) of the fixed frame, LPS mm."""
        followed = interpolation(self.lattice, points_lps_mm).at(self.followed_mm)[:, ::-1]
        return _even_shrinkage_mm(points_lps_mm, self.sources_lps_mm, self.source_mm3) - followed

    @property
    def shortening(self) -> float:
        """Share by which lengths in the zone are shorter now than they were, breathing included."""
        now = self.sources_lps_mm - self.sources_lps_mm.mean(axis=0)
        moved = self.deformation.displacement_mm(self.sources_lps_mm)
        moved = moved + self.share * self.missing_mm(self.sources_lps_mm)
        grown = float((moved * now).sum() / (now**2).sum())
        return grown / (1.0 + grown)

    def to_fixed(self, points_lps_mm: Float64Array) -> Float64Array:
        """Where tissue at points (N, 3) of the moving frame, before the ablation, lies in the fixed frame now."""
        rigid = self.deformation.moving_from_fixed.inverse.apply(points_lps_mm)
        low, high = rigid.min(axis=0) - _REACH_MM, rigid.max(axis=0) + _REACH_MM
        lattice = self.lattice.around(low, high, _LATTICE_MM)
        places = positions(lattice).reshape(-1, 3)
        moved = self.deformation.displacement_mm(places) + self.share * self.missing_mm(places)
        field = DisplacementField(moved.reshape(*lattice.shape_zyx, 3).astype(np.float32), lattice)
        place = rigid - field.at(rigid)
        for _ in range(_ITERATIONS - 1):  # the field is smooth: each takes the error down to a fifth
            place = rigid - field.at(place)
        return np.asarray(place)


def measure_contraction(
    deformation: Deformation, comparison: ScanComparison, *, kernels: KernelBackend = KernelBackend.CPU
) -> ZoneContraction | None:
    """Measure by how much the zone shrank.

    Parameters
    ----------
    deformation : Deformation
    comparison : ScanComparison
    kernels : KernelBackend

    Returns
    -------
    ZoneContraction or None
        None without a zone where both scans are compared.

    Notes
    -----
    With data term T, bending energy R and the field t of a shrinkage by one, the share a minimises
    ``(u + a t - v)' T (u + a t - v) + k u' R u`` over u and a together:
    ``a = t'T (v - u0) / (t'T t - t'T (T + k R)^-1 T t)``, where u0 is the field without shrinkage. An elastic medium
    around an evenly shrinking body is displaced as its mass would attract (Goodier, Phil Mag 23:1017-1032, 1937).
    """
    inside = None if comparison.zone_distance_mm is None else comparison.zone_distance_mm <= 0.0
    if inside is None or not inside.any():
        return None
    grid = comparison.fine.fixed.geometry
    index = np.argwhere(inside)
    every = max(1, round(float(np.cbrt(len(index) / _SOURCES))))
    chosen = index[(index % every == 0).all(axis=1)]
    sources = grid.to_lps((chosen if len(chosen) else index).astype(np.float64))
    source_mm3 = len(index) * grid.voxel_volume_ml * 1000.0 / len(sources)
    lattice, tensor = coarser(deformation.lattice), thinned(deformation.tensor)
    stiffness = deformation.stiffness * deformation.lattice.spacing_zyx_mm[0] / lattice.spacing_zyx_mm[0]
    shrinkage = _even_shrinkage_mm(positions(lattice).reshape(-1, 3), sources, source_mm3)
    template = shrinkage[:, ::-1].reshape(*lattice.shape_zyx, 3)
    wanted = times_tensor(tensor, template)
    followed = solve_bending(tensor, wanted, stiffness, tolerance=1e-3, kernels=kernels)
    precision = max(float((wanted * (template - followed)).sum()), 1e-9)
    even = float((template * thinned(deformation.force)).sum()) / precision
    share = _EVENNESS * even
    share_sd = np.sqrt(_SHARE_SD**2 + ((1.0 - _EVENNESS) * even) ** 2 + _INFLATION / precision)
    found = ZoneContraction(share, 0.0, deformation, sources, source_mm3, followed, lattice)
    missing_mm = found.missing_mm(_places_on(inside, grid))
    return replace(found, surface_sd_mm=float(share_sd * np.sqrt((missing_mm**2).sum(axis=1).mean())))


def _places_on(inside: BoolArray, grid: VolumeGeometry) -> Float64Array:
    """Some voxels along the border of a structure, (N, 3) LPS mm."""
    border = np.argwhere(inside & ~ndimage.binary_erosion(inside))
    return grid.to_lps(border[:: max(1, len(border) // _SOURCES)].astype(np.float64))


def _even_shrinkage_mm(
    points_lps_mm: Float64Array, sources_lps_mm: Float64Array, source_mm3: float
) -> Float64Array:
    """Way back, per unit of shrinkage, of points (N, 3) in and around a body of evenly shrinking sources."""
    near = np.float32((_BALL_RADIUS * np.cbrt(source_mm3)) ** 2)
    origin = sources_lps_mm.mean(axis=0)
    at, sources = (points_lps_mm - origin).astype(np.float32), (sources_lps_mm - origin).astype(np.float32)
    square = (at**2).sum(axis=1)[:, None] + (sources**2).sum(axis=1) - 2.0 * at @ sources.T
    weight = np.maximum(square, near) ** np.float32(-1.5)
    pull = at * weight.sum(axis=1)[:, None] - weight @ sources
    return np.asarray(3.0 / (4.0 * np.pi) * source_mm3 * pull, dtype=np.float64)
