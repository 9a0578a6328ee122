"""Whether one scan is stretched against the other along an axis of its voxels: a wrong slice distance or pixel spacing.

A wrong header scales everything along exactly one axis of one scan, bones as well. Breathing bends and inflates, in
one place more than in the other, and never bones. So the stretch along an axis is set against that across it, as a
median over the surroundings, and counts only as far as its own scatter cannot explain it.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from engine.arrays import BoolArray, Float64Array
from engine.registration.comparison import ScanComparison
from engine.registration.deformation import Deformation

_BONE_HU: Final = 150.0
_PRECISE: Final = 0.03
"""Bones whose stretch is known better than this speak alone."""

_MIN_STRENGTH: Final = 0.5
"""Nodes with less than this share of the usual evidence follow their neighbors and say nothing of their own."""

_MIN_NODES: Final = 50

_CORRELATION_MM: Final = 30.0
"""Stretches of lung farther apart than this are independent of each other."""

_ONE_SIDED_95: Final = 1.64
_SD_OF_MAD: Final = 1.48


def axis_scale_error(deformation: Deformation, comparison: ScanComparison) -> float:
    """Least deviation from 1 of the scale along one axis of a scan against the axes across it.

    Parameters
    ----------
    deformation : Deformation
        With chest wall and all as evidence.
    comparison : ScanComparison

    Returns
    -------
    float
        The one-sided 95 % bound of the greatest deviation over slice normal and in-plane axes of both scans; 0 where
        scatter explains it.
    """
    counted, bone = _nodes_that_count(deformation, comparison)
    if np.count_nonzero(counted) < _MIN_NODES:
        return 0.0
    derivative = _derivative(deformation)[counted]
    spacing_mm = deformation.lattice.spacing_zyx_mm[0]
    of_bone = bone[counted]
    errors = [0.0]
    for axes in comparison.axes_in_fixed():
        stretch = np.log(
            np.linalg.norm(derivative @ axes.T, axis=-2)
        )  # (N, 3) along slice normal, column, row
        contrasts = (stretch[:, 0] - stretch[:, 1:].mean(axis=1), stretch[:, 1] - stretch[:, 2])
        errors.extend(_sure_deviation(contrast, of_bone, spacing_mm) for contrast in contrasts)
    return max(errors)


def _sure_deviation(contrast: Float64Array, bone: BoolArray, spacing_mm: float) -> float:
    """Lower bound of a median's deviation from 0: that of bones where they know it well, else of everything."""
    if np.count_nonzero(bone) >= _MIN_NODES:
        median, doubt = _median_and_doubt(contrast[bone], spacing_mm)
        if doubt < _PRECISE:
            return abs(median) - doubt
    median, doubt = _median_and_doubt(contrast, spacing_mm)
    return abs(median) - doubt


def _median_and_doubt(values: Float64Array, spacing_mm: float) -> tuple[float, float]:
    """Median of nodal values and its one-sided 95 % bound; near nodes are not independent."""
    median = float(np.median(values))
    sd = _SD_OF_MAD * float(np.median(np.abs(values - median)))
    independent = max(1.0, len(values) * (spacing_mm / _CORRELATION_MM) ** 3)
    return median, _ONE_SIDED_95 * sd / float(np.sqrt(independent))


def _nodes_that_count(deformation: Deformation, comparison: ScanComparison) -> tuple[BoolArray, BoolArray]:
    """Nodes with evidence of their own, and those in bone."""
    strength = deformation.tensor[..., [0, 3, 5]].sum(axis=-1)
    if not (strength > 0.0).any():
        none = np.zeros(strength.shape, dtype=np.bool_)
        return none, none
    level = comparison.level_of(deformation)
    every = round(deformation.lattice.spacing_zyx_mm[0] / level.fixed.geometry.spacing_zyx_mm[0])
    index = [
        np.minimum(np.arange(nodes) * every, voxels - 1)
        for nodes, voxels in zip(strength.shape, level.fixed.hu.shape, strict=True)
    ]
    bone = level.fixed.hu[np.ix_(*index)] > _BONE_HU
    return np.asarray(strength > _MIN_STRENGTH * np.median(strength[strength > 0.0])), np.asarray(bone)


def _derivative(deformation: Deformation) -> Float64Array:
    """Derivative of ``p + u(p)`` at every node, (z, y, x, 3, 3): rows and columns along LPS x, y, z."""
    spacing = deformation.lattice.spacing_zyx_mm
    u = deformation.nodes_mm[..., ::-1]
    derivative = np.zeros((*deformation.lattice.shape_zyx, 3, 3))
    for column, axis in enumerate((2, 1, 0)):
        if deformation.lattice.shape_zyx[axis] > 1:
            derivative[..., column] = np.gradient(u, spacing[axis], axis=axis)
    return derivative + np.eye(3)
