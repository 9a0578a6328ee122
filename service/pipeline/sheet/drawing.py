"""Draws the sheet: the verdict first, then the images of before and after, the margin, and every warning in full."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

import matplotlib as mpl
import numpy as np

from engine import DISCLAIMER
from engine.assessment.verdict import VerdictKind, verdict_of
from service.pipeline.sheet import words
from service.pipeline.sheet.legend import legend_block
from service.pipeline.sheet.margin_plots import margin_block
from service.pipeline.sheet.marks import HATCH_WIDTH_PT
from service.pipeline.sheet.page import CONTENT_IN, Block, Page, band, side_by_side, stacked, text_block
from service.pipeline.sheet.panels import AssessedImages, after_panel, before_panel, scan_panel
from service.pipeline.sheet.planes import Orientation
from service.pipeline.sheet.text import BODY, DPI, HEADING, SMALL, TextStyle

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from engine.arrays import Float64Array
    from engine.assessment.outcome import AblationAssessment, ComparedScans
    from service.pipeline.sheet.facts import SheetFacts

_VERDICT_COLORS: Final = {
    VerdictKind.COVERED: ("#0b4f6c", "white"),
    VerdictKind.UNDECIDED: ("#f2b705", "black"),
    VerdictKind.COVERED_IN_LUNG: ("#f2b705", "black"),
    VerdictKind.NOT_COVERED: ("#8c1c13", "white"),
    VerdictKind.NO_ANSWER: ("#333333", "white"),
}
_VERDICT_SIZE_PT: Final = 14.0
_DEMO_SIZE_PT: Final = 13.0

_GUTTER_IN: Final = 0.09
_HALF_IN: Final = (CONTENT_IN - _GUTTER_IN) / 2
_QUARTER_IN: Final = (CONTENT_IN - 3 * _GUTTER_IN) / 4
_LARGE_IN: Final = 3.3
"""Edge of the large images; the rest of their column stays white."""

_BULLET_IN: Final = 0.15

_MAX_REGIONS: Final = 3
_MIN_DRAWN_ML: Final = 0.05
"""Uncovered regions below this, other than the largest, get no images of their own."""


def draw_sheet(assessment: AblationAssessment, facts: SheetFacts, path: Path | BinaryIO) -> None:
    """Draw the sheet of a final assessment, measured or refused.

    Parameters
    ----------
    assessment : AblationAssessment
    facts : SheetFacts
    path : Path or binary file
        PNG to write.

    Raises
    ------
    ValueError
        If the assessment is preliminary.
    """
    with mpl.rc_context({"hatch.linewidth": HATCH_WIDTH_PT}):
        sheet_figure(assessment, facts).savefig(path, format="png", dpi=DPI)


def sheet_figure(assessment: AblationAssessment, facts: SheetFacts) -> Figure:
    """Return the sheet as a figure; :func:`draw_sheet` says of what."""
    verdict = verdict_of(assessment)
    face, ink = _VERDICT_COLORS[verdict.kind]
    page = Page()
    page.add(band(verdict.sentence, TextStyle(_VERDICT_SIZE_PT, bold=True, color=ink), face, "black"))
    for caution in filter(None, (facts.caution, words.demo_line(assessment))):
        page.add(band(caution, TextStyle(_DEMO_SIZE_PT, bold=True), "white", "black"))
    page.add(_identity(facts))
    if assessment.warnings:
        count = len(assessment.warnings)
        page.add(text_block(f"{count} {'warning' if count == 1 else 'warnings'}: read below.", HEADING), 0.03)
    for block in _refused(assessment) if assessment.refusal is not None else _measured(assessment):
        page.add(block)
    return page.render()


def _identity(facts: SheetFacts) -> Block:
    made = f"Case {facts.case_id} · assessment {facts.assessment_id} · {facts.assessed_at} · {facts.software}"
    return stacked((text_block(DISCLAIMER, HEADING), text_block(made, SMALL)))


def _refused(assessment: AblationAssessment) -> Iterator[Block]:
    if assessment.refusal is not None:
        for line in words.refusal_lines(assessment.refusal):
            yield text_block(line, BODY)
    scans = assessment.scans
    yield _warnings(assessment.warnings, CONTENT_IN)
    if scans is None:
        return
    yield _scan_facts(scans)
    before = _whole_slice(scans, assessment.lesion.centroid_lps_mm, planning=True)
    after = _whole_slice(scans, None, planning=False)
    yield side_by_side(((0.0, before), (_HALF_IN + _GUTTER_IN, after)))
    yield text_block("The two images are not aligned with each other; nothing was measured in them.", BODY)


def _whole_slice(
    scans: ComparedScans, through: tuple[float, float, float] | None, *, planning: bool
) -> Block:
    ct = scans.planning if planning else scans.verification
    middle = ct.geometry.corners_lps_mm().mean(axis=0) if through is None else np.array(through)
    return scan_panel(ct, middle, "before" if planning else "after", _LARGE_IN)


def _measured(assessment: AblationAssessment) -> Iterator[Block]:
    maps, scans, shares = assessment.maps, assessment.scans, assessment.margin.shares
    if maps is None or scans is None or shares is None:
        raise ValueError("a measured assessment has its maps, its scans and its margin")
    yield stacked([text_block(line, BODY) for line in words.key_figures(assessment)], 0.02)
    yield _scan_facts(scans)
    images = AssessedImages(scans, maps)
    largest, *others = _places(assessment)
    yield _pair(images, Orientation.AXIAL, largest, _LARGE_IN)
    yield _row(images, largest, (Orientation.CORONAL, Orientation.SAGITTAL))
    for rank, place in enumerate(others, 2):
        yield text_block(f"Uncovered region {rank}", HEADING)
        yield _row(images, place, (Orientation.AXIAL, Orientation.CORONAL))
    yield legend_block(assessment, CONTENT_IN)
    yield side_by_side(
        (
            (
                0.0,
                margin_block(
                    shares, maps.surface_margin_mm, assessment.coverage.target_margin_mm, _HALF_IN - 0.1
                ),
            ),
            (
                _HALF_IN + _GUTTER_IN,
                stacked((_regions(assessment), _warnings(assessment.warnings, _HALF_IN)), 0.1),
            ),
        )
    )


def _scan_facts(scans: ComparedScans) -> Block:
    columns = []
    for offset, name, ct in (
        (0.0, "Before the ablation: planning CT", scans.planning),
        (_HALF_IN + _GUTTER_IN, "After the ablation: verification CT", scans.verification),
    ):
        heading, *lines = words.scan_lines(name, ct)
        blocks = [
            text_block(heading, HEADING, _HALF_IN),
            *(text_block(line, SMALL, _HALF_IN) for line in lines),
        ]
        columns.append((offset, stacked(blocks)))
    return side_by_side(columns)


def _places(assessment: AblationAssessment) -> list[Float64Array]:
    """Points that the images are drawn through: centers of the largest uncovered regions, else of the tumor.

    A region is connected, so that every slice through its center shows a part of it.
    """
    regions = [spot for spot in assessment.uncovered if spot.rank == 1 or spot.volume_ml >= _MIN_DRAWN_ML]
    if regions:
        return [np.array(spot.centroid_lps_mm) for spot in regions[:_MAX_REGIONS]]
    return [np.array(assessment.lesion.verification_centroid_lps_mm)]


def _pair(images: AssessedImages, orientation: Orientation, through: Float64Array, size_in: float) -> Block:
    plane = images.plane(orientation, through)
    before, after = before_panel(images, plane, size_in), after_panel(images, plane, size_in)
    return side_by_side(((0.0, before), (_HALF_IN + _GUTTER_IN, after)))


def _row(
    images: AssessedImages, through: Float64Array, orientations: tuple[Orientation, Orientation]
) -> Block:
    """Two small pairs of before and after."""
    columns = []
    for i, orientation in enumerate(orientations):
        plane = images.plane(orientation, through)
        start = 2 * i * (_QUARTER_IN + _GUTTER_IN)
        columns += [
            (start, before_panel(images, plane, _QUARTER_IN)),
            (start + _QUARTER_IN + _GUTTER_IN, after_panel(images, plane, _QUARTER_IN)),
        ]
    return side_by_side(columns)


def _regions(assessment: AblationAssessment) -> Block:
    heading = "Uncovered: for review, no instruction to ablate, and void once the patient has moved"
    lines = [text_block(line, SMALL, _HALF_IN) for line in words.uncovered_lines(assessment)]
    return stacked([text_block(heading, HEADING, _HALF_IN), *lines], 0.03)


def _warnings(warnings: tuple[str, ...], width_in: float) -> Block:
    """Every warning in full."""
    blocks = [text_block("Warnings", HEADING)] if warnings else []
    for warning in warnings:
        text = text_block(warning, BODY, width_in - _BULLET_IN)
        blocks.append(side_by_side(((0.0, text_block("•", BODY, _BULLET_IN)), (_BULLET_IN, text))))
    return stacked(blocks, 0.03)
