"""Phantoms: the same by seed, and true by formulas that share nothing with how they are made."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from scipy import ndimage

from engine.arrays import Float64Array
from engine.files.image_file import read_ct_image, read_mask_image
from engine.geometry import RigidTransform, VolumeGeometry
from engine.phantoms import (
    LobulatedTumor,
    PhantomProcedure,
    PhantomTruth,
    make_procedure,
    paint_ablation,
    random_tumor,
    sphere_minimal_margin_mm,
    sphere_overlap_tcr,
)
from engine.phantoms.ablation import AblationKind, AblationShape, random_ablation
from engine.phantoms.chest import procedural_chest
from engine.phantoms.crossings import find_crossings
from engine.phantoms.motion import Motion, random_motion
from engine.phantoms.procedure import CHEST_BEYOND_SCAN_MM, Course, _draw_scene
from engine.phantoms.scanning import Scene, scene_truth
from engine.phantoms.truth import Sampler, TrueCoverage, TruthField, find_truth, truth_lattice
from engine.volume import CtVolume, LabelMask

SEED = 4
SIZE_MM = 64.0
BEND_MM = 6.0
SIMULATED = "simulated phantom, not a patient"


@pytest.fixture(scope="module")
def miss() -> PhantomProcedure:
    return make_procedure(SEED, size_mm=SIZE_MM, tumor_volume_ml=1.0, greatest_bend_mm=BEND_MM, noise_hu=5.0)


def at_the_pleura(seed: int = 3) -> PhantomProcedure:
    """A small one with thick slices."""
    return make_procedure(
        seed, pleural=True, size_mm=40.0, tumor_volume_ml=1.0, verification_spacing_zyx_mm=(5.0, 0.9, 0.9)
    )


@pytest.fixture(scope="module")
def pleural() -> PhantomProcedure:
    return at_the_pleura()


# --- Truth against formulas


def sphere_truth(
    tumor_mm: float, zone_mm: float, shift: Float64Array, *, lung_above_x_mm: float = -np.inf
) -> PhantomTruth:
    """The truth of two exact spheres, off the lattice's points."""
    center = np.array([0.13, -0.07, 0.21])
    corners = np.stack([center - tumor_mm - 7.13, center + tumor_mm + 7.13])
    zone_corners = np.stack([center + shift - zone_mm - 1.0, center + shift + zone_mm + 1.0])
    low = np.minimum(corners[0], np.maximum(zone_corners[0], corners[0] - 14.0))
    high = np.maximum(corners[1], np.minimum(zone_corners[1], corners[1] + 14.0))
    points = truth_lattice(low, high)
    tumor = np.linalg.norm(points - center, axis=-1) - tumor_mm
    zone = zone_mm - np.linalg.norm(points - center - shift, axis=-1)
    lung = np.clip(points[..., 0] - lung_above_x_mm, -99.0, 99.0)
    return find_truth(
        TruthField(points, tumor, zone, lung, rim_mm=2.5),
        tumor_volume_ml=1.0,
        planning_from_verification=RigidTransform.identity(),
        min_jacobian=1.0,
        rigid=True,
    )


SPHERES = [
    pytest.param(6.0, 13.0, (0.0, 0.0, 0.0), id="complete, concentric"),
    pytest.param(6.0, 13.0, (1.2, -0.9, 0.0), id="complete, shifted"),
    pytest.param(6.0, 11.0, (0.03, 0.0, 0.0), id="a sliver of the target is missed"),
    pytest.param(6.0, 10.0, (1.0, 1.0, -1.4), id="missed target"),
    pytest.param(6.0, 6.4, (0.0, 0.2, 0.0), id="barely around the tumor"),
    pytest.param(6.0, 6.0, (0.2, 0.0, 0.0), id="barely missed tumor"),
    pytest.param(6.0, 8.0, (3.0, 2.0, -1.0), id="missed tumor"),
    pytest.param(6.0, 4.0, (0.0, 0.0, 0.0), id="zone inside the tumor"),
    pytest.param(6.0, 8.0, (9.0, -3.0, 2.0), id="half missed"),
    pytest.param(5.0, 5.0, (10.0, 6.0, 3.0), id="zone beside the tumor"),
    pytest.param(4.0, 6.0, (0.0, 0.0, 19.0), id="zone beside the target"),
    *(
        pytest.param(radius, radius + beyond, (x, y, z), id=f"drawn {n}")
        for n, (radius, beyond, x, y, z) in enumerate(
            np.random.default_rng(9).uniform((3, -2, -5, -5, -5), (7, 6, 5, 5, 5), (6, 5)).tolist()
        )
    ),
]


