"""The gates themselves: coverage floors, the mutation score, every supported Python. Each has to be able to fail."""

from __future__ import annotations

import json
import re
import sys
import tomllib
from pathlib import Path

import pytest

from tests.support.gates import every_python
from tests.support.gates.coverage_floors import FLOORS, Share, below, shares
from tests.support.gates.mutation_score import verdicts

ROOT = Path(__file__).resolve().parents[2]


def summary(lines: int, covered: int, branches: int, taken: int) -> dict[str, object]:
    return {
        "summary": {
            "num_statements": lines,
            "covered_lines": covered,
            "num_branches": branches,
            "covered_branches": taken,
            "percent_covered": 12.5,
        }
    }


def test_coverage_is_added_up_by_package() -> None:
    files = {
        "engine/a.py": summary(10, 10, 4, 1),
        "engine/b/c.py": summary(30, 20, 4, 4),
        "service/d.py": summary(8, 2, 2, 1),
    }
    assert shares(files) == {"engine": Share(75.0, 62.5), "service": Share(25.0, 50.0)}


def test_too_few_lines_or_branches_are_named() -> None:
    floors = {"engine": Share(95.0, 90.0), "service": Share(80.0, 70.0)}
    assert below({"engine": Share(95.0, 90.0), "service": Share(99.0, 99.0)}, floors) == []
    low = below({"engine": Share(94.99, 90.0), "service": Share(80.0, 69.0)}, floors)
    assert low == [
        "engine: 94.99 % of the lines, at least 95 % wanted",
        "service: 69.00 % of the branches, at least 70 % wanted",
    ]


def test_the_measured_packages_have_floors() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert sorted(project["tool"]["coverage"]["run"]["source"]) == sorted(FLOORS)


def test_a_mutant_is_noticed_by_a_failure_a_time_limit_or_a_crash(tmp_path: Path) -> None:
    codes = {"m.failed": 1, "m.error": 3, "m.slow": 36, "m.crashed": -11, "m.survived": 0, "m.untested": 33}
    meta = tmp_path / "engine" / "room" / "m.py.meta"
    meta.parent.mkdir(parents=True)
    meta.write_text(json.dumps({"exit_code_by_key": codes}), encoding="utf-8")
    listed = list(verdicts(tmp_path))
    assert {source for source, _, _ in listed} == {"engine/room/m.py"}
    assert {mutant for _, mutant, noticed in listed if not noticed} == {"m.survived", "m.untested"}


def test_a_mutation_run_that_was_stopped_has_no_score(tmp_path: Path) -> None:
    (tmp_path / "m.py.meta").write_text('{"exit_code_by_key": {"m.waiting": null}}', encoding="utf-8")
    with pytest.raises(ValueError, match=r"m\.waiting was not tested"):
        list(verdicts(tmp_path))


def test_the_mutated_modules_are_there() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    mutmut = project["tool"]["mutmut"]
    for pattern in mutmut["only_mutate"]:
        assert list(ROOT.glob(pattern)), pattern
    for path in (*mutmut["pytest_add_cli_args_test_selection"], *mutmut["also_copy"]):
        assert (ROOT / path).exists(), path


def test_every_supported_python_is_tried() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    lowest, beyond = re.findall(r"3\.(\d+)", project["project"]["requires-python"])
    assert tuple((3, minor) for minor in range(int(lowest), int(beyond))) == every_python.SUPPORTED


def test_an_interpreter_that_does_not_start_is_none(tmp_path: Path) -> None:
    shim = tmp_path / "python3.12"
    shim.write_text("#!/bin/sh\nexit 127\n", encoding="utf-8")
    shim.chmod(0o755)
    assert every_python.version_of(shim) == ""
    assert every_python.version_of(tmp_path / "python3.13") == ""
    assert every_python.version_of(sys.executable) == f"3.{sys.version_info.minor}"


def test_a_python_that_is_missing_is_said_and_no_failure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(every_python, "environment", lambda _: None)
    monkeypatch.setattr(every_python, "interpreters", lambda _: iter(()))
    assert every_python.main([]) == 0
    assert "Python 3.12: not on this machine, not tried" in capsys.readouterr().out


def test_a_source_that_does_not_compile_fails(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "engine").mkdir()
    (tmp_path / "engine" / "newer.py").write_text("def f(:\n", encoding="utf-8")
    monkeypatch.setattr(every_python, "ROOT", tmp_path)
    monkeypatch.setattr(every_python, "environment", lambda _: None)
    monkeypatch.setattr(every_python, "interpreter", lambda _: Path(sys.executable))
    assert every_python.main([]) == 1
    printed = capsys.readouterr().out
    assert "Python 3.11: sources compiled only" in printed
    assert "SyntaxError" in printed
