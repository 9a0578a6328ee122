"""The dense deformation: the smoothest field that the surroundings of the lesion agree with.

A displacement on a lattice of nodes, linear between them, is found by Gauss-Newton steps. Its data term
compares the images through a local linear model and counts only voxels with evidence; its prior is the
bending energy, for which an affine motion is free. Where there is no evidence, as under the ablation
zone, the field is what the surroundings predict: the same prior makes the registration, the prediction
at the lesion and its uncertainty one model.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from engine.arrays import BoolArray, Float32Array, Float64Array
from engine.geometry import RigidTransform, VolumeGeometry
from engine.kernels.arguments import node_shape
from engine.kernels.backend import KernelBackend
from engine.kernels.bending import bending_force, solve_bending
from engine.kernels.matching import local_moments, match_equations
from engine.kernels.resampling import resample
from engine.registration.control_grid import positions
from engine.registration.field import DisplacementField
from engine.registration.region import ComparisonRegion, SourceRegion

_REFERENCE_NODE_MM: Final = 4.5
_REFERENCE_GRID_MM: Final = 1.5

_OUTLIER_RATIO: Final = 2.0
"""Differences of twice the local noise count half: vessels that are not in both, motion artefacts."""

_NOISE_FLOOR_HU: Final = 10.0
_CONTRAST_FLOOR_HU: Final = 50.0
_MAX_GAIN: Final = 1.5
"""Breathing changes the density of lung by up to a third; more is another tissue."""

_MAX_STEP_MM: Final = 3.0
_LOOSE_TOLERANCE: Final = 0.03
_TIGHT_TOLERANCE: Final = 1e-3


@dataclass(frozen=True)
class Level:
    """One resolution: grid and node distance in mm, steps, the weight of the bending energy, and overrelaxation."""

    grid_mm: float
    node_mm: float
    model_mm: float
    steps: int
    stiffness: float
    relaxation: float = 1.0


@dataclass(frozen=True, eq=False)
class Deformation:
    """A field on nodes with the quadratic that the images make of it.

    Parameters
    ----------
    moving_from_fixed : RigidTransform
        The alignment it began with; a fixed point p lies at ``moving_from_fixed (p + u(p))``.
    nodes_mm : ndarray of float64, (z, y, x, 3)
        u along z, y, x of the fixed frame.
    lattice : VolumeGeometry
        Of the nodes, in the fixed frame.
    tensor, force : ndarray of float64, (z, y, x, 6), (z, y, x, 3)
        Data term at ``nodes_mm``.
    stiffness : float
        Weight of the bending energy on this lattice.
    warped : ndarray of float32, (z, y, x)
        Moving image on the fixed grid; NaN where not known.
    moments : ndarray of float64, (*model nodes, 6)
        Local sums of both images.
    model_lattice : VolumeGeometry
        Of their nodes.
    """

    moving_from_fixed: RigidTransform
    nodes_mm: Float64Array
    lattice: VolumeGeometry
    tensor: Float64Array
    force: Float64Array
    stiffness: float
    warped: Float32Array
    moments: Float64Array
    model_lattice: VolumeGeometry

    def displacement_mm(self, points_lps_mm: Float64Array) -> Float64Array:
        """Nodal displacement u at any points, (..., 3) along LPS x, y, z."""
        nodes = DisplacementField(self.nodes_mm[..., ::-1].astype(np.float32), self.lattice)
        return nodes.at(points_lps_mm)

    def to_moving(self, points_lps_mm: Float64Array) -> Float64Array:
        """Map positions of the fixed frame to the moving frame."""
        moved = points_lps_mm + self.displacement_mm(points_lps_mm)
        return self.moving_from_fixed.apply(moved)

    @property
    def data_optimum(self) -> Float64Array:
        """Right side ``T u + force`` of the data term: its solution without a prior."""
        return times_tensor(self.tensor, self.nodes_mm) + self.force


def times_tensor(tensor: Float64Array, field: Float64Array) -> Float64Array:
    """Product of the symmetric blocks (z, y, x, 6) of a data term with a field (z, y, x, 3)."""
    t, u = tensor, field
    return np.stack(
        [
            t[..., 0] * u[..., 0] + t[..., 1] * u[..., 1] + t[..., 2] * u[..., 2],
            t[..., 1] * u[..., 0] + t[..., 3] * u[..., 1] + t[..., 4] * u[..., 2],
            t[..., 2] * u[..., 0] + t[..., 4] * u[..., 1] + t[..., 5] * u[..., 2],
        ],
        axis=-1,
    )


def deform(
    fixed: ComparisonRegion,
    moving: SourceRegion,
    evidence: BoolArray,
    moving_from_fixed: RigidTransform,
    levels: tuple[Level, ...],
    *,
    initial: Deformation | None = None,
    kernels: KernelBackend = KernelBackend.CPU,
) -> Deformation:
    """Find the deformation that brings ``moving`` onto ``fixed``.

    Parameters
    ----------
    fixed : ComparisonRegion
        On the grid of the levels.
    moving : SourceRegion
    evidence : ndarray of bool, (z, y, x)
        Voxels of ``fixed`` that count.
    moving_from_fixed : RigidTransform
    levels : sequence of Level
        At least one; all of one grid distance.
    initial : Deformation, optional
        Of a coarser grid with the same ``moving_from_fixed``.
    kernels : KernelBackend

    Returns
    -------
    Deformation
    """
    first, *others = levels
    deformation = _at_level(fixed, moving, evidence, moving_from_fixed, first, initial, kernels)
    for level in others:
        deformation = _at_level(fixed, moving, evidence, moving_from_fixed, level, deformation, kernels)
    return deformation


def _at_level(
    fixed: ComparisonRegion,
    moving: SourceRegion,
    evidence: BoolArray,
    moving_from_fixed: RigidTransform,
    level: Level,
    initial: Deformation | None,
    kernels: KernelBackend,
) -> Deformation:
    grid = fixed.geometry
    spacing = grid.spacing_zyx_mm[0]
    cell, model_cell = level.node_mm / spacing, level.model_mm / spacing
    lattice = _lattice(grid, cell)
    nodes = (
        np.zeros((*lattice.shape_zyx, 3))
        if initial is None
        else initial.displacement_mm(positions(lattice))[..., ::-1].astype(np.float64)
    )
    # One prior at every resolution: energies are integrals over mm³.
    stiffness = level.stiffness * _REFERENCE_NODE_MM / level.node_mm
    density = (spacing / _REFERENCE_GRID_MM) ** 3
    to_moving = moving.geometry.index_from_lps @ moving_from_fixed.matrix @ grid.affine_lps_mm
    for step in range(level.steps + 1):
        warped = _warp(moving, to_moving, nodes, spacing, cell, grid, kernels)
        moments = local_moments(fixed.hu, warped, evidence, model_cell, kernels=kernels)
        tensor, force = match_equations(
            fixed.hu,
            warped,
            evidence,
            local_model(moments),
            model_cell=model_cell,
            cell=cell,
            spacing_mm=spacing,
            outlier_ratio=_OUTLIER_RATIO,
            kernels=kernels,
        )
        tensor, force = tensor * density, force * density
        if step == level.steps:
            break
        right = force - stiffness * bending_force(nodes, kernels=kernels)
        tolerance = _TIGHT_TOLERANCE if step == level.steps - 1 else _LOOSE_TOLERANCE
        update = solve_bending(tensor, right, stiffness, tolerance=tolerance, kernels=kernels)
        nodes = nodes + np.clip(level.relaxation * update, -_MAX_STEP_MM, _MAX_STEP_MM)
    return Deformation(
        moving_from_fixed,
        nodes,
        lattice,
        tensor,
        force,
        stiffness,
        warped,
        moments,
        _lattice(grid, model_cell),
    )


def field_of(
    deformation: Deformation, grid: VolumeGeometry, *, kernels: KernelBackend = KernelBackend.CPU
) -> DisplacementField:
    """The displacement of a deformation at every voxel of a grid.

    Parameters
    ----------
    deformation : Deformation
    grid : VolumeGeometry
        In the fixed frame.
    kernels : KernelBackend

    Returns
    -------
    DisplacementField
    """
    to_nodes = deformation.lattice.index_from_lps @ grid.affine_lps_mm
    u = np.stack(
        [
            resample(
                np.ascontiguousarray(deformation.nodes_mm[..., k], dtype=np.float32),
                to_nodes,
                grid.shape_zyx,
                order=1,
                kernels=kernels,
            )
            for k in (2, 1, 0)
        ],
        axis=-1,
    )
    # moving_from_fixed (p + u) - p, without the positions of all voxels where it is a translation
    rotation, translation = (
        deformation.moving_from_fixed.rotation,
        deformation.moving_from_fixed.translation_mm,
    )
    moved = u @ rotation.T.astype(np.float32) + translation.astype(np.float32)
    if not np.array_equal(rotation, np.eye(3)):
        moved += (positions(grid) @ (rotation - np.eye(3)).T).astype(np.float32)
    return DisplacementField(np.ascontiguousarray(moved, dtype=np.float32), grid)


def local_statistics(
    moments: Float64Array,
) -> tuple[Float64Array, Float64Array, Float64Array, Float64Array, Float64Array]:
    """Means, variances and covariance of the fixed and the warped image around every model node."""
    count = np.maximum(moments[..., 0], 1e-6)
    f, w = moments[..., 1] / count, moments[..., 2] / count
    f_variance = np.maximum(moments[..., 3] / count - f * f, 0.0)
    w_variance = np.maximum(moments[..., 4] / count - w * w, 0.0)
    return f, w, f_variance, w_variance, moments[..., 5] / count - f * w


def local_model(moments: Float64Array) -> Float64Array:
    """Means, gain and noise variance at every node from the sums around it, (*nodes, 4)."""
    f, w, f_variance, w_variance, covariance = local_statistics(moments)
    floor = _CONTRAST_FLOOR_HU**2
    gain = np.clip(np.sqrt((f_variance + floor) / (w_variance + floor)), 1.0 / _MAX_GAIN, _MAX_GAIN)
    noise = f_variance + gain**2 * w_variance - 2.0 * gain * covariance
    counted = moments[..., 0] > 1.0
    usual = float(np.median(noise[counted])) if counted.any() else 0.0
    noise = np.where(counted, np.maximum(noise, 0.0), usual) + _NOISE_FLOOR_HU**2
    return np.stack([f, w, gain, noise], axis=-1)


def _warp(
    moving: SourceRegion,
    to_moving: Float64Array,
    nodes_mm: Float64Array,
    spacing_mm: float,
    cell: float,
    grid: VolumeGeometry,
    kernels: KernelBackend,
) -> Float32Array:
    in_moving = np.ascontiguousarray((nodes_mm / spacing_mm) @ to_moving[:3, :3].T, dtype=np.float32)
    return np.asarray(
        resample(
            moving.hu,
            to_moving,
            grid.shape_zyx,
            displacement=in_moving,
            displacement_map=np.diag([1.0 / cell, 1.0 / cell, 1.0 / cell, 1.0]),
            order=1,
            fill=np.nan,
            kernels=kernels,
        )
    )


def _lattice(grid: VolumeGeometry, cell: float) -> VolumeGeometry:
    distance = cell * grid.spacing_zyx_mm[0]
    return replace(
        grid, shape_zyx=node_shape(grid.shape_zyx, cell), spacing_zyx_mm=(distance, distance, distance)
    )
