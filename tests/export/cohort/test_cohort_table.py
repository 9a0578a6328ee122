"""The cohort manifest: what a good one says, and everything that is wrong with a bad one, at once."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import InvalidRequestError
from export.cohort.table import REQUIRED_COLUMNS, read_cohort_table

HEADER = "case_id,planning,verification,tumor,zone,sex,fibrinogen_g_per_l,months,event"
GOOD = "a1,p.nii,v.nii,t.nii,z.nii,f,3.1,12.5,1"


def table(folder: Path, *lines: str, header: str = HEADER) -> Path:
    for name in "pvtz":
        (folder / f"{name}.nii").touch()
    path = folder / "cohort.csv"
    path.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    return path


def said(folder: Path, *lines: str, header: str = HEADER) -> str:
    with pytest.raises(InvalidRequestError) as refused:
        read_cohort_table(table(folder, *lines, header=header))
    return str(refused.value)


def test_a_case_as_the_table_has_it(tmp_path: Path) -> None:
    header = f"{HEADER},split,center,zone_label,target_x_mm,target_y_mm,target_z_mm,smoker"
    read = read_cohort_table(table(tmp_path, f"{GOOD},test,B,zone 2,1,-2.5,3,yes", header=header))
    (case,) = read.of_split("test")
    assert not read.simulated
    assert read.of_split("train") == ()
    assert (case.sex, case.fibrinogen_g_per_l, case.months, case.event) == ("f", 3.1, 12.5, 1)
    assert case.images.planning == (tmp_path / "p.nii").resolve()
    assert case.images.zone_label == "zone 2"
    assert case.images.target_lps_mm == (1.0, -2.5, 3.0)
    assert (case.center, case.described, case.line) == ("B", {"smoker": "yes"}, 2)


def test_a_table_as_a_spreadsheet_saves_it(tmp_path: Path) -> None:
    path = table(tmp_path, GOOD)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n") + b",,,,,,,,\r\n")
    assert [case.case_id for case in read_cohort_table(path).cases] == ["a1"]


def test_clinical_values_may_be_missing(tmp_path: Path) -> None:
    (case,) = read_cohort_table(table(tmp_path, "a1,p.nii,v.nii,t.nii,z.nii,,,12,0")).cases
    assert case.sex is None
    assert case.fibrinogen_g_per_l is None


def test_every_fault_is_said_with_its_line(tmp_path: Path) -> None:
    message = said(
        tmp_path,
        GOOD,
        "b 2,p.nii,v.nii,t.nii,z.nii,1,300,-4,3",
        "c3,gone.nii,v.nii,t.nii,,f,3,5,0",
        "c4,gone.nii,v.nii,t.nii,z.nii,f,3,5,0",
        "A1,p.nii,v.nii,t.nii,z.nii,m,3,5,0",
        "d5,p.nii,v.nii,t.nii,z.nii,m,3,,0",
        "e6,p.nii",
    )
    for part in (
        "line 3 (b 2): case_id: 'b 2' cannot be used",
        "sex: '1' cannot be used (f or m)",
        "fibrinogen_g_per_l: '300' cannot be used (in g/L",
        "months: '-4' cannot be used",
        "event: '3' cannot be used",
        "line 4 (c3): neither zone nor zone_model is given",
        "line 5 (c4): planning:",
        "lines 2, 6: case_id a1 occurs 2 times",
        "line 7 (d5): months is missing",
        "line 8: 2 fields for 9 columns",
    ):
        assert part in message


@pytest.mark.parametrize(
    ("header", "part"),
    [
        (HEADER.replace("months", "time"), "column months is missing"),
        (f"{HEADER},sex", "column sex occurs twice"),
        (f"{HEADER},", "column 10 has no name"),
        (f"{HEADER},centre", "column centre is not known: center?"),
        (f"{HEADER},tumour_label", "column tumour_label is not known: tumor_label?"),
        (HEADER.replace(",", ";"), "semicolons"),
    ],
)
def test_a_header_that_would_be_misread(tmp_path: Path, header: str, part: str) -> None:
    assert part in said(tmp_path, GOOD, header=header)


@pytest.mark.parametrize("value", ["nan", "inf", "3,5", "12 months", "1e400"])
def test_months_that_are_no_number(tmp_path: Path, value: str) -> None:
    assert "months" in said(tmp_path, f'a1,p.nii,v.nii,t.nii,z.nii,f,3,"{value}",1')


def test_simulated_cases_do_not_mix_with_patients(tmp_path: Path) -> None:
    header = f"{HEADER},source"
    simulated, patient = f"{GOOD},simulated cohort", f"{GOOD.replace('a1', 'b2')},"
    assert read_cohort_table(table(tmp_path, simulated, header=header)).simulated
    assert "never mix" in said(tmp_path, simulated, patient, header=header)


def test_no_table_at_all(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequestError, match="cannot be read"):
        read_cohort_table(tmp_path / "none.csv")
    with pytest.raises(InvalidRequestError, match="needs a header and a line"):
        read_cohort_table(table(tmp_path))
    (tmp_path / "latin.csv").write_bytes(f"{HEADER}\nä".encode("latin-1"))
    with pytest.raises(InvalidRequestError, match="UTF-8"):
        read_cohort_table(tmp_path / "latin.csv")


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.lists(st.sampled_from(["", "a1", "p.nii", "f", "3.1", "1", "-1", "x;y", '"', "²"]), max_size=10),
        max_size=4,
    )
)
def test_whatever_stands_there_is_a_table_or_is_refused(
    tmp_path_factory: pytest.TempPathFactory, rows: list[list[str]]
) -> None:
    path = table(tmp_path_factory.mktemp("table"), *(",".join(row) for row in rows))
    with contextlib.suppress(InvalidRequestError):
        assert read_cohort_table(path).cases


def test_required_columns_are_those_of_the_test() -> None:
    assert set(REQUIRED_COLUMNS) < set(HEADER.split(","))
