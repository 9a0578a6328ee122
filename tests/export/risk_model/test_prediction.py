"""Predictions of a survival bundle for a table of patients."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from engine.errors import InvalidRequestError
from engine.manifest import SIMULATED_COHORT
from engine.risk.model import SurvivalModel
from export.commands.cli import app
from export.commands.horizons import parse_horizons, whole_months
from export.risk_model.prediction import predict_table

DEMO = Path(__file__).parents[3] / "models" / "deepsurv-demo" / "1.0.0"
MODEL = SurvivalModel.load(DEMO)
HEADER = "case_id,sex,fibrinogen_g_per_l,complete_coverage"
WHOLE = f"{HEADER}\nP1,1,3.0,1\nP2,female,4.2,incomplete\nP3,m,2.5,0\n"


def table(folder: Path, text: str) -> Path:
    path = folder / "patients.csv"
    path.write_text(text, encoding="utf-8")
    return path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["predict", *arguments])


def test_complete_lines_get_the_risk_of_the_model(tmp_path: Path) -> None:
    predicted = predict_table(DEMO, table(tmp_path, WHOLE))
    assert predicted.horizons == (12.0, 24.0, 36.0)
    assert [patient.name for patient in predicted.patients] == ["P1", "P2", "P3"]
    rows = [[1, 3.0, 1], [0, 4.2, 0], [1, 2.5, 0]]
    expected = 1 - MODEL.survival(rows, [12, 24, 36])
    found = [patient.risk.probability for patient in predicted.patients]
    np.testing.assert_allclose(found, expected, atol=1e-6)
    for patient in predicted.patients:
        assert not patient.risk.flags
        for chance, (low, high) in zip(patient.risk.probability, patient.risk.band_90, strict=True):
            assert 0 <= low <= chance <= high <= 1


@settings(max_examples=25, deadline=None)
@given(
    sex=st.sampled_from(["f", "m", None]),
    fibrinogen=st.one_of(st.none(), st.floats(1.7, 5.3)),
    complete=st.booleans(),
)
def test_it_is_the_risk_of_the_bedside(
    tmp_path_factory: pytest.TempPathFactory, sex: Any, fibrinogen: float | None, complete: bool
) -> None:
    """With coverage known, missing values and all."""
    bedside = MODEL.risk(sex, fibrinogen, float(complete))
    line = f"P,{sex or ''},{'' if fibrinogen is None else repr(fibrinogen)},{int(complete)}"
    (patient,) = predict_table(DEMO, table(tmp_path_factory.mktemp("t"), f"{HEADER}\n{line}\n")).patients
    np.testing.assert_allclose(patient.risk.probability, bedside.probability, atol=1e-6)
    np.testing.assert_allclose(patient.risk.band_90, bedside.band_90, atol=1e-6)
    assert patient.risk.flags == bedside.flags


@pytest.mark.parametrize("horizons", [(6,), (12, 30), (3, 12.5, 36)])
def test_other_horizons_up_to_the_last_one_of_the_model(tmp_path: Path, horizons: tuple[float, ...]) -> None:
    predicted = predict_table(DEMO, table(tmp_path, WHOLE), horizons=horizons)
    expected = 1 - MODEL.survival([[1, 3.0, 1]], horizons)[0]
    np.testing.assert_allclose(predicted.patients[0].risk.probability, expected, atol=1e-6)


@pytest.mark.parametrize("horizons", [(48,), (12, 37), (0,), (-1,), (24, 12), (12, 12), (float("nan"),)])
def test_a_horizon_without_data_is_refused(tmp_path: Path, horizons: tuple[float, ...]) -> None:
    with pytest.raises(InvalidRequestError, match=r"horizons|too few cases"):
        predict_table(DEMO, table(tmp_path, WHOLE), horizons=horizons)


def test_what_is_missing_or_clamped_is_flagged_and_widens_the_band(tmp_path: Path) -> None:
    text = f"{HEADER}\nknown,1,3.0,1\nmissing,,NA,1\nhigh,1,12,1\n"
    known, missing, high = predict_table(DEMO, table(tmp_path, text)).patients
    assert len(missing.risk.flags) == 2
    assert "outside the training range" in high.risk.flags[0]
    width = [band[1] - band[0] for band in (known.risk.band_90[2], missing.risk.band_90[2])]
    assert width[1] > width[0]
    # A column that is not there at all is missing in every line.
    (without,) = predict_table(DEMO, table(tmp_path, "sex,complete_coverage\nm,1\n")).patients
    assert "fibrinogen_g_per_l is missing" in without.risk.flags[0]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("sex,fibrinogen_g_per_l\n1,3\n", "column complete_coverage is missing"),
        (f"{HEADER},sex\nP,1,3,1,1\n", "sex occurs twice"),
        (f"{HEADER}\nP,1,3,\n", r"line 2: complete_coverage is required"),
        (f"{HEADER}\nP,1,3,0.5\n", r"complete_coverage is '0.5'; it must be 0 \(incomplete\) or 1"),
        (f"{HEADER}\nP,2,3,1\n", r"sex is '2'; it must be 0 \(female\) or 1 \(male\)"),
        (f"{HEADER}\nP,1,three,1\n", "fibrinogen_g_per_l is 'three'; it must be a number"),
        (f"{HEADER}\nP,1,inf,1\n", "must be a number"),
        (f"{HEADER}\nP,1,300,1\n", "check the value and its unit"),
        (f"{HEADER}\nP,1,3\n", "line 2: 3 fields, the header has 4"),
        (f"{HEADER}\n", "needs a header and a line"),
    ],
)
def test_faults_are_refused_with_their_line(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(InvalidRequestError, match=said):
        predict_table(DEMO, table(tmp_path, text))


def test_all_faults_are_named_at_once(tmp_path: Path) -> None:
    text = f"{HEADER}\nP1,2,3,1\nP2,1,3,1\nP3,1,300,1\n"
    with pytest.raises(InvalidRequestError) as caught:
        predict_table(DEMO, table(tmp_path, text))
    assert "line 2" in str(caught.value)
    assert "line 3" not in str(caught.value)
    assert "line 4" in str(caught.value)


class TestCommand:
    def test_the_json_says_which_model_and_that_it_is_a_demo(self, tmp_path: Path) -> None:
        path = table(tmp_path, f"{HEADER},notes\nP1,1,3.0,1,x\n")
        result = run(str(DEMO), str(path), "--horizons", "24,12", "--json")
        assert result.exit_code == 0, result.output
        report = json.loads(result.stdout)
        assert report["horizons"] == [12, 24]
        assert report["model"]["demo"]
        assert report["model"]["manifest_sha256"] == MODEL.identity.manifest_sha256
        assert SIMULATED_COHORT in report["model"]["description"]
        assert SIMULATED_COHORT in report["warnings"][0]
        assert report["unused_columns"] == ["notes"]
        assert report["cases"][0]["case"] == "P1"
        assert len(report["cases"][0]["probability"]) == len(report["cases"][0]["band_90"]) == 2

    def test_no_percentage_of_a_demo_stands_without_its_words(self, tmp_path: Path) -> None:
        result = run(str(DEMO), str(table(tmp_path, WHOLE)))
        assert result.exit_code == 0, result.output
        lines = [line for line in result.stdout.splitlines() if "%" in line]
        assert len(lines) == 9
        assert all(SIMULATED_COHORT in line for line in lines)

    def test_the_csv_has_a_line_for_each_patient(self, tmp_path: Path) -> None:
        out = tmp_path / "risks.csv"
        result = run(str(DEMO), str(table(tmp_path, WHOLE)), "--horizons", "12", "--out", str(out), "--json")
        assert result.exit_code == 0, result.output
        rows = list(csv.DictReader(out.read_text().splitlines()))
        assert [row["case"] for row in rows] == ["P1", "P2", "P3"]
        assert all(SIMULATED_COHORT in row["model"] for row in rows)
        report = json.loads(result.stdout)
        for row, case in zip(rows, report["cases"], strict=True):
            figures = [case["probability"][0], *case["band_90"][0]]
            keys = ("risk_12_months", "risk_12_months_low_90", "risk_12_months_high_90")
            assert [float(row[key]) for key in keys] == pytest.approx(figures, abs=1e-6)

    @pytest.mark.parametrize("place", ["patients.csv", "nowhere/risks.csv", "."])
    def test_a_place_that_cannot_take_the_result_is_refused_first(self, tmp_path: Path, place: str) -> None:
        path = table(tmp_path, WHOLE)
        result = run(str(DEMO), str(path), "--out", str(tmp_path / place), "--json")
        assert result.exit_code == 2
        assert json.loads(result.stdout)["error"]["code"] == "invalid_request"
        assert path.read_text() == WHOLE

    def test_a_model_of_another_kind_is_refused(self, tmp_path: Path) -> None:
        other = DEMO.parents[1] / "zone-demo" / "1.0.0"
        result = run(str(other), str(table(tmp_path, WHOLE)), "--json")
        assert result.exit_code == 4


@pytest.mark.parametrize(
    ("text", "found"),
    [("12", (12,)), ("36,12, 24", (12, 24, 36)), ("6.5,12.0", (6.5, 12)), ("1e1", (10,)), (None, None)],
)
def test_horizons_are_read(text: str | None, found: Any) -> None:
    assert parse_horizons(text) == found


@pytest.mark.parametrize("text", ["", "12,", "a", "0", "-3", "12,12", "inf", "nan", "12;24"])
def test_what_is_no_horizon_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequestError, match="--horizons"):
        parse_horizons(text)


def test_local_tumor_progression_takes_whole_months() -> None:
    assert whole_months("24,12") == (12, 24)
    with pytest.raises(InvalidRequestError, match="whole months"):
        whole_months("12.5")