@pytest.mark.parametrize(("tumor_mm", "zone_mm", "shift"), SPHERES)
def test_truth_of_spheres_is_the_formula(
    tumor_mm: float, zone_mm: float, shift: tuple[float, float, float]
) -> None:
    truth = sphere_truth(tumor_mm, zone_mm, np.array(shift))
    distance = float(np.linalg.norm(shift))
    margin = sphere_minimal_margin_mm(tumor_mm, zone_mm, distance)
    assert truth.tcr == pytest.approx(sphere_overlap_tcr(tumor_mm, 5.0, zone_mm, distance), abs=0.002)
    assert truth.minimal_margin_mm == pytest.approx(margin, abs=0.05)
    if zone_mm > 3.5:  # a smaller core is hardly a lattice cell
        assert truth.core.minimal_margin_mm == pytest.approx(margin - 2.5, abs=0.05)
    assert truth.lung_clipped == TrueCoverage(truth.tcr, truth.minimal_margin_mm)
    assert truth.complete == (truth.minimal_margin_mm >= 5.0) == (truth.tcr == 1.0)
    assert truth.not_assessable_share == 0.0


def test_a_sliver_is_a_miss_although_no_lattice_point_lies_in_it() -> None:
    truth = sphere_truth(6.0, 11.0, np.array([1e-5, 0.0, 0.0]))
    assert 4.9999 < truth.minimal_margin_mm < 5.0
    assert not truth.complete
    assert 0.9999 < truth.tcr < 1.0


def test_a_zone_that_is_not_there_has_no_margin_rather_than_a_small_one() -> None:
    truth = sphere_truth(5.0, 0.05, np.array([0.0, 0.0, 30.0]))
    assert truth.minimal_margin_mm == -np.inf
    assert truth.tcr == 0.0
    assert not truth.complete


def test_clipped_truth_counts_lung_alone() -> None:
    """Towards -x the lung ends close to the tumor, and with it the burn."""
    shift = np.array([3.0, 0.0, 0.0])
    truth = sphere_truth(7.0, 13.5, shift, lung_above_x_mm=-7.5)
    assert truth.minimal_margin_mm == pytest.approx(7.5 + 0.13 - 7.0, abs=0.05)  # to the pleura
    # On the sphere of the zone, the place nearest to the tumor at x = -7.5.
    x = -7.5 - 0.13 - 3.0
    nearest = float(np.hypot(x + 3.0, np.sqrt(13.5**2 - x**2))) - 7.0
    assert truth.lung_clipped.minimal_margin_mm == pytest.approx(nearest, abs=0.05)
    assert truth.lung_clipped.tcr > truth.tcr
    # Cap of the target beyond the pleura, less what of the tumor lies there (none).
    height = 12.0 - 7.5 - 0.13
    cap = np.pi * height**2 * (36.0 - height) / 3.0 / (4.0 / 3.0 * np.pi * 12.0**3)
    assert truth.not_assessable_share == pytest.approx(cap, abs=0.01)


def test_uncovered_region_is_the_missing_part() -> None:
    truth = sphere_truth(6.0, 9.0, np.array([4.0, 0.0, 0.0]))
    target_ml = 4.0 / 3.0 * np.pi * 11.0**3 / 1000.0
    missing_ml = target_ml * (1.0 - sphere_overlap_tcr(6.0, 5.0, 9.0, 4.0))
    assert len(truth.uncovered) == 1
    assert truth.uncovered_ml[0] == pytest.approx(missing_ml, rel=0.02)
    x, y, z = truth.uncovered[0].centroid_lps_mm
    assert x < -2.0
    assert (y, z) == pytest.approx((-0.07, 0.21), abs=0.1)


