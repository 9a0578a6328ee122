"""The sentences of an assessment: what was measured, how sure it is, and where contours came from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from engine import DISCLAIMER
from engine.findings import (
    ColdSpot,
    ContourKind,
    ContourOrigin,
    CoverageFinding,
    Direction,
    LungSide,
    MarginFinding,
)
from engine.geometry import Vector3
from engine.input_warning import MASK_FAULTS
from engine.refusal import Refusal
from engine.volume import LabelMask

_MARGIN_LIMITING_SLICE_MM: Final = 2.5
"""From here on a slice distance limits the margin more than the contours do."""


_JUDGEMENTS: Final = {
    True: "covers the whole target",
    False: "does not cover the whole target",
    None: "covers the whole target, which is not sure enough to be called complete: undecided",
}

_JUDGEMENTS_IN_LUNG: Final = {
    True: "covers the target",
    False: "does not cover the target",
    None: "covers the target, which is not sure enough to be called complete: undecided",
}

_TOWARD: Final = {
    Direction.ANTERIOR: "front",
    Direction.POSTERIOR: "back",
    Direction.SUPERIOR: "head",
    Direction.INFERIOR: "feet",
}

_SMALLEST_NAMED_ML: Final = 0.01
_REGIONS_IN_SUMMARY: Final = 3

_CORE_SOURCES: Final = {
    ContourKind.NONE: "none",
    ContourKind.SUPPLIED: "supplied",
    ContourKind.MODEL: "segmented",
    ContourKind.DEMO_MODEL: "segmented",
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


def masks_to_correct(masks: Iterable[LabelMask | None]) -> str:
    """Which masks have faults that can decide on the figures, as a sentence; empty where none has."""
    faulty = [
        mask.name
        for mask in masks
        if mask is not None and any(warning.code in MASK_FAULTS for warning in mask.warnings)
    ]
    return f"Measured on masks with faults, see the warnings: {', '.join(faulty)}." if faulty else ""


def drawn_by_model(structure: str, origin: ContourOrigin) -> tuple[str, ...]:
    """The warning that a model drew a contour; none where no model did."""
    if origin.model is None:
        return ()
    demo = ", a demo model that is not meant for patients" if origin.kind is ContourKind.DEMO_MODEL else ""
    return (
        f"the {structure} was drawn by {origin.model.name}{demo}: look at the contour before you use the numbers",
    )


def place_in_words(directions: Sequence[Direction], lung_side: LungSide | None) -> str:
    """Where something lies as seen from the tumor, for example ``lateral (left) of the tumor``.

    Left and right are the patient's. They are called lateral and medial where it is known in which lung the tumor
    lies; where it is not, they are not guessed.
    """
    if not directions:
        return "around the tumor's center"
    return f"{', '.join(_direction_in_words(direction, lung_side) for direction in directions)} of the tumor"


def _direction_in_words(direction: Direction, lung_side: LungSide | None) -> str:
    if direction in _TOWARD:
        return f"{direction.value} (toward the {_TOWARD[direction]})"
    if lung_side is None:
        return f"toward the patient's {direction.value}"
    return f"{'lateral' if direction.value == lung_side.value else 'medial'} ({direction.value})"


def volume_in_words(volume_ml: float) -> str:
    """A volume to 0.1 mL; a small one to 0.01 mL, and never as none."""
    if volume_ml < _SMALLEST_NAMED_ML:
        return f"less than {_SMALLEST_NAMED_ML:g} mL"
    return f"{volume_ml:.1f} mL" if volume_ml >= 1.0 else f"{volume_ml:.2f} mL"


def share_in_words(share: float) -> str:
    """A share in percent; a small one never as none."""
    if 0.0 < share < 0.01:
        return "below 1 %"
    if 0.99 < share < 1.0:
        return "above 99 %"
    return f"{100.0 * share:.0f} %"


def summary(
    coverage: CoverageFinding,
    margin: MarginFinding,
    cold_spots: tuple[ColdSpot, ...],
    lung_side: LungSide | None,
    to_check: str = "",
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
    sentences += _regions_in_words(cold_spots, lung_side)
    if coverage.not_assessable_share:
        sentences += _in_lung_in_words(coverage, margin)
    return " ".join([*sentences, DISCLAIMER])


def _regions_in_words(cold_spots: Sequence[ColdSpot], lung_side: LungSide | None) -> Iterator[str]:
    for in_lung, heading in (
        (True, "Uncovered in lung, for review"),
        (False, "Uncovered outside the lung or at its edge, where coverage cannot be assessed"),
    ):
        regions = [spot for spot in cold_spots if spot.in_lung is in_lung]
        listed = "; ".join(
            f"{volume_in_words(spot.volume_ml)} {place_in_words(spot.directions, lung_side)}"
            for spot in regions[:_REGIONS_IN_SUMMARY]
        )
        if listed:
            yield f"{heading}: {listed}."


def _in_lung_in_words(coverage: CoverageFinding, margin: MarginFinding) -> Iterator[str]:
    yield (
        f"{share_in_words(coverage.not_assessable_share or 0.0)} of the target lies outside the lung and cannot be "
        "assessed."
    )
    if coverage.lung_clipped_tcr is None or coverage.lung_clipped_probability_complete is None:
        yield "Nothing of the target can be assessed in lung."
        return
    smallest = (
        ""
        if margin.lung_clipped_minimal_mm is None
        else f", smallest margin {margin.lung_clipped_minimal_mm:.1f} mm"
    )
    yield (
        f"In lung the zone {_JUDGEMENTS_IN_LUNG[coverage.lung_clipped_complete]}: TCR {coverage.lung_clipped_tcr:.3f}"
        f"{smallest}, probability of complete coverage {coverage.lung_clipped_probability_complete:.2f}."
    )


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
