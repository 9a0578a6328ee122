"""Each condition changes what it says it changes, in the scans, in the masks and in the truth."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from engine.arrays import BoolArray, Float64Array
from engine.phantoms.conditions import ConditionedProcedure
from engine.volume import CtVolume
from tests.support.phantoms.small_procedures import made

Ct = Float64Array


def verification(**switches: Any) -> Ct:
    return made(**switches).procedure.verification.voxels_hu.astype(np.float64)


def volume_ml(marked: BoolArray, ct: CtVolume) -> float:
    return float(marked.sum() * np.prod(ct.geometry.spacing_zyx_mm) / 1000.0)


def center(case: ConditionedProcedure) -> Float64Array:
    """The tumor's center, verification frame."""
    procedure = case.procedure
    return procedure.truth.planning_from_verification.inverse.apply(np.array(procedure.target_lps_mm))


def largest_part(marked: BoolArray) -> BoolArray:
    labels, count = ndimage.label(marked)
    if not count:
        return np.zeros_like(marked)
    return np.asarray(labels == 1 + int(np.argmax(np.bincount(labels.ravel())[1:])))


def test_the_same_description_gives_the_same_voxels() -> None:
    made.cache_clear()
    first = made()
    made.cache_clear()
    assert np.array_equal(first.procedure.verification.voxels_hu, made().procedure.verification.voxels_hu)
    assert first.procedure.truth == made().procedure.truth


@pytest.mark.parametrize("margin_mm", [3.0, 5.3, 7.0])
def test_an_exact_zone_has_the_margin_that_is_asked_for(margin_mm: float) -> None:
    truth = made(zone="exact", margin_mm=margin_mm, place="central").procedure.truth
    assert truth.minimal_margin_mm == pytest.approx(margin_mm, abs=0.02)
    assert truth.complete == (margin_mm >= 5.0)


@pytest.mark.parametrize("left_mm", [1.0, 2.0, 3.0])
def test_a_tumor_left_over_is_missed_by_about_as_much(left_mm: float) -> None:
    truth = made(zone="left_over", margin_mm=-left_mm, place="central").procedure.truth
    assert -left_mm - 0.1 <= truth.minimal_margin_mm <= -0.5 * left_mm
    assert truth.uncovered_ml


def test_two_burns_apart_are_two_parts_and_joined_ones_are_one() -> None:
    apart = made(zone="burns_apart", margin_mm=2.0, place="central").procedure.zone.voxels
    joined = made(zone="burns_joined", margin_mm=2.0, place="central").procedure.zone.voxels
    assert [ndimage.label(zone)[1] for zone in (apart, joined)] == [2, 1]


def test_a_lobed_zone_is_less_round() -> None:
    def roundness(zone: str) -> float:
        mask = made(zone=zone, margin_mm=3.0, place="central").procedure.zone
        offset = mask.geometry.to_lps(np.argwhere(mask.voxels).astype(float))
        offset -= offset.mean(axis=0)
        radius = (3.0 * len(offset) * np.prod(mask.geometry.spacing_zyx_mm) / (4.0 * np.pi)) ** (1.0 / 3.0)
        return float((np.linalg.norm(offset, axis=1) < radius).mean())

    assert roundness("lobed") < roundness("exact") - 0.05


def test_a_vessel_takes_its_share_of_the_zone() -> None:
    cooled = made(zone="heat_sink", margin_mm=6.0, place="central").procedure.truth
    assert cooled.minimal_margin_mm < 5.0


def test_a_cavity_is_gas_inside_the_zone_and_part_of_it() -> None:
    case = made(cavity_mm=8.0, place="central")
    zone, ct = case.procedure.zone, case.procedure.verification
    gas = zone.voxels & (ct.voxels_hu < -700) & ndimage.binary_erosion(zone.voxels)
    assert volume_ml(largest_part(gas), ct) == pytest.approx(4.0 / 3.0 * np.pi * 0.4**3, rel=0.35)
    assert case.procedure.truth == made(place="central").procedure.truth


