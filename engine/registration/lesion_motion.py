"""The tumor's own motion, predicted from its surroundings.

The zone hides the tumor, so its place is what the deformation of the tissue around it predicts; the tumor is
rigid, so only the rigid part of that prediction counts. How stiff the lung of this patient is, and how far off
such a prediction is, is learned from the same scans: the deformation is predicted across holes of the size of
the zone elsewhere in the lung, where the answer is known.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import numpy as np

from engine.arrays import BoolArray, Float64Array
from engine.geometry import RigidTransform, VolumeGeometry
from engine.kernels.backend import KernelBackend, sharing_residency
from engine.kernels.bending import solve_bending
from engine.registration.control_grid import coarser, interpolation, positions, thinned
from engine.registration.deformation import Deformation

STIFFNESS_FACTORS: Final = (0.3, 1.0, 3.0, 10.0, 30.0)
"""Tried multiples of the deformation's own stiffness."""

_MAX_HOLES: Final = 8
_MIN_HOLE_DISTANCE_MM: Final = 6.0
_MAX_HOLE_DISTANCE_MM: Final = 30.0
"""Distances of a hole's center from the lesion's void: near enough to be the same lung."""

_MIN_HOLE_RADIUS_MM: Final = 12.0
_MAX_HOLE_RADIUS_MM: Final = 24.0

TOLERANCE: Final = 1e-2
"""Of the solutions for holes: a hundredth of a displacement of some millimeters."""

_PRIOR_HOLES: Final = 4.0
_PRIOR_INFLATION: Final = 20.0
"""A few holes are weighed against this many holes with the inflation usual over many patients."""


@dataclass(frozen=True, eq=False)
class LesionMotion:
    """Rigid motion of the tumor and how sure it is.

    Parameters
    ----------
    moving_from_fixed : RigidTransform
        At the tumor.
    covariance_mm2 : ndarray, (3, 3)
        Of the tumor's center, fixed frame.
    rotation_sd_deg : float
    stiffness : float
        Chosen for this lung.
    hole_error_mm : float
        Root mean square error of predicting across the holes.
    """

    moving_from_fixed: RigidTransform
    covariance_mm2: Float64Array
    rotation_sd_deg: float
    stiffness: float
    hole_error_mm: float


@dataclass(frozen=True, eq=False)
class _System:
    """Data term on a thinned lattice."""

    tensor: Float64Array
    right: Float64Array
    lattice: VolumeGeometry
    kernels: KernelBackend

    def solve(self, stiffness: float, *, without: BoolArray | None = None) -> Float64Array:
        keep = 1.0 if without is None else (~without)[..., None]
        return solve_bending(
            self.tensor * keep, self.right * keep, stiffness, tolerance=TOLERANCE, kernels=self.kernels
        )

    def covariance(
        self, projection: Float64Array, stiffness: float, *, without: BoolArray | None = None
    ) -> Float64Array:
        """Posterior covariance of linear functions (k, *nodes, 3) of the field."""
        tensor = self.tensor if without is None else self.tensor * (~without)[..., None]
        solved = [
            solve_bending(tensor, row, stiffness, tolerance=TOLERANCE, kernels=self.kernels)
            for row in projection
        ]
        return np.array([[float((row * solution).sum()) for solution in solved] for row in projection])


