"""The rigid motion of the lesion's surroundings that fits best, from several starts."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy import ndimage
from scipy.spatial.transform import Rotation

from engine.arrays import BoolArray, Float64Array
from engine.registration.search.rigid_fit import RigidFit, RigidScene, fit_rigidly
from engine.registration.search.template import Pattern, SearchedPattern

MIN_SURE_SCORE: Final = 0.5
"""Vessels that agree this well are the same patient's: 0.48 to 0.98 on scans that belong together whatever the
rotation, 0.48 at most for another patient's or a wrong place with a hundred searches of either."""

_MIN_SEEN_SHARE: Final = 0.6
"""Where the other scan shows less of the places than this, their agreement counts less."""

_WIDE_ANGLES_DEG: Final = (20.0, 38.0)
_WIDE_PLACES: Final = 3
_WIDE_STEPS: Final = 6
_WIDE_THINNING: Final = 3
_WIDE_KEPT: Final = 3
"""Rotations that a search from an upright start does not reach are tried roughly, and the best of them in full."""


@dataclass(frozen=True, eq=False)
class _FoundMotion:
    """A rigid motion and how sure it is: the correlation of the vessels, less where few of them are seen."""

    fit: RigidFit
    score: float


@dataclass(frozen=True, eq=False)
class SearchBox:
    """Where the tumor's center may lie in the verification CT.

    Parameters
    ----------
    low_lps_mm, high_lps_mm : ndarray, (3,)
        Opposite corners.
    middle_lps_mm : ndarray, (3,), optional
        Its likeliest place: the middle of the zone.
    """

    low_lps_mm: Float64Array
    high_lps_mm: Float64Array
    middle_lps_mm: Float64Array | None

    def holds(self, point_lps_mm: Float64Array) -> bool:
        """Whether a point lies in it."""
        return bool(((point_lps_mm >= self.low_lps_mm) & (point_lps_mm <= self.high_lps_mm)).all())


@dataclass(frozen=True, eq=False)
class RigidSearch:
    """The pattern of the planning CT and the verification CT, ready to be fitted."""

    pattern: SearchedPattern
    picture: RigidScene
    vessels: RigidScene

    @classmethod
    def of(cls, pattern: SearchedPattern, scene: Pattern, known: BoolArray) -> RigidSearch:
        """Prepare the search.

        Parameters
        ----------
        pattern : SearchedPattern
            Of the planning CT around the tumor.
        scene : Pattern
            Of the verification CT.
        known : ndarray of bool, (z, y, x)
            Voxels of the scene that carry evidence.
        """
        in_lung = known & ndimage.binary_dilation(scene.lung)
        return cls(
            pattern,
            RigidScene.of(scene.region, known, pattern.picture_template.blur_voxels),
            RigidScene.of(scene.vessels, in_lung, pattern.vessel_template.blur_voxels),
        )

    def best(self, places_lps_mm: list[Float64Array], box: SearchBox) -> _FoundMotion | None:
        """The best motion from upright starts, or where none is sure from turned ones.

        Parameters
        ----------
        places_lps_mm : list of ndarray, (3,)
            Where the tumor's center may lie.
        box : SearchBox
            Motions that take it elsewhere are not considered.

        Returns
        -------
        _FoundMotion or None
            None where no start leads to a place in the box with evidence.
        """
        if box.middle_lps_mm is not None and len(places_lps_mm) != 1:  # they disagree
            places_lps_mm = [box.middle_lps_mm, *places_lps_mm]
        upright = [_start(np.eye(3), place) for place in places_lps_mm]
        found = self._best_of(upright, box)
        if found is not None and found.score >= MIN_SURE_SCORE:
            return found
        middle = [] if box.middle_lps_mm is None or len(places_lps_mm) > 1 else [box.middle_lps_mm]
        starts = [*middle, *places_lps_mm][:_WIDE_PLACES]
        turned = [_start(turn, place) for place in starts for turn in _wide_rotations()]
        with ThreadPoolExecutor(2) as pool:
            rough = sorted(pool.map(self._rough, turned), key=lambda motion: -motion.score)
        wide = self._best_of([motion.fit for motion in rough[:_WIDE_KEPT]], box)
        return max((f for f in (found, wide) if f is not None), key=lambda f: f.score, default=None)

    def _best_of(self, starts: list[RigidFit], box: SearchBox) -> _FoundMotion | None:
        with ThreadPoolExecutor(2) as pool:
            motions = list(pool.map(self._motion, starts))
        inside = [m for m in motions if m.score > 0.0 and box.holds(m.fit.center_lps_mm)]
        return max(inside, key=lambda motion: motion.score, default=None)

    def _motion(self, start: RigidFit) -> _FoundMotion:
        picture = fit_rigidly(self.pattern.picture_template, self.picture, start)
        if not self.pattern.has_vessels:
            return _scored(picture)
        return _scored(fit_rigidly(self.pattern.vessel_template, self.vessels, picture))

    def _rough(self, start: RigidFit) -> _FoundMotion:
        thin = self.pattern.picture_template.thinned(_WIDE_THINNING)
        picture = fit_rigidly(thin, self.picture, start, steps=_WIDE_STEPS)
        if not self.pattern.has_vessels:
            return _scored(picture)
        thin = self.pattern.vessel_template.thinned(_WIDE_THINNING)
        return _scored(fit_rigidly(thin, self.vessels, picture, steps=_WIDE_STEPS))


def _scored(fit: RigidFit) -> _FoundMotion:
    return _FoundMotion(fit, fit.correlation * min(1.0, fit.seen_share / _MIN_SEEN_SHARE))


def _start(rotation: Float64Array, place_lps_mm: Float64Array) -> RigidFit:
    return RigidFit(rotation, place_lps_mm, 0.0, 1.0)


def _wide_rotations() -> list[Float64Array]:
    """Rotations about the axes and the diagonals of the body, both ways."""
    axes = np.array([a for a in np.ndindex(3, 3, 3) if a > (1, 1, 1)], dtype=float) - 1.0
    axes /= np.linalg.norm(axes, axis=1, keepdims=True)
    return [
        Rotation.from_rotvec(sign * np.deg2rad(angle) * axis).as_matrix()
        for angle in _WIDE_ANGLES_DEG
        for axis in axes
        for sign in (-1.0, 1.0)
    ]