def test_needles_are_metal_and_streak_and_leave_the_truth_alone() -> None:
    metal = [(verification(needles=n) > 1200).sum() for n in (0, 1, 3)]
    assert metal[0] == 0
    assert 0 < metal[1] < metal[2]
    assert np.abs(verification(needles=1) - verification()).mean() > 1.0
    assert made(needles=3).procedure.truth == made().procedure.truth


def test_blood_lies_along_the_tract_and_is_not_zone() -> None:
    case, plain = made(hemorrhage_mm=8.0, place="central"), made(place="central")
    denser = verification(hemorrhage_mm=8.0, place="central") - verification(place="central") > 150.0
    assert volume_ml(denser, case.procedure.verification) > 0.5
    assert np.array_equal(case.procedure.zone.voxels, plain.procedure.zone.voxels)


def test_an_effusion_is_fluid_and_a_pneumothorax_air_beside_a_lung_that_fell_back() -> None:
    fluid, air = made(effusion_mm=10.0), made(pneumothorax_mm=10.0)
    ct = fluid.procedure.verification
    plain = verification()
    assert volume_ml((verification(effusion_mm=10.0) > -100.0) & (plain < -600.0), ct) > 2.0
    assert volume_ml(largest_part(verification(pneumothorax_mm=10.0) < -970.0), ct) > 2.0
    for case in (fluid, air):
        assert np.linalg.norm(center(case) - center(made())) > 1.0


def test_collapsed_lung_is_dense_and_stays_lung() -> None:
    dense = (verification(atelectasis_mm=10.0) > -50.0) & (verification() < -600.0)
    assert volume_ml(dense, made().procedure.verification) > 3.0
    assert made(atelectasis_mm=10.0).procedure.truth == made().procedure.truth


def test_bowel_gas_is_new_outside_the_lung_and_as_large_as_asked() -> None:
    switches = {"place": "diaphragm", "planning_field_mm": 110.0, "verification_field_mm": 110.0}
    new = (verification(bowel_gas_ml=20.0, **switches) < -700.0) & (verification(**switches) > -100.0)
    assert volume_ml(new, made(**switches).procedure.verification) == pytest.approx(20.0, rel=0.35)
    assert made(bowel_gas_ml=20.0, **switches).procedure.truth == made(**switches).procedure.truth


def test_a_lower_skin_turns_tissue_into_air() -> None:
    switches = {"verification_field_mm": 100.0}
    new = (verification(skin_shift_mm=5.0, **switches) < -900.0) & (verification(**switches) > -200.0)
    assert volume_ml(new, made(**switches).procedure.verification) > 5.0


@pytest.mark.parametrize("lung_hu", [-970.0, -935.0, -900.0])
def test_hyperinflated_lung_is_as_light_as_asked_in_both_scans(lung_hu: float) -> None:
    case = made(lung_hu=lung_hu, place="central").procedure
    for ct in (case.planning, case.verification):
        assert np.median(ct.voxels_hu[ct.voxels_hu < -700]) == pytest.approx(lung_hu, abs=12.0)


def test_contrast_is_in_planning_alone() -> None:
    with_it, without = made(contrast_hu=200.0, place="mediastinum"), made(place="mediastinum")
    changed = with_it.procedure.planning.voxels_hu.astype(int) - without.procedure.planning.voxels_hu
    assert np.percentile(changed, 99) > 150
    assert np.array_equal(
        with_it.procedure.verification.voxels_hu > -500, without.procedure.verification.voxels_hu > -500
    )


def test_noise_and_kernels_change_the_scan_as_said() -> None:
    def noise(**switches: Any) -> float:
        difference = verification(**switches) - verification(
            verification_kernel=switches.get("verification_kernel", "standard")
        )
        return float(difference[:, :8].std())

    assert noise(verification_noise_hu=100.0) == pytest.approx(100.0, rel=0.05)

    def edges(kernel: str) -> float:
        return float(np.abs(np.diff(verification(verification_kernel=kernel), axis=2)).mean())

    assert edges("soft") < edges("standard") < edges("sharp")


