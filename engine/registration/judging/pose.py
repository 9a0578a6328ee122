"""The tumor's place as blocks matched one by one see it, against the place that the deformation gives it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from engine.arrays import Float64Array
from engine.registration.deformation import Deformation
from engine.registration.judging.block_matches import BlockMatches

_NEAR_MM: Final = 25.0
"""Matches count by their distance from the tumor, as a Gaussian of this standard deviation."""

_SCATTER_MM: Final = 1.5
"""A match this far from what the others say counts half."""

_SLOPE_PRIOR: Final = 3.0
_SLOPE_MM: Final = 20.0
_ROUNDS: Final = 15
_MIN_MATCHES: Final = 4
_OWN_SCATTER_MM: Final = 0.7
"""Disagreement where the tumor is found to half a millimeter: 0.3 mm in the median, up to this."""

_FAR_MM: Final = 4.0


@dataclass(frozen=True, eq=False)
class PoseJudgement:
    """What matches say of the tumor's place.

    Parameters
    ----------
    offset_mm : ndarray, (3,)
        From where the deformation maps the tumor's center to where the matches do.
    support : float
        Sum of the weights of the matches: how many there are at the tumor itself that agree with each other.
    typical_mm : float
        Median distance of a match from the deformation.
    far_share : float
        Share of the matches that are farther than 4 mm from it.
    """

    offset_mm: Float64Array
    support: float
    typical_mm: float
    far_share: float

    @property
    def doubt_mm2(self) -> Float64Array:
        """Covariance (3, 3) of the tumor's place that the disagreement leaves open, beyond the matches' own scatter."""
        beyond = max(0.0, 1.0 - (_OWN_SCATTER_MM / max(self.disagreement_mm, 1e-9)) ** 2)
        return np.asarray(np.outer(self.offset_mm, self.offset_mm) * beyond)

    @property
    def disagreement_mm(self) -> float:
        """Length of the offset."""
        return float(np.linalg.norm(self.offset_mm))


def judge_pose(
    matches: BlockMatches, deformation: Deformation, tumor_center_lps_mm: Float64Array
) -> PoseJudgement | None:
    """Compare a deformation with matches that it has not used.

    Parameters
    ----------
    matches : BlockMatches
    deformation : Deformation
        With the rigid start that the matches were found from.
    tumor_center_lps_mm : ndarray, (3,)
        Fixed frame.

    Returns
    -------
    PoseJudgement or None
        None where there are too few matches to say anything.

    Notes
    -----
    The offset is an affine function of the place, fitted to what matches and deformation differ by with weights that
    fall with the distance from the tumor and with the residual (Cauchy), and a prior against slopes.
    """
    if len(matches.points_lps_mm) < _MIN_MATCHES:
        return None
    off = matches.shifts_mm - deformation.displacement_mm(matches.points_lps_mm)
    apart = matches.points_lps_mm - tumor_center_lps_mm
    terms = np.concatenate([np.ones((len(apart), 1)), apart / _SLOPE_MM], axis=1)
    nearness = np.exp(-0.5 * np.square(apart).sum(axis=1) / _NEAR_MM**2)
    prior = np.diag([1e-6, _SLOPE_PRIOR, _SLOPE_PRIOR, _SLOPE_PRIOR])
    fitted = np.zeros((4, 3))
    fitted[0] = np.median(off, axis=0)
    weight = nearness
    for _ in range(_ROUNDS):
        residual_mm = np.linalg.norm(off - terms @ fitted, axis=1)
        weight = nearness / (1.0 + np.square(residual_mm / _SCATTER_MM))
        weighted = terms * weight[:, None]
        fitted = np.linalg.solve(weighted.T @ terms + prior, weighted.T @ off)
    distance_mm = np.linalg.norm(off, axis=1)
    return PoseJudgement(
        np.asarray(fitted[0]),
        float(weight.sum()),
        float(np.median(distance_mm)),
        float((distance_mm > _FAR_MM).mean()),
    )
