"""A cohort of stand-ins: files that are no images, and work on them that is quick and the same everywhere."""

from __future__ import annotations

import csv
import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from engine.manifest import SIMULATED_COHORT
from engine.manifest.signature import RadiomicsSettings
from engine.radiomics import feature_names
from export.cohort.case_job import CaseJob, failed_case
from export.cohort.case_result import CaseResult
from export.cohort.simulation import TRUE_LOG_RISK, draw_cases
from tests.support.radiomics_zones import NO_EXTRACTOR

# Which features there are is the library's to say.
pytest.importorskip("radiomics", reason=NO_EXTRACTOR)

NAMES = feature_names(RadiomicsSettings())[::60]
PAUSE_VARIABLE = "COLDSPOT_TEST_PAUSE_S"


def write_cohort(
    folder: Path, cases: int, change: Callable[[list[dict[str, object]]], None] | None = None
) -> Path:
    """A table of drawn cases whose "images" say what the work shall find; ``change`` edits its rows."""
    folder.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, object]] = []
    for number, case in enumerate(draw_cases(cases, seed=3)):
        found = {"seed": number, "complete": case.complete, "grain": case.grain}
        for name in ("planning", "verification", "tumor", "zone"):
            (folder / f"{case.case_id}-{name}.nii.gz").write_text(json.dumps({**found, "is": name}))
        rows.append(
            {
                "case_id": case.case_id,
                "source": SIMULATED_COHORT,
                **{
                    name: f"{case.case_id}-{name}.nii.gz"
                    for name in ("planning", "verification", "tumor", "zone")
                },
                "sex": "m" if case.male else "f",
                "fibrinogen_g_per_l": case.fibrinogen_g_per_l,
                "months": case.months,
                "event": int(case.progressed),
                "split": case.center.split,
                "center": case.center.name,
                "age_years": case.age_years,
                TRUE_LOG_RISK: case.true_log_risk,
            }
        )
    if change is not None:
        change(rows)
    path = folder / "cohort.csv"
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def stand_in(job: CaseJob) -> CaseResult:
    """Find what the files of a case say; one of them may say that its process dies, or that it fails."""
    time.sleep(float(os.environ.get(PAUSE_VARIABLE, "0")))
    found = json.loads(job.images.planning.read_text())
    if found.get("dies"):
        os.kill(os.getpid(), signal.SIGKILL)
    if found.get("fails"):
        return failed_case(job, "unreadable_file", "it is no CT", may_pass=False)
    rng = np.random.default_rng(found["seed"])
    features: dict[str, float | None] = dict(
        zip(NAMES, map(float, rng.normal(10.0, 2.0, len(NAMES))), strict=True)
    )
    features[NAMES[5]] = float(found["grain"] + rng.normal(0.0, 0.3))
    return CaseResult(
        case_id=job.case_id,
        key=job.key,
        outcome="measured",
        tcr=1.0 if found["complete"] else 0.9,
        complete_coverage=found["complete"],
        features=features,
    )
