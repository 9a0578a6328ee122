"""Pairs of known truth for the registration benchmark, and how a displacement field is scored on them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Final

import numpy as np
from scipy import ndimage
from scipy.spatial.transform import Rotation

from benchmarks.registration.peers import Pair
from engine.arrays import Float32Array, Float64Array
from engine.coverage.grid import build_measurement_field
from engine.coverage.ratio import measure_coverage
from engine.files.displacement_file import read_displacement
from engine.files.reading import read_ct, read_mask
from engine.findings import TARGET_MARGIN_MM
from engine.geometry import RigidTransform, VolumeGeometry
from engine.kernels.distance import signed_distance_mm
from engine.phantoms import make_procedure
from engine.registration.field import DisplacementField
from engine.structures.surface import SURFACE_LEVEL, StructureSurface
from engine.volume import LabelMask
from service.commands.landmarks import LandmarkPairs, read_landmarks, score_landmarks

COUNTING_SPACING_MM: Final = 0.5
ROOM_MM: Final = 8.0
OFF_CENTERS_MM: Final = 0.25 * COUNTING_SPACING_MM
"""Counted halfway between two voxel centers a mask is exactly one half, and every tie would fall inside."""

PHANTOMS: Final = {"phantom-deep": {"seed": 11}, "phantom-pleural": {"seed": 12, "pleural": True}}

Score = dict[str, float | int | None]


@dataclass(frozen=True, eq=False)
class Case:
    """One pair and what is true of it.

    Parameters
    ----------
    name : str
    pair : Pair
    landmarks : LandmarkPairs, optional
    tumor_places : LandmarkPairs, optional
        Voxels of the true tumor in the fixed CT and their true places in the moving CT.
    """

    name: str
    pair: Pair
    landmarks: LandmarkPairs | None
    tumor_places: LandmarkPairs | None

    @cached_property
    def measured_truth(self) -> float | None:
        """TCR by the product's own measure with the tumor's true rigid motion: what a perfect registration gives."""
        if self.tumor_places is None or self.pair.tumor is None or self.pair.zone is None:
            return None
        places = self.tumor_places
        motion = rigid_projection(places.fixed_lps_mm, places.moving_lps_mm)
        return measured_tcr(self.pair.tumor, self.pair.zone, motion)

    @cached_property
    def counted_truth(self) -> tuple[float, float] | None:
        """TCR and tumor volume (mL), counted as for every method, with the tumor's true rigid motion."""
        if self.tumor_places is None:
            return None
        places = self.tumor_places
        motion = rigid_projection(places.fixed_lps_mm, places.moving_lps_mm)
        return count_tumor(self.pair, lambda points: motion.apply(points) - points, places.fixed_lps_mm)


def all_cases(root: Path | None) -> dict[str, Callable[[], Case]]:
    """Name of every case, and how to make it; ``root`` is the folder of real CT, if there is one."""
    cases: dict[str, Callable[[], Case]] = {}
    if root is not None:
        for folder in sorted((root / "ablation-cases").glob("*/truth.json")):
            cases[folder.parent.name] = partial(ablation_case, folder.parent)
        popi = root / "pair-popi5mm"
        if popi.is_dir():
            cases["popi-inhale-to-exhale"] = partial(popi_case, popi, "10", "60")
            cases["popi-exhale-to-inhale"] = partial(popi_case, popi, "60", "10")
    for name, chosen in PHANTOMS.items():
        cases[name] = partial(phantom_case, name, **chosen)
    return cases


def ablation_case(folder: Path) -> Case:
    """An ablation painted into a real CT."""
    fixed, moving = read_ct(folder / "verification.nii.gz"), read_ct(folder / "planning.nii.gz")
    truth = read_displacement(folder / "truth" / "displacement_lps_mm.nii.gz")
    true_tumor = read_mask(folder / "truth" / "tumor_in_verification.nii.gz", fixed, "true tumor")
    inside = fixed.geometry.to_lps(np.argwhere(true_tumor.voxels).astype(float))
    return Case(
        folder.name,
        Pair(
            fixed,
            moving,
            read_mask(folder / "ablation_zone.nii.gz", fixed, "ablation zone"),
            read_mask(folder / "tumor.nii.gz", moving, "tumor"),
        ),
        read_landmarks(folder / "truth" / "landmarks.csv"),
        LandmarkPairs(inside, inside + truth.at(inside)),
    )


def popi_case(folder: Path, fixed: str, moving: str) -> Case:
    """Two phases of a real 4D-CT; its landmarks count from the center of the first voxel."""
    places = [
        np.loadtxt(folder / f"{phase}-Landmarks.pts", comments="#", ndmin=2) for phase in (fixed, moving)
    ]
    cts = [read_ct(folder / f"{phase}-P_5x5x5.nii.gz") for phase in (fixed, moving)]
    in_fixed, in_moving = (
        place + np.array(ct.geometry.origin_lps_mm) for place, ct in zip(places, cts, strict=True)
    )
    direction = "inhale-to-exhale" if fixed == "10" else "exhale-to-inhale"
    return Case(
        f"popi-{direction}", Pair(cts[0], cts[1], None, None), LandmarkPairs(in_fixed, in_moving), None
    )


def phantom_case(name: str, **chosen: Any) -> Case:
    """A simulated procedure; inside the tumor its motion is rigid and known."""
    phantom = make_procedure(**chosen)
    in_moving = phantom.planning.geometry.to_lps(np.argwhere(phantom.tumor.voxels).astype(float))
    in_fixed = phantom.truth.planning_from_verification.inverse.apply(in_moving)
    pair = Pair(phantom.verification, phantom.planning, phantom.zone, phantom.tumor)
    return Case(name, pair, None, LandmarkPairs(in_fixed, in_moving))