def test_crossings_of_a_plane_lie_on_it() -> None:
    z, y, x = np.meshgrid(np.arange(5.0), np.arange(6.0), np.arange(7.0), indexing="ij")
    plane = 0.3 * z - 0.5 * y + 0.2 * x + 0.11
    found = find_crossings(plane)
    assert len(found) > 0
    assert np.abs(found.at(plane)).max() < 1e-12
    assert (plane.ravel()[found.inside] >= 0.0).all()
    assert (plane.ravel()[found.outside] < 0.0).all()
    assert len(find_crossings(np.ones((3, 3, 3)))) == 0


# --- Tumor and ablation shapes


def test_a_lobulated_tumor_without_lobes_is_a_sphere() -> None:
    center = np.array([3.0, -20.0, 11.0])
    ball = LobulatedTumor(center, np.full(3, 8.0), np.eye(3))
    rng = np.random.default_rng(0)
    away = rng.normal(size=(4000, 3))
    away *= rng.uniform(2.0, 21.0, (4000, 1)) / np.linalg.norm(away, axis=1, keepdims=True)
    error = ball.signed_distance_mm(center + away) - (np.linalg.norm(away, axis=1) - 8.0)
    assert np.abs(error).max() < 0.03
    assert ball.volume_ml == pytest.approx(4.0 / 3.0 * np.pi * 0.512, rel=1e-3)
    assert ball.max_radius_mm == pytest.approx(8.0)


def truth_of_shapes(
    ablation: AblationShape, tumor: LobulatedTumor, lung_depth_mm: Sampler | None = None, seed: int = 3
) -> PhantomTruth:
    """The truth of a scene whose chest nobody looks at; lung is everywhere unless told."""
    motion = random_motion(
        np.random.default_rng(seed), tumor.center, tumor.max_radius_mm, rigid_only=False, contraction=0.05
    )
    chest = np.zeros((2, 2, 2), dtype=np.float32)
    box = VolumeGeometry((2, 2, 2), (1.0, 1.0, 1.0))
    deep = lung_depth_mm or (lambda points: np.full(points.shape[:-1], 99.0))
    return scene_truth(
        Scene(chest, box, deep, tumor, tumor.max_radius_mm, motion, ablation, 0.0, tumor_in_chest=False)
    )


@pytest.mark.parametrize("margin_mm", [-2.0, 0.0, 2.6, 4.9, 5.1, 8.5])
def test_a_constant_margin_around_a_sphere_is_the_minimal_margin(margin_mm: float) -> None:
    ball = LobulatedTumor(np.array([-70.0, 8.0, 10.0]), np.full(3, 5.0), np.eye(3))
    truth = truth_of_shapes(AblationShape(margin_mm, (), np.array([1.0, 0.0, 0.0]), 0.0, 4.0), ball)
    assert truth.minimal_margin_mm == pytest.approx(margin_mm, abs=0.05)
    assert truth.tcr == pytest.approx(sphere_overlap_tcr(5.0, 5.0, 5.0 + margin_mm, 0.0), abs=0.003)
    assert truth.complete == (margin_mm >= 5.0)
    assert truth.tumor_volume_ml == pytest.approx(4.0 / 3.0 * np.pi * 0.125, rel=1e-3)


@pytest.mark.parametrize("seed", range(2))
def test_minimal_margin_of_a_zone_around_the_tumor_is_its_least_directional_margin(seed: int) -> None:
    """The zone's surface lies ``margin(direction)`` from the tumor, so the least of them is the answer."""
    rng = np.random.default_rng(seed)
    tumor = random_tumor(rng, (-70.0, 8.0, 10.0), volume_ml=1.0)
    ablation = random_ablation(rng, "miss", None)
    unit = rng.normal(size=(40_000, 3))
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    truth = truth_of_shapes(ablation, tumor)
    assert truth.minimal_margin_mm == pytest.approx(float(ablation.margin_mm(unit).min()), abs=0.05)


def test_a_margin_wider_than_the_first_lattice_is_found_where_lung_ends_too() -> None:
    """At a pleura the margin over all is small, the one over lung wide: neither is lost."""
    ball = LobulatedTumor(np.array([-70.0, 8.0, 10.0]), np.full(3, 4.0), np.eye(3))
    wide = AblationShape(12.0, (), np.array([1.0, 0.0, 0.0]), 3.0, 5.0)  # 9 mm into the depth of the lung
    truth = truth_of_shapes(wide, ball, lambda points: points[..., 0] + 76.0)
    assert truth.minimal_margin_mm == pytest.approx(2.0, abs=0.25)  # the bend moves the pleura a little
    assert truth.lung_clipped.minimal_margin_mm == pytest.approx(9.0, abs=0.05)
    assert truth.lung_clipped.tcr == 1.0
    assert not truth.complete


