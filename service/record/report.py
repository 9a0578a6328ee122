"""An assessment as one JSON object: what every door returns, and the form in which it is stored.

Intervals are ``[low, high]``, points ``[x, y, z]`` (LPS mm); every key is always there, null where nothing was
measured. Two things are enforced, whatever the assessment holds: a preliminary one carries ranges only and
never says complete, and a refused one carries no number at all.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Final, Self

from engine.assessment.wording import contour_source, core_source
from engine.errors import PreconditionError
from engine.findings import RegistrationQuality
from service.record.provenance import Provenance

if TYPE_CHECKING:
    from engine.assessment.outcome import AblationAssessment
    from engine.assessment.planning import PlanningOutcome
    from engine.findings import (
        AlignmentFinding,
        ColdSpot,
        ContourOrigin,
        CoverageFinding,
        LesionFinding,
        MarginFinding,
    )
    from engine.geometry import Vector3
    from engine.radiomics.radscore import Radscore
    from engine.refusal import Refusal
    from engine.risk.model import SurvivalRisk

_NO_PROVENANCE: Final = dict.fromkeys(field.name for field in fields(Provenance))
_NO_QUALITY: Final = dict.fromkeys(field.name for field in fields(RegistrationQuality))


@dataclass(frozen=True)
class AssessmentReport:
    """A preliminary or final assessment as doors return it; a final one also as it is stored.

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
        """Last byte of the verification CT received to this report, where that is known."""
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
        """Return the report of which ``stored`` is the stored form.

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
) -> AssessmentReport:
    """Return the report of an assessment, without its latency.

    Parameters
    ----------
    assessment : AblationAssessment
    timings_s : mapping of str to float, optional
        Durations of stages to add to the assessment's own; of the same stage they replace it.
    provenance : Provenance, optional
        Of a final assessment.
    """
    content = {
        "phase": "preliminary" if assessment.preliminary else "final",
        "summary": assessment.summary or None,
        "coverage": _coverage(assessment.coverage),
        "margin": _margin(assessment.margin),
        "uncovered": [_region(region) for region in assessment.uncovered],
        "alignment": _alignment(assessment.alignment),
        "lesion": _lesion(assessment.lesion),
        "risk": _risk(assessment.risk, assessment.radscore),
        "timings_s": _timings({**assessment.timings_s, **(timings_s or {})}),
        "latency_s": None,
        "warnings": list(assessment.warnings),
        "refusal": _refusal(assessment.refusal),
        "provenance": _NO_PROVENANCE if provenance is None else _empty_as_null(asdict(provenance)),
    }
    if assessment.preliminary or assessment.refusal is not None:
        _leave_ranges_only(content)
    if assessment.refusal is not None:
        _leave_no_number(content)
    return AssessmentReport(content)


def planning_report(prepared: PlanningOutcome) -> dict[str, Any]:
    """Return the report of a prepared planning side, with the keys of an assessment's report."""
    return {
        "lesion": _lesion(prepared.lesion),
        "warnings": list(prepared.warnings),
        "timings_s": _timings(prepared.timings_s),
        "refusal": _refusal(prepared.refusal),
    }


def _leave_ranges_only(content: dict[str, Any]) -> None:
    coverage, margin = content["coverage"], content["margin"]
    for figures, names in (
        (coverage, ("tcr", "complete")),
        (coverage["lung_clipped"], ("tcr", "not_assessable_share")),
        (coverage["core"], ("tcr",)),
        (margin, ("minimal_mm", "shares")),
        (margin["lung_clipped"], ("minimal_mm",)),
        (margin["core"], ("minimal_mm",)),
    ):
        figures.update(dict.fromkeys(names))
    content["uncovered"] = []
    content["risk"] = _risk(None, None)


def _leave_no_number(content: dict[str, Any]) -> None:
    for name in ("tcr_interval_90", "probability_complete", "zone_contour_sd_mm"):
        content["coverage"][name] = None
    content["margin"]["minimal_interval_90_mm"] = None
    content["alignment"].update(
        planning_from_verification=[], similarity=None, residual_mm=None, pose_sd_mm=None, quality=_NO_QUALITY
    )


def _coverage(coverage: CoverageFinding) -> dict[str, Any]:
    return {
        "tcr": _number(coverage.tcr),
        "tcr_interval_90": _numbers(coverage.tcr_interval_90),
        "complete": coverage.complete,
        "probability_complete": _number(coverage.probability_complete),
        "lung_clipped": {
            "tcr": _number(coverage.lung_clipped_tcr),
            "not_assessable_share": _number(coverage.not_assessable_share),
        },
        "core": {
            "tcr": _number(coverage.core_tcr),
            "source": core_source(coverage.core_origin) or None,
            "origin": _origin(coverage.core_origin),
        },
        "target_volume_ml": _number(coverage.target_volume_ml),
        "zone_volume_ml": _number(coverage.zone_volume_ml),
        "target_margin_mm": _number(coverage.target_margin_mm),
        "zone_source": contour_source(coverage.zone_origin) or None,
        "zone_contour_sd_mm": _number(coverage.zone_contour_sd_mm),
        "zone_origin": _origin(coverage.zone_origin),
    }


