"""Closed contours to pixels, by the even-odd rule."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from engine.arrays import Float64Array


def rasterize_contours(contours: Iterable[Float64Array], shape_yx: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """Mark the pixels whose centers lie inside an odd number of contours.

    Every edge toggles, on each row it crosses, all pixels from its crossing to the end of the row;
    what is left set lies inside. Holes, several parts and keyhole contours (whose coincident edges
    cancel) need no special case. A center on an edge belongs to the side of lower row and column
    (half-open), so contours that share an edge neither overlap nor leave a gap.

    Parameters
    ----------
    contours : iterable of ndarray, (n, 2)
        Vertices as fractional (row, column) indices; pixel centers are whole numbers. The last
        vertex is joined to the first.
    shape_yx : tuple of int
        Rows and columns of the slice.

    Returns
    -------
    ndarray of bool, (rows, columns)
    """
    rows, columns = shape_yx
    toggles = np.zeros((rows, columns + 1), dtype=np.int64)
    for contour in contours:
        crossed_rows, first_columns = _crossings(np.asarray(contour, dtype=np.float64), shape_yx)
        np.add.at(toggles, (crossed_rows, first_columns), 1)
    return np.asarray(np.cumsum(toggles, axis=1)[:, :columns] % 2 == 1)


def _crossings(
    contour: Float64Array, shape_yx: tuple[int, int]
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """For each edge and each row it crosses: the row, and the first column at or beyond the crossing."""
    start, stop = contour, np.roll(contour, -1, axis=0)
    is_downward = (start[:, 0] <= stop[:, 0])[:, np.newaxis]
    # Both directions of an edge are computed alike, so that coincident edges cancel exactly.
    upper, lower = np.where(is_downward, start, stop), np.where(is_downward, stop, start)
    first_row = np.clip(np.ceil(upper[:, 0]), 0, shape_yx[0]).astype(np.intp)
    end_row = np.clip(np.ceil(lower[:, 0]), 0, shape_yx[0]).astype(np.intp)
    count = end_row - first_row
    edge = np.repeat(np.arange(len(contour)), count)
    row = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count) + first_row[edge]
    fraction = (row - upper[edge, 0]) / (lower[edge, 0] - upper[edge, 0])
    column = upper[edge, 1] + fraction * (lower[edge, 1] - upper[edge, 1])
    return row, np.clip(np.ceil(column), 0, shape_yx[1]).astype(np.intp)
