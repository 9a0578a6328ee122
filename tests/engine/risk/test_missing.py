"""Rows of a patient: what is missing becomes the values it may have, and what is not is clamped."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from engine.errors import InvalidRequestError, ModelInputError
from engine.manifest import SurvivalSection, load_bundle
from engine.risk.missing import coded_sex, covariate_rows

SECTION = load_bundle(Path(__file__).parents[3] / "models" / "deepsurv-demo" / "1.0.0").manifest.survival
assert SECTION is not None
COLUMNS = [covariate.name for covariate in SECTION.covariates]


def section() -> SurvivalSection:
    assert SECTION is not None
    return SECTION


def test_a_patient_of_whom_all_is_known_is_one_row() -> None:
    rows = covariate_rows(section(), {"sex": 1.0, "fibrinogen_g_per_l": 3.0}, "m")
    assert rows.values.shape == (1, len(COLUMNS))
    assert rows.values[0, COLUMNS.index("fibrinogen_g_per_l")] == 3.0
    assert (rows.weights.tolist(), rows.flags) == ([1.0], ())


def test_what_is_missing_is_spread_over_its_distribution() -> None:
    rows = covariate_rows(section(), {}, "m")
    assert rows.weights.sum() == pytest.approx(1.0)
    assert len(np.unique(rows.values[:, COLUMNS.index("sex")])) == 2
    assert [flag.split(" ", maxsplit=1)[0] for flag in rows.flags] == ["sex", "fibrinogen_g_per_l"]


def test_every_row_comes_without_and_with_complete_coverage() -> None:
    rows = covariate_rows(section(), {"sex": 0.0}, "m")
    both = rows.under_both_coverages()
    coverage = COLUMNS.index("complete_coverage")
    assert both[:, coverage].tolist() == [0.0] * len(rows.values) + [1.0] * len(rows.values)
    others = [column for column in range(len(COLUMNS)) if column != coverage]
    np.testing.assert_array_equal(both[: len(rows.values), others], both[len(rows.values) :, others])


def test_sex_is_coded_as_the_model_was_fitted() -> None:
    coding = next(covariate.coding for covariate in section().covariates if covariate.name == "sex")
    assert (coded_sex(section(), "f"), coded_sex(section(), "m")) == (coding["female"], coding["male"])
    assert coded_sex(section(), None) is None
    with pytest.raises(InvalidRequestError, match="sex"):
        coded_sex(section(), "x")


def test_a_covariate_without_a_distribution_is_required() -> None:
    bare = [covariate.model_copy(update={"distribution": None}) for covariate in section().covariates]
    with pytest.raises(ModelInputError, match="required"):
        covariate_rows(section().model_copy(update={"covariates": tuple(bare)}), {"sex": 0.0}, "m")