def _margin(margin: MarginFinding) -> dict[str, Any]:
    shares = None
    if margin.shares is not None:
        names = ("below_0_mm", "from_0_to_5_mm", "from_5_to_10_mm", "at_least_10_mm")
        shares = dict(zip(names, map(float, margin.shares), strict=True))
    return {
        "minimal_mm": _number(margin.minimal_mm),
        "minimal_interval_90_mm": _numbers(margin.minimal_interval_90_mm),
        "shares": shares,
        "lung_clipped": {"minimal_mm": _number(margin.lung_clipped_minimal_mm)},
        "core": {"minimal_mm": _number(margin.core_minimal_mm)},
    }


def _region(region: ColdSpot) -> dict[str, Any]:
    return {
        "rank": int(region.rank),
        "volume_ml": float(region.volume_ml),
        "centroid_lps_mm": _numbers(region.centroid_lps_mm),
        "deepest_lps_mm": _numbers(region.deepest_lps_mm),
        "deepest_mm": float(region.deepest_mm),
        "direction": region.direction or None,
        "distance_to_pleura_mm": _number(region.distance_to_pleura_mm),
    }


def _alignment(alignment: AlignmentFinding) -> dict[str, Any]:
    pose = alignment.planning_from_verification
    return {
        "method": alignment.method or None,
        "planning_from_verification": [] if pose is None else pose.matrix.ravel().tolist(),
        "similarity": _number(alignment.similarity),
        "residual_mm": _number(alignment.residual_mm),
        "pose_sd_mm": _number(alignment.pose_sd_mm),
        "planning_frame_of_reference_uid": alignment.planning_frame_of_reference_uid or None,
        "verification_frame_of_reference_uid": alignment.verification_frame_of_reference_uid or None,
        "quality": _NO_QUALITY if alignment.quality is None else _quality(alignment.quality),
    }


def _quality(quality: RegistrationQuality) -> dict[str, Any]:
    """The keys are the names of the finding's fields; what is no number is null."""
    return {name: float(value) if math.isfinite(value) else None for name, value in asdict(quality).items()}


def _lesion(lesion: LesionFinding) -> dict[str, Any]:
    return {
        "volume_ml": _number(lesion.volume_ml),
        "centroid_lps_mm": _numbers(lesion.centroid_lps_mm),
        "verification_centroid_lps_mm": _numbers(lesion.verification_centroid_lps_mm),
        "source": contour_source(lesion.origin) or None,
        "longest_diameter_mm": _number(lesion.longest_diameter_mm),
        "contour_sd_mm": _number(lesion.contour_sd_mm),
        "origin": _origin(lesion.origin),
    }


def _origin(origin: ContourOrigin) -> dict[str, Any]:
    return {
        "kind": origin.kind.value,
        "model": None if origin.model is None else _empty_as_null(asdict(origin.model)),
    }


def _risk(risk: SurvivalRisk | None, radscore: Radscore | None) -> dict[str, Any]:
    if risk is None:
        return {
            "months": [],
            "probability": [],
            "band_90": [],
            "model": None,
            "statements": [],
            "flags": [],
            "probability_if_complete": [],
            "radscore": None,
        }
    return {
        "months": [int(month) for month in risk.months],
        "probability": _numbers(risk.probability),
        "band_90": [_numbers(band) for band in risk.band_90],
        "model": risk.model or None,
        "statements": list(risk.statements),
        "flags": list(risk.flags),
        "probability_if_complete": _numbers(risk.probability_if_complete),
        "radscore": _radscore(radscore),
    }


def _radscore(radscore: Radscore | None) -> dict[str, Any] | None:
    if radscore is None:
        return None
    features = [
        {
            "name": feature.name,
            "value": float(feature.value),
            "contribution": float(feature.contribution),
            "within_reference": bool(feature.within_reference),
        }
        for feature in radscore.contributions
    ]
    return {"value": float(radscore.value), "features": features}


def _refusal(refusal: Refusal | None) -> dict[str, Any] | None:
    if refusal is None:
        return None
    candidates = [
        {"volume_ml": float(candidate.volume_ml), "place_lps_mm": _numbers(candidate.place_lps_mm)}
        for candidate in refusal.candidates
    ]
    return {"code": refusal.code.value, "reason": refusal.reason or None, "candidates": candidates}


def _empty_as_null(content: dict[str, Any]) -> dict[str, Any]:
    return {name: None if value == "" else value for name, value in content.items()}


def _timings(timings_s: Mapping[str, float]) -> dict[str, float]:
    return {name: float(timings_s[name]) for name in sorted(timings_s)}


def _number(value: float | None) -> float | None:
    return None if value is None else float(value)


def _numbers(values: Vector3 | Iterable[float] | None) -> list[float] | None:
    return None if values is None else [float(value) for value in values]
