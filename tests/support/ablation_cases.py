"""The real CTs with painted ablations, read and assessed once each."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from engine.assessment.outcome import AblationAssessment
from engine.assessment.planning import PreparedPlanning, prepare_planning, require_prepared
from engine.assessment.verification import assess_ablation
from engine.files.reading import read_ct, read_mask
from engine.volume import CtVolume, LabelMask

DATA = os.environ.get("COLDSPOT_DATA")
ROOT = Path(DATA or "absent") / "ablation-cases"
needs_real_ct = pytest.mark.skipif(not DATA, reason="COLDSPOT_DATA is not set: no real CT to read")

SOME = ("lidc-rigid-under", "lidc-shell-complete", "lidc-5mm-under")
ALL = (
    *SOME,
    "lidc-deep-complete",
    "lidc-half",
    "lidc-pleural-complete",
    "lidc-shell-miss",
    "lidc-waist-needle",
    "lung1-5mm-under",
)


@dataclass(frozen=True, eq=False)
class AblationCase:
    truth: dict[str, Any]
    prepared: PreparedPlanning
    verification: CtVolume
    zone: LabelMask


@cache
def case(name: str) -> AblationCase:
    folder = ROOT / name
    planning, verification = read_ct(folder / "planning.nii.gz"), read_ct(folder / "verification.nii.gz")
    return AblationCase(
        json.loads((folder / "truth.json").read_text()),
        require_prepared(prepare_planning(planning, read_mask(folder / "tumor.nii.gz", planning, "tumor"))),
        verification,
        read_mask(folder / "ablation_zone.nii.gz", verification, "ablation zone"),
    )


@cache
def assessed(name: str) -> AblationAssessment:
    it = case(name)
    return assess_ablation(it.prepared, it.verification, it.zone)
