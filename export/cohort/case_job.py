"""The work on one case, before it is done: what to read, how to measure, and the key of the result."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from importlib import metadata
from typing import Any, Final

import engine
from engine.assessment.planning import AssessmentSettings
from engine.manifest.signature import RadiomicsSettings
from engine.radiomics import EXTRACTOR
from export.cohort.case_result import CaseResult, content_hash, result_key
from export.cohort.table import CaseImages, CohortCase

_MEASURED_BY: Final = ("numpy", "scipy", "SimpleITK", "PyWavelets")
"""Packages whose versions belong to a result, in addition to that of the extractor."""


@dataclass(frozen=True)
class CohortSettings:
    """How every case of a cohort is measured: the same for all, and part of the model."""

    assessment: AssessmentSettings = field(default_factory=AssessmentSettings)
    radiomics: RadiomicsSettings = field(default_factory=RadiomicsSettings)

    def described(self) -> dict[str, Any]:
        """Everything a result depends on besides its files, as JSON-ready values."""
        return {
            "assessment": asdict(self.assessment),
            "radiomics": self.radiomics.model_dump(mode="json"),
            "software": _versions(),
        }


@dataclass(frozen=True)
class CaseJob:
    """What the work on one case needs to know; travels to other processes."""

    case_id: str
    images: CaseImages
    settings: CohortSettings
    key: str


def case_job(case: CohortCase, settings: CohortSettings) -> CaseJob:
    """The work on one case, with the key of its result: all input files are read once for their hashes.

    Follow-up and clinical values are not part of the key: the images' measurement does not depend on them.
    """
    images = case.images
    contents = {name: content_hash(path) for name, path in images.paths.items()}
    choices = images.model_dump(mode="json", exclude=set(images.paths))
    key = result_key(contents, {"choices": choices, **settings.described()})
    return CaseJob(case.case_id, images, settings, key)


def failed_case(job: CaseJob, code: str, reason: str, *, may_pass: bool) -> CaseResult:
    """The result of a case that could not be measured."""
    return CaseResult(
        case_id=job.case_id,
        key=job.key,
        outcome="failed",
        code=code,
        reason=reason or code,
        may_pass=may_pass,
    )


def lost_case(job: CaseJob, reason: str) -> CaseResult:
    """The result of a case whose worker returned nothing."""
    return failed_case(job, "lost", reason, may_pass=True)


def _versions() -> dict[str, str]:
    """Of this program and of what it measures with."""
    installed = {name: metadata.version(name) for name in _MEASURED_BY}
    return {"coldspot": engine.__version__, "radiomics": EXTRACTOR, **installed}