def predict_lesion_motion(
    deformation: Deformation,
    tumor_points_lps_mm: Float64Array,
    void_radius_mm: float,
    *,
    kernels: KernelBackend = KernelBackend.CPU,
) -> LesionMotion:
    """Predict the tumor's rigid motion from the deformation around it.

    Parameters
    ----------
    deformation : Deformation
    tumor_points_lps_mm : ndarray, (M, 3)
        Points throughout the tumor where it is thought to lie, fixed frame.
    void_radius_mm : float
        Radius of a sphere as large as the part around the tumor without evidence.
    kernels : KernelBackend

    Returns
    -------
    LesionMotion
    """
    center = tumor_points_lps_mm.mean(axis=0)
    lattice = coarser(deformation.lattice)
    system = _System(thinned(deformation.tensor), thinned(deformation.data_optimum), lattice, kernels)
    # Half as many nodes along each axis: the same energy integral.
    scale = deformation.stiffness * deformation.lattice.spacing_zyx_mm[0] / lattice.spacing_zyx_mm[0]
    radius = float(np.clip(void_radius_mm, _MIN_HOLE_RADIUS_MM, _MAX_HOLE_RADIUS_MM))
    holes = _place_holes(system, center, void_radius_mm, radius)
    ball = tumor_points_lps_mm - center

    def solved(factor: float) -> Float64Array:
        return system.solve(factor * scale)

    with ThreadPoolExecutor(2) as pool:
        whole = dict(
            zip(STIFFNESS_FACTORS, pool.map(sharing_residency(solved), STIFFNESS_FACTORS), strict=True)
        )
        trials = [(s, k) for s in STIFFNESS_FACTORS for k in range(len(holes))]

        def miss(trial: tuple[float, int]) -> Float64Array:
            factor, k = trial
            center_mm, hole = holes[k]
            mean = interpolation(lattice, center_mm + ball).mean_of
            return mean(system.solve(factor * scale, without=hole)) - mean(whole[1.0])

        missed = dict(zip(trials, pool.map(sharing_residency(miss), trials), strict=True))
        error = {
            s: float(np.mean([(missed[s, k] ** 2).sum() for k in range(len(holes))])) if holes else 0.0
            for s in STIFFNESS_FACTORS
        }
        best = min(STIFFNESS_FACTORS, key=lambda s: error[s]) if holes else 1.0

        def ratio(k: int) -> float:
            center_mm, hole = holes[k]
            rows = interpolation(lattice, center_mm + ball).rigid_rows()[:3]
            covariance = system.covariance(rows, best * scale, without=hole)
            off = missed[best, k]
            return float(off @ np.linalg.solve(covariance + 1e-6 * np.eye(3), off)) / 3.0

        ratios = list(pool.map(sharing_residency(ratio), range(len(holes))))
    rows = interpolation(lattice, tumor_points_lps_mm).rigid_rows()
    covariance = system.covariance(rows, best * scale)
    covariance = 0.5 * (covariance + covariance.T)
    inflation = (_PRIOR_HOLES * _PRIOR_INFLATION + sum(ratios)) / (_PRIOR_HOLES + len(ratios))
    covariance = covariance * inflation
    field = solve_bending(
        deformation.tensor,
        deformation.data_optimum,
        best * deformation.stiffness,
        tolerance=1e-3,
        kernels=kernels,
    )
    moved = tumor_points_lps_mm + interpolation(deformation.lattice, tumor_points_lps_mm).at(field)[:, ::-1]
    rigid = rigid_part(tumor_points_lps_mm, moved)
    flip = np.eye(3)[::-1]  # zyx to LPS xyz
    return LesionMotion(
        moving_from_fixed=deformation.moving_from_fixed @ rigid,
        covariance_mm2=flip @ covariance[:3, :3] @ flip,
        rotation_sd_deg=float(np.rad2deg(np.sqrt(np.trace(covariance[3:, 3:]) / 3.0))),
        stiffness=best * deformation.stiffness,
        hole_error_mm=float(np.sqrt(error[best])),
    )


def rigid_part(source: Float64Array, moved: Float64Array) -> RigidTransform:
    """Least-squares rigid transform of paired points.

    Parameters
    ----------
    source, moved : ndarray, (N, 3)

    Returns
    -------
    RigidTransform

    Notes
    -----
    Kabsch, Acta Cryst A32:922-923, 1976.
    """
    a, b = source.mean(axis=0), moved.mean(axis=0)
    u, _, vt = np.linalg.svd((source - a).T @ (moved - b))
    rotation = vt.T @ np.diag([1.0, 1.0, np.sign(np.linalg.det(vt.T @ u.T))]) @ u.T
    return RigidTransform.from_rotation(rotation, b - rotation @ a)


def map_to_fixed(deformation: Deformation, points_lps_mm: Float64Array) -> Float64Array:
    """Map points of the moving frame to the fixed frame, as a rigid body that follows the deformation at its center.

    Parameters
    ----------
    deformation : Deformation
    points_lps_mm : ndarray, (N, 3)

    Returns
    -------
    ndarray, (N, 3)
    """
    points = deformation.moving_from_fixed.inverse.apply(points_lps_mm)
    center = points.mean(axis=0)
    place = center
    for _ in range(3):  # u is smooth: this converges by a factor of ten an iteration
        place = center - deformation.displacement_mm(place[None])[0]
    return np.asarray(points - center + place)


def _place_holes(
    system: _System, center: Float64Array, void_radius_mm: float, radius_mm: float
) -> list[tuple[Float64Array, BoolArray]]:
    """Centers spread around the lesion where tissue with evidence fills a hole, and each hole's nodes."""
    nodes = positions(system.lattice)
    strength = system.tensor[..., [0, 3, 5]].sum(axis=-1)
    distance_mm = np.linalg.norm(nodes - center, axis=-1)
    typical = float(np.median(strength[strength > 0])) if (strength > 0).any() else 0.0
    possible = (
        (strength > 0.3 * typical)
        & (distance_mm >= void_radius_mm + _MIN_HOLE_DISTANCE_MM)
        & (distance_mm <= void_radius_mm + _MAX_HOLE_DISTANCE_MM)
    )
    left = np.argwhere(possible)
    holes: list[tuple[Float64Array, BoolArray]] = []
    nearest = np.full(len(left), np.inf)
    while len(holes) < _MAX_HOLES and len(left):
        # The next is the one farthest from all so far; the first is the nearest to the lesion.
        chosen = int(np.argmax(nearest)) if holes else int(np.argmin(distance_mm[tuple(left.T)]))
        if holes and nearest[chosen] < radius_mm:
            break
        hole_center = nodes[tuple(left[chosen])]
        holes.append((hole_center, np.linalg.norm(nodes - hole_center, axis=-1) <= radius_mm))
        nearest = np.minimum(nearest, np.linalg.norm(nodes[tuple(left.T)] - hole_center, axis=-1))
    return holes