# --- Whole procedures


def test_same_seed_same_voxels_and_truth(pleural: PhantomProcedure, miss: PhantomProcedure) -> None:
    again = at_the_pleura()
    assert again.truth != miss.truth
    assert again.truth == pleural.truth
    assert np.array_equal(again.planning.voxels_hu, pleural.planning.voxels_hu)
    assert np.array_equal(again.verification.voxels_hu, pleural.verification.voxels_hu)
    for name in ("tumor", "zone", "core"):
        assert np.array_equal(getattr(again, name).voxels, getattr(pleural, name).voxels)
        assert getattr(again, name).geometry == getattr(pleural, name).geometry


@pytest.mark.parametrize("kind", ["complete", "miss", "under", "half"])
def test_kind_is_what_its_name_says(kind: AblationKind, miss: PhantomProcedure) -> None:
    phantom = (
        miss
        if kind == "miss"
        else make_procedure(2, kind=kind, size_mm=32.0, tumor_volume_ml=0.5, rigid_only=True)
    )
    truth = phantom.truth
    margin = truth.minimal_margin_mm
    assert truth.rigid == (kind != "miss")
    assert truth.complete == (kind == "complete") == (truth.tcr == 1.0) == (not truth.uncovered)
    if kind == "complete":
        assert 5.0 <= margin < 10.0
    elif kind == "miss":
        assert 0.0 < margin < 5.0
    else:
        assert margin < 0.0
    assert kind != "half" or truth.tcr < 0.7
    assert truth.core.tcr < truth.tcr or kind == "complete"


def test_masks_are_the_shapes(miss: PhantomProcedure) -> None:
    assert miss.tumor.volume_ml == pytest.approx(miss.truth.tumor_volume_ml, rel=0.03)
    assert miss.truth.tumor_volume_ml == pytest.approx(1.0, rel=1e-6)
    assert not (miss.core.voxels & ~miss.zone.voxels).any()
    verification_from_planning = miss.truth.planning_from_verification.inverse
    tumor = verification_from_planning.apply(miss.tumor.geometry.to_lps(np.argwhere(miss.tumor.voxels)))
    at = np.rint(miss.zone.geometry.to_index(tumor)).astype(int)
    assert miss.zone.voxels[tuple(at.T)].all()  # the margin is positive: the zone holds the tumor
    center = np.rint(miss.tumor.geometry.to_index(miss.target_lps_mm)).astype(int)
    assert miss.tumor.voxels[tuple(center)]


def test_headers_name_a_phantom_and_do_not_align_its_scans(miss: PhantomProcedure) -> None:
    assert miss.tumor.require_on(miss.planning) is miss.tumor
    assert miss.zone.require_on(miss.verification) is miss.zone
    assert miss.core.require_on(miss.verification) is miss.core
    ours = miss.planning.geometry.frame_of_reference_uid
    theirs = miss.verification.geometry.frame_of_reference_uid
    assert ours != theirs
    assert "" not in {ours, theirs}
    center = np.array(miss.target_lps_mm)
    verification_from_planning = miss.truth.planning_from_verification.inverse
    assert np.linalg.norm(verification_from_planning.apply(center) - center) > 3.0
    for ct in (miss.planning, miss.verification):
        assert ct.acquisition.series_description == SIMULATED
        assert ct.acquisition.patient_id == ""


def test_images_agree_with_the_motion(miss: PhantomProcedure) -> None:
    phantom, motion = miss, motion_of(SEED)
    assert motion.planning_from_verification == phantom.truth.planning_from_verification
    outside = ~ndimage.binary_dilation(phantom.zone.voxels, iterations=3)
    outside &= np.indices(outside.shape).sum(axis=0) % 7 == 0
    points = phantom.verification.geometry.to_lps(np.argwhere(outside))
    hu = phantom.verification.voxels_hu[outside]
    true = correlation(phantom, motion.to_planning(points), hu)
    assert true > 0.99
    assert true > correlation(phantom, motion.planning_from_verification.apply(points), hu) + 0.02
    assert true > correlation(phantom, points, hu) + 0.2


