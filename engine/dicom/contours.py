"""Closed contours as simple loops: what they enclose, in pixels and in area."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from engine.arrays import BoolArray, Float64Array

_ROWS_PER_PIXEL = 8
"""Areas are summed along this many lines to a pixel; pixel centers lie on one of them."""

_SAME_VERTEX = 1e-3
"""Vertices closer than this, in pixels, are one: positions are written to a micrometer at best."""

_SLIT = 0.1
"""How far, in pixels, a pixel center may lie from both sides of a gap in one line that is no tissue left out."""
_BESIDE = 0.01
"""How far beside a pixel center the sides of a slit are looked for, so that a corner is none."""
_SLIT_SIDES = tuple(
    tuple((along * down, across * right) for down in (-1, 1) for right in (-1, 1))
    for along, across in ((_SLIT, _BESIDE), (_BESIDE, _SLIT))
)


@dataclass(frozen=True, eq=False)
class Loop:
    """A closed line that meets none of its own vertices again.

    Parameters
    ----------
    vertices : ndarray, (n, 2)
        Fractional (row, column) indices; pixel centers are whole numbers. The last is joined to the first.
    outline : int
        Which outline of its plane it is part of.
    """

    vertices: Float64Array
    outline: int = 0

    @cached_property
    def perimeter(self) -> float:
        """Length of the line, in pixels."""
        return float(np.linalg.norm(np.roll(self.vertices, -1, axis=0) - self.vertices, axis=1).sum())

    @cached_property
    def signed_area(self) -> float:
        """Enclosed area in pixels, negative where the line runs the other way round."""
        row, column = (self.vertices - self.vertices[0]).T
        return float((row * np.roll(column, -1) - np.roll(row, -1) * column).sum()) / 2

    @cached_property
    def bounds(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """Lowest and highest (row, column)."""
        rows, columns = self.vertices.T
        return (float(rows.min()), float(columns.min())), (float(rows.max()), float(columns.max()))

    def shares_vertex(self, other: Loop) -> bool:
        """Whether the two lines have a vertex in common."""
        return not set(_vertex_keys(self.vertices)).isdisjoint(_vertex_keys(other.vertices))


def simple_loops(vertices: Float64Array, outline: int = 0) -> list[Loop]:
    """Cut an outline where it comes back to one of its own vertices.

    A keyhole contour becomes its outer and its inner line (the channel between them encloses nothing and is
    dropped), an outline walked twice becomes two equal loops, a figure of eight its two halves.

    Parameters
    ----------
    vertices : ndarray, (n, 2)
        Fractional (row, column) indices.
    outline : int
        Number that the loops carry.

    Returns
    -------
    list of Loop
        Loops that enclose something; empty for points on one line.
    """
    walked: list[int] = []
    place: dict[tuple[int, int], int] = {}
    keys = _vertex_keys(vertices)
    closed: list[list[int]] = []
    for index, key in enumerate(keys):
        if key in place:
            at = place[key]
            closed.append(walked[at:])
            for dropped in walked[at:]:
                del place[keys[dropped]]
            del walked[at:]
        place[key] = len(walked)
        walked.append(index)
    loops = [Loop(vertices[indices], outline) for indices in (*closed, walked)]
    return [loop for loop in loops if wound_areas(loop).enclosed > 0]


def paint(loop: Loop, shape_yx: tuple[int, int]) -> tuple[tuple[slice, slice], BoolArray]:
    """Mark the pixels whose centers a loop goes round.

    A center on the line belongs to the side of lower row and column (half-open), so loops that share
    an edge neither overlap nor leave a gap. Where the line comes back along itself, as the channel of a
    keyhole contour does, the slit between both ways is inside: it separates nothing.

    Parameters
    ----------
    loop : Loop
    shape_yx : tuple of int
        Rows and columns of the slice.

    Returns
    -------
    box : tuple of two slices
        The part of the slice that can be marked.
    inside : ndarray of bool
        That part.
    """
    low, high = (np.clip(np.ceil(bound), 0, np.array(shape_yx)).astype(np.intp) for bound in loop.bounds)
    box = slice(int(low[0]), int(high[0])), slice(int(low[1]), int(high[1]))
    inside = _encircled(loop.vertices, box)
    for sides in _SLIT_SIDES:
        inside |= np.logical_and.reduce([_encircled(loop.vertices - side, box) for side in sides])
    return box, inside


def _encircled(vertices: Float64Array, box: tuple[slice, slice]) -> BoolArray:
    """The pixel centers in a part of the slice that a line goes round."""
    rows, columns, steps = _crossings(vertices)
    is_in_box = (rows >= box[0].start) & (rows < box[0].stop)
    first = np.clip(np.ceil(columns), box[1].start, box[1].stop).astype(np.intp) - box[1].start
    winding = np.zeros((box[0].stop - box[0].start, box[1].stop - box[1].start + 1), dtype=np.int64)
    np.add.at(winding, (rows[is_in_box] - box[0].start, first[is_in_box]), steps[is_in_box])
    return np.asarray(np.cumsum(winding, axis=1)[:, :-1] != 0)


@dataclass(frozen=True)
class _WoundAreas:
    """Areas in pixels that a line goes round: at all, more than once, and in the rarer of both directions."""

    enclosed: float
    repeatedly: float
    against: float


def wound_areas(loop: Loop) -> _WoundAreas:
    """How often, and which way, a line that may cross itself goes round what it encloses."""
    rows, columns, steps = _crossings(loop.vertices * (_ROWS_PER_PIXEL, 1))
    (winding,), area = _strips(rows, columns, steps[np.newaxis])
    return _WoundAreas(
        enclosed=float(area[winding != 0].sum()),
        repeatedly=float(area[np.abs(winding) > 1].sum()),
        against=float(min(area[winding > 0].sum(), area[winding < 0].sum())),
    )


@dataclass(frozen=True)
class _SharedAreas:
    """Areas in pixels inside one of two loops alone, and inside both."""

    first: float
    second: float
    both: float


def shared_areas(first: Loop, second: Loop) -> _SharedAreas:
    """The areas that two loops enclose alone and together."""
    crossed = [_crossings(loop.vertices * (_ROWS_PER_PIXEL, 1)) for loop in (first, second)]
    rows = np.concatenate([rows for rows, _, _ in crossed])
    columns = np.concatenate([columns for _, columns, _ in crossed])
    steps = np.zeros((2, len(rows)), dtype=np.intp)
    split = len(crossed[0][0])
    steps[0, :split], steps[1, split:] = crossed[0][2], crossed[1][2]
    winding, area = _strips(rows, columns, steps)
    in_first, in_second = winding != 0
    return _SharedAreas(
        first=float(area[in_first & ~in_second].sum()),
        second=float(area[in_second & ~in_first].sum()),
        both=float(area[in_first & in_second].sum()),
    )


def _strips(
    rows: npt.NDArray[np.intp], columns: Float64Array, steps: npt.NDArray[np.intp]
) -> tuple[npt.NDArray[np.intp], Float64Array]:
    """Winding numbers (lines, n) and area of the strip from each crossing to the next of its row."""
    order = np.lexsort((columns, rows))
    # The steps of a row add up to zero, so the sum starts anew in each and no strip leads to the next row.
    winding = np.cumsum(steps[:, order], axis=1)
    return winding, np.diff(columns[order], append=0.0) / _ROWS_PER_PIXEL


def _crossings(vertices: Float64Array) -> tuple[npt.NDArray[np.intp], Float64Array, npt.NDArray[np.intp]]:
    """For each edge and each whole row it crosses: the row, the column, and 1 downward or -1 upward."""
    start, stop = vertices, np.roll(vertices, -1, axis=0)
    is_downward = start[:, 0] <= stop[:, 0]
    # Both directions of an edge are computed alike, so that coincident edges cancel exactly.
    upper = np.where(is_downward[:, np.newaxis], start, stop)
    lower = np.where(is_downward[:, np.newaxis], stop, start)
    first_row = np.ceil(upper[:, 0]).astype(np.intp)
    count = np.ceil(lower[:, 0]).astype(np.intp) - first_row
    edge = np.repeat(np.arange(len(vertices)), count)
    row = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count) + first_row[edge]
    fraction = (row - upper[edge, 0]) / (lower[edge, 0] - upper[edge, 0])
    column = upper[edge, 1] + fraction * (lower[edge, 1] - upper[edge, 1])
    return row, column, np.where(is_downward, 1, -1)[edge]


def _vertex_keys(vertices: Float64Array) -> list[tuple[int, int]]:
    return [(row, column) for row, column in np.rint(vertices / _SAME_VERTEX).astype(np.int64).tolist()]
