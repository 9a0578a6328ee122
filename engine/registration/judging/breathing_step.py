"""A breath between two slabs of one scan: beyond a slice plane everything lies elsewhere, so no smooth field fits.

A patient who breathes while the table moves is scanned in two breaths. The deformation bends as steeply as its prior
allows, and at the plane the images go on pulling it apart: upwards on one side, downwards on the other. Lung that
only breathes or slides leaves no such pair of pulls over a whole plane.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from engine.arrays import Float64Array
from engine.registration.comparison import ScanComparison
from engine.registration.control_grid import positions
from engine.registration.deformation import Deformation

_MIN_PULL_MM: Final = 0.1
"""Difference of the displacement that the images still ask for on both sides of a plane: 0.08 mm at most on scans
without a step, 0.12 to 1.5 mm at steps of 2 to 6 mm."""

_MIN_AGREEMENT: Final = 0.5
"""Cosine between that pull and the jump that the field has made already: 0.7 to 1 at steps near the lesion."""

_MIN_STEP_MM: Final = 1.0
"""Less is not told from a bend."""

_AROUND: Final = (2, 7)
"""Planes before and behind a step from which its size is read, nodes: nearer the field is smoothed over it."""

_REACH: Final = 5
"""Planes on each side that a large step deprives of evidence."""

_MIN_SHARE: Final = 0.2
_MIN_FITTED_SHARE: Final = 0.1
"""Of the evidence of a usual plane: a plane within reach on each side must have the first, fitted ones the second."""

_MIN_FITTED: Final = 3


@dataclass(frozen=True, eq=False)
class BreathingStep:
    """Tissue beyond a slice plane that lies elsewhere than the tissue before it says.

    Parameters
    ----------
    offset_lps_mm : ndarray, (3,)
        Jump of the displacement from fixed to moving, across the plane along its normal.
    normal : ndarray, (3,)
        Slice normal of the scan with the step, fixed frame.
    place_mm : float
        Of the plane along ``normal``.
    """

    offset_lps_mm: Float64Array
    normal: Float64Array
    place_mm: float

    @property
    def size_mm(self) -> float:
        """Length of the jump."""
        return float(np.linalg.norm(self.offset_lps_mm))

    def distance_mm(self, point_lps_mm: Float64Array) -> float:
        """Distance of a point (3,) of the fixed frame from the plane."""
        return float(abs(point_lps_mm @ self.normal - self.place_mm))


@dataclass(frozen=True, eq=False)
class _Planes:
    """Evidence, displacement and what is still asked for, summed over the nodes of each plane."""

    strength: Float64Array
    displacement_mm: Float64Array
    pull_mm: Float64Array
    first_mm: float
    spacing_mm: float


def find_breathing_step(deformation: Deformation, comparison: ScanComparison) -> BreathingStep | None:
    """Find the plane across which a deformation should jump.

    Parameters
    ----------
    deformation : Deformation
        With chest wall and all as evidence.
    comparison : ScanComparison

    Returns
    -------
    BreathingStep or None
        The one where the images pull most; None where nothing pulls apart.
    """
    found: BreathingStep | None = None
    greatest_mm = _MIN_PULL_MM
    for axes in comparison.axes_in_fixed():
        normal = axes[0]
        planes = _planes(deformation, normal)
        for k in _candidates(planes):
            pull = planes.pull_mm[k + 1] - planes.pull_mm[k]
            apart_mm = float(np.linalg.norm(pull))
            if apart_mm <= greatest_mm:
                continue
            jump = _jump_mm(planes, k)
            size_mm = float(np.linalg.norm(jump))
            if size_mm >= _MIN_STEP_MM and pull @ jump >= _MIN_AGREEMENT * apart_mm * size_mm:
                place_mm = planes.first_mm + (k + 0.5) * planes.spacing_mm
                found, greatest_mm = BreathingStep(jump[::-1], normal, place_mm), apart_mm
    return found


def _planes(deformation: Deformation, normal: Float64Array) -> _Planes:
    """Sums over the nodes between parallel planes one node distance apart."""
    spacing_mm = deformation.lattice.spacing_zyx_mm[0]
    along = (positions(deformation.lattice) @ normal).ravel()
    first_mm = float(along.min())
    index = np.round((along - first_mm) / spacing_mm).astype(np.intp)
    count = int(index.max()) + 1

    def summed(values: Float64Array) -> Float64Array:
        columns = values.reshape(len(index), -1)
        return np.stack([np.bincount(index, column, count) for column in columns.T], axis=-1)

    tensor, force = summed(deformation.tensor), summed(deformation.force)
    strength = deformation.tensor[..., [0, 3, 5]].sum(axis=-1)
    usual = float(np.median(strength[strength > 0.0])) if (strength > 0.0).any() else 0.0
    weight = np.minimum(strength, usual)[..., None] + 1e-12
    matrix = tensor[:, [0, 1, 2, 1, 3, 4, 2, 4, 5]].reshape(-1, 3, 3)
    trace = np.trace(matrix, axis1=1, axis2=2)
    ridge = (1e-3 * trace + 1e-9)[:, None, None] * np.eye(3)
    return _Planes(
        trace,
        summed(weight * deformation.nodes_mm) / summed(weight),
        np.linalg.solve(matrix + ridge, force[..., None])[..., 0],
        first_mm,
        spacing_mm,
    )


def _candidates(planes: _Planes) -> list[int]:
    """Planes after which a step may lie: with evidence on both sides."""
    strength = planes.strength
    if not (strength > 0.0).any():
        return []
    enough = strength >= _MIN_SHARE * np.median(strength[strength > 0.0])
    return [
        k
        for k in range(1, len(strength) - 2)
        if enough[max(0, k - _REACH + 1) : k].any() and enough[k + 2 : k + 1 + _REACH].any()
    ]


def _jump_mm(planes: _Planes, k: int) -> Float64Array:
    """Step in a parabola through the mean displacement along the normal, (3,) along z, y, x; 0 near the border."""
    usual = np.median(planes.strength[planes.strength > 0.0])
    index = np.arange(len(planes.strength))
    from_step = np.where(index > k, index - k - 1, k - index)
    chosen = (from_step >= _AROUND[0]) & (from_step < _AROUND[1])
    chosen &= planes.strength > _MIN_FITTED_SHARE * usual
    behind = index[chosen] > k
    if min(np.count_nonzero(behind), np.count_nonzero(~behind)) < _MIN_FITTED:
        return np.zeros(3)
    along = (index[chosen] - k - 0.5) / _AROUND[1]
    terms = np.stack([np.ones(len(along)), along, along**2, behind.astype(np.float64)], axis=-1)
    wanted_mm = (planes.displacement_mm + planes.pull_mm)[chosen]
    return np.asarray(np.linalg.lstsq(terms, wanted_mm, rcond=None)[0][3])
