"""Prepared planning sides in memory: the newest four, and none of a deleted series."""

from __future__ import annotations

from typing import Any

from service.cases.prepared import PreparedShelf
from service.cases.selection import PlanningKey


def key(series: int) -> PlanningKey:
    return PlanningKey(f"planning {series}", f"tumor {series}", None)


def filled(shelf: PreparedShelf, count: int) -> list[Any]:
    sides: list[Any] = [object() for _ in range(count)]
    for number, side in enumerate(sides):
        shelf.put(key(number), side)
    return sides


def test_the_newest_four_are_kept() -> None:
    shelf = PreparedShelf()
    sides = filled(shelf, 6)
    assert [shelf.get(key(number)) for number in range(6)] == [None, None, *sides[2:]]


def test_another_target_is_another_planning_side() -> None:
    shelf = PreparedShelf()
    filled(shelf, 1)
    assert shelf.get(key(0)._replace(target_lps_mm=(1.0, 2.0, 3.0))) is None


def test_deleted_series_are_forgotten() -> None:
    shelf = PreparedShelf()
    sides = filled(shelf, 3)
    shelf.forget({"planning 1", "tumor 2"})
    assert [shelf.get(key(number)) for number in range(3)] == [sides[0], None, sides[2]]
