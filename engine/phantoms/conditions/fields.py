"""Motion, lung depth and density of a scene on a lattice of the verification frame, and on any grid from there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from engine.arrays import BoolArray, Float32Array, Float64Array
from engine.geometry import VolumeGeometry
from engine.kernels.resampling import resample
from engine.phantoms.chest import Chest
from engine.phantoms.conditions.motion import TissueMotion, jacobian

_LATTICE_MM: Final = 3.0
_APART_MM: Final = 0.3
"""Lung and wall that touch differ by less: the depths come from a lattice."""

_LUNG_HU: Final = -500.0
"""Only what is lighter changes its density with the lung's volume."""


@dataclass(frozen=True, eq=False)
class VerificationFields:
    """Everything smooth, in the verification frame.

    Parameters
    ----------
    chest : Chest
    motion : TissueMotion
    lattice : VolumeGeometry
    wall_depth_mm, lung_depth_mm : ndarray of float32, (z, y, x)
        Depth below the pleura of the place that the wall's motion leads to, and of the one that the lung's leads to.
    volume_ratio : ndarray of float32, (z, y, x)
        Planning volume of lung tissue over its verification volume.
    lung, wall, jump : ndarray of float32, (z, y, x, 3)
        Displacement beyond the tumor's own motion, chest voxels; and what the lobe beyond a fissure adds.
    beyond_fissure : ndarray of float32, (z, y, x), optional
        Signed distance beyond the fissure.
    """

    chest: Chest
    motion: TissueMotion
    lattice: VolumeGeometry
    wall_depth_mm: Float32Array
    lung_depth_mm: Float32Array
    volume_ratio: Float32Array
    lung: Float32Array
    wall: Float32Array
    jump: Float32Array | None = None
    beyond_fissure: Float32Array | None = None

    def on(self, grid: VolumeGeometry) -> FieldsOnGrid:
        """The fields and the moved chest on a grid of the verification frame."""
        lattice_map = self.lattice.index_from_lps @ grid.affine_lps_mm

        def sampled(values: Float32Array) -> Float32Array:
            return np.asarray(resample(values, lattice_map, grid.shape_zyx, order=1))

        wall_depth, lung_depth = sampled(self.wall_depth_mm), sampled(self.lung_depth_mm)
        lung = self._chest(grid, self.lung, lattice_map)
        if self.jump is not None and self.beyond_fissure is not None:
            other = sampled(self.beyond_fissure) > 0.0
            lung = np.where(other, self._chest(grid, self.lung + self.jump, lattice_map), lung)
        return FieldsOnGrid(
            grid,
            wall_depth,
            lung_depth,
            lung,
            self._chest(grid, self.wall, lattice_map),
            sampled(self.volume_ratio),
        )

    def _chest(
        self, grid: VolumeGeometry, displacement: Float32Array, lattice_map: Float64Array
    ) -> Float32Array:
        index_map = self.chest.geometry.index_from_lps @ self.motion.tumor.matrix @ grid.affine_lps_mm
        hu = resample(
            self.chest.hu,
            index_map,
            grid.shape_zyx,
            order=3,
            fill=-1000.0,
            displacement=displacement,
            displacement_map=lattice_map,
        )
        return np.asarray(hu, dtype=np.float32)


@dataclass(frozen=True, eq=False)
class FieldsOnGrid:
    """The same on one grid; ``lung_hu`` and ``wall_hu`` are the chest as either moves."""

    grid: VolumeGeometry
    wall_depth_mm: Float32Array
    lung_depth_mm: Float32Array
    lung_hu: Float32Array
    wall_hu: Float32Array
    volume_ratio: Float32Array

    @property
    def in_chest(self) -> BoolArray:
        """Inside the chest wall."""
        return np.asarray(self.wall_depth_mm >= 0.0)

    @property
    def pleural_space(self) -> BoolArray:
        """Between lung and chest wall, where they are apart."""
        apart = self.lung_depth_mm < self.wall_depth_mm - _APART_MM
        return np.asarray(self.in_chest & (self.lung_depth_mm < 0.0) & apart)

    def hu(self, *, density_follows: bool) -> Float32Array:
        """The moved chest, before anything is painted."""
        lung = self.lung_hu
        if density_follows:
            lighter = np.clip((_LUNG_HU - lung) / 200.0, 0.0, 1.0)
            lung = lung + lighter * (lung + 1000.0) * (self.volume_ratio - 1.0)
        return np.asarray(np.where(self.in_chest, lung, self.wall_hu), dtype=np.float32)


def sample_fields(
    chest: Chest, motion: TissueMotion, grid: VolumeGeometry, padding_mm: float
) -> VerificationFields:
    """Sample a motion around a scan.

    Parameters
    ----------
    chest : Chest
    motion : TissueMotion
    grid : VolumeGeometry
        Of the verification CT.
    padding_mm : float
        The lattice goes on this far beyond it.
    """
    corners = grid.corners_lps_mm()
    lattice = grid.around(corners.min(axis=0) - padding_mm, corners.max(axis=0) + padding_mm, _LATTICE_MM)
    shape = lattice.shape_zyx
    points = lattice.to_lps(np.moveaxis(np.indices(shape), 0, -1)).reshape(-1, 3)
    with_tumor = motion.tumor.apply(points)
    to_index = chest.geometry.index_from_lps[:3, :3]

    def on_lattice(values: Float64Array) -> Float32Array:
        return np.ascontiguousarray(values.reshape(*shape, *values.shape[1:]), dtype=np.float32)

    wall, lung = motion.wall_to_planning(points), motion.lung_to_planning(points)
    ratio = jacobian(lung.reshape(*shape, 3).transpose(2, 1, 0, 3), _LATTICE_MM).transpose(2, 1, 0)
    jump = beyond = None
    if motion.fissure is not None:
        own = motion.own_to_planning(points)
        beyond = on_lattice((own - motion.fissure.point) @ motion.fissure.normal)
        jump = on_lattice(motion.fissure.jump(own) @ to_index.T)
    return VerificationFields(
        chest,
        motion,
        lattice,
        on_lattice(chest.lung_depth_mm(wall)),
        on_lattice(chest.lung_depth_mm(motion.own_to_planning(points))),
        np.ascontiguousarray(np.clip(ratio, 0.5, 1.6), dtype=np.float32),
        on_lattice((lung - with_tumor) @ to_index.T),
        on_lattice((wall - with_tumor) @ to_index.T),
        jump,
        beyond,
    )
