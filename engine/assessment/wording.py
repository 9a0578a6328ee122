"""The sentences of an assessment: what was measured, how sure it is, and where contours came from."""

from __future__ import annotations

from typing import Final

from engine import DISCLAIMER
from engine.findings import ColdSpot, ContourKind, ContourOrigin, CoverageFinding, MarginFinding
from engine.geometry import Vector3
from engine.refusal import Refusal

_MARGIN_LIMITING_SLICE_MM: Final = 2.5
"""From here on a slice distance limits the margin more than the contours do."""


_JUDGEMENTS: Final = {
    True: "covers the whole target",
    False: "does not cover the whole target",
    None: "may cover the whole target, which is not sure enough to be called complete",
}


_CORE_SOURCES: Final = {
    ContourKind.NONE: "none",
    ContourKind.SUPPLIED: "supplied",
    ContourKind.SEGMENTED: "segmented",
    ContourKind.THRESHOLDED: "found",
}


def contour_source(origin: ContourOrigin) -> str:
    """Where a contour came from, in words; empty where there is none.

    Of a demo model the words "demo model" are part of it.
    """
    if origin.model is not None:
        return f"segmented by {origin.model}"
    return "" if origin.kind is ContourKind.NONE else str(origin.kind)


def core_source(origin: ContourOrigin) -> str:
    """Where the dense core of a zone came from, in one word."""
    return _CORE_SOURCES[origin.kind]


def contours_to_check(tumor: ContourOrigin, zone: ContourOrigin) -> str:
    """Which contours a model drew, as a sentence; empty where all were supplied."""
    drawn = [
        f"{name} {contour_source(origin)}"
        for name, origin in (("tumor", tumor), ("ablation zone", zone))
        if origin.model is not None
    ]
    return f"Contours to be checked by a reader: {', '.join(drawn)}." if drawn else ""


def summary(
    coverage: CoverageFinding, margin: MarginFinding, cold_spots: tuple[ColdSpot, ...], to_check: str = ""
) -> str:
    """The final answer in words; ``to_check`` comes from :func:`contours_to_check`."""
    if coverage.tcr is None or margin.minimal_mm is None or coverage.tcr_interval_90 is None:
        raise ValueError("a final assessment without numbers is a refusal")
    low, high = coverage.tcr_interval_90
    judgement = _JUDGEMENTS[coverage.complete]
    sentences = [
        (
            f"On the best alignment the zone {judgement}: TCR {coverage.tcr:.3f} (90 % interval {low:.3f} to "
            f"{high:.3f}), minimal margin {margin.minimal_mm:.1f} mm, probability of complete coverage "
            f"{coverage.probability_complete:.2f}."
        ),
    ]
    if to_check:
        sentences.append(to_check)
    if cold_spots:
        listed = "; ".join(f"{s.volume_ml:.2f} mL {s.direction}" for s in cold_spots[:3])
        sentences.append(f"Uncovered in lung, for review: {listed}.")
    if coverage.not_assessable_share:
        sentences.append(
            f"{100 * coverage.not_assessable_share:.0f} % of the target lies outside the lung and cannot be assessed."
        )
    return " ".join([*sentences, DISCLAIMER])


def preliminary_summary(
    tcr_90: tuple[float, float], minimal_mm_90: tuple[float, float], to_check: str = ""
) -> str:
    """The preliminary answer in words: ranges only."""
    ranges = (
        f"Preliminary, not for decision (rigid alignment): TCR {tcr_90[0]:.2f} to {tcr_90[1]:.2f}, minimal margin "
        f"{minimal_mm_90[0]:.0f} to {minimal_mm_90[1]:.0f} mm."
    )
    return " ".join(sentence for sentence in (ranges, to_check, DISCLAIMER) if sentence)


def refused_summary(refusal: Refusal, to_check: str = "") -> str:
    """Why there is no number, in words."""
    sentences = (f"No number is given: {refusal.reason}", to_check, DISCLAIMER)
    return " ".join(sentence for sentence in sentences if sentence)


def slice_warning(which: str, spacing_zyx_mm: Vector3, target_margin_mm: float) -> tuple[str, ...]:
    """A warning about what thick slices do to the margin; none for thin ones."""
    thickest = max(spacing_zyx_mm)
    if thickest < _MARGIN_LIMITING_SLICE_MM:
        return ()
    return (
        (
            f"{which} CT: slices are {thickest:.1f} mm apart against a margin of {target_margin_mm:g} mm; along the "
            f"slice normal the minimal margin is known to ±{thickest / 2:.1f} mm only, and tends to be too small. "
            "Reconstruct at 1.25 mm or less for a sharper answer."
        ),
    )