def motion_of(seed: int) -> Motion:
    """The motion that the procedure of this seed draws."""
    rng = np.random.default_rng(seed)
    tumor = random_tumor(rng, (-70.0, 8.0, 10.0), volume_ml=1.0)
    chest = procedural_chest(rng, tumor.center, 0.5 * SIZE_MM + CHEST_BEYOND_SCAN_MM)
    return _draw_scene(rng, chest, tumor, Course(greatest_bend_mm=BEND_MM), tumor_in_chest=False).motion


def correlation(phantom: PhantomProcedure, planning_lps_mm: Float64Array, hu: npt.NDArray[np.int16]) -> float:
    """Of lung HU with those of the planning CT at other positions."""
    seen = phantom.planning.geometry.contains(planning_lps_mm)
    index = phantom.planning.geometry.to_index(planning_lps_mm[seen]).T
    sampled = ndimage.map_coordinates(
        phantom.planning.voxels_hu.astype(float), index, order=3, mode="nearest"
    )
    return float(np.corrcoef(sampled, hu[seen])[0, 1])


def test_at_the_pleura_part_of_the_target_cannot_be_assessed(
    pleural: PhantomProcedure, miss: PhantomProcedure
) -> None:
    truth = pleural.truth
    assert truth.not_assessable_share > 0.02
    assert miss.truth.not_assessable_share == 0.0
    assert truth.lung_clipped.tcr > truth.tcr
    assert truth.lung_clipped.minimal_margin_mm >= truth.minimal_margin_mm
    assert np.isfinite(truth.lung_clipped.minimal_margin_mm)
    assert pleural.verification.acquisition.slice_thickness_mm == 5.0


# --- Ablations painted into a CT


def test_painting_into_a_phantom_ct(miss: PhantomProcedure) -> None:
    painted = paint_ablation(miss.planning, miss.tumor, seed=2, kind="under", size_mm=56.0)
    assert_painted(painted, miss.planning, miss.tumor)
    assert painted.truth.minimal_margin_mm < 0.0


def test_painting_into_a_real_ct() -> None:
    folder = Path(os.environ.get("COLDSPOT_DATA") or "absent") / "ct-lidc0314"
    if not folder.is_dir():
        pytest.skip("COLDSPOT_DATA is not set, or has no ct-lidc0314: no real CT to paint into")
    ct = read_ct_image(folder / "ct_right_lung.nii.gz")
    tumor = read_mask_image(folder / "nodule_consensus50.nii.gz", "tumor")
    painted = paint_ablation(ct, tumor, seed=1, kind="miss", size_mm=SIZE_MM)
    assert_painted(painted, ct, tumor)
    assert painted.truth.tumor_volume_ml == pytest.approx(2.67, abs=0.05)


def assert_painted(painted: PhantomProcedure, ct: CtVolume, tumor: LabelMask) -> None:
    assert painted.planning is ct
    assert painted.tumor is tumor
    assert painted.verification.acquisition.series_description == SIMULATED
    assert painted.verification.geometry.frame_of_reference_uid != ct.geometry.frame_of_reference_uid
    assert 0.0 < painted.truth.tcr < 1.0
    assert np.isfinite(painted.truth.minimal_margin_mm)
    assert not (painted.core.voxels & ~painted.zone.voxels).any()
    # What the masks and the true motion give is what the truth says.
    verification_from_planning = painted.truth.planning_from_verification.inverse
    marked = verification_from_planning.apply(tumor.geometry.to_lps(np.argwhere(tumor.voxels)))
    index = painted.zone.geometry.to_index(marked).T
    spacing = painted.zone.geometry.spacing_zyx_mm
    depth = ndimage.distance_transform_edt(painted.zone.voxels, sampling=spacing)
    depth -= ndimage.distance_transform_edt(~painted.zone.voxels, sampling=spacing)
    of_masks = float(ndimage.map_coordinates(depth, index, order=1).min())
    assert painted.truth.minimal_margin_mm == pytest.approx(of_masks, abs=1.5)
