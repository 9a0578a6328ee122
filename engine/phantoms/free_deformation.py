"""How lung and chest would move between two scans if no tumor were in them: breath, bend, contraction."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal

import numpy as np

from engine.arrays import Float64Array

DeformationKind = Literal["stiff", "smooth", "sliding"]
"""How the lung deforms: by long waves and a breathing gradient; by bumps of a lobule's width; smoothly, and
along the chest wall by a jump."""

_BUMPS: Final = 4
_BUMP_WIDTHS_MM: Final[dict[DeformationKind, tuple[float, float]]] = {
    "stiff": (40.0, 60.0),
    "smooth": (22.0, 32.0),
    "sliding": (28.0, 40.0),
}
"""Standard deviations of the Gaussian bumps."""

_BUMP_PLACES_MM: Final[dict[DeformationKind, float]] = {"stiff": 70.0, "smooth": 55.0, "sliding": 60.0}
"""The bumps lie in a cube of this half width around the tumor."""

_BREATHING_GRADIENT: Final = 0.045
"""Greatest stretch from head to foot of a stiff lung: 4.5 mm over 100 mm, a shallow breath. The chest wall stretches
with it, so that more could not be told from a wrong slice distance."""

_OTHER_GRADIENT_SD: Final = 0.015
"""The other eight components of the gradient."""


@dataclass(frozen=True, eq=False)
class Contraction:
    """Tissue drawn towards a point by the ablation: evenly within the zone, by the inverse square beyond.

    Outside a shrinking ball an elastic medium moves by the inverse square of the distance.

    Parameters
    ----------
    center : ndarray, (3,)
        The zone's center in the verification frame.
    share : float
        How much shorter lengths within the zone became.
    radius_mm : float
        The zone's.
    """

    center: Float64Array
    share: float
    radius_mm: float

    def inverse_displacement_mm(self, points_lps_mm: Float64Array) -> Float64Array:
        """Displacement (N, 3) from verification positions (N, 3) back to where the tissue was, LPS mm."""
        offset = points_lps_mm - self.center
        square = np.einsum("ni,ni->n", offset, offset) / self.radius_mm**2
        return np.asarray((self.share / np.sqrt(1.0 + square**3))[:, None] * offset)


@dataclass(frozen=True, eq=False)
class FreeDeformation:
    """Maps a position of the verification frame to the planning frame, as if there were no tumor.

    Parameters
    ----------
    rotation : ndarray, (3, 3)
    center : ndarray, (3,)
        In the verification frame; maps to ``planning_center`` but for gradient, bumps and contraction.
    planning_center : ndarray, (3,)
        In the planning frame.
    gradient : ndarray, (3, 3)
        Breathing: displacement per mm from ``center``.
    bumps : sequence of (center (3,), displacement (3,), width mm)
        Centers in the verification frame, displacements in the planning frame.
    contraction : Contraction, optional
    """

    rotation: Float64Array
    center: Float64Array
    planning_center: Float64Array
    gradient: Float64Array = field(default_factory=lambda: np.zeros((3, 3)))
    bumps: tuple[tuple[Float64Array, Float64Array, float], ...] = ()
    contraction: Contraction | None = None

    @property
    def rigid(self) -> bool:
        """Whether nothing deforms."""
        return not self.bumps and not self.gradient.any() and self.contraction is None

    def to_planning(self, points_lps_mm: Float64Array) -> Float64Array:
        """Positions (N, 3) of the verification frame in the planning frame."""
        offset = points_lps_mm - self.center
        mapped = offset @ (self.rotation + self.gradient).T + self.planning_center
        for center, displacement, width in self.bumps:
            offset_from_bump = points_lps_mm - center
            mapped += (
                np.exp(np.einsum("ni,ni->n", offset_from_bump, offset_from_bump) / (-2.0 * width**2))[:, None]
                * displacement
            )
        if self.contraction is not None:
            mapped += self.contraction.inverse_displacement_mm(points_lps_mm) @ self.rotation.T
        return np.asarray(mapped)

    def scaled(self, share: float) -> FreeDeformation:
        """The same with gradient and bumps ``share`` times as large; the contraction stays."""
        bumps = tuple((center, share * displacement, width) for center, displacement, width in self.bumps)
        return FreeDeformation(
            self.rotation, self.center, self.planning_center, share * self.gradient, bumps, self.contraction
        )

    def with_planning_center_moved(self, by_mm: Float64Array) -> FreeDeformation:
        """The same, with its center mapped ``by_mm`` further in the planning frame."""
        return FreeDeformation(
            self.rotation,
            self.center,
            self.planning_center + by_mm,
            self.gradient,
            self.bumps,
            self.contraction,
        )


def random_bumps(
    rng: np.random.Generator, center: Float64Array, kind: DeformationKind, max_height_mm: float
) -> tuple[tuple[Float64Array, Float64Array, float], ...]:
    """Bumps around a point, the largest of at most ``max_height_mm``."""
    bumps = []
    for _ in range(_BUMPS):
        place = center + rng.uniform(-_BUMP_PLACES_MM[kind], _BUMP_PLACES_MM[kind], 3)
        direction = rng.normal(size=3)
        height = rng.uniform(0.3, 1.0) * max_height_mm / np.linalg.norm(direction)
        bumps.append((place, direction * height, float(rng.uniform(*_BUMP_WIDTHS_MM[kind]))))
    return tuple(bumps)


def random_gradient(rng: np.random.Generator) -> Float64Array:
    """A stretch from head to foot, and a little of everything else."""
    gradient = rng.normal(0.0, _OTHER_GRADIENT_SD, (3, 3))
    gradient[2, 2] = rng.uniform(-_BREATHING_GRADIENT, _BREATHING_GRADIENT)
    return np.asarray(gradient)
