"""What the surroundings say of the tumor's own motion.

The zone hides the tumor, so its place must be predicted from tissue that both scans show. The displacement
that a rigid alignment leaves around the lesion is extended into it by kriging (a Gaussian process with an
affine trend), and its rigid part is the tumor's motion. The same prediction, tried on holes of the lesion's
size where the answer is known, says how far off it may be.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.spatial.distance import cdist

from engine.geometry import FloatArray

CORRELATION_LENGTH_MM: Final = 30.0
"""Breathing bends a lung over several centimeters; 20 to 35 mm predicted the tumor equally well."""

MEASUREMENT_SD_MM: Final = 0.3
"""Scatter of the local displacements themselves."""

TREND_SCALE_MM: Final = 20.0
OUTLIER_MM: Final = 1.5
"""A point may differ by this and three robust standard deviations from the trend; beyond, it slid along the
pleura or was matched to another vessel."""

MOST_POINTS: Final = 500
HOLES: Final = 10
FEWEST_OUTSIDE: Final = 12
SEED: Final = 20260101


@dataclass(frozen=True, eq=False)
class LesionMotion:
    """Rigid motion of the tumor beyond the alignment, and its uncertainty.

    Parameters
    ----------
    motion : ndarray, (4, 4)
        Maps a position in the verification frame to where the alignment should look for it there.
    covariance_mm2 : ndarray, (3, 3)
        Of the predicted displacement at the tumor's center.
    """

    motion: FloatArray
    covariance_mm2: FloatArray


def predict_lesion_motion(
    points_lps_mm: FloatArray,
    displacement_mm: FloatArray,
    tumor_points_lps_mm: FloatArray,
) -> LesionMotion:
    """Extend the surroundings' displacement into the tumor and take its rigid part.

    Parameters
    ----------
    points_lps_mm, displacement_mm : ndarray, (N, 3)
        Structured points outside the zone, verification frame, and what the alignment leaves there.
    tumor_points_lps_mm : ndarray, (M, 3)
        Points throughout the tumor, verification frame, as aligned so far.

    Returns
    -------
    LesionMotion
    """
    center = tumor_points_lps_mm.mean(axis=0)
    chosen = _thinned(_inliers(points_lps_mm, displacement_mm, center))
    points, displacement = points_lps_mm[chosen], displacement_mm[chosen]
    predicted = _krige(points, displacement, tumor_points_lps_mm)
    motion = _rigid_part(tumor_points_lps_mm, tumor_points_lps_mm + predicted)
    return LesionMotion(motion, _tried_on_holes(points, displacement, center))


def _inliers(points: FloatArray, displacement: FloatArray, center: FloatArray) -> npt.NDArray[np.int64]:
    """Indices of the points that follow a robust affine trend."""
    design = _trend(points, center)
    weight = np.ones(len(points))
    off = np.zeros(len(points))
    for _ in range(5):
        root = np.sqrt(weight)[:, None]
        fit, *_ = np.linalg.lstsq(design * root, displacement * root, rcond=None)
        off = np.linalg.norm(displacement - design @ fit, axis=1)
        weight = 1.0 / (1.0 + (off / max(1.0, float(np.median(off)))) ** 2)
    near = off <= OUTLIER_MM + 3.0 * 1.4826 * float(np.median(off)) / np.sqrt(3.0)
    return np.asarray(np.flatnonzero(near), dtype=np.int64)


def _thinned(index: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    if len(index) <= MOST_POINTS:
        return index
    return np.sort(np.random.default_rng(SEED).choice(index, MOST_POINTS, replace=False))


def _krige(points: FloatArray, displacement: FloatArray, targets: FloatArray) -> FloatArray:
    """Best linear unbiased prediction with an affine trend and a squared-exponential covariance."""
    center = points.mean(axis=0)
    design = _trend(points, center)
    rough, *_ = np.linalg.lstsq(design, displacement, rcond=None)
    spread = float(np.mean((displacement - design @ rough) ** 2)) + MEASUREMENT_SD_MM**2
    covariance = _covariance(points, points, spread) + MEASUREMENT_SD_MM**2 * np.eye(len(points))
    solved = np.linalg.solve(covariance, np.hstack([design, displacement]))
    by_design, by_displacement = solved[:, :4], solved[:, 4:]
    trend = np.linalg.solve(design.T @ by_design + 1e-9 * np.eye(4), design.T @ by_displacement)
    rest = by_displacement - by_design @ trend
    return np.asarray(_trend(targets, center) @ trend + _covariance(targets, points, spread) @ rest)


def _tried_on_holes(points: FloatArray, displacement: FloatArray, center: FloatArray) -> FloatArray:
    """Mean squared error of predicting the middle of lesion-sized holes from what lies around them."""
    distance = np.linalg.norm(points - center, axis=1)
    radius = float(np.quantile(distance, 0.05))
    order = np.argsort(distance, kind="stable")[: max(1, len(points) // 2)]
    middles = order[np.linspace(0, len(order) - 1, min(HOLES, len(order))).astype(int)]
    errors = []
    for middle in middles:
        away = np.linalg.norm(points - points[middle], axis=1) > radius
        if np.count_nonzero(away) >= FEWEST_OUTSIDE:
            predicted = _krige(points[away], displacement[away], points[middle][None])
            errors.append(predicted[0] - displacement[middle])
    if not errors:
        return np.cov(displacement.T)
    off = np.array(errors)
    return np.asarray(off.T @ off / len(off))


def _rigid_part(source: FloatArray, moved: FloatArray) -> FloatArray:
    """Least-squares rigid transform of paired points: Kabsch, Acta Cryst A32:922-923, 1976."""
    a, b = source.mean(axis=0), moved.mean(axis=0)
    u, _, vt = np.linalg.svd((source - a).T @ (moved - b))
    turn = vt.T @ np.diag([1.0, 1.0, np.sign(np.linalg.det(vt.T @ u.T))]) @ u.T
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = turn, b - turn @ a
    return matrix


def _trend(points: FloatArray, center: FloatArray) -> FloatArray:
    return np.hstack([np.ones((len(points), 1)), (points - center) / TREND_SCALE_MM])


def _covariance(one: FloatArray, other: FloatArray, variance: float) -> FloatArray:
    return np.asarray(variance * np.exp(-cdist(one, other, "sqeuclidean") / (2.0 * CORRELATION_LENGTH_MM**2)))
