"""How chest wall, lung and tumor move between the scans, as maps from the verification to the planning frame.

The wall moves by a smooth map ``W``. The lung moves by ``S(W(v))``: ``S`` slides along the pleura, makes room for air
or fluid, and jumps along a fissure, and nowhere takes tissue through the pleura. The tumor moves by a similarity, and
tissue next to it goes from its motion over into the lung's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
from scipy.spatial.transform import Rotation

from engine.arrays import BoolArray, Float64Array
from engine.errors import InvalidRequestError
from engine.geometry import RigidTransform
from engine.phantoms.chest import Chest
from engine.phantoms.conditions.description import ProcedureDescription
from engine.phantoms.conditions.pleural_space import PleuralSpace, pleural_space
from engine.phantoms.free_deformation import Contraction, FreeDeformation, random_bumps
from engine.phantoms.sliding import slide_along
from engine.phantoms.tumor import TumorShape

_RIGID_MM: Final = 2.0
_FREE_MM: Final = 10.0
"""As in :mod:`engine.phantoms.motion`: over the second distance beyond the first, tissue goes over to its own."""

_FISSURE_FADE_MM: Final = 45.0
_FISSURE_DEPTH_MM: Final = 15.0
"""The jump along a fissure fades over the first distance along it, and towards the pleura over the second."""

_OFF_CENTER_MM: Final = 1.5
"""Tissue is drawn towards a place about this far from the tumor's center along each axis."""

_FLOW_HALF_WIDTH_MM: Final = 90.0
_MIN_JACOBIAN: Final = 0.2
_WEAKER: Final = 0.75
_TRIES: Final = 12


class _LungStep(Protocol):
    """A part of ``S``: planning positions (N, 3) to planning positions (N, 3)."""

    def apply(self, points_lps_mm: Float64Array) -> Float64Array:
        """Where the tissue at these places was before this step."""


@dataclass(frozen=True, eq=False)
class TumorMotion:
    """A similarity from the verification to the planning frame.

    Parameters
    ----------
    rotation : ndarray, (3, 3)
    scale : float
        Lengths in the planning frame over those in the verification frame; above 1 for a tumor that shrank.
    verification_center, planning_center : ndarray, (3,)
    """

    rotation: Float64Array
    scale: float
    verification_center: Float64Array
    planning_center: Float64Array

    def apply(self, points_lps_mm: Float64Array) -> Float64Array:
        """Positions (..., 3) of the verification frame in the planning frame."""
        offset = points_lps_mm - self.verification_center
        return np.asarray(self.scale * offset @ self.rotation.T + self.planning_center)

    @property
    def matrix(self) -> Float64Array:
        """Homogeneous, (4, 4)."""
        matrix = np.eye(4)
        matrix[:3, :3] = self.scale * self.rotation
        matrix[:3, 3] = self.planning_center - matrix[:3, :3] @ self.verification_center
        return matrix

    @property
    def rigid(self) -> RigidTransform:
        """Without the scale, about the tumor's center."""
        return RigidTransform.from_rotation(
            self.rotation, self.planning_center - self.rotation @ self.verification_center
        )


@dataclass(frozen=True, eq=False)
class _Fissure:
    """A plane in the planning frame along which the lobe beyond it slides.

    Parameters
    ----------
    point, normal : ndarray, (3,)
        The normal points away from the tumor.
    jump_mm : ndarray, (3,)
        Along the plane.
    chest : Chest
    """

    point: Float64Array
    normal: Float64Array
    jump_mm: Float64Array
    chest: Chest

    def beyond(self, points_lps_mm: Float64Array) -> BoolArray:
        """Whether planning positions (N, 3) lie in the other lobe."""
        return np.asarray((points_lps_mm - self.point) @ self.normal > 0.0)

    def jump(self, points_lps_mm: Float64Array) -> Float64Array:
        """The other lobe's jump at planning positions (N, 3)."""
        square = ((points_lps_mm - self.point) ** 2).sum(axis=-1)
        depth = self.chest.lung_depth_mm(points_lps_mm)
        share = np.exp(square / (-2.0 * _FISSURE_FADE_MM**2)) * np.clip(depth / _FISSURE_DEPTH_MM, 0.0, 1.0)
        return np.asarray(share[:, None] * self.jump_mm)


