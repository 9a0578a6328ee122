"""The outlines of a plane together: known areas, and loops against a winding number by angles."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import permutations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.arrays import BoolArray, Float64Array
from engine.dicom.contours import Loop, paint, shared_areas, simple_loops, wound_areas
from engine.dicom.outlines import ContradictoryOutlinesError, combine_outlines

SHAPE = (200, 220)
POINTS = st.lists(st.tuples(st.floats(-3, 23), st.floats(-3, 18)), min_size=3, max_size=12)


def circle(row: float, column: float, radius: float, count: int = 360, start: float = 0.0) -> Float64Array:
    angle = start + np.linspace(0, 2 * math.pi, count, endpoint=False)
    return np.column_stack([row + radius * np.sin(angle), column + radius * np.cos(angle)])


def box(top: float, left: float, bottom: float, right: float) -> Float64Array:
    return np.array([(top, left), (top, right), (bottom, right), (bottom, left)])


def keyhole(outer: Float64Array, inner: Float64Array) -> Float64Array:
    """One outline along the outer line, a channel, the inner line, and back."""
    return np.vstack([outer, outer[:1], inner, inner[:1]])


def lens(radius: float, distance: float) -> float:
    """Area that two equal disks share."""
    return 2 * radius**2 * math.acos(distance / (2 * radius)) - distance / 2 * math.sqrt(
        4 * radius**2 - distance**2
    )


def marked(loop: Loop, shape_yx: tuple[int, int]) -> BoolArray:
    inside = np.zeros(shape_yx, np.bool_)
    place, part = paint(loop, shape_yx)
    inside[place] = part
    return inside


def winding_by_angles(centers: Float64Array, vertices: Float64Array) -> npt.NDArray[np.int_]:
    """How often a line goes round each center: the angles under which its edges are seen, added up."""
    seen = vertices - centers[:, np.newaxis]
    direction = np.arctan2(seen[..., 0], seen[..., 1])
    turned = np.roll(direction, -1, axis=1) - direction
    turned = (turned + math.pi) % (2 * math.pi) - math.pi
    return np.asarray(np.rint(turned.sum(axis=1) / (2 * math.pi)).astype(int))


def distance_to_edges(points: Float64Array, vertices: Float64Array) -> Float64Array:
    start, along = vertices, np.roll(vertices, -1, axis=0) - vertices
    length2 = np.maximum((along**2).sum(axis=1), 1e-30)
    share = np.clip(((points[:, None] - start) * along).sum(axis=2) / length2, 0, 1)
    nearest = start + share[..., None] * along
    return np.asarray(np.linalg.norm(points[:, None] - nearest, axis=2).min(axis=1))


@settings(max_examples=80, deadline=None)
@given(POINTS)
def test_a_loop_marks_the_centers_that_it_goes_round(points: list[tuple[float, float]]) -> None:
    """Lines that cross themselves too. On an edge, or in a slit, either answer is right."""
    vertices = np.array(points)
    centers = np.argwhere(np.ones((20, 15))).astype(float)
    is_clear = distance_to_edges(centers, vertices) > 0.11
    expected = winding_by_angles(centers, vertices) != 0
    ours = marked(Loop(vertices), (20, 15)).ravel()
    assert np.array_equal(ours[is_clear], expected[is_clear])


def test_neighbors_that_share_an_edge_neither_overlap_nor_leave_a_gap() -> None:
    left, right = box(2, 2, 8, 6), box(2, 6, 8, 10)
    both = marked(Loop(left), (12, 14)).astype(int) + marked(Loop(right), (12, 14))
    assert both.max() == 1
    assert both.sum() == 6 * 8
    region = combine_outlines([left, right], (12, 14))
    assert region.inside.sum() == 6 * 8
    assert not region.is_united


@pytest.mark.parametrize(("distance", "radius"), [(10.0, 12.0), (23.0, 12.0), (3.0, 40.0)])
def test_areas_of_two_disks(distance: float, radius: float) -> None:
    areas = shared_areas(Loop(circle(60, 60, radius)), Loop(circle(60, 60 + distance, radius)))
    disk = math.pi * radius**2
    assert areas.both == pytest.approx(lens(radius, distance), rel=0.01, abs=0.05)
    assert areas.first == pytest.approx(disk - lens(radius, distance), rel=0.01)
    assert areas.second == pytest.approx(areas.first, rel=0.01)


def test_an_outline_is_cut_where_it_meets_itself() -> None:
    outer, inner = box(10, 10, 50, 50), box(20, 20, 30, 30)
    assert [abs(loop.signed_area) for loop in simple_loops(keyhole(outer, inner))] == [1600, 100]
    assert [abs(loop.signed_area) for loop in simple_loops(np.vstack([outer, outer]))] == [1600, 1600]
    assert simple_loops(np.array([(1.0, 1.0), (5.0, 5.0), (9.0, 9.0)])) == []
    eight = np.array([(10, 10), (30, 30), (30, 10), (10, 30)], dtype=float)
    areas = wound_areas(Loop(eight))
    assert areas.enclosed == pytest.approx(200, rel=0.02)
    assert areas.against == pytest.approx(100, rel=0.02)


@pytest.mark.parametrize("angle", [0.0, 90.0, 180.0, 45.0, 60.0, 135.0])
@pytest.mark.parametrize("width", [0.0, 0.01, 0.05])
@pytest.mark.parametrize("offset", [-0.5, 0.0, 0.5])
def test_the_channel_of_a_keyhole_takes_no_tissue(angle: float, width: float, offset: float) -> None:
    """A channel along a line of pixel centers, on it and beside it, marks what outer and inner line alone mark."""
    start = math.radians(angle)
    outer, inner = circle(60, 60, 40, start=start), circle(60, 60, 15, start=start)[::-1]
    inner = np.roll(inner, 1, axis=0)
    across = np.array([math.cos(start), -math.sin(start)]) * width
    shift, back = across * (offset - 0.5), across * (offset + 0.5)
    drawn = np.vstack(
        [outer[:1] + back, outer[1:], outer[:1] + shift, inner[:1] + shift, inner[1:], inner[:1] + back]
    )
    region = combine_outlines([drawn], SHAPE)
    expected = combine_outlines([outer, inner], SHAPE)
    radius = np.hypot(*(np.indices(SHAPE) - 60))
    is_clear = (np.abs(radius - 40) > 0.1) & (np.abs(radius - 15) > 0.1)
    assert np.array_equal(region.inside[is_clear], expected.inside[is_clear])
    assert not region.is_united


Made = tuple[list[Float64Array], float, bool]
"""Outlines of a plane, the area inside them, and whether they cross."""


def _place(rng: np.random.Generator) -> tuple[float, float, float]:
    return float(rng.uniform(90, 110)), float(rng.uniform(90, 110)), float(rng.uniform(30, 60))


def nested(rng: np.random.Generator) -> Made:
    row, column, radius = _place(rng)
    hole, island = radius * rng.uniform(0.5, 0.8), radius * rng.uniform(0.1, 0.3)
    rings = [circle(row, column, r, start=rng.uniform(0, 6)) for r in (radius, hole, island)]
    rings = [ring[::-1] if rng.random() < 0.5 else ring for ring in rings]
    return [rings[i] for i in rng.permutation(3)], math.pi * (radius**2 - hole**2 + island**2), False


def repeated(rng: np.random.Generator) -> Made:
    row, column, radius = _place(rng)
    disk = circle(row, column, radius)
    hole = circle(row, column, radius / 2)
    again = [
        np.roll(disk, int(rng.integers(360)), axis=0),
        disk[::-1],
        disk.round(1),
        np.vstack([disk, disk]),
        np.vstack([disk, disk + 0.02]),
        circle(row, column, radius, count=250),
    ]
    chosen = [again[i] for i in rng.choice(len(again), 2, replace=False)]
    return [disk, hole, *chosen, np.roll(hole, 7, axis=0)], math.pi * radius**2 * 0.75, False


def crossing(rng: np.random.Generator) -> Made:
    row, column, radius = _place(rng)
    distance = radius * rng.uniform(0.2, 1.8)
    two = [circle(row, column - 30, radius), circle(row, column - 30 + distance, radius)[::-1]]
    return two, 2 * math.pi * radius**2 - lens(radius, distance), True


def with_channel(rng: np.random.Generator) -> Made:
    row, column, radius = _place(rng)
    hole = radius * rng.uniform(0.3, 0.7)
    inner = circle(row, column, hole)
    line = keyhole(circle(row, column, radius), inner if rng.random() < 0.5 else inner[::-1])
    turned = np.roll(line, int(rng.integers(len(line))), axis=0)
    return [turned], math.pi * (radius**2 - hole**2), False


def with_narrow_channel(rng: np.random.Generator) -> Made:
    """The channel has a width, so that no vertex is met again."""
    row, column, radius = _place(rng)
    hole = radius * rng.uniform(0.3, 0.7)
    outer, inner = circle(row, column, radius, 720)[2:-2], circle(row, column, hole, 720)[2:-2]
    return [np.vstack([outer, inner[::-1]])], math.pi * (radius**2 - hole**2), False


def wound_on(rng: np.random.Generator) -> Made:
    """Closed, and then walked on for a part of a second time: exactly, or beside the first."""
    row, column, radius = _place(rng)
    disk = circle(row, column, radius)
    part = disk[: int(rng.integers(30, 330))]
    return [np.vstack([disk, part + rng.choice([0.0, 0.03])])], math.pi * radius**2, True


def eight(rng: np.random.Generator) -> Made:
    row, column, radius = _place(rng)
    turn = rng.uniform(0.1, 1.4)
    corners = np.array([(-1, -1), (1, 1), (1, -1), (-1, 1)]) * radius
    turned = corners @ [(math.cos(turn), math.sin(turn)), (-math.sin(turn), math.cos(turn))]
    return [turned + np.array([row, column])], 2 * radius**2, True


def islands(rng: np.random.Generator) -> Made:
    row, column, radius = _place(rng)
    small = [circle(row + dy * radius, column + dx * radius, radius * 0.15) for dy, dx in
             ((0.3, 0), (-0.3, 0), (0, 0.35), (0, -0.35))]  # fmt: skip
    rings = [circle(row, column, radius), circle(row, column, radius * 0.6), *small]
    return [rings[i] for i in rng.permutation(6)], math.pi * radius**2 * (1 - 0.36 + 4 * 0.0225), False


KINDS: list[Callable[[np.random.Generator], Made]] = [
    nested, repeated, crossing, with_channel, with_narrow_channel, wound_on, eight, islands,
]  # fmt: skip


@pytest.mark.parametrize("seed", range(13))
@pytest.mark.parametrize("made", KINDS)
def test_area_of_outlines_is_known(made: Callable[[np.random.Generator], Made], seed: int) -> None:
    outlines, area, crosses = made(np.random.default_rng(seed))
    region = combine_outlines(outlines, SHAPE)
    assert region.inside.sum() == pytest.approx(area, rel=0.01)
    assert region.is_united == crosses
    assert region.without_pixel == 0


def test_the_order_of_outlines_does_not_matter() -> None:
    outlines = [
        box(10.5, 10.5, 90.5, 90.5), box(20.5, 20.5, 60.5, 60.5), box(30.5, 30.5, 40.5, 40.5),
        box(70.5, 80.5, 95.5, 120.5), box(10.5, 10.5, 90.5, 90.5)[::-1],
    ]  # fmt: skip
    results = [combine_outlines(order, SHAPE).inside for order in permutations(outlines)]
    assert results[0].sum() == 80 * 80 - 40 * 40 + 10 * 10 + 25 * 40 - 20 * 10
    assert all(np.array_equal(results[0], other) for other in results)


def test_a_hole_of_its_own_may_touch_the_outline() -> None:
    """As far as the lines tell, it could be a part of one outline that was walked again."""
    region = combine_outlines([box(10.5, 10.5, 50.5, 50.5), box(10.5, 10.5, 30.5, 30.5)], SHAPE)
    assert region.inside.sum() == 40 * 40 - 20 * 20
    assert not region.is_united


def test_a_wall_thinner_than_any_mask_has_is_no_hole() -> None:
    region = combine_outlines([circle(60, 60, 30), circle(60, 60, 29.8)], SHAPE)
    assert region.inside.sum() == pytest.approx(math.pi * 900, rel=0.01)
    assert region.is_united
    thick = combine_outlines([circle(60, 60, 30), circle(60, 60, 28.9)], SHAPE)
    assert thick.inside.sum() == pytest.approx(math.pi * (900 - 28.9**2), rel=0.06)
    assert not thick.is_united


def test_a_cross_of_two_bars_without_a_vertex_in_the_other_is_united() -> None:
    region = combine_outlines([box(40.5, 10.5, 50.5, 90.5), box(10.5, 40.5, 90.5, 50.5)], SHAPE)
    assert region.inside.sum() == 2 * 80 * 10 - 100
    assert region.is_united


def test_what_crosses_a_hole_and_its_wall_is_refused() -> None:
    outer, hole, across = circle(60, 60, 40), circle(60, 60, 20), box(55, 55, 65, 130)
    for order in permutations([outer, hole, across]):
        with pytest.raises(ContradictoryOutlinesError, match="a hole in it"):
            combine_outlines(order, SHAPE)


def test_outlines_that_exclude_each_other_may_nest_and_not_cross() -> None:
    ring = combine_outlines([circle(60, 60, 40), circle(60, 60, 20)], SHAPE, excludes=True)
    assert ring.inside.sum() == pytest.approx(math.pi * 1200, rel=0.01)
    with pytest.raises(ContradictoryOutlinesError, match="CLOSEDPLANAR_XOR"):
        combine_outlines([circle(60, 60, 40), circle(60, 80, 40)], SHAPE, excludes=True)


def test_outlines_without_a_pixel_are_counted() -> None:
    specks = [circle(60.5, 60.5, 0.3), np.array([(1.0, 1.0), (5.0, 5.0), (9.0, 9.0)])]
    region = combine_outlines([circle(60, 60, 40), *specks], SHAPE)
    assert region.without_pixel == 2
    assert combine_outlines([], SHAPE).without_pixel == 0


@pytest.mark.parametrize("distance", [8.0, 14.0, 20.0])
def test_an_outline_across_a_hole_is_refused(distance: float) -> None:
    """Whether what it encloses is a part of the hole or of the tissue is open."""
    outlines = [circle(60, 60, 40), circle(60, 60, 15), circle(60, 60 + distance, 12)]
    for order in permutations(outlines):
        with pytest.raises(ContradictoryOutlinesError, match="crosses a hole"):
            combine_outlines(list(order), SHAPE)
