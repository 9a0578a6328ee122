"""Registration of real CT: as accurate as was promised, and refusing where nothing can be promised."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from benchmarks.registration.cases import Case, ablation_case, popi_case, scores
from engine.assessment.planning import prepare_planning
from engine.assessment.verification import assess_ablation
from engine.phantoms.painting import paint_ablation
from engine.phantoms.pneumothorax import collapse_lung
from engine.refusal import RefusalCode, RefusedError
from engine.registration.judging.remaining_motion import DOUBTFUL_MM
from engine.registration.register import RegisteredPair, register
from engine.volume import CtVolume, LabelMask
from service.commands.landmarks import score_landmarks
from tests.support.ablation_cases import DATA, ROOT, assessed, needs_real_ct
from tests.support.ablation_cases import case as ablated

pytestmark = needs_real_ct

AERATED_HU = -400
CLOSING_MM = 4.0


@cache
def case(name: str) -> Case:
    return ablation_case(ROOT / name)


@cache
def registered(name: str) -> RegisteredPair:
    pair = case(name).pair
    return register(pair.fixed, pair.moving, fixed_zone=pair.zone, moving_tumor=pair.tumor)


@pytest.mark.parametrize(
    ("name", "landmarks_mm", "tumor_mm", "tcr_off"),
    [
        ("lidc-half", 0.4, 0.8, 0.02),
        ("lidc-pleural-complete", 0.6, 1.0, 0.02),
        ("lidc-5mm-under", 0.8, 1.0, 0.03),
        ("lung1-5mm-under", 0.8, 1.5, 0.03),
    ],
)
def test_landmarks_tumor_and_coverage_are_where_they_are(
    name: str, landmarks_mm: float, tumor_mm: float, tcr_off: float
) -> None:
    found = registered(name)
    score = scores(case(name), found.field, found.alignment.planning_from_verification)
    assert score["landmarks_outside"] == 0
    on_landmarks, in_tumor = score["landmark_mean_mm"], score["tumor_error_mm"]
    assert on_landmarks is not None
    assert in_tumor is not None
    assert on_landmarks <= landmarks_mm
    assert in_tumor <= tumor_mm
    assert score["tumor_volume_ratio"] == pytest.approx(1.0, abs=0.03)
    assert score["tcr_by_coldspot_error"] == pytest.approx(0.0, abs=tcr_off)
    assert score["folding_share"] == 0.0
    assert found.alignment.method == "deformable"


@pytest.mark.parametrize("name", ["lidc-half", "lidc-5mm-under"])
def test_the_error_at_the_tumor_was_foreseen(name: str) -> None:
    """No farther off than three of the standard deviations that were named along its direction."""
    found, places = registered(name), case(name).tumor_places
    assert places is not None
    at = places.fixed_lps_mm
    off = (at + found.field.at(at) - places.moving_lps_mm).mean(axis=0)
    assert off @ np.linalg.solve(found.alignment.translation_covariance_mm2, off) < 3.0**2 + 3.0
    assert found.alignment.uncertainty_mm < 2.0


@pytest.mark.parametrize(("fixed", "moving"), [("10", "60"), ("60", "10")])
def test_a_deep_breath_is_followed(fixed: str, moving: str) -> None:
    """Everywhere: with one smooth field for lung and diaphragm one landmark of 41 was 5.5 mm off."""
    popi = popi_case(Path(DATA or "") / "pair-popi5mm", fixed, moving)
    found = register(popi.pair.fixed, popi.pair.moving)
    assert popi.landmarks is not None
    score = score_landmarks(found.field, popi.landmarks)
    assert score.outside == 0
    assert score.mean_mm is not None
    assert score.mean_mm <= 1.4
    assert score.max_mm is not None
    assert score.max_mm < 3.5
    assert found.alignment.quality.largest_residual_mm is not None
    assert (found.alignment.quality.largest_residual_mm > DOUBTFUL_MM) == bool(found.doubtful)


@pytest.mark.parametrize(
    ("fixed", "moving"), [("lidc-half", "lung1-5mm-under"), ("lung1-5mm-under", "lidc-5mm-under")]
)
def test_another_patient_is_refused(fixed: str, moving: str) -> None:
    theirs, ours = case(fixed).pair, case(moving).pair
    with pytest.raises(RefusedError) as caught:
        register(theirs.fixed, ours.moving, fixed_zone=theirs.zone, moving_tumor=ours.tumor)
    assert caught.value.refusal.code in (
        RefusalCode.ALIGNMENT_RESIDUAL_TOO_HIGH,
        RefusalCode.LUNG_CHANGED,
        RefusalCode.WRONG_SIDE,
    )


def lung_of(ct: CtVolume, zone: LabelMask) -> LabelMask:
    """All lung with its vessels and the zone, by threshold."""
    labels, _ = ndimage.label(ct.voxels_hu < AERATED_HU)
    beside = np.bincount(labels[ndimage.binary_dilation(zone.voxels, iterations=6)], minlength=2)
    beside[0] = 0
    lung = (labels == beside.argmax()) | zone.voxels
    spacing = ct.geometry.spacing_zyx_mm
    room = [int(np.ceil(CLOSING_MM / s)) + 1 for s in spacing]
    padded = np.pad(lung, [(n, n) for n in room], mode="edge")
    grown = ndimage.distance_transform_edt(~padded, sampling=spacing) <= CLOSING_MM
    closed = ndimage.distance_transform_edt(grown, sampling=spacing) > CLOSING_MM
    inner = tuple(slice(n, -n) for n in room)
    return LabelMask(closed[inner] | lung, ct.geometry, "lung")


@pytest.mark.parametrize("name", ["lidc-half", pytest.param("lidc-5mm-under", marks=pytest.mark.acceptance)])
def test_a_pneumothorax_is_refused(name: str) -> None:
    pair = case(name).pair
    assert pair.zone is not None
    center = pair.fixed.geometry.to_lps(np.argwhere(pair.zone.voxels).mean(axis=0))
    fallen = collapse_lung(
        pair.fixed, lung_of(pair.fixed, pair.zone), center, gap_mm=10.0, masks=(pair.zone,)
    )
    assert fallen.air.volume_ml > 50.0
    with pytest.raises(RefusedError) as caught:
        register(fallen.ct, pair.moving, fixed_zone=fallen.masks[0], moving_tumor=pair.tumor)
    assert caught.value.refusal.code is RefusalCode.LUNG_CHANGED
    assert "pneumothorax" in caught.value.refusal.reason


def test_a_zone_that_missed_half_of_the_tumor_stays_honest() -> None:
    found, truth = assessed("lidc-half"), ablated("lidc-half").truth
    interval = found.coverage.tcr_interval_90
    assert interval is not None
    assert interval[0] <= truth["tcr"] <= interval[1]
    assert interval[1] - interval[0] < 0.15
    assert found.coverage.complete is False


@pytest.mark.acceptance
@pytest.mark.parametrize("seed", [3, 4])
def test_a_zone_painted_over_half_of_the_tumor_stays_honest(seed: int) -> None:
    """The zone must not draw the tumor into itself: what it missed is said."""
    pair = case("lidc-shell-complete").pair
    assert pair.tumor is not None
    painted = paint_ablation(pair.moving, pair.tumor, seed=seed, kind="half", contraction=0.1)
    found = assess_ablation(
        prepare_planning(painted.planning, painted.tumor), painted.verification, painted.zone
    )
    assert found.refusal is None
    interval = found.coverage.tcr_interval_90
    assert interval is not None
    assert interval[0] <= painted.truth.tcr <= interval[1]
    # Readers' own error on both contours alone makes it about 0.2.
    assert interval[1] - interval[0] < 0.25
    assert painted.truth.tcr < 0.8
    assert found.coverage.complete is False
    assert found.coverage.probability_complete == 0.0
