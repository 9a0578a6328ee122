"""What happens between two scans: a breath, a bend or a slide of the lung, tissue drawn in by the ablation.

The tumor is stiff: it moves as the tissue in its place would on average (the rigid motion nearest to the
free deformation over the tumor), and the tissue next to it goes from its motion over into the free one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.spatial.transform import Rotation

from engine.arrays import Float64Array
from engine.errors import InvalidRequestError
from engine.geometry import RigidTransform
from engine.phantoms.free_deformation import (
    Contraction,
    DeformationKind,
    FreeDeformation,
    random_bumps,
    random_gradient,
)
from engine.phantoms.sliding import Pleura, PleuralSlide, slide_along

RIGID_MM: Final = 2.0
"""Tissue up to this far from the tumor moves with it."""

FREE_MM: Final = 10.0
"""Over this distance more the tissue goes from the tumor's motion to its own."""

MIN_JACOBIAN: Final = 0.25
"""A drawn bend that presses tissue together more than this is drawn again, weaker."""

_JACOBIAN_LATTICE_MM: Final = 4.0
_WEAKER: Final = 0.75
_TRIES: Final = 10

_FLOW_HALF_WIDTH_MM: Final = 76.0
_ZONE_BEYOND_TUMOR_MM: Final = 5.0


@dataclass(frozen=True, eq=False)
class Motion:
    """Maps a position in the verification frame to its place in the planning frame, LPS mm.

    Parameters
    ----------
    planning_from_verification : RigidTransform
        The tumor's own motion.
    planning_center, verification_center : ndarray, (3,)
        The tumor's center in both frames.
    free : FreeDeformation
        Of the chest wall, and, where nothing slides, of the lung.
    slide : PleuralSlide, optional
        Of the lung along the chest wall.
    tumor_distance_mm : callable
        Signed distance of planning positions (N, 3) to the tumor's surface.
    max_radius_mm : float
        Greatest distance of the tumor's surface from its center.
    """

    planning_from_verification: RigidTransform
    planning_center: Float64Array
    verification_center: Float64Array
    free: FreeDeformation
    slide: PleuralSlide | None
    tumor_distance_mm: Callable[[Float64Array], Float64Array]
    max_radius_mm: float

    @property
    def rigid(self) -> bool:
        """Whether the map is rigid everywhere."""
        return self.free.rigid and self.slide is None

    def to_planning(self, points_lps_mm: Float64Array) -> Float64Array:
        """Map positions of the verification frame to the planning frame.

        Parameters
        ----------
        points_lps_mm : ndarray, (..., 3)

        Returns
        -------
        ndarray, (..., 3)
        """
        points = points_lps_mm.reshape(-1, 3)
        if self.rigid:
            mapped = self.planning_from_verification.apply(points)
        elif self.slide is None:
            mapped = self.lung_to_planning(points)
        else:
            mapped = self.wall_to_planning(points)
            lung = self.slide.in_lung(mapped)
            mapped[lung] = self._as_lung(points[lung], mapped[lung])
        return mapped.reshape(points_lps_mm.shape)

    def wall_to_planning(self, points_lps_mm: Float64Array) -> Float64Array:
        """Map positions (N, 3) as the chest wall moves; lung moves so too where nothing slides."""
        return self.free.to_planning(points_lps_mm)

    def lung_to_planning(self, points_lps_mm: Float64Array) -> Float64Array:
        """Map positions (N, 3) as the lung and the tumor in it move."""
        return self._as_lung(points_lps_mm, self.free.to_planning(points_lps_mm))

    def _as_lung(self, points_lps_mm: Float64Array, mapped: Float64Array) -> Float64Array:
        """From where the chest wall's motion takes points (N, 3) to where the lung's does."""
        if self.slide is not None:
            mapped = self.slide.apply(mapped)
        offset_mm = points_lps_mm - self.verification_center
        near = np.einsum("ni,ni->n", offset_mm, offset_mm) < (self.max_radius_mm + RIGID_MM + FREE_MM) ** 2
        with_tumor = self.planning_from_verification.apply(points_lps_mm[near])
        rise = np.clip((self.tumor_distance_mm(with_tumor) - RIGID_MM) / FREE_MM, 0.0, 1.0)
        own = (rise * rise * (3.0 - 2.0 * rise))[:, None]
        mapped[near] = with_tumor + own * (mapped[near] - with_tumor)
        return mapped

    def min_jacobian(self, half_width_mm: float = 50.0) -> float:
        """Least determinant of the map's derivative on a 4 mm lattice around the tumor.

        Parameters
        ----------
        half_width_mm : float

        Returns
        -------
        float
            Not positive where the motion would fold the tissue; lung and chest wall each on its own.
        """
        axis = np.arange(-half_width_mm, half_width_mm + 1.0, _JACOBIAN_LATTICE_MM)
        grid = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1) + self.verification_center
        points = grid.reshape(-1, 3)
        lung = _determinant(self.lung_to_planning(points).reshape(grid.shape))
        if self.slide is None:
            return float(lung.min())
        at_wall = self.wall_to_planning(points)
        wall = _determinant(at_wall.reshape(grid.shape))
        in_lung = self.slide.in_lung(at_wall).reshape(wall.shape)
        return float(np.where(in_lung, lung, wall).min())


