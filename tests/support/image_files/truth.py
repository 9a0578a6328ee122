"""Grids at random, what a header says of them, and how a statement is made wrong."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from scipy.spatial.transform import Rotation

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Statement:
    """What one field says: the corners of the volume (8, 3) in LPS mm, and how far its own form leaves them open."""

    corners: Array
    open_mm: float = 0.0


@dataclass
class RandomHeader:
    """A file, and what is true of it.

    `spacings` (x, y, z) are those that the header states apart from its axes; `is_placed` is whether it says where it
    lies; with `must_fail` nothing right can be read from it.
    """

    suffix: str
    content: bytes
    values: Array
    statements: list[Statement]
    spacings: list[Array]
    is_faultless: bool
    is_placed: bool
    must_fail: bool
    note: str
    is_read_by_itk: bool = field(default=True)


@dataclass(frozen=True)
class Truth:
    """Columns of `steps` are the steps along x, y and z in LPS mm."""

    shape_zyx: tuple[int, int, int]
    steps: Array
    origin: Array

    @property
    def shape_xyz(self) -> list[int]:
        return list(self.shape_zyx[::-1])

    @property
    def spacing(self) -> Array:
        return np.asarray(np.linalg.norm(self.steps, axis=0))

    def corners(self, steps: Array, origin: Array) -> Array:
        last = np.array(list(np.ndindex(2, 2, 2))) * (np.array(self.shape_xyz) - 1)
        return np.asarray(last @ steps.T + origin)


def random_truth(rng: np.random.Generator) -> Truth:
    """Straight, with axes in any order and direction, or oblique; right- and left-handed."""
    nz, ny, nx = (int(n) for n in rng.integers(2, 12, 3))
    kind = rng.integers(3)
    rotation = np.eye(3)
    if kind == 1:
        rotation = np.eye(3)[rng.permutation(3)] * rng.choice([-1.0, 1.0], 3)
    elif kind == 2:
        rotation = Rotation.random(rng=rng).as_matrix() * np.array([1.0, 1.0, rng.choice([-1.0, 1.0])])
    spacing = np.round(rng.uniform(0.4, 5.0, 3), int(rng.integers(1, 7)))
    return Truth((nz, ny, nx), rotation * spacing, np.round(rng.uniform(-300, 300, 3), 3))


def perturbed(rng: np.random.Generator, steps: Array) -> Array:
    """Scaled, sheared or turned, by 1e-7 to 1."""
    amount = 10 ** rng.uniform(-7, 0)
    kind = rng.integers(3)
    if kind == 2:
        return turned(rng, steps)
    axis, other = rng.permutation(3)[:2]
    changed = steps.copy()
    if kind == 0:
        changed[:, axis] *= 1 + amount
    else:
        changed[:, axis] += amount * changed[:, other]
    return changed


def turned(rng: np.random.Generator, steps: Array) -> Array:
    return np.asarray(Rotation.from_rotvec(10 ** rng.uniform(-6, 0) * rng.normal(size=3)).as_matrix() @ steps)


def scaled(rng: np.random.Generator, lengths: Array) -> Array:
    """Each by a factor of its own, 1e-7 to 1 from one."""
    return np.asarray(lengths * (1 + 10 ** rng.uniform(-7, 0) * rng.uniform(-1, 1, 3)))


def other_size(rng: np.random.Generator, sizes: list[int]) -> list[int]:
    changed = list(sizes)
    changed[int(rng.integers(3))] += int(rng.choice([-1, 1, 1000]))
    return changed


def in_words(values: npt.ArrayLike, digits: int) -> list[str]:
    return [f"{value:.{digits}g}" for value in np.ravel(np.asarray(values))]


def read_back(words: list[str]) -> Array:
    return np.array([float(word) for word in words])
