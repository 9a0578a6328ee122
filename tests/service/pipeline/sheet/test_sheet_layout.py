"""Nothing on the sheet is cut, and nothing lies on anything else: its boxes are compared as they are drawn."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

import pytest
from matplotlib.transforms import Bbox

from engine.refusal import LesionCandidate, Refusal, RefusalCode
from service.pipeline.sheet.drawing import sheet_figure
from service.pipeline.sheet.page import MARGIN_IN
from tests.support.sheets import FACTS, covered, missed, pleural, refused, sheet_lines, sheet_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from engine.assessment.outcome import AblationAssessment

LONG = (
    "verification CT: slices are 5.0 mm apart against a margin of 5 mm; along the slice normal the minimal margin is "
    "known to ±2.5 mm only, and tends to be too small. Reconstruct at 1.25 mm or less for a sharper answer."
)
UNBROKEN = "/data/" + "series_of_a_very_long_name_" * 12 + ".nii.gz"


def with_warnings(assessment: AblationAssessment, *warnings: str) -> AblationAssessment:
    return replace(assessment, warnings=warnings)


def with_regions(assessment: AblationAssessment, count: int) -> AblationAssessment:
    region = assessment.uncovered[0]
    volumes = [region.volume_ml / rank for rank in range(1, count + 1)]
    return replace(
        assessment,
        uncovered=tuple(replace(region, rank=i + 1, volume_ml=ml) for i, ml in enumerate(volumes)),
    )


def with_candidates(assessment: AblationAssessment) -> AblationAssessment:
    candidates = tuple(LesionCandidate(0.5 * i, (10.0 * i, -20.0, 300.0)) for i in range(1, 7))
    reason = "several possible tumors were found; " * 6
    return replace(assessment, refusal=Refusal(RefusalCode.SEVERAL_LESIONS, reason, candidates))


SHEETS: dict[str, Callable[[], AblationAssessment]] = {
    "covered": covered,
    "missed": missed,
    "pleural": pleural,
    "refused": refused,
    "refused, candidates": lambda: with_candidates(refused()),
    "refused, no scans": lambda: replace(refused(), scans=None),
    "one warning": lambda: with_warnings(missed(), LONG),
    "30 long warnings": lambda: with_warnings(missed(), *(f"{i}. {LONG}" for i in range(30))),
    "a word longer than the page": lambda: with_warnings(missed(), UNBROKEN),
    "nine regions": lambda: with_regions(missed(), 9),
    "refused with warnings": lambda: with_warnings(refused(LONG * 3), *(LONG for _ in range(12))),
}


@cache
def drawn(name: str) -> tuple[AblationAssessment, Figure]:
    assessment = SHEETS[name]()
    figure = sheet_figure(assessment, FACTS)
    figure.draw_without_rendering()
    return assessment, figure


def boxes_of(figure: Figure) -> list[tuple[str, Bbox]]:
    boxes = [(text.get_text(), text.get_window_extent()) for text in figure.texts if text.get_text()]
    for i, axis in enumerate(figure.axes):
        box = axis.get_tightbbox()
        assert box is not None
        boxes.append((f"axes {i}", box))
    return boxes


def overlap(one: Bbox, other: Bbox) -> float:
    """How deep two boxes lie in each other, pixels; at most 0 where they do not."""
    return float(min(one.x1 - other.x0, other.x1 - one.x0, one.y1 - other.y0, other.y1 - one.y0))


@pytest.mark.parametrize("name", SHEETS)
def test_nothing_is_cut_and_nothing_overlaps(name: str) -> None:
    _, figure = drawn(name)
    width, height = figure.get_size_inches() * figure.dpi
    boxes = boxes_of(figure)
    margin = 0.5 * MARGIN_IN * figure.dpi
    for what, box in boxes:
        assert box.x0 >= margin, what
        assert box.x1 <= width - margin, what
        assert box.y0 >= margin, what
        assert box.y1 <= height - margin, what
    for (what, one), (other_what, other) in itertools.combinations(boxes, 2):
        assert overlap(one, other) <= 2.0, f"{what!r} lies on {other_what!r}"


@pytest.mark.parametrize("name", ["missed", "refused"])
def test_letters_and_scale_stay_inside_their_image(name: str) -> None:
    _, figure = drawn(name)
    lettered = [axis for axis in figure.axes if len(axis.texts) > 1]
    assert lettered
    for axis in lettered:
        extents = [text.get_window_extent() for text in axis.texts]
        for extent in extents:
            assert axis.bbox.x0 <= extent.x0
            assert extent.x1 <= axis.bbox.x1
            assert axis.bbox.y0 <= extent.y0
            assert extent.y1 <= axis.bbox.y1
        for one, other in itertools.combinations(extents, 2):
            assert overlap(one, other) <= 0.0


@pytest.mark.parametrize("name", SHEETS)
def test_every_warning_is_there_in_full(name: str) -> None:
    assessment, figure = drawn(name)
    page = sheet_text(figure).replace(" ", "")
    for warning in assessment.warnings:
        assert warning.replace(" ", "") in page
    if assessment.refusal is not None:
        assert assessment.refusal.reason.replace(" ", "") in page


def test_the_verdict_comes_first_and_the_disclaimer_is_there() -> None:
    lines = sheet_lines(drawn("missed")[1])
    assert lines[0].startswith("NOT COVERED: ")
    assert any("Research software, not a medical device." in line for line in lines)


def test_a_page_grows_only_where_it_has_to() -> None:
    names = ("refused", "covered", "30 long warnings")
    heights = [drawn(name)[1].get_size_inches()[1] for name in names]
    assert heights[0] < heights[1] + 0.1 < heights[2]


def test_a_caution_stands_above_all_figures() -> None:
    lines = sheet_lines(sheet_figure(covered(), replace(FACTS, caution="CANNED ANSWER")))
    assert lines.index("CANNED ANSWER") < min(i for i, line in enumerate(lines) if "%" in line)