def random_motion(
    rng: np.random.Generator,
    planning_center: Float64Array,
    tumor_radius_mm: float,
    *,
    rigid_only: bool,
    contraction: float,
    greatest_bend_mm: float = 8.0,
    deformation: DeformationKind = "smooth",
    slide_mm: float = 6.0,
    pleura: Pleura | None = None,
    tumor_distance_mm: Callable[[Float64Array], Float64Array] | None = None,
    zone: tuple[Float64Array, float] | None = None,
) -> Motion:
    """A breath: up to 18 mm of translation, a few degrees, and unless ``rigid_only`` a deformation.

    Parameters
    ----------
    rng : numpy.random.Generator
    planning_center : ndarray, (3,)
        The tumor's center in the planning frame, LPS mm.
    tumor_radius_mm : float
        The tumor's reach.
    rigid_only : bool
        Neither deformation nor contraction.
    contraction : float
        Share by which the tissue within the zone was drawn in.
    greatest_bend_mm : float
        Height of the largest bump.
    deformation : {'stiff', 'smooth', 'sliding'}
    slide_mm : float
        Jump at the pleura, for ``'sliding'``.
    pleura : Pleura, optional
        Required for ``'sliding'``.
    tumor_distance_mm : callable, optional
        Signed distance of planning positions to the tumor; a ball of ``tumor_radius_mm`` otherwise.
    zone : (offset (3,), radius mm), optional
        The zone's center from the tumor's, verification frame: tissue is drawn towards it.

    Returns
    -------
    Motion

    Raises
    ------
    InvalidRequestError
        A slide without a pleura to slide along.
    """
    shift = rng.uniform([-8.0, -8.0, -16.0], [8.0, 8.0, 16.0])
    rotation = Rotation.from_rotvec(np.deg2rad(rng.normal(0.0, 1.5, 3))).as_matrix()
    center = planning_center + shift
    free, slide = FreeDeformation(rotation, center, planning_center), None
    if not rigid_only:
        bumps = random_bumps(rng, center, deformation, greatest_bend_mm)
        gradient = random_gradient(rng) if deformation == "stiff" else np.zeros((3, 3))
        offset, radius = zone or (np.zeros(3), tumor_radius_mm + _ZONE_BEYOND_TUMOR_MM)
        drawn_in = Contraction(center + offset, contraction, radius) if contraction else None
        free = FreeDeformation(rotation, center, planning_center, gradient, bumps, drawn_in)
        if deformation == "sliding":
            slide = _random_slide(rng, pleura, slide_mm, planning_center)
    distance = tumor_distance_mm or _ball(planning_center, tumor_radius_mm)
    return _without_folds(free, slide, distance, planning_center, tumor_radius_mm)


