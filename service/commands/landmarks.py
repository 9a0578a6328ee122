"""Landmark pairs from a CSV file, and how far a displacement field leaves them apart."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from engine.arrays import Float64Array
from engine.errors import InvalidRequestError, UnreadableFileError
from engine.registration.field import DisplacementField

COLUMNS: Final = ("fixed_x", "fixed_y", "fixed_z", "moving_x", "moving_y", "moving_z")

_OUTSIDE_VOXELS: Final = 1.0
"""A landmark this far beyond the outermost voxel centers of the field says nothing about the field."""

_MAX_COORDINATE_MM: Final = 1e5
"""No scanner is 100 m long: such a number is not a position."""


@dataclass(frozen=True, eq=False)
class LandmarkPairs:
    """The same places in two CTs.

    Parameters
    ----------
    fixed_lps_mm, moving_lps_mm : ndarray, (n, 3)
    """

    fixed_lps_mm: Float64Array
    moving_lps_mm: Float64Array


@dataclass(frozen=True)
class LandmarkScore:
    """Target registration error; the figures are None where no landmark could be scored.

    Parameters
    ----------
    mean_mm, median_mm, p95_mm, max_mm : float or None
        Distance between where the field puts a fixed landmark and where it is in the moving CT.
    unregistered_mean_mm : float or None
        The same of the scored landmarks if nothing were moved.
    scored, outside : int
        Landmarks on the field, and those beyond it, which were left out.
    """

    mean_mm: float | None
    median_mm: float | None
    p95_mm: float | None
    max_mm: float | None
    unregistered_mean_mm: float | None
    scored: int
    outside: int


def read_landmarks(path: Path) -> LandmarkPairs:
    """Read landmark pairs.

    Parameters
    ----------
    path : Path
        CSV with the header ``fixed_x,fixed_y,fixed_z,moving_x,moving_y,moving_z``; LPS mm.

    Returns
    -------
    LandmarkPairs

    Raises
    ------
    UnreadableFileError
        If there is no such file, or it is not text.
    InvalidRequestError
        If the header differs, there is no row, or a row does not hold six finite numbers.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a text file"
        raise UnreadableFileError(f"the landmarks {path.name} cannot be read: {reason}") from error
    rows = [
        (number, [cell.strip() for cell in row])
        for number, row in enumerate(csv.reader(text.splitlines()), start=1)
        if any(cell.strip() for cell in row)
    ]
    if not rows or tuple(rows[0][1]) != COLUMNS:
        raise _invalid(f"the landmarks {path.name} must start with the header {','.join(COLUMNS)}")
    if len(rows) == 1:
        raise _invalid(
            f"the landmarks {path.name} have a header and no row; add pairs, or leave the file out"
        )
    numbers = np.array([_numbers(row, line, path.name) for line, row in rows[1:]])
    return LandmarkPairs(numbers[:, :3], numbers[:, 3:])


def score_landmarks(field: DisplacementField, pairs: LandmarkPairs) -> LandmarkScore:
    """Measure the target registration error of a field.

    Parameters
    ----------
    field : DisplacementField
    pairs : LandmarkPairs

    Returns
    -------
    LandmarkScore
        Only landmarks within one voxel of the field's grid count.
    """
    index = field.geometry.to_index(pairs.fixed_lps_mm)
    last = np.array(field.geometry.shape_zyx) - 1.0
    on_field = ((index >= -_OUTSIDE_VOXELS) & (index <= last + _OUTSIDE_VOXELS)).all(axis=1)
    outside = int(np.count_nonzero(~on_field))
    if not on_field.any():
        return LandmarkScore(None, None, None, None, None, 0, outside)
    fixed, moving = pairs.fixed_lps_mm[on_field], pairs.moving_lps_mm[on_field]
    error_mm = np.linalg.norm(fixed + field.at(fixed) - moving, axis=1)
    return LandmarkScore(
        mean_mm=float(error_mm.mean()),
        median_mm=float(np.median(error_mm)),
        p95_mm=float(np.percentile(error_mm, 95)),
        max_mm=float(error_mm.max()),
        unregistered_mean_mm=float(np.linalg.norm(fixed - moving, axis=1).mean()),
        scored=len(error_mm),
        outside=outside,
    )


def _numbers(row: list[str], line: int, name: str) -> list[float]:
    """Return the six coordinates of one line."""
    try:
        numbers = [float(cell) for cell in row]
    except ValueError:
        numbers = []
    if len(numbers) != len(COLUMNS) or not all(abs(number) < _MAX_COORDINATE_MM for number in numbers):
        raise _invalid(f"line {line} of the landmarks {name} does not hold six finite numbers in mm")
    return numbers


def _invalid(message: str) -> InvalidRequestError:
    return InvalidRequestError(message, "landmarks")
