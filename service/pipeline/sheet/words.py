"""The sheet's sentences: figures that are understood without a manual."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.assessment.verdict import region_place_in_words
from engine.assessment.wording import contours_to_check, share_in_words, volume_in_words
from engine.findings import AlignmentMethod
from service.figures_in_words import position

if TYPE_CHECKING:
    from collections.abc import Iterator

    from engine.assessment.outcome import AblationAssessment
    from engine.findings import AlignmentFinding, ColdSpot, CoverageFinding, MarginFinding
    from engine.refusal import Refusal
    from engine.volume import CtVolume

_MAX_LISTED = 4
_MIN_LISTED_ML = 0.01
"""Uncovered regions that are listed one by one; the others are counted together."""


def key_figures(assessment: AblationAssessment) -> Iterator[str]:
    """Yield the figures behind the verdict, the most important first."""
    coverage, margin = assessment.coverage, assessment.margin
    yield _coverage_line(coverage, margin)
    if margin.quantile_2_mm is not None and margin.insufficient_surface_cm2 is not None:
        yield (
            f"{_square_cm(margin.insufficient_surface_cm2)} of the tumor's surface has less than "
            f"{coverage.target_margin_mm:g} mm; without its narrowest 2 % the smallest margin is "
            f"{_mm(margin.quantile_2_mm)}."
        )
    if margin.shares is not None and margin.minimal_mm is not None and margin.minimal_mm < 0.0:
        yield (
            f"Tumor itself lies outside the ablation zone, by up to {-margin.minimal_mm:.1f} mm, on "
            f"{share_in_words(margin.shares[0])} of its surface."
        )
    if coverage.not_assessable_share:
        yield (
            f"Not assessable: {share_in_words(coverage.not_assessable_share)} of the target lies outside the lung. "
            f"{_in_lung_line(coverage, margin)}"
        )
    if coverage.core_tcr is not None:
        yield (
            f"Counting only the zone's dense core: {_percent(coverage.core_tcr)} covered, smallest margin "
            f"{_mm(margin.core_minimal_mm)}."
        )
    to_check = contours_to_check(assessment.lesion.origin, coverage.zone_origin)
    if to_check:
        yield to_check
    yield from _alignment_line(assessment.alignment)


def demo_line(assessment: AblationAssessment) -> str:
    """What demo models drew, in capitals; empty where they drew nothing."""
    drawn = [
        name
        for name, origin in (
            ("TUMOR", assessment.lesion.origin),
            ("ABLATION ZONE", assessment.coverage.zone_origin),
        )
        if origin.model is not None and origin.model.demo
    ]
    return f"DEMO MODEL DREW {' AND '.join(drawn)}: NEVER FOR A PATIENT" if drawn else ""


def uncovered_lines(assessment: AblationAssessment) -> Iterator[str]:
    """Yield the uncovered regions, those in lung and the largest first, each with its place."""
    regions = assessment.uncovered
    if not regions:
        yield "None."
        return
    listed = [spot for spot in regions if spot.rank == 1 or spot.volume_ml >= _MIN_LISTED_ML][:_MAX_LISTED]
    for region in listed:
        yield _region_line(region, assessment)
    rest = [spot for spot in regions if spot not in listed]
    if rest:
        volume = volume_in_words(sum(region.volume_ml for region in rest))
        yield f"and {len(rest)} smaller {'one' if len(rest) == 1 else 'ones'}, {volume} together."
    yield "x runs to the patient's left, y to the back, z to the head, in the verification CT."


def scan_lines(name: str, ct: CtVolume) -> Iterator[str]:
    """Yield which series a CT is and when it was acquired."""
    acquisition, thickest_mm = ct.acquisition, max(ct.geometry.spacing_zyx_mm)
    yield name
    kernel = f", kernel {acquisition.convolution_kernel}" if acquisition.convolution_kernel else ""
    yield f"Series: {acquisition.series_description or 'description not stated'}{kernel}"
    yield f"Acquired: {acquisition.acquired_at or 'time not stated'}"
    slices = ct.geometry.spacing_zyx_mm.index(thickest_mm)
    instances = (
        "" if acquisition.instance_count is None else f" from {acquisition.instance_count} DICOM instances"
    )
    yield f"{ct.geometry.shape_zyx[slices]} slices{instances}, {thickest_mm:.2f} mm apart"


def refusal_lines(refusal: Refusal) -> Iterator[str]:
    """Yield what a refusal means and what can be done."""
    yield "Both CTs were read, but no number can be trusted, and none is given. The reason above says what would help."
    yield f"Reason for programs: {refusal.code.value}"
    for rank, candidate in enumerate(refusal.candidates, 1):
        yield (
            f"Possible tumor {rank}: {volume_in_words(candidate.volume_ml)} at {_place(candidate.place_lps_mm)}; "
            "choose it by this point"
        )


def _alignment_line(alignment: AlignmentFinding) -> Iterator[str]:
    if alignment.quality is None or alignment.residual_mm is None:
        return
    percent = round(100 * alignment.quality.contraction)
    moved = f"; the zone has {'shrunk' if percent > 0 else 'grown'} by {abs(percent)} %" if percent else ""
    coarse = ", coarse for want of time" if alignment.method is AlignmentMethod.DEFORMABLE_COARSE else ""
    yield (
        f"Alignment of the two CTs{coarse}: around the zone they still differ by {alignment.residual_mm:.1f} mm{moved}."
        " Compare the images before and after."
    )


def _coverage_line(coverage: CoverageFinding, margin: MarginFinding) -> str:
    if coverage.tcr_interval_90 is None or margin.minimal_interval_90_mm is None:
        raise ValueError("an assessment with maps has its intervals")
    low, high = coverage.tcr_interval_90
    least, most = margin.minimal_interval_90_mm
    return (
        f"{_percent(coverage.tcr)} of the target (tumor and {coverage.target_margin_mm:g} mm around it) is covered "
        f"(90 % interval {_percent(low)} to {_percent(high)}). Smallest margin {_mm(margin.minimal_mm)} "
        f"({least:.1f} to {most:.1f} mm). "
        f"Probability that all of it is covered: {share_in_words(coverage.probability_complete or 0.0)}."
    )


def _in_lung_line(coverage: CoverageFinding, margin: MarginFinding) -> str:
    probability = coverage.lung_clipped_probability_complete
    if coverage.lung_clipped_tcr is None or probability is None:
        return "Nothing of it can be assessed in lung."
    within = margin.lung_clipped_minimal_interval_90_mm
    spread = "" if within is None else f" ({within[0]:.1f} to {within[1]:.1f} mm)"
    smallest = (
        "nothing uncovered in view"
        if margin.lung_clipped_minimal_mm is None
        else f"smallest margin {_mm(margin.lung_clipped_minimal_mm)}{spread}"
    )
    return (
        f"In lung alone {_percent(coverage.lung_clipped_tcr)} is covered, {smallest}; probability that all of it is "
        f"covered: {share_in_words(probability)}."
    )


def _region_line(region: ColdSpot, assessment: AblationAssessment) -> str:
    pleura = (
        ""
        if region.distance_to_pleura_mm is None or not region.in_lung
        else f", {region.distance_to_pleura_mm:.0f} mm from the pleura"
    )
    return (
        f"{region.rank}. {'' if region.in_lung else 'Outside the lung or at its edge: '}"
        f"{volume_in_words(region.volume_ml)}, {region_place_in_words(region, assessment.lesion)}; "
        f"up to {region.deepest_mm:.1f} mm from the zone{pleura}; deepest at {_place(region.deepest_lps_mm)}"
    )


def _place(lps_mm: tuple[float, float, float]) -> str:
    return f"x, y, z = {position(lps_mm)} mm"


def _percent(share: float | None) -> str:
    """A share of coverage: never 100 % where something is missing."""
    if share is None:
        return "nothing assessable"
    if 0.999 <= share < 1.0:
        return "99.9 %"
    return f"{100.0 * share:.0f} %" if share in {0.0, 1.0} else f"{100.0 * share:.1f} %"


def _square_cm(area_cm2: float) -> str:
    """An area; a small one never as none."""
    return "less than 0.1 cm²" if 0.0 < area_cm2 < 0.1 else f"{area_cm2:.1f} cm²"


def _mm(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.1f} mm"
