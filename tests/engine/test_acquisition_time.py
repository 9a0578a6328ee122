"""Times of headers are ranges; two are ordered only where no unknown could turn them round."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.acquisition_time import Order, order_of, parse_acquired_at

MOMENTS = st.datetimes(datetime.fromisoformat("1990-01-01"), datetime.fromisoformat("2100-01-01"))
OFFSETS = st.integers(-12 * 4, 14 * 4).map(lambda quarters: timedelta(minutes=15 * quarters))


def written(moment: datetime, offset: timedelta, form: str) -> str:
    """What a header gives of a moment in UTC, at a place with this offset."""
    local = moment.replace(tzinfo=UTC).astimezone(timezone(offset))
    if form == "date":
        return local.date().isoformat()
    return local.isoformat() if form == "offset" else local.replace(tzinfo=None).isoformat()


@given(MOMENTS, MOMENTS, OFFSETS, OFFSETS, st.sampled_from(["date", "clock", "offset"]), st.data())
def test_what_is_ordered_is_ordered_so_in_truth(
    first: datetime, second: datetime, here: timedelta, there: timedelta, form: str, data: st.DataObject
) -> None:
    """Each header in a form of its own; both clocks are at one place where no header gives an offset."""
    other_form = data.draw(st.sampled_from(["date", "clock", "offset"]))
    if "offset" not in {form, other_form}:
        there = here
    if data.draw(st.booleans()):
        second = first + data.draw(st.timedeltas(timedelta(hours=-30), timedelta(hours=30)))
    found = order_of(written(first, here, form), written(second, there, other_form))
    if found is Order.REVERSED:
        assert second < first
    if found is Order.IN_ORDER:
        assert first < second


@given(MOMENTS, OFFSETS)
def test_a_moment_is_in_the_range_that_its_header_gives(moment: datetime, offset: timedelta) -> None:
    for form in ("date", "clock", "offset"):
        parsed = parse_acquired_at(written(moment, offset, form))
        assert parsed is not None
        assert parsed.in_utc().earliest <= moment <= parsed.in_utc().latest


@pytest.mark.parametrize(
    ("first", "second", "order"),
    [
        ("2026-01-02", "2026-01-03", Order.IN_ORDER),
        ("2026-01-02", "2026-01-02", Order.NOT_KNOWN),
        ("2026-01-02", "2026-01-02T12:00:00", Order.NOT_KNOWN),
        ("2026-01-02T12:00:00", "2026-01-02T12:00:00.000001", Order.IN_ORDER),
        ("2026-01-02T12:00:00+01:00", "2026-01-02T12:00:00Z", Order.IN_ORDER),
        ("2026-01-02T12:00:00+01:00", "2026-01-02T18:00:00", Order.NOT_KNOWN),
        ("", "2026-01-02", Order.NOT_KNOWN),
        ("soon", "2026-01-02", Order.NOT_KNOWN),
    ],
)
def test_orders(first: str, second: str, order: Order) -> None:
    assert order_of(first, second) is order


@given(st.text(max_size=30))
def test_no_text_is_an_untyped_error(text: str) -> None:
    parse_acquired_at(text)
