"""Over simulated cohorts: honest intervals, and scores beside the ceiling that the true risk sets."""

from __future__ import annotations

import pytest

from benchmarks.survival.coverage import study_coverage


def test_a_study_repeats_and_counts_every_cohort() -> None:
    study = study_coverage(cohorts=10, seed=3)
    assert study == study_coverage(cohorts=10, seed=3)
    assert study.simulated
    for row in study.hazard_ratios:
        assert row.held + row.below + row.above == pytest.approx(1)
        assert row.held >= 0.7


@pytest.mark.acceptance
def test_the_intervals_of_200_cohorts_hold_the_true_hazard_ratios() -> None:
    study = study_coverage()
    assert study.refused == 0
    for row in study.hazard_ratios:
        assert 0.93 <= row.held <= 0.97, row
        assert row.median_hazard_ratio == pytest.approx(row.true_hazard_ratio, rel=0.06)
    assert study.c_index_of_true_risk - 0.01 < study.c_index <= study.c_index_of_true_risk
    assert study.integrated_brier_of_true_risk <= study.integrated_brier
    assert study.integrated_brier < study.integrated_brier_of_true_risk + 0.006
    assert study.integrated_brier < study.integrated_brier_of_null_model - 0.03
