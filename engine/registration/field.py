"""A displacement field on a grid of the fixed frame, and what it says of the tissue."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.arrays import Float32Array, Float64Array
from engine.geometry import VolumeGeometry
from engine.registration.control_grid import interpolation


@dataclass(frozen=True, eq=False)
class DisplacementField:
    """Where each point of the fixed CT lies in the moving CT: ``p + displacement(p)``.

    Parameters
    ----------
    displacement_lps_mm : ndarray of float32, (z, y, x, 3)
        Components along LPS x, y, z.
    geometry : VolumeGeometry
        Axis-aligned grid in the frame of the fixed CT.
    """

    displacement_lps_mm: Float32Array
    geometry: VolumeGeometry

    def at(self, points_lps_mm: Float64Array) -> Float64Array:
        """Displacement at any points, linearly interpolated; beyond the grid the nearest holds.

        Parameters
        ----------
        points_lps_mm : ndarray, (..., 3)

        Returns
        -------
        ndarray, (..., 3)
        """
        weights = interpolation(self.geometry, points_lps_mm.reshape(-1, 3))
        return weights.at(self.displacement_lps_mm).reshape(points_lps_mm.shape)

    def jacobian_determinant(self) -> Float64Array:
        """Determinant of the derivative of ``p + displacement(p)`` at every voxel; not positive where it folds."""
        spacing = self.geometry.spacing_zyx_mm
        derivative = np.empty((*self.geometry.shape_zyx, 3, 3))
        for column, axis in enumerate((2, 1, 0)):
            derivative[..., column] = np.gradient(self.displacement_lps_mm, spacing[axis], axis=axis)
        derivative += np.eye(3)
        return np.asarray(np.linalg.det(derivative))