def scores(case: Case, field: DisplacementField, moving_from_fixed: RigidTransform | None = None) -> Score:
    """Scores of one field, lengths in mm; ``moving_from_fixed`` is the rigid motion of Coldspot's tumor."""
    score: Score = {"folding_share": float((field.jacobian_determinant() <= 0).mean())}
    if case.landmarks is not None:
        landmarks = score_landmarks(field, case.landmarks)
        score |= {
            "landmark_mean_mm": landmarks.mean_mm,
            "landmark_p95_mm": landmarks.p95_mm,
            "landmarks_scored": landmarks.scored,
            "landmarks_outside": landmarks.outside,
        }
    if case.tumor_places is not None:
        fixed, moving = case.tumor_places.fixed_lps_mm, case.tumor_places.moving_lps_mm
        error_mm = np.linalg.norm(fixed + field.at(fixed) - moving, axis=1)
        score |= {"tumor_error_mm": float(error_mm.mean()), "tumor_error_max_mm": float(error_mm.max())}
    if case.tumor_places is not None and case.counted_truth is not None:
        true_tcr, true_ml = case.counted_truth
        tcr, volume_ml = count_tumor(case.pair, field.at, case.tumor_places.fixed_lps_mm)
        score |= {"tcr": tcr, "tcr_error": tcr - true_tcr, "tumor_volume_ratio": volume_ml / true_ml}
    if moving_from_fixed is not None and case.pair.tumor is not None and case.pair.zone is not None:
        tcr = measured_tcr(case.pair.tumor, case.pair.zone, moving_from_fixed)
        score["tcr_by_coldspot"] = tcr
        truth = case.measured_truth
        score["tcr_by_coldspot_error"] = None if truth is None else tcr - truth
    return score


def count_tumor(
    pair: Pair, displacement: Callable[[Float64Array], Float64Array], near: Float64Array
) -> tuple[float, float]:
    """Count voxels of 0.5 mm, masks linearly interpolated and their surface where they reach one half.

    Parameters
    ----------
    pair : Pair
        With zone and tumor.
    displacement : callable
        Of points (N, 3) of the fixed frame.
    near : ndarray, (N, 3)
        Places of the tumor in the fixed frame, to lay the grid out.

    Returns
    -------
    tcr, volume_ml : float
        Target coverage ratio and volume of the warped tumor; no coverage of a tumor that is nowhere.
    """
    if pair.tumor is None or pair.zone is None:
        raise ValueError("only cases with a tumor and a zone are counted")
    grid = _counting_grid(pair.fixed.geometry, near, TARGET_MARGIN_MM + ROOM_MM)
    tumor = np.concatenate([_share(pair.tumor, points + displacement(points)) for points in _slabs(grid)])
    if not (tumor >= SURFACE_LEVEL).any():
        return 0.0, 0.0
    zone = np.concatenate([_share(pair.zone, points) for points in _slabs(grid)]) >= SURFACE_LEVEL
    target = signed_distance_mm(tumor, grid.spacing_zyx_mm, level=SURFACE_LEVEL) < TARGET_MARGIN_MM
    covered = float(np.count_nonzero(target & zone)) / float(np.count_nonzero(target))
    return covered, float(np.count_nonzero(tumor >= SURFACE_LEVEL)) * grid.voxel_volume_ml


def measured_tcr(tumor: LabelMask, zone: LabelMask, moving_from_fixed: RigidTransform) -> float:
    """Target coverage ratio as an assessment measures it, from the rigid motion of the tumor."""
    field = build_measurement_field(
        StructureSurface(tumor), StructureSurface(zone), None, None, moving_from_fixed
    )
    coverage, _ = measure_coverage(field, field.zone, field.distance_to_zone_mm)
    return coverage.tcr


def rigid_projection(fixed: Float64Array, moving: Float64Array) -> RigidTransform:
    """The rigid motion nearest to point pairs (Arun et al., IEEE PAMI 9:698-700, 1987)."""
    at_fixed, at_moving = fixed.mean(axis=0), moving.mean(axis=0)
    turn, _ = Rotation.align_vectors(moving - at_moving, fixed - at_fixed)
    rotation = turn.as_matrix()
    return RigidTransform.from_rotation(rotation, at_moving - rotation @ at_fixed)


def _counting_grid(frame: VolumeGeometry, points: Float64Array, room_mm: float) -> VolumeGeometry:
    low = points.min(axis=0) - room_mm - OFF_CENTERS_MM
    return frame.around(low, points.max(axis=0) + room_mm, COUNTING_SPACING_MM)


def _slabs(grid: VolumeGeometry, thickness: int = 16) -> Iterator[Float64Array]:
    """Positions of the voxels of a grid, a few slices at a time."""
    for start in range(0, grid.shape_zyx[0], thickness):
        stop = min(start + thickness, grid.shape_zyx[0])
        index = np.moveaxis(np.indices((stop - start, *grid.shape_zyx[1:])), 0, -1)
        yield grid.to_lps(index + np.array([start, 0, 0]))


def _share(mask: LabelMask, points: Float64Array) -> Float32Array:
    """The mask at any places, linearly interpolated."""
    index = np.moveaxis(mask.geometry.to_index(points), -1, 0)
    share = ndimage.map_coordinates(mask.voxels.astype(np.float32), index, order=1, mode="constant")
    return np.asarray(share, dtype=np.float32)
