"""Where the 90 % interval of the margin is less sure than it says, or known from fewer kinds of cases.

The shares were measured; an answer that falls under one of these conditions says so. README, "Limits", has the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from engine.findings import ContourOrigin, CoverageFinding
from engine.geometry import Vector3

_THICK_MM: Final = 3.0
"""Slices farther apart than this."""


@dataclass(frozen=True)
class _Measured:
    """Cases of known truth in which the interval held it."""

    held: int
    cases: int

    def __str__(self) -> str:
        return f"{self.held} of {self.cases} cases of known truth ({100 * self.held / self.cases:.0f} %)"


# benchmarks/results/calibration/thick_slices.md: balls, masks supplied.
_ONE_CT_THICK: Final = _Measured(120, 120)
_BOTH_CTS_THICK: Final = _Measured(60, 60)
# benchmarks/results/calibration/summary.md, stratum "deformation"; simulated procedures, masks supplied.
_SLIDING: Final = _Measured(80, 96)
# Pairs of an independent generator in which models drew tumor and zone (November 2026).
_DRAWN_BY_MODELS: Final = _Measured(88, 104)


def interval_warnings(
    planning_spacing_zyx_mm: Vector3,
    verification_spacing_zyx_mm: Vector3,
    coverage: CoverageFinding,
    tumor_origin: ContourOrigin,
) -> tuple[str, ...]:
    """Return what makes the 90 % interval of this answer less sure than it says, with the shares that were measured.

    Parameters
    ----------
    planning_spacing_zyx_mm, verification_spacing_zyx_mm : tuple of float
    coverage : CoverageFinding
    tumor_origin : ContourOrigin

    Returns
    -------
    tuple of str
        Empty for thin slices, a target in lung, and supplied contours.
    """
    thick = sum(
        max(spacing) > _THICK_MM for spacing in (planning_spacing_zyx_mm, verification_spacing_zyx_mm)
    )
    found = []
    if thick:
        which, measured = ("one CT has", _ONE_CT_THICK) if thick == 1 else ("both CTs have", _BOTH_CTS_THICK)
        found.append(
            f"{which} slices more than {_THICK_MM:g} mm apart: where a structure ends between two of them is inferred "
            f"from its sections. The 90 % interval of the margin held the truth in {measured} of round shape; of "
            "spiculated ones less is known"
        )
    if coverage.not_assessable_share:
        found.append(
            "the target reaches out of the lung: where the lung slides along the chest wall or the diaphragm, the "
            f"90 % interval of the margin held the true margin in {_SLIDING} only"
        )
    if tumor_origin.model is not None or coverage.zone_origin.model is not None:
        found.append(
            "a model drew contours: on such contours the 90 % interval of the margin held the true margin in "
            f"{_DRAWN_BY_MODELS} only"
        )
    return tuple(found)
