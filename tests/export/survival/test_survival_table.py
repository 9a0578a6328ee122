"""A table of cases: what is read, and every fault named with its lines."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from engine.errors import InvalidRequestError
from export.survival.table import SurvivalTable, read_survival_table


def written(folder: Path, text: str) -> Path:
    path = folder / "cohort.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_table_is_read_with_all_other_columns_as_covariates(tmp_path: Path) -> None:
    path = written(tmp_path, "\ufeffage,time,male,event\n60,12.5,1,1\n\n71,3,False,0\n5e1,0,True,1\n")
    table = read_survival_table(path, "time", "event")
    assert table.names == ("age", "male")
    np.testing.assert_array_equal(table.covariates, [[60, 1], [71, 0], [50, 1]])
    np.testing.assert_array_equal(table.months, [12.5, 3, 0])
    assert table.event.tolist() == [True, False, True]
    assert table.competing is None
    assert (table.cases, table.events) == (3, 2)


def test_code_2_is_a_competing_event(tmp_path: Path) -> None:
    table = read_survival_table(written(tmp_path, "x,t,e\n1,1,0\n2,2,1\n3,3,2\n"), "t", "e")
    assert table.competing is not None
    assert table.competing.tolist() == [False, False, True]
    assert table.event.tolist() == [False, True, False]


def test_chosen_covariates_come_in_their_order(tmp_path: Path) -> None:
    path = written(tmp_path, "id,a,t,e,b\nP1,1,5,1,2\n")
    assert read_survival_table(path, "t", "e", covariates=["b", "a"]).covariates.tolist() == [[2.0, 1.0]]


def test_every_fault_is_named_with_its_lines(tmp_path: Path) -> None:
    rows = ["60,,5,1", "x7,1,5,0", "61,NA,4,1", "62,0,inf,3", "63,1,-2,0"]
    with pytest.raises(InvalidRequestError) as refusal:
        read_survival_table(written(tmp_path, "age,male,t,e\n" + "\n".join(rows) + "\n"), "t", "e")
    message = str(refusal.value)
    assert "male is missing in lines 2, 4" in message
    assert "age is no number in line 3 ('x7')" in message
    assert "t is no number in line 5 ('inf')" in message


def test_what_no_follow_up_can_be_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, "age,t,e\n60,5,1\n61,-2,0\n62,4,3\n63,4,1.5\n")
    with pytest.raises(
        InvalidRequestError, match=r"t is negative in line 3.*e is none of 0, 1 and 2 in lines 4, 5"
    ):
        read_survival_table(path, "t", "e")


def test_status_coded_1_and_2_is_not_guessed(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequestError, match="never 0"):
        read_survival_table(written(tmp_path, "age,t,e\n60,5,1\n61,2,2\n"), "t", "e")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("age,t\n60,5\n", "column e is missing"),
        ("t,e\n5,1\n", "no covariate"),
        ("a,a,t,e\n1,2,5,1\n", "column a occurs twice"),
        (",a,t,e\n1,2,5,1\n", "column 1 has no name"),
        ("a,t,e\n1,5\n", "line 2 not the 3 fields"),
        ("a,t,e\n", "a line for every case"),
        ('a,t,e\n"1,5,1\n', "no UTF-8 CSV"),
    ],
)
def test_a_file_that_is_no_table_is_refused(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(InvalidRequestError, match=words):
        read_survival_table(written(tmp_path, text), "t", "e")


def test_many_faults_stay_readable(tmp_path: Path) -> None:
    rows = "\n".join(f"{'' if line % 2 else 1},5,1" for line in range(200))
    with pytest.raises(InvalidRequestError, match="and 92 more") as refusal:
        read_survival_table(written(tmp_path, f"a,t,e\n{rows}\n"), "t", "e")
    assert len(str(refusal.value)) < 400


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequestError, match="cannot be read"):
        read_survival_table(tmp_path / "none.csv", "t", "e")


def test_a_table_must_fit_together() -> None:
    months, event = np.array([1.0, 2.0]), np.array([True, False])
    with pytest.raises(InvalidRequestError, match="names"):
        SurvivalTable(("a", "a"), np.zeros((2, 2)), months, event)
    with pytest.raises(InvalidRequestError, match="competing"):
        SurvivalTable(("a",), np.zeros((2, 1)), months, event, event)
    table = SurvivalTable(("a", "b"), np.array([[1.0, 2], [3, 4]]), months, event)
    assert table.with_covariates(["b"]).covariates.tolist() == [[2.0], [4.0]]
    assert table.rows(event).months.tolist() == [1.0]
    with pytest.raises(InvalidRequestError, match="lacks c"):
        table.with_covariates(["c"])