@dataclass(frozen=True, eq=False)
class TissueMotion:
    """The whole motion.

    Parameters
    ----------
    free : FreeDeformation
        ``W``, with the contraction.
    steps : sequence of _LungStep
        ``S``, in this order.
    tumor : TumorMotion
    shape : TumorShape
    fissure : _Fissure, optional
    space : PleuralSpace, optional
        Air or fluid between lung and wall; also one of the steps.
    """

    free: FreeDeformation
    steps: tuple[_LungStep, ...]
    tumor: TumorMotion
    shape: TumorShape
    fissure: _Fissure | None = None
    space: PleuralSpace | None = None

    def wall_to_planning(self, points_lps_mm: Float64Array) -> Float64Array:
        """Map verification positions (N, 3) as the chest wall moves."""
        return self.free.to_planning(points_lps_mm)

    def lung_to_planning(self, points_lps_mm: Float64Array) -> Float64Array:
        """Map verification positions (N, 3) as the tumor's lobe moves, the tumor within it."""
        mapped = self.own_to_planning(points_lps_mm)
        offset = points_lps_mm - self.tumor.verification_center
        reach = self.shape.max_radius_mm + _RIGID_MM + _FREE_MM
        near = np.einsum("ni,ni->n", offset, offset) < reach**2
        with_tumor = self.tumor.apply(points_lps_mm[near])
        rise = np.clip((self.shape.signed_distance_mm(with_tumor) - _RIGID_MM) / _FREE_MM, 0.0, 1.0)
        own = (rise * rise * (3.0 - 2.0 * rise))[:, None]
        mapped[near] = with_tumor + own * (mapped[near] - with_tumor)
        return mapped

    def own_to_planning(self, points_lps_mm: Float64Array) -> Float64Array:
        """Map verification positions (N, 3) as the lung would move without a tumor."""
        mapped = self.free.to_planning(points_lps_mm)
        for step in self.steps:
            mapped = step.apply(mapped)
        return mapped

    def tumor_distance_mm(self, points_lps_mm: Float64Array) -> Float64Array:
        """Signed distance of verification positions (..., 3) to the tumor where it lies then, in that frame's mm."""
        # Distances scale with a similarity: this is exact.
        return np.asarray(self.shape.signed_distance_mm(self.tumor.apply(points_lps_mm)) / self.tumor.scale)

    def min_jacobian(self, half_width_mm: float = 45.0, step_mm: float = 3.0) -> float:
        """Least determinant of the lung's map on a lattice around the tumor."""
        axis = np.arange(-half_width_mm, half_width_mm + 1.0, step_mm)
        grid = (
            np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1) + self.tumor.verification_center
        )
        mapped = self.lung_to_planning(grid.reshape(-1, 3)).reshape(grid.shape)
        return float(jacobian(mapped, step_mm).min())


def jacobian(mapped_xyz: Float64Array, step_mm: float) -> Float64Array:
    """Determinant of a map's derivative from its values (nx, ny, nz, 3) on a lattice along x, y, z."""
    derivative = np.stack([np.gradient(mapped_xyz, step_mm, axis=axis) for axis in range(3)], axis=-1)
    return np.asarray(np.linalg.det(derivative))


