"""An assessment as one JSON object: what every transport returns, and the form in which it is stored.

Intervals are ``[low, high]``, points ``[x, y, z]`` (LPS mm); every key is always there, null where nothing was
measured. Two things are enforced, whatever the assessment holds: a preliminary one carries ranges only and
never says complete, and a refused one carries no number at all.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Final, Self

from engine.errors import PreconditionError
from engine.risk import absence
from service.record.findings import (
    NO_QUALITY,
    alignment_figures,
    coverage_figures,
    empty_as_null,
    lesion_figures,
    margin_figures,
    planning_frame_figures,
    refusal_content,
    region_figures,
    risk_absence_content,
    risk_figures,
    timings_in_order,
)
from service.record.provenance import Provenance, SeriesProvenance

if TYPE_CHECKING:
    from engine.assessment.outcome import AblationAssessment
    from engine.assessment.planning import PlanningOutcome

_NO_PROVENANCE: Final[dict[str, Any]] = {
    **dict.fromkeys(field.name for field in fields(Provenance)),
    "planning": dict.fromkeys(field.name for field in fields(SeriesProvenance)),
    "verification": dict.fromkeys(field.name for field in fields(SeriesProvenance)),
}


@dataclass(frozen=True)
class AssessmentReport:
    """A preliminary or final assessment as a transport returns it; a final one also as it is stored.

    Parameters
    ----------
    content : dict
        Plain dictionaries, lists, numbers, strings, booleans and None.
    """

    content: dict[str, Any]

    @property
    def preliminary(self) -> bool:
        """Whether a final report follows."""
        return bool(self.content["phase"] == "preliminary")

    @property
    def refusal_code(self) -> str | None:
        """Why no number is given; None where numbers are given."""
        refusal = self.content["refusal"]
        return None if refusal is None else str(refusal["code"])

    @property
    def latency_s(self) -> float | None:
        """Seconds from the last byte of the last input to this report, where that is known."""
        latency_s: float | None = self.content["latency_s"]
        return latency_s

    def with_latency(self, latency_s: float | None) -> AssessmentReport:
        """Return the report with its latency."""
        return replace(self, content={**self.content, "latency_s": latency_s})

    def to_bytes(self) -> bytes:
        """Return the stored form."""
        return json.dumps(self.content).encode()

    @classmethod
    def from_bytes(cls, stored: bytes) -> Self:
        """Return the report that ``stored`` holds.

        Raises
        ------
        PreconditionError
            If another version of the service has stored it.
        """
        try:
            return cls(json.loads(stored))
        except ValueError:
            raise PreconditionError(
                "the assessment was stored by another version of the service; assess the case anew"
            ) from None


def assessment_report(
    assessment: AblationAssessment,
    timings_s: Mapping[str, float] | None = None,
    provenance: Provenance | None = None,
    *,
    clinical_mode: bool = False,
) -> AssessmentReport:
    """Return the report of an assessment, without its latency.

    Parameters
    ----------
    assessment : AblationAssessment
    timings_s : mapping of str to float, optional
        Durations of stages to add to the assessment's own; of the same stage they replace it.
    provenance : Provenance, optional
        For a final assessment only.
    clinical_mode : bool
        Whether the service runs in clinical mode.
    """
    content = {
        "phase": "preliminary" if assessment.preliminary else "final",
        "summary": assessment.summary or None,
        "coverage": coverage_figures(assessment.coverage),
        "margin": margin_figures(assessment.margin),
        "uncovered": [region_figures(region, assessment.lesion.lung_side) for region in assessment.uncovered],
        "alignment": alignment_figures(assessment.alignment),
        "lesion": lesion_figures(assessment.lesion),
        "risk": risk_figures(assessment.risk, assessment.radscore),
        "timings_s": timings_in_order({**assessment.timings_s, **(timings_s or {})}),
        "latency_s": None,
        "warnings": list(assessment.warnings),
        "refusal": refusal_content(assessment.refusal),
        "provenance": _NO_PROVENANCE if provenance is None else empty_as_null(asdict(provenance)),
        "clinical_mode": clinical_mode,
        "risk_absence": _absence(assessment),
        "planning_frame": planning_frame_figures(assessment.planning_frame),
    }
    if assessment.preliminary or assessment.refusal is not None:
        _leave_ranges_only(content)
    if assessment.refusal is not None:
        _leave_no_number(content)
    return AssessmentReport(content)


def planning_report(prepared: PlanningOutcome) -> dict[str, Any]:
    """Return the report of a prepared planning side, with the keys of an assessment's report."""
    return {
        "lesion": lesion_figures(prepared.lesion),
        "warnings": list(prepared.warnings),
        "timings_s": timings_in_order(prepared.timings_s),
        "refusal": refusal_content(prepared.refusal),
    }


def _absence(assessment: AblationAssessment) -> dict[str, Any] | None:
    """Return why there is no risk: of a preliminary or refused answer whatever risk the assessment holds."""
    if assessment.refusal is not None:
        return risk_absence_content(absence.REFUSED)
    if assessment.preliminary:
        return risk_absence_content(absence.PRELIMINARY)
    return risk_absence_content(assessment.risk_absence)


def _leave_ranges_only(content: dict[str, Any]) -> None:
    coverage, margin = content["coverage"], content["margin"]
    for figures, names in (
        (coverage, ("tcr", "complete")),
        (coverage["lung_clipped"], tuple(coverage["lung_clipped"])),
        (coverage["core"], ("tcr",)),
        (margin, ("minimal_mm", "shares", "quantile_2_mm", "insufficient_surface_cm2")),
        (margin["lung_clipped"], tuple(margin["lung_clipped"])),
        (margin["core"], ("minimal_mm",)),
        (content["planning_frame"], tuple(content["planning_frame"])),
    ):
        figures.update(dict.fromkeys(names))
    content["uncovered"] = []
    content["risk"] = risk_figures(None, None)


def _leave_no_number(content: dict[str, Any]) -> None:
    for name in (
        "tcr_interval_90",
        "probability_complete",
        "zone_contour_sd_mm",
        "zone_changed_share",
        "zone_parts",
    ):
        content["coverage"][name] = None
    content["margin"]["minimal_interval_90_mm"] = None
    content["alignment"].update(
        planning_from_verification=[], similarity=None, residual_mm=None, pose_sd_mm=None, quality=NO_QUALITY
    )
