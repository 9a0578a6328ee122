"""The outlines of one plane together: which is a hole, which a repetition, which cross."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import TypeAlias

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from engine.arrays import BoolArray, Float64Array, Int32Array
from engine.dicom.contours import Loop, paint, shared_areas, simple_loops, wound_areas

# Mean distances in pixels: an area between two lines over the length of a line.
_NEGLIGIBLE = 0.02
"""Overlap that rounding of the vertices explains."""
_SAME_LINE = 0.05
"""Two lines this close are one outline, drawn or written twice."""
_THINNEST_WALL = 0.25
"""The thinnest wall around a mask, pixels that touch at corners, has 0.35; a thinner one was not drawn as one."""


class ContradictoryOutlinesError(ValueError):
    """Outlines that cross where a hole is, or where they are said to exclude each other."""


@dataclass(frozen=True, eq=False)
class PlaneRegion:
    """What the outlines of a plane enclose.

    Parameters
    ----------
    inside : ndarray of bool, (rows, columns)
        Pixels whose centers are inside.
    is_united : bool
        Whether outlines crossed each other or themselves, and everything in any of them was taken.
    without_pixel : int
        Outlines that go round no pixel center.
    """

    inside: BoolArray
    is_united: bool
    without_pixel: int


def combine_outlines(
    outlines: Sequence[Float64Array], shape_yx: tuple[int, int], *, excludes: bool = False
) -> PlaneRegion:
    """Combine the outlines of one plane.

    An outline strictly within another is a hole in it, one within the hole an island (PS3.3 C.8.8.6).
    The same outline counts once, wherever it starts and whichever way and however often it runs.
    Outlines that cross are united, as is one that crosses itself.

    Parameters
    ----------
    outlines : sequence of ndarray, (n, 2)
        Vertices as fractional (row, column) indices; pixel centers are whole numbers. The last
        vertex is joined to the first.
    shape_yx : tuple of int
        Rows and columns of the slice.
    excludes : bool
        Whether the outlines are said to exclude what they share (CLOSEDPLANAR_XOR), so that crossing
        ones cannot be united.

    Returns
    -------
    PlaneRegion

    Raises
    ------
    ContradictoryOutlinesError
        If an outline crosses a hole, or outlines that exclude each other cross.
    """
    loops, relations, repeated = _distinct(
        [loop for number, vertices in enumerate(outlines) for loop in simple_loops(vertices, number)]
    )
    groups = _crossing_groups(len(loops), relations)
    is_united = len(set(groups.tolist())) < len(loops) or any(map(_crosses_itself, loops))
    if is_united and excludes:
        raise ContradictoryOutlinesError("outlines that exclude each other (CLOSEDPLANAR_XOR) cross")
    inside = np.zeros(shape_yx, dtype=np.bool_)
    with_pixel = set(repeated)
    depths = _depths(groups, relations)
    if any(depths[a] % 2 for (a, _), relation in relations.items() if relation is _Relation.CROSSING):
        raise ContradictoryOutlinesError("an outline crosses a hole in another one")
    for index in np.argsort(depths, kind="stable"):
        box, marked = paint(loops[index], shape_yx)
        if marked.any():
            with_pixel.add(loops[index].outline)
        inside[box][marked] = depths[index] % 2 == 0
    return PlaneRegion(inside, is_united, len(outlines) - len(with_pixel))


class _Relation(Enum):
    """How two loops lie; a pair that lies apart has none."""

    SAME = auto()
    FIRST_HOLDS_SECOND = auto()
    SECOND_HOLDS_FIRST = auto()
    CROSSING = auto()


_Relations: TypeAlias = dict[tuple[int, int], _Relation]
"""By the two loops' numbers, the lower one first."""


def _meeting_pairs(loops: Sequence[Loop]) -> list[tuple[int, int]]:
    """Pairs of loops whose bounding boxes overlap; all at once, for a slice of lung can have hundreds of vessels."""
    low, high = np.array([loop.bounds for loop in loops]).reshape(-1, 2, 2).transpose(1, 0, 2)
    meets = np.triu((low[:, np.newaxis] <= high).all(axis=2) & (high[:, np.newaxis] >= low).all(axis=2), k=1)
    return [(first, second) for first, second in np.argwhere(meets).tolist()]


def _relation(first: Loop, second: Loop) -> _Relation | None:
    areas = shared_areas(first, second)
    negligible = _NEGLIGIBLE * min(first.perimeter, second.perimeter)
    longest = max(first.perimeter, second.perimeter)
    if areas.both <= negligible:
        return None
    if areas.first + areas.second <= _SAME_LINE * longest:
        return _Relation.SAME
    if min(areas.first, areas.second) > negligible:
        return _Relation.CROSSING
    if areas.first + areas.second <= _THINNEST_WALL * longest or _is_overshoot(first, second):
        return _Relation.CROSSING
    return _Relation.FIRST_HOLDS_SECOND if areas.first > areas.second else _Relation.SECOND_HOLDS_FIRST


def _is_overshoot(first: Loop, second: Loop) -> bool:
    """Whether one is the part of an outline that was walked again; the hole of a keyhole shares no vertex."""
    return (
        first.outline == second.outline
        and first.signed_area * second.signed_area > 0
        and first.shares_vertex(second)
    )


def _distinct(loops: Sequence[Loop]) -> tuple[list[Loop], _Relations, set[int]]:
    """Loops without repetitions, how they lie, and the outlines that repeat another."""
    relations = {
        (a, b): relation
        for a, b in _meeting_pairs(loops)
        if (relation := _relation(loops[a], loops[b])) is not None
    }
    repeats = {b for (_, b), relation in relations.items() if relation is _Relation.SAME}
    kept = [index for index in range(len(loops)) if index not in repeats]
    number = {index: position for position, index in enumerate(kept)}
    among_kept = {
        (number[a], number[b]): relation
        for (a, b), relation in relations.items()
        if a in number and b in number
    }
    return [loops[index] for index in kept], among_kept, {loops[index].outline for index in repeats}


def _crossing_groups(count: int, relations: _Relations) -> Int32Array:
    """The number of the group of crossing loops that each belongs to."""
    crossing = [pair for pair, relation in relations.items() if relation is _Relation.CROSSING]
    first, second = np.array(crossing, dtype=np.intp).reshape(-1, 2).T
    graph = coo_array((np.ones(len(crossing)), (first, second)), shape=(count, count))
    groups: Int32Array = connected_components(graph, directed=False)[1]
    return groups


def _depths(groups: Int32Array, relations: _Relations) -> list[int]:
    """How many groups of crossing loops each loop lies within."""
    holders: list[set[int]] = [set() for _ in groups]
    for (first, second), relation in relations.items():
        if relation not in {_Relation.FIRST_HOLDS_SECOND, _Relation.SECOND_HOLDS_FIRST}:
            continue
        outer, inner = (first, second) if relation is _Relation.FIRST_HOLDS_SECOND else (second, first)
        if groups[outer] == groups[inner]:
            raise ContradictoryOutlinesError("an outline crosses another one and a hole in it")
        holders[inner].add(int(groups[outer]))
    return [len(held) for held in holders]


def _crosses_itself(loop: Loop) -> bool:
    """Whether a line goes round some of its area again or the other way; round all of it, it is a repetition."""
    areas = wound_areas(loop)
    negligible = _NEGLIGIBLE * loop.perimeter
    once = areas.enclosed - areas.repeatedly
    return (
        areas.repeatedly > negligible and once > _SAME_LINE * loop.perimeter
    ) or areas.against > negligible