def draw_motion(
    rng: np.random.Generator,
    description: ProcedureDescription,
    chest: Chest,
    shape: TumorShape,
) -> TissueMotion:
    """Draw a motion; its bends are weakened until it folds nothing.

    Parameters
    ----------
    rng : numpy.random.Generator
    description : ProcedureDescription
    chest : Chest
    shape : TumorShape
        Planning frame.

    Raises
    ------
    InvalidRequestError
        The motion folds tissue even without a bend.
    """
    free = _free(rng, description, shape)
    turn = Rotation.from_rotvec(np.deg2rad(description.tumor_turned_deg) * _unit(rng)).as_matrix()
    fissure = _fissure(rng, description, chest, shape)
    slide = np.array([0.0, rng.normal(0.0, 0.35), rng.choice([-1.0, 1.0])])
    space = pleural_space(rng, description, chest, shape.center_lps_mm)
    steps = _steps(description.slide_wall_mm * slide / np.linalg.norm(slide), chest, shape, space)
    scale = 1.0 / (1.0 - description.contraction) if description.tumor_contracts else 1.0
    for _ in range(_TRIES):
        motion = TissueMotion(
            free, steps, _tumor_motion(free, steps, shape, turn, scale), shape, fissure, space
        )
        if motion.min_jacobian() > _MIN_JACOBIAN:
            return motion
        free = free.scaled(_WEAKER)
    raise InvalidRequestError(
        f"the motion of {description.name} (seed {description.seed}) folds tissue even without a bend; "
        "ask for less contraction or a smaller turn of the tumor"
    )


def _free(
    rng: np.random.Generator,
    description: ProcedureDescription,
    shape: TumorShape,
) -> FreeDeformation:
    planning_center = shape.center_lps_mm
    tilt = rng.normal(0.0, np.deg2rad(1.0), 2)
    rotation = Rotation.from_rotvec([*tilt, np.deg2rad(description.patient_turned_deg)]).as_matrix()
    center = planning_center + np.array([*rng.uniform(-6.0, 6.0, 2), description.breath_mm])
    bumps = random_bumps(rng, center, "smooth", description.bend_mm)
    # Breathing moves the diaphragm more than the ribs; the three parts add up to the change of volume.
    gradient = -rotation @ np.diag(description.inflation * np.array([0.2, 0.2, 0.6]))
    drawn_in, off_center = None, rng.normal(0.0, _OFF_CENTER_MM, 3)
    if description.contraction:
        share = description.contraction / (1.0 - description.contraction)
        radius = float(np.cbrt(3000.0 * shape.volume_ml / (4.0 * np.pi))) + max(description.margin_mm, 1.0)
        drawn_in = Contraction(center + off_center, share, radius)
    return FreeDeformation(rotation, center, planning_center, gradient, bumps, drawn_in)


def _steps(
    slide_mm: Float64Array, chest: Chest, shape: TumorShape, space: PleuralSpace | None
) -> tuple[_LungStep, ...]:
    steps: list[_LungStep] = [] if space is None else [space]
    if slide_mm.any():
        steps.append(slide_along(chest.pleura, slide_mm, shape.center_lps_mm, _FLOW_HALF_WIDTH_MM))
    return tuple(steps)


def _fissure(
    rng: np.random.Generator, description: ProcedureDescription, chest: Chest, shape: TumorShape
) -> _Fissure | None:
    """Oblique, a few millimeters beyond the tumor."""
    normal = np.array(
        [rng.normal(0.0, 0.2), rng.choice([-1.0, 1.0]), rng.choice([-1.0, 1.0]) * rng.uniform(0.4, 1.0)]
    )
    normal /= np.linalg.norm(normal)
    along = np.cross(normal, [1.0, 0.0, 0.0])
    jump = description.slide_fissure_mm * along / np.linalg.norm(along)
    point = shape.center_lps_mm + (shape.max_radius_mm + rng.uniform(3.0, 8.0)) * normal
    return _Fissure(point, normal, jump, chest) if description.slide_fissure_mm else None


def _tumor_motion(
    free: FreeDeformation,
    steps: Sequence[_LungStep],
    shape: TumorShape,
    turn: Float64Array,
    scale: float,
) -> TumorMotion:
    """Where the lung's motion takes the tumor's center; turned against it, and scaled."""
    center = free.center.copy()
    for _ in range(20):
        mapped = free.to_planning(center[None])
        for step in steps:
            mapped = step.apply(mapped)
        missing = shape.center_lps_mm - mapped[0]
        center += missing @ free.rotation
        if np.linalg.norm(missing) < 1e-3:
            break
    return TumorMotion(turn @ free.rotation, scale, center, shape.center_lps_mm)


def _unit(rng: np.random.Generator) -> Float64Array:
    vector = rng.normal(size=3)
    return np.asarray(vector / np.linalg.norm(vector))
