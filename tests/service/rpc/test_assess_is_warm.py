"""After SERVING nothing is compiled, imported, opened or read from a bundle: the first patient waits for none of it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]
STEPS = (
    "with masks: upload and Prepare",
    "with masks: Assess",
    "segmented: upload and Prepare",
    "segmented: Assess",
)
Found = dict[str, dict[str, Any]]


def first_calls(folder: Path, models: str) -> Found:
    """What a service loads in its first calls, in a process of its own."""
    arguments = [str(folder / "state"), str(folder / "found.json"), models]
    told = subprocess.run(
        [sys.executable, "-m", "tests.support.processes.warm_service", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert told.returncode == 0, told.stderr
    steps: Found = json.loads((folder / "found.json").read_text(encoding="utf-8"))
    return steps


def loaded(step: dict[str, Any]) -> dict[str, list[str]]:
    return {kind: names for kind, names in step.items() if kind != "answer" and names}


def test_nothing_is_loaded_after_serving(tmp_path: Path) -> None:
    found = first_calls(tmp_path, "no segmenters")
    assert not any(loaded(step) for step in found.values()), {name: loaded(found[name]) for name in found}
    assert list(found) == list(STEPS[:2])
    answer = found["with masks: Assess"]["answer"]
    assert answer["refusal"] == ""
    assert answer["risk_model"]
    assert answer["kernels"] > 10


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Found:
    return first_calls(tmp_path_factory.mktemp("warm"), "with models")


@pytest.mark.acceptance
class TestWithTheModelsThatShip:
    """The whole of it: a thorax, first with masks, then drawn by the demo models."""

    @pytest.mark.parametrize("step", STEPS)
    def test_nothing_is_loaded_after_serving(self, found: Found, step: str) -> None:
        assert not loaded(found[step])

    def test_the_answers_came_from_the_models(self, found: Found) -> None:
        drawn, segmented = (found[step]["answer"] for step in STEPS[1::2])
        assert drawn["refusal"] == segmented["refusal"] == ""
        assert drawn["models"] == ["", ""]
        assert all(segmented["models"])
        assert segmented["risk_model"]
