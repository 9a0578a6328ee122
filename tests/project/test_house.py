"""What the layout promises of every file: measured by :mod:`tests.support.house`."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.house import DISPLAY_DECISION, decisions_on_words, python_files, shown

READ_ON_PURPOSE = {
    "engine/manifest/model.py": "a manifest's words for people have to agree with its flag",
    "export/survival_report/fit_report.py": "likewise those of a fit",
    "export/cohort/table.py": "the column of a file, whose one accepted value this is",
}


def test_nothing_decides_on_a_display_string() -> None:
    assert [line for line in decisions_on_words() if line.partition(":")[0] not in READ_ON_PURPOSE] == []


@pytest.mark.parametrize(
    "line",
    [
        "return DEMO_SD_MM if DEMO_MODEL in segmenter.name else READER_SD_MM",
        "if source.startswith(SEGMENTED)",
        'if "demo model" not in source:',
        "if 'demo' in model_name",
        'named = (m for m in models if f"{SEGMENTED} {m.name}" in source or x in zone_source)',
        "return assessment.risk.model.startswith(model_name)",
        'if words == "segmented by a model":',
    ],
)
def test_a_decision_on_a_display_string_is_seen(line: str) -> None:
    assert DISPLAY_DECISION.search(line)


def test_tests_share_through_support_alone() -> None:
    """A test module that another one imports cannot be moved, split or read by itself."""
    crossing = re.compile(r"from tests\.(?!support\b|golden\b)\S+ import|import tests\.(?!support\b)")
    importers = [
        shown(path)
        for path in python_files("tests")
        if path != Path(__file__) and crossing.search(path.read_text(encoding="utf-8"))
    ]
    assert importers == []
