"""Old cases go by age and by their share of the disk; a case that somebody works on stays."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import structlog
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from engine.errors import NotFoundError
from service.app import App, build_app
from service.cases.series import SeriesRole
from service.cases.store import CaseStore
from tests.support.stub_engine import StubPipeline, settings_for

NOW = datetime(2027, 3, 1, 12, tzinfo=UTC)
CASE_BYTES = 1000


class Disk(NamedTuple):
    total: int
    used: int
    free: int


@contextmanager
def app_with(folder: Path, ages_days: list[float], **settings: Any) -> Iterator[tuple[App, list[str]]]:
    """A service's core with one case for each age, every one of `CASE_BYTES`."""
    app = build_app(settings_for(folder, **settings), StubPipeline())
    try:
        app.admission.open()
        yield app, [add(app.store, number, age) for number, age in enumerate(ages_days)]
    finally:
        app.close(0.0)


def add(store: CaseStore, number: int, age_days: float) -> str:
    case = store.open_case(str(number), b"{}")
    with store.blobs.writer() as writer:
        writer.write(number.to_bytes(4, "big") * (CASE_BYTES // 4))
        writer.flush()
        store.add_series(case, SeriesRole.PLANNING_CT, str(number).encode(), writer)
    with store._database.transaction() as database:
        used_at = (NOW - timedelta(days=age_days)).isoformat()
        database.execute("UPDATE cases SET used_at = ? WHERE case_id = ?", (used_at, case))
    return case


def left(app: App) -> set[str]:
    return {case_id for case_id, _ in app.store.catalog.by_last_use()}


def removed(app: App, rule: str) -> float:
    return app.metrics.registry.get_sample_value("coldspot_removed_cases_total", {"rule": rule}) or 0.0


def test_cases_go_by_age(tmp_path: Path) -> None:
    with (
        app_with(tmp_path, [40.0, 30.1, 29.9, 1.0, 0.0], retention_days=30.0) as (app, cases),
        structlog.testing.capture_logs() as logged,
    ):
        app.retention.sweep(NOW)
        assert left(app) == set(cases[2:])
        assert app.store.blobs.total_bytes() == 3 * CASE_BYTES
        assert removed(app, "age") == 2
    assert [(line["case_id"], line["code"]) for line in logged if line["event"] == "case_removed"] == [
        (cases[0], "age"),
        (cases[1], "age"),
    ]


def test_a_case_that_somebody_works_on_stays(tmp_path: Path) -> None:
    with app_with(tmp_path, [40.0, 50.0], retention_days=30.0) as (app, cases):
        with app.admission.admit(cases[0]), app.admission.admit(cases[0]):
            app.retention.sweep(NOW)
            assert left(app) == {cases[0]}
        app.retention.sweep(NOW)
        assert left(app) == set()
        app.retention.sweep(NOW)


@pytest.mark.parametrize(("share", "stays"), [(0.5, 5), (0.3, 3), (0.2, 2), (0.001, 2)])
def test_the_longest_unused_cases_make_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, share: float, stays: int
) -> None:
    """The disk holds ten cases; those of the last day are never removed for want of space."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: Disk(10 * CASE_BYTES, 0, 10 * CASE_BYTES))
    with (
        app_with(tmp_path, [9.0, 8.0, 7.0, 0.9, 0.0], max_state_share=share) as (app, cases),
        structlog.testing.capture_logs() as logged,
    ):
        app.retention.sweep(NOW)
        assert left(app) == set(cases[5 - stays :])
        assert removed(app, "disk_share") == 5 - stays
    assert any(line["log_level"] == "warning" for line in logged) == (share == 0.001)


@hypothesis_settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(0, 100), max_size=6), st.floats(0.1, 100), st.sets(st.integers(0, 5)))
def test_no_case_that_is_young_or_held_is_removed(
    tmp_path_factory: pytest.TempPathFactory, ages: list[float], limit: float, held: set[int]
) -> None:
    with app_with(tmp_path_factory.mktemp("state"), ages, retention_days=limit) as (app, cases):
        slots = [app.admission.admit(cases[number]) for number in held if number < len(cases)]
        app.retention.sweep(NOW)
        kept = left(app)
        for number, (case, age) in enumerate(zip(cases, ages, strict=True)):
            if abs(age - limit) > 1e-6:
                assert (case in kept) == (age < limit or number in held)
        for slot in slots:
            slot.release()


def test_it_begins_with_the_service_and_ends_with_it(tmp_path: Path) -> None:
    with app_with(tmp_path, [4000.0], retention_days=1.0, self_test=False) as (app, cases):
        app.open()
        for _ in range(500):
            if not left(app):
                break
            app.retention._stopped.wait(0.01)
        with pytest.raises(NotFoundError):
            app.cases.summary(cases[0])


def test_without_a_rule_nothing_is_removed(tmp_path: Path) -> None:
    with app_with(tmp_path, [4000.0], self_test=False) as (app, cases):
        app.open()
        app.retention.sweep(NOW)
        assert left(app) == set(cases)


def test_a_sweep_that_fails_does_not_end_the_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with app_with(tmp_path, [4000.0], retention_days=1.0) as (app, _):

        def fail(_now: datetime) -> None:
            app.retention._stopped.set()
            raise OSError("disk")

        monkeypatch.setattr(app.retention, "sweep", fail)
        with structlog.testing.capture_logs() as logged:
            app.retention._sweep_again()
        assert [line["event"] for line in logged] == ["retention_failed"]
