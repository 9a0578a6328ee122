"""An answer whose interval is known to hold less often than it says names the condition and the share."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from engine.assessment.interval_limits import interval_warnings
from engine.findings import SUPPLIED, ContourOrigin, CoverageFinding
from engine.model_identity import ModelIdentity

THIN, THICK = (1.0, 0.7, 0.7), (5.0, 0.7, 0.7)
BY_A_MODEL = ContourOrigin.segmented_by(
    ModelIdentity("site-net", "1.0.0", "0" * 64, demo=False, manifest_sha256="1" * 64)
)
IN_LUNG = CoverageFinding(not_assessable_share=0.0, zone_origin=SUPPLIED)
AT_THE_WALL = CoverageFinding(not_assessable_share=0.1, zone_origin=SUPPLIED)
RESULTS = Path(__file__).parents[3] / "benchmarks" / "results" / "calibration"
SUMMARY, THICK_SLICES = RESULTS / "summary.md", RESULTS / "thick_slices.md"


def test_thin_slices_in_lung_with_supplied_contours_have_no_caveat() -> None:
    assert interval_warnings(THIN, (2.5, 0.7, 0.7), IN_LUNG, SUPPLIED) == ()


@pytest.mark.parametrize(
    ("planning", "verification", "rows"),
    [
        (THICK, THIN, ("1 / 5", "5 / 1")),
        (THIN, THICK, ("1 / 5", "5 / 1")),
        (THICK, THICK, ("5 / 5",)),
        (THIN, (0.7, 0.7, 4.0), ("1 / 5", "5 / 1")),
    ],
)
def test_thick_slices_name_how_often_it_holds(
    planning: tuple[float, float, float], verification: tuple[float, float, float], rows: tuple[str, ...]
) -> None:
    """Columns of the table: slices, cases, three errors, TCR held, margin held."""
    table = [line.split("|") for line in THICK_SLICES.read_text("utf-8").splitlines()]
    measured = [cells for cells in table if len(cells) > 7 and cells[1].strip() in rows]
    assert len(measured) == len(rows)
    cases, held = (sum(int(cells[column]) for cells in measured) for column in (2, 7))
    (warning,) = interval_warnings(planning, verification, IN_LUNG, SUPPLIED)
    assert f"{held} of {cases} cases" in warning
    assert "more than 3 mm apart" in warning


def test_a_target_at_the_pleura_and_a_model_are_named() -> None:
    (pleural,) = interval_warnings(THIN, THIN, AT_THE_WALL, SUPPLIED)
    assert "83 %" in pleural
    (drawn,) = interval_warnings(THIN, THIN, IN_LUNG, BY_A_MODEL)
    assert "85 %" in drawn
    zone_drawn = CoverageFinding(not_assessable_share=0.1, zone_origin=BY_A_MODEL)
    assert len(interval_warnings(THICK, THICK, zone_drawn, SUPPLIED)) == 3


@pytest.mark.parametrize(
    ("stratum", "coverage", "spacings"),
    [
        (r"\| deformation \| sliding \|", AT_THE_WALL, (THIN, THIN)),
    ],
)
def test_the_shares_are_those_of_the_calibration_study(
    stratum: str,
    coverage: CoverageFinding,
    spacings: tuple[tuple[float, float, float], tuple[float, float, float]],
) -> None:
    found = re.search(stratum + r" \d+ \| \d+ \| ([\d.]+)% \|", SUMMARY.read_text("utf-8"))
    assert found is not None
    (warning,) = interval_warnings(*spacings, coverage, SUPPLIED)
    assert f"({round(float(found[1]))} %)" in warning
