"""Findings as plain JSON: every key is there, null where nothing was measured.

Intervals are ``[low, high]``, points ``[x, y, z]`` (LPS mm).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any, Final

from engine.assessment.wording import contour_source, core_source, place_in_words
from engine.findings import RegistrationQuality

if TYPE_CHECKING:
    from engine.findings import (
        AlignmentFinding,
        ColdSpot,
        ContourOrigin,
        CoverageFinding,
        LesionFinding,
        LungSide,
        MarginFinding,
        PlanningFrameFinding,
    )
    from engine.geometry import Vector3
    from engine.radiomics.radscore import Radscore
    from engine.refusal import Refusal
    from engine.risk.absence import RiskAbsence
    from engine.risk.model import SurvivalRisk

NO_QUALITY: Final = dict.fromkeys(field.name for field in fields(RegistrationQuality))
"""The quality of an alignment that was not measured: every figure is null."""


def coverage_figures(coverage: CoverageFinding) -> dict[str, Any]:
    """Return the figures of the coverage."""
    return {
        "tcr": _number(coverage.tcr),
        "tcr_interval_90": _numbers(coverage.tcr_interval_90),
        "complete": coverage.complete,
        "probability_complete": _number(coverage.probability_complete),
        "lung_clipped": {
            "tcr": _number(coverage.lung_clipped_tcr),
            "not_assessable_share": _number(coverage.not_assessable_share),
            "tcr_interval_90": _numbers(coverage.lung_clipped_tcr_interval_90),
            "complete": coverage.lung_clipped_complete,
            "probability_complete": _number(coverage.lung_clipped_probability_complete),
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
        "zone_changed_share": _number(coverage.zone_changed_share),
        "zone_parts": coverage.zone_parts,
    }


def margin_figures(margin: MarginFinding) -> dict[str, Any]:
    """Return the figures of the ablative margin."""
    shares = None
    if margin.shares is not None:
        names = ("below_0_mm", "from_0_to_5_mm", "from_5_to_10_mm", "at_least_10_mm")
        shares = dict(zip(names, map(float, margin.shares), strict=True))
    return {
        "minimal_mm": _number(margin.minimal_mm),
        "minimal_interval_90_mm": _numbers(margin.minimal_interval_90_mm),
        "shares": shares,
        "lung_clipped": {
            "minimal_mm": _number(margin.lung_clipped_minimal_mm),
            "minimal_interval_90_mm": _numbers(margin.lung_clipped_minimal_interval_90_mm),
        },
        "core": {"minimal_mm": _number(margin.core_minimal_mm)},
        "quantile_2_mm": _number(margin.quantile_2_mm),
        "insufficient_surface_cm2": _number(margin.insufficient_surface_cm2),
    }


def planning_frame_figures(finding: PlanningFrameFinding) -> dict[str, Any]:
    """Return the figures of the planning frame."""
    return {
        "tcr": _number(finding.tcr),
        "tcr_interval_90": _numbers(finding.tcr_interval_90),
        "minimal_mm": _number(finding.minimal_mm),
        "minimal_interval_90_mm": _numbers(finding.minimal_interval_90_mm),
        "contraction": _number(finding.contraction),
    }


def region_figures(region: ColdSpot, lung_side: LungSide | None) -> dict[str, Any]:
    """Return the figures of an uncovered region around a tumor in the lung of that side."""
    return {
        "rank": int(region.rank),
        "volume_ml": float(region.volume_ml),
        "centroid_lps_mm": _numbers(region.centroid_lps_mm),
        "deepest_lps_mm": _numbers(region.deepest_lps_mm),
        "deepest_mm": float(region.deepest_mm),
        "direction": place_in_words(region.directions, lung_side),
        "distance_to_pleura_mm": _number(region.distance_to_pleura_mm),
        "directions": [direction.value for direction in region.directions],
        "in_lung": region.in_lung,
    }


def alignment_figures(alignment: AlignmentFinding) -> dict[str, Any]:
    """Return the figures of the alignment: how the scans were aligned, and how well."""
    pose = alignment.planning_from_verification
    return {
        "method": alignment.method.value,
        "planning_from_verification": [] if pose is None else pose.matrix.ravel().tolist(),
        "similarity": _number(alignment.similarity),
        "residual_mm": _number(alignment.residual_mm),
        "pose_sd_mm": _number(alignment.pose_sd_mm),
        "planning_frame_of_reference_uid": alignment.planning_frame_of_reference_uid or None,
        "verification_frame_of_reference_uid": alignment.verification_frame_of_reference_uid or None,
        "quality": NO_QUALITY if alignment.quality is None else _quality(alignment.quality),
    }


def _quality(quality: RegistrationQuality) -> dict[str, Any]:
    """The keys are the names of the finding's fields; a value that is not a finite number is null."""
    return {
        name: _numbers(value) if isinstance(value, tuple) else _finite(value)
        for name, value in asdict(quality).items()
    }


def lesion_figures(lesion: LesionFinding) -> dict[str, Any]:
    """Return the figures of the tumor."""
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
        "model": None if origin.model is None else empty_as_null(asdict(origin.model)),
    }


def risk_figures(risk: SurvivalRisk | None, radscore: Radscore | None) -> dict[str, Any]:
    """Return the figures of the risk; every key is there, with empty values if there is no risk."""
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


def risk_absence_content(absence: RiskAbsence | None) -> dict[str, Any] | None:
    """Return why there is no risk; None where there is one."""
    return None if absence is None else {"code": absence.code.value, "reason": absence.reason}


def refusal_content(refusal: Refusal | None) -> dict[str, Any] | None:
    """Return why no number is given; None where numbers are given."""
    if refusal is None:
        return None
    candidates = [
        {"volume_ml": float(candidate.volume_ml), "place_lps_mm": _numbers(candidate.place_lps_mm)}
        for candidate in refusal.candidates
    ]
    return {"code": refusal.code.value, "reason": refusal.reason or None, "candidates": candidates}


def empty_as_null(content: dict[str, Any]) -> dict[str, Any]:
    """Return the content with null for every empty string, in what it contains as well."""
    return {
        name: empty_as_null(value) if isinstance(value, dict) else None if value == "" else value
        for name, value in content.items()
    }


def timings_in_order(timings_s: Mapping[str, float]) -> dict[str, float]:
    """Return the durations of stages, ordered by name."""
    return {name: float(timings_s[name]) for name in sorted(timings_s)}


def _finite(value: float | None) -> float | None:
    return float(value) if value is not None and math.isfinite(value) else None


def _number(value: float | None) -> float | None:
    return None if value is None else float(value)


def _numbers(values: Vector3 | Iterable[float] | None) -> list[float] | None:
    return None if values is None else [float(value) for value in values]