def _without_folds(
    free: FreeDeformation,
    slide: PleuralSlide | None,
    distance: Callable[[Float64Array], Float64Array],
    planning_center: Float64Array,
    max_radius_mm: float,
) -> Motion:
    """The motion of a free deformation, weakened until it folds nothing."""
    for _ in range(_TRIES):
        motion = _with_tumor(free, slide, distance, planning_center, max_radius_mm)
        if motion.rigid or motion.min_jacobian() > MIN_JACOBIAN:
            return motion
        free, slide = free.scaled(_WEAKER), slide.scaled(_WEAKER) if slide else None
    raise InvalidRequestError(
        f"a contraction of {free.contraction.share if free.contraction else 0.0:g} folds the tissue even without "
        "a bend; ask for less"
    )


def _with_tumor(
    free: FreeDeformation,
    slide: PleuralSlide | None,
    distance: Callable[[Float64Array], Float64Array],
    planning_center: Float64Array,
    max_radius_mm: float,
) -> Motion:
    """Give the tumor the rigid motion nearest to the free deformation where it lies."""
    tumor = _tumor_points(distance, planning_center, max_radius_mm)
    before = (tumor - planning_center) @ free.rotation + free.center
    moved = before
    for _ in range(3):  # the slide is not linear: the tumor lands in its place to 0.01 mm
        moved = free.to_planning(before)
        moved = moved if slide is None else slide.apply(moved)
        free = free.with_planning_center_moved(tumor.mean(axis=0) - moved.mean(axis=0))
    planning_from_verification = rigid_projection(before, moved - moved.mean(axis=0) + tumor.mean(axis=0))
    verification_center = planning_from_verification.inverse.apply(planning_center)
    return Motion(
        planning_from_verification, planning_center, verification_center, free, slide, distance, max_radius_mm
    )


def rigid_projection(points: Float64Array, moved: Float64Array) -> RigidTransform:
    """The rigid motion that takes points (N, 3) nearest to where they moved.

    Notes
    -----
    Kabsch, Acta Cryst. A32:922 (1976); the reflection is ruled out as in Umeyama, IEEE TPAMI 13:376 (1991).
    """
    from_center, to_center = points.mean(axis=0), moved.mean(axis=0)
    u, _, vt = np.linalg.svd((moved - to_center).T @ (points - from_center))
    rotation = u @ np.diag([1.0, 1.0, np.sign(np.linalg.det(u @ vt))]) @ vt
    return RigidTransform.from_rotation(rotation, to_center - rotation @ from_center)


def _tumor_points(
    distance: Callable[[Float64Array], Float64Array], center: Float64Array, max_radius_mm: float
) -> Float64Array:
    """Points evenly spread over the tumor, planning frame."""
    axis = np.linspace(-max_radius_mm, max_radius_mm, 13)
    points = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3) + center
    inside = distance(points) <= 0.0
    return np.asarray(points[inside])


def _ball(center: Float64Array, radius_mm: float) -> Callable[[Float64Array], Float64Array]:
    def distance(points: Float64Array) -> Float64Array:
        return np.asarray(np.linalg.norm(points - center, axis=-1) - radius_mm)

    return distance


def _random_slide(
    rng: np.random.Generator, pleura: Pleura | None, slide_mm: float, center: Float64Array
) -> PleuralSlide:
    """Mostly from head to foot, either way."""
    if pleura is None:
        raise InvalidRequestError("a sliding lung needs a pleura to slide along; pass one")
    direction = np.array([0.0, rng.normal(0.0, 0.35), rng.choice([-1.0, 1.0])])
    jump = slide_mm * direction / np.linalg.norm(direction)
    return slide_along(pleura, jump, center, _FLOW_HALF_WIDTH_MM)


def _determinant(mapped: Float64Array) -> Float64Array:
    derivative = np.stack(
        [np.gradient(mapped, _JACOBIAN_LATTICE_MM, axis=axis) for axis in range(3)], axis=-1
    )
    return np.asarray(np.linalg.det(derivative))
