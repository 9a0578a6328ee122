"""Tables for a person: nothing is cut on a narrow terminal, and text is printed as it is."""

from __future__ import annotations

import re

import pytest

from service.commands.terminal import fact_table, print_table

FACTS = [
    ("Warning", "the ablation zone mask lacks 1 slice at LPS (-89.4, 159.7, -550.2) mm: send the mask again"),
    ("Planning CT", "CT [old] [/b] [red]1.nii.gz, radiomics_original_firstorder_InterquartileRange"),
]


@pytest.mark.parametrize("columns", ["20", "33", "80", "300"])
def test_every_letter_is_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], columns: str
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    print_table(fact_table("These inputs [all] can be assessed", FACTS))
    printed = capsys.readouterr().out
    cells = [row.split("│")[1:-1] for row in printed.splitlines() if row.startswith("│")]
    for column in (0, 1):
        letters = "".join(cell[column] for cell in cells)
        expected = "".join(fact[column] for fact in FACTS)
        assert re.sub(r"\s", "", letters) == re.sub(r"\s", "", expected)
    assert "Theseinputs[all]canbeassessed" in re.sub(r"\s", "", printed)
    assert all(len(line) <= int(columns) for line in printed.splitlines())
