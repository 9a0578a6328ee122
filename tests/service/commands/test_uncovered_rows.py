"""Uncovered regions at the terminal: those a reader would look for one by one, the rest counted and summed."""

from __future__ import annotations

from typing import Any

from service.commands.terminal import summary_table
from service.record.report import assessment_report
from service.wire.report import assessment_json, assessment_message
from tests.support.stub_engine import _assessment


def rows(*volumes_ml: float) -> dict[str, str]:
    report: dict[str, Any] = assessment_json(
        assessment_message(assessment_report(_assessment("summary", 0.5, None, {})).content)
    )
    (region,) = report["uncovered"]
    report["uncovered"] = [
        region | {"rank": rank, "volume_ml": volume_ml} for rank, volume_ml in enumerate(volumes_ml, start=1)
    ]
    names, texts = summary_table(report).columns
    return dict(zip(map(str, names.cells), map(str, texts.cells), strict=True))


def test_small_regions_are_counted_and_summed() -> None:
    shown = rows(0.8, 0.02, 0.009, 0.004)
    assert "0.80 mL" in shown["Uncovered region 1, for review"]
    assert "Uncovered region 2, for review" in shown
    assert "Uncovered region 3, for review" not in shown
    assert shown["Uncovered, smaller"] == "2 more, 0.01 mL together"


def test_the_largest_is_shown_however_small_it_is() -> None:
    shown = rows(0.004)
    assert "Uncovered region 1, for review" in shown
    assert "Uncovered, smaller" not in shown


def test_in_any_order_none_is_left_out() -> None:
    shown = rows(0.5, 0.004, 0.3)
    assert {"Uncovered region 1, for review", "Uncovered region 3, for review"} <= set(shown)
    assert shown["Uncovered, smaller"].startswith("1 more")
