"""What happens between two scans: a breath, a bend of the lung, tissue drawn in by the burn."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
from scipy.spatial.transform import Rotation

from engine.geometry import FloatArray

FREE_MM: Final = 25.0
"""Over this distance beyond the rigid radius the lung goes from rigid to free."""


@dataclass(frozen=True, eq=False)
class Motion:
    """Maps a position in the verification frame to its place in the planning frame, LPS mm.

    Near the tumor it is rigid, exactly; away from it the lung bends by Gaussian bumps, and the tissue
    around the zone has been drawn towards it.

    Parameters
    ----------
    turn : ndarray, (3, 3)
    planning_center, verification_center : ndarray, (3,)
        The tumor's center in both frames.
    rigid_radius_mm : float
        Within this distance of the tumor's center the map is rigid.
    bumps : sequence of (center (3,), displacement (3,), width mm)
        In the verification frame.
    contraction : float
        Share by which the tissue just outside the rigid radius was drawn in.
    """

    turn: FloatArray
    planning_center: FloatArray
    verification_center: FloatArray
    rigid_radius_mm: float
    bumps: tuple[tuple[FloatArray, FloatArray, float], ...] = field(default_factory=tuple)
    contraction: float = 0.0

    @property
    def planning_from_verification(self) -> FloatArray:
        """The rigid part, 4x4."""
        matrix = np.eye(4)
        matrix[:3, :3] = self.turn
        matrix[:3, 3] = self.planning_center - self.turn @ self.verification_center
        return matrix

    def to_planning(self, points_lps_mm: FloatArray) -> FloatArray:
        """Map positions of the verification frame to the planning frame.

        Parameters
        ----------
        points_lps_mm : ndarray, (..., 3)

        Returns
        -------
        ndarray, (..., 3)
        """
        offset = points_lps_mm - self.verification_center
        mapped = offset @ self.turn.T + self.planning_center
        if not self.bumps and self.contraction == 0.0:
            return np.asarray(mapped)
        radius = np.sqrt(np.einsum("...i,...i->...", offset, offset))
        beyond = radius > self.rigid_radius_mm
        mapped[beyond] += self._bend_mm(offset[beyond], radius[beyond])
        return np.asarray(mapped)

    def _bend_mm(self, offset: FloatArray, radius: FloatArray) -> FloatArray:
        """What is added to the rigid map beyond the rigid radius: (N, 3) at offsets from the center."""
        # 0 at the rigid radius, rising smoothly (C1) to 1.
        rise = np.minimum((radius - self.rigid_radius_mm) / FREE_MM, 1.0)
        free = rise * rise * (3.0 - 2.0 * rise)
        bend = np.zeros(offset.shape)
        for center, displacement, width in self.bumps:
            away = offset - (center - self.verification_center)
            height = np.exp(np.einsum("ni,ni->n", away, away) / (-2.0 * width**2))
            bend += height[:, None] * displacement
        pull = self.contraction * np.exp(-(((radius - self.rigid_radius_mm - 6.0) / 10.0) ** 2))
        bend += pull[:, None] * (offset @ self.turn.T)
        return np.asarray(free[:, None] * bend)

    def least_jacobian(self, half_width_mm: float = 50.0) -> float:
        """Least determinant of the map's derivative on a 3 mm lattice around the tumor.

        Parameters
        ----------
        half_width_mm : float

        Returns
        -------
        float
            Not positive where the motion would fold the tissue.
        """
        axis = np.arange(-half_width_mm, half_width_mm + 1.0, 3.0)
        grid = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1) + self.verification_center
        mapped = self.to_planning(grid)
        derivative = np.stack([np.gradient(mapped, 3.0, axis=axis) for axis in range(3)], axis=-1)
        return float(np.linalg.det(derivative).min())


def random_motion(
    rng: np.random.Generator,
    planning_center: FloatArray,
    tumor_radius_mm: float,
    *,
    rigid_only: bool,
    contraction: float,
    greatest_bend_mm: float = 8.0,
) -> Motion:
    """A breath: up to 18 mm of translation, a few degrees, and unless ``rigid_only`` a bend.

    Parameters
    ----------
    rng : numpy.random.Generator
    planning_center : ndarray, (3,)
        The tumor's center in the planning frame, LPS mm.
    tumor_radius_mm : float
        The motion is rigid up to 2 mm beyond.
    rigid_only : bool
        Neither bend nor contraction.
    contraction : float
        Share by which the tissue around the zone was drawn in.
    greatest_bend_mm : float
        Height of the largest of four bumps.

    Returns
    -------
    Motion
    """
    shift = rng.uniform([-8.0, -8.0, -16.0], [8.0, 8.0, 16.0])
    turn = Rotation.from_rotvec(np.deg2rad(rng.normal(0.0, 1.5, 3))).as_matrix()
    verification_center = planning_center + shift
    bumps = []
    if not rigid_only:
        for _ in range(4):
            place = verification_center + rng.uniform(-55.0, 55.0, 3)
            direction = rng.normal(size=3)
            height = rng.uniform(0.3, 1.0) * greatest_bend_mm / np.linalg.norm(direction)
            bumps.append((place, direction * height, float(rng.uniform(24.0, 32.0))))
    return Motion(
        turn,
        planning_center,
        verification_center,
        tumor_radius_mm + 2.0,
        tuple(bumps),
        0.0 if rigid_only else contraction,
    )
