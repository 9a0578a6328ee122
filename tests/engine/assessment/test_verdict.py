"""The verdict: what is said first, and never better than what was measured."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from engine.assessment.outcome import AblationAssessment
from engine.assessment.verdict import VerdictKind, verdict_of
from engine.findings import ContourOrigin, LungSide
from engine.model_identity import ModelIdentity
from tests.support.sheets import covered, missed, pleural, refused

BY_A_MODEL = ContourOrigin.segmented_by(
    ModelIdentity("site-net", "1.0.0", "0" * 64, demo=False, manifest_sha256="1" * 64)
)


def test_a_miss_is_named_with_its_volume_and_its_place() -> None:
    found = missed()
    assert found.maps is not None
    uncovered_ml = np.count_nonzero(found.maps.uncovered) * found.maps.geometry.voxel_volume_ml
    verdict = verdict_of(found)
    assert verdict.kind is VerdictKind.NOT_COVERED
    assert verdict.sentence.startswith(
        f"NOT COVERED: {uncovered_ml:.1f} mL of the 5 mm target, largest part "
    )
    assert verdict.sentence.endswith("mm toward the patient's right of the tumor (center to center)")
    in_right_lung = replace(found, lesion=replace(found.lesion, lung_side=LungSide.RIGHT))
    assert "lateral (right) of the tumor" in verdict_of(in_right_lung).sentence


@pytest.mark.parametrize(
    ("complete", "probability", "kind"),
    [
        (True, 1.0, VerdictKind.COVERED),
        (True, 0.9, VerdictKind.COVERED),
        (None, 0.89, VerdictKind.UNDECIDED),
        (None, 0.1, VerdictKind.UNDECIDED),
        (None, 0.95, VerdictKind.UNDECIDED),
    ],
)
def test_covered_is_said_only_where_it_is_sure(
    complete: bool | None, probability: float, kind: VerdictKind
) -> None:
    found = covered()
    coverage = replace(found.coverage, complete=complete, probability_complete=probability)
    verdict = verdict_of(replace(found, coverage=coverage))
    assert verdict.kind is kind
    assert verdict.sentence.startswith("COVERED: ") is (kind is VerdictKind.COVERED)


def test_what_lies_outside_the_lung_is_never_called_covered() -> None:
    verdict = verdict_of(pleural())
    assert verdict.kind is VerdictKind.COVERED_IN_LUNG
    assert "cannot be assessed" in verdict.sentence
    assert "% of the target lies outside the lung" in verdict.sentence


@pytest.mark.parametrize(
    ("probability", "reason"), [(0.62, "only 62 %"), (0.95, "a model drew it"), (None, "surely")]
)
def test_in_lung_too_what_is_not_sure_stays_undecided(probability: float | None, reason: str) -> None:
    drawn = pleural()
    coverage = replace(
        drawn.coverage, lung_clipped_complete=None, lung_clipped_probability_complete=probability
    )
    lesion = replace(drawn.lesion, origin=BY_A_MODEL if probability == 0.95 else drawn.lesion.origin)
    verdict = verdict_of(replace(drawn, coverage=coverage, lesion=lesion))
    assert verdict.kind is VerdictKind.UNDECIDED
    assert verdict.sentence.startswith("UNDECIDED: ")
    assert reason in verdict.sentence


def test_where_nothing_can_be_assessed_nothing_is_covered() -> None:
    found = pleural()
    nothing = replace(found.coverage, lung_clipped_tcr=None, lung_clipped_complete=None)
    assert verdict_of(replace(found, coverage=nothing)).kind is VerdictKind.UNDECIDED


def test_a_refusal_gives_its_reason() -> None:
    verdict = verdict_of(refused("the zone is cut; scan a larger field of view"))
    assert verdict.sentence == "NO ANSWER: the zone is cut; scan a larger field of view"


def test_neither_a_preliminary_nor_an_empty_assessment_has_a_verdict() -> None:
    found: AblationAssessment = missed()
    for without in (replace(found, preliminary=True), replace(found, maps=None)):
        with pytest.raises(ValueError, match="assessment"):
            verdict_of(without)
