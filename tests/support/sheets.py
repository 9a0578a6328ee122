"""Sheets: what stands on them, and assessments to draw."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from engine.findings import CoverageFinding, MarginFinding
from engine.refusal import Refusal, RefusalCode
from engine.selftest.phantom import warm_up
from service.pipeline.sheet.facts import SheetFacts

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from engine.assessment.outcome import AblationAssessment

FACTS = SheetFacts("case-1", "assessment-2", "2026-11-30T12:00:00+00:00", "coldspot 0.0.0")


def sheet_lines(figure: Figure) -> list[str]:
    """Return the lines of text on a page, apart from those inside of images and plots."""
    return [text.get_text() for text in figure.texts]


def sheet_text(figure: Figure) -> str:
    """Return the text on a page in one line, so that line breaks do not matter."""
    return " ".join(sheet_lines(figure))


def missed() -> AblationAssessment:
    """Spheres with a miss to the right of the tumor."""
    return warm_up()


def covered() -> AblationAssessment:
    """The same spheres, as if all of the target lay in the zone."""
    found = missed()
    assert found.maps is not None
    nothing = np.zeros_like(found.maps.uncovered)
    return replace(
        found,
        coverage=replace(
            found.coverage,
            tcr=1.0,
            tcr_interval_90=(1.0, 1.0),
            complete=True,
            probability_complete=1.0,
            lung_clipped_tcr=1.0,
            lung_clipped_complete=True,
            lung_clipped_probability_complete=1.0,
        ),
        margin=replace(
            found.margin,
            minimal_mm=6.1,
            minimal_interval_90_mm=(5.2, 7.0),
            shares=(0.0, 0.0, 0.9, 0.1),
            lung_clipped_minimal_mm=6.1,
        ),
        uncovered=(),
        maps=replace(
            found.maps,
            uncovered=nothing,
            zone=found.maps.zone | found.maps.target,
            surface_margin_mm=np.linspace(6.1, 10.5, 500),
        ),
    )


def pleural() -> AblationAssessment:
    """What the spheres miss, as if it lay outside the lung."""
    found = missed()
    assert found.maps is not None
    maps = replace(
        found.maps,
        uncovered=np.zeros_like(found.maps.uncovered),
        uncovered_outside=found.maps.uncovered,
        not_assessable=found.maps.uncovered,
    )
    coverage = replace(
        found.coverage,
        lung_clipped_tcr=1.0,
        lung_clipped_tcr_interval_90=(1.0, 1.0),
        lung_clipped_complete=True,
        lung_clipped_probability_complete=0.97,
        not_assessable_share=0.07,
    )
    uncovered = tuple(replace(region, in_lung=False) for region in found.uncovered)
    return replace(found, maps=maps, uncovered=uncovered, coverage=coverage)


def refused(reason: str = "the zone is cut by the field of view; scan a larger one") -> AblationAssessment:
    """The same scans, refused."""
    return replace(
        missed(),
        coverage=CoverageFinding(),
        margin=MarginFinding(),
        uncovered=(),
        maps=None,
        zone=None,
        refusal=Refusal(RefusalCode.ZONE_CUT_BY_FIELD_OF_VIEW, reason),
    )
