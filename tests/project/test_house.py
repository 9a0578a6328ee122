"""What the layout promises of every file: measured by :mod:`tests.support.gates.house`."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.gates import house
from tests.support.gates.house import DISPLAY_DECISION, decisions_on_words, python_files, shown

MAX_FILES_OF_A_FOLDER = 22
MAX_FILE_LINES = 400
MAX_CLASS_LINES = 200
MAX_SUPPRESSIONS = 60

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
        "return DEMO_SD_MM if DEMO_MODEL in segmenter.name else READER_CONTOUR_SD_MM",
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


def test_no_folder_is_a_corridor() -> None:
    assert {name: n for name, n in house.folder_widths().items() if n > MAX_FILES_OF_A_FOLDER} == {}


def test_files_and_classes_are_short() -> None:
    assert {name: n for name, n in house.file_lengths().items() if n > MAX_FILE_LINES} == {}
    assert {name: n for name, n in house.class_lengths().items() if n > MAX_CLASS_LINES} == {}


def test_suppressions_are_few_and_each_has_its_reason() -> None:
    listed = list(house.suppressions())
    assert len(listed) <= MAX_SUPPRESSIONS
    assert [where for where, comment in listed if not house.has_reason(comment)] == []


def test_a_public_name_is_used_outside_its_module() -> None:
    assert house.names_used_nowhere_else() == []


def test_imports_run_in_no_circle() -> None:
    assert house.circles(house.imports()) == []
    assert house.circles(house.folder_arrows()) == []


def test_messages_are_known_to_the_wire_and_its_two_ends_alone() -> None:
    folders = {
        shown(path).split("/")[1]
        for path in python_files("service")
        if "coldspot.v1" in path.read_text(encoding="utf-8")
    }
    assert folders == {"wire", "rpc", "client"}