def test_slices_and_fields_are_those_asked_for() -> None:
    case = made(planning_slice_mm=5.0, verification_slice_mm=2.5, verification_field_mm=40.0).procedure
    assert case.planning.geometry.spacing_zyx_mm[0] == 5.0
    assert case.planning.acquisition.slice_thickness_mm == 5.0
    assert case.verification.geometry.spacing_zyx_mm[0] == 2.5
    assert case.verification.geometry.shape_zyx[0] == 16
    assert case.planning.voxels_hu.std() < made().procedure.planning.voxels_hu.std()


def test_a_step_between_slabs_moves_the_upper_half_alone() -> None:
    stepped, plain = verification(breathing_step_mm=4.5), verification()
    half, slices = len(plain) // 2, round(4.5 / 1.5)
    assert np.abs(stepped[:half] - plain[:half]).mean() < 15.0
    inner = slice(half + 1, len(plain) - slices - 1)
    moved = slice(inner.start + slices, inner.stop + slices)
    assert np.abs(stepped[inner] - plain[moved]).mean() < 0.5 * np.abs(stepped[inner] - plain[inner]).mean()
    assert made(breathing_step_mm=4.5).procedure.truth == made().procedure.truth


@pytest.mark.parametrize("degrees", [-25.0, 10.0, 30.0])
def test_a_turned_patient_is_turned(degrees: float) -> None:
    truth = made(patient_turned_deg=degrees, tumor_turned_deg=0.0, place="central").procedure.truth
    rotation = truth.planning_from_verification.rotation
    angle = np.degrees(np.arctan2(rotation[1, 0] - rotation[0, 1], rotation[0, 0] + rotation[1, 1]))
    assert angle == pytest.approx(degrees, abs=0.2)


def test_a_turned_tumor_is_turned_against_its_tissue() -> None:
    def rotation(degrees: float) -> Float64Array:
        return made(tumor_turned_deg=degrees).procedure.truth.planning_from_verification.rotation

    turn = rotation(12.0) @ rotation(0.0).T
    assert np.degrees(np.arccos((np.trace(turn) - 1.0) / 2.0)) == pytest.approx(12.0, abs=0.01)


@pytest.mark.parametrize("breath_mm", [-20.0, 0.0, 20.0])
def test_a_breath_moves_the_tumor(breath_mm: float) -> None:
    case = made(breath_mm=breath_mm, place="central", bend_mm=1.0)
    moved = center(case) - np.array(case.procedure.target_lps_mm)
    assert moved[2] == pytest.approx(breath_mm, abs=2.0)


@pytest.mark.parametrize("inflation", [-0.08, 0.08])
def test_inflated_lung_is_lighter_where_its_density_follows(inflation: float) -> None:
    def lung(**switches: Any) -> float:
        hu = verification(place="central", bend_mm=0.5, contraction=0.0, **switches)
        return float(np.median(hu[hu < -700.0]))

    follows = lung(inflation=inflation) - lung(inflation=inflation, density_follows=False)
    assert follows == pytest.approx(-145.0 * inflation, abs=4.0)


@pytest.mark.parametrize("share", [0.1, 0.2, 0.3])
def test_a_contracted_tumor_is_smaller_and_the_tissue_before_was_covered_better(share: float) -> None:
    case = made(contraction=share, tumor_contracts=True, place="central")
    truth, plain = case.procedure.truth, made(contraction=0.0, place="central").procedure.truth
    assert truth.tumor_volume_ml == pytest.approx(plain.tumor_volume_ml * (1.0 - share) ** 3, rel=1e-6)
    # The same margin in millimeters of the verification CT held more tissue before it shrank.
    assert case.planning_frame.minimal_margin_mm > truth.minimal_margin_mm


def test_lobes_slide_along_a_fissure() -> None:
    still, slid = (verification(slide_fissure_mm=mm, place="central") for mm in (0.01, 8.0))
    difference = np.abs(slid - still) > 100.0
    case = made(slide_fissure_mm=8.0, place="central")
    away = case.procedure.verification.geometry.to_lps(np.argwhere(difference).astype(float)) - center(case)
    direction = away.mean(axis=0) / np.linalg.norm(away.mean(axis=0))
    assert difference.sum() > 50
    # What changed lies on one side of the tumor.
    assert np.mean(away @ direction > 0.0) > 0.95
