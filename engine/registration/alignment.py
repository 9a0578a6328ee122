"""Aligning the lesion: translation, then rigid, then the tumor's own motion; each step judges itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from engine.geometry import FloatArray, VolumeGeometry
from engine.kernels.backend import BackendName
from engine.kernels.distance import distance_mm
from engine.kernels.resampling import resample
from engine.refusal import RefusalCode, RefusedError
from engine.registration.lesion_motion import predict_lesion_motion
from engine.registration.region import ComparisonRegion, comparison_region
from engine.registration.residual import Residual, residual_displacement
from engine.registration.rigid import align_rigidly
from engine.registration.translation import masked_correlation, translation_candidates
from engine.volume import CtVolume, LabelMask

COARSE_SPACING_MM: Final = 3.0
FINE_SPACING_MM: Final = 1.5

PLANNING_HALF_WIDTH_MM: Final = 50.0
"""Half width of the planning region that is looked for in the verification CT."""

SEARCH_MM: Final = 40.0
"""The lesion is looked for up to this far beyond what the planning region itself needs."""

ZONE_HALO_MM: Final = 4.0
"""Tissue this near to the zone is edema, hemorrhage or drawn-in lung: no evidence of the tumor's place."""

WIDE_REACH_MM: Final = 35.0
LOCAL_REACH_MM: Final = 17.0
"""How far from the tumor the surroundings count, in the first and in the last rigid alignment. A lung bends:
on the deformed cases the tumor was off by 1.2 mm with this reach and by 2 to 4 mm with twice as much."""

MOTION_REACH_MM: Final = 30.0
"""How far from the tumor the surroundings are asked for its motion."""

REACH_STEP_MM: Final = 6.0
LEAST_EVIDENCE_ML: Final = 25.0
"""Where a large zone leaves less than this in reach, the reach grows until it does."""

LEAST_COARSE_CORRELATION: Final = 0.75
"""Same patient: 0.88 and more on every case tried; another patient's or a mirrored chest: up to 0.70."""

MIRRORED_CORRELATION: Final = 0.85
"""From here on the mirror image fits as well as the same patient would."""

LEAST_SIMILARITY: Final = 0.5
"""Of the fine alignment; half of what a deformed same-patient pair shows at least."""

GREATEST_RESIDUAL_MM: Final = 5.0
"""Root mean square of what a rigid alignment may leave; another patient's chest leaves 5.5 to 8."""

FEWEST_POINTS: Final = 12
"""Fewer structured points near the lesion than this cannot judge an alignment."""

COARSE_SD_MM: Final = 2.5
"""Pose error per axis of the translation alone: 2 to 4 mm in all on the cases tried."""

LEAST_SD_MM: Final = 0.15
"""No alignment is better than this at the lesion, whatever its surroundings say."""

COARSE_ROTATION_SD_DEG: Final = 3.0
FINE_ROTATION_SD_DEG: Final = 1.5


@dataclass(frozen=True, eq=False)
class Registration:
    """A rigid alignment at the lesion, with its quality and uncertainty.

    Parameters
    ----------
    method : {'translation', 'rigid'}
    planning_from_verification : ndarray, (4, 4)
        LPS mm to LPS mm.
    similarity : float
    residual_mm : float or None
        Root mean square of the displacement that a rigid motion leaves in the surroundings.
    translation_covariance_mm2 : ndarray, (3, 3)
        Uncertainty of the tumor's center in the verification frame.
    rotation_sd_deg : float
    """

    method: str
    planning_from_verification: FloatArray
    similarity: float
    residual_mm: float | None
    translation_covariance_mm2: FloatArray
    rotation_sd_deg: float


@dataclass(frozen=True, eq=False)
class PlanningSide:
    """What the alignment needs of the planning CT alone."""

    ct: CtVolume
    tumor_center_lps_mm: FloatArray
    tumor_radius_mm: float
    tumor_points_lps_mm: FloatArray


def align_coarsely(
    planning: PlanningSide, verification: CtVolume, zone: LabelMask, *, backend: BackendName = "cpu"
) -> Registration:
    """Find the lesion region of the planning CT in the verification CT by translation.

    Raises
    ------
    RefusedError
        Nothing there resembles the planning region, or only its mirror image does.
    """
    match_mm = _match_slice_mm(planning.ct, verification)
    half = PLANNING_HALF_WIDTH_MM + max(0.0, planning.tumor_radius_mm - 15.0)
    ours = comparison_region(
        planning.ct, planning.tumor_center_lps_mm, half, COARSE_SPACING_MM, match_slice_mm=match_mm
    )
    low, high = _box_lps_mm(zone)
    theirs = comparison_region(
        verification,
        0.5 * (low + high),
        0.5 * (high - low) + SEARCH_MM + 10.0,
        COARSE_SPACING_MM,
        match_slice_mm=match_mm,
    )
    known = theirs.inside & ~_within(zone, theirs.geometry, ZONE_HALO_MM, backend)
    found = translation_candidates(ours, theirs, ours.inside, known, count=1)
    best = found[0].correlation if found else 0.0
    if best < LEAST_COARSE_CORRELATION:
        _refuse_dissimilar(ours, theirs, known, best)
    matrix = np.eye(4)
    matrix[:3, 3] = found[0].planning_from_verification_mm
    return Registration(
        "translation", matrix, best, None, np.eye(3) * COARSE_SD_MM**2, COARSE_ROTATION_SD_DEG
    )


def refine_rigidly(
    planning: PlanningSide,
    verification: CtVolume,
    zone: LabelMask,
    coarse: Registration,
    *,
    backend: BackendName = "cpu",
) -> Registration:
    """Refine the coarse alignment on the surroundings of the zone and judge what it leaves.

    Raises
    ------
    RefusedError
        Too little structure to judge, or a residual too high to trust.
    """
    match_mm = _match_slice_mm(planning.ct, verification)
    inverse = np.linalg.inv(coarse.planning_from_verification)
    lesion = inverse[:3, :3] @ planning.tumor_center_lps_mm + inverse[:3, 3]
    reach = planning.tumor_radius_mm + WIDE_REACH_MM
    theirs = comparison_region(verification, lesion, reach, FINE_SPACING_MM, match_slice_mm=match_mm)
    ours = comparison_region(
        planning.ct,
        planning.tumor_center_lps_mm,
        reach + 10.0,
        FINE_SPACING_MM,
        match_slice_mm=match_mm,
    )
    beyond = theirs.inside & (_distance_from(zone, theirs.geometry, backend) > ZONE_HALO_MM)
    from_lesion = _distance_to_point(theirs.geometry, lesion)
    wide = beyond & (from_lesion <= reach)
    local = _enough_evidence(beyond, from_lesion, planning.tumor_radius_mm + LOCAL_REACH_MM, reach)
    matrix = align_rigidly(ours, theirs, wide, coarse.planning_from_verification, lesion)
    matrix = align_rigidly(ours, theirs, local, matrix, lesion)
    around = beyond & (from_lesion <= planning.tumor_radius_mm + MOTION_REACH_MM)
    left = residual_displacement(ours, theirs, around, matrix, backend=backend)
    _require_trustworthy(left)
    inverse = np.linalg.inv(matrix)
    tumor = planning.tumor_points_lps_mm @ inverse[:3, :3].T + inverse[:3, 3]
    predicted = predict_lesion_motion(left.points_lps_mm, left.displacement_mm, tumor)
    return Registration(
        "rigid",
        matrix @ predicted.motion,
        left.similarity,
        float(np.sqrt((left.displacement_mm**2).sum(axis=1).mean())),
        predicted.covariance_mm2 + np.eye(3) * LEAST_SD_MM**2,
        FINE_ROTATION_SD_DEG,
    )


def _require_trustworthy(left: Residual) -> None:
    if len(left.points_lps_mm) < FEWEST_POINTS:
        raise RefusedError(
            RefusalCode.ALIGNMENT_RESIDUAL_TOO_HIGH,
            f"only {len(left.points_lps_mm)} structured points lie near the lesion in both scans; the alignment "
            "cannot be judged. Check that both scans show the lesion's surroundings.",
        )
    residual_mm = float(np.sqrt((left.displacement_mm**2).sum(axis=1).mean()))
    if residual_mm > GREATEST_RESIDUAL_MM or left.similarity < LEAST_SIMILARITY:
        raise RefusedError(
            RefusalCode.ALIGNMENT_RESIDUAL_TOO_HIGH,
            f"after alignment the surroundings are still {residual_mm:.1f} mm off (limit "
            f"{GREATEST_RESIDUAL_MM:g} mm) at a similarity of {left.similarity:.2f} (least "
            f"{LEAST_SIMILARITY:g}): another patient, a large pneumothorax or a different breath-hold. "
            "Compare the scans by eye; repeat the verification CT if the breath-hold differs.",
        )


def _refuse_dissimilar(
    ours: ComparisonRegion, theirs: ComparisonRegion, known: npt.NDArray[np.bool_], best: float
) -> None:
    """Refuse, and say so if the mirror image would have fitted."""
    mirrored = masked_correlation(ours.hu[:, :, ::-1], ours.inside[:, :, ::-1], theirs.hu, known).max()
    if mirrored >= MIRRORED_CORRELATION:
        raise RefusedError(
            RefusalCode.WRONG_SIDE,
            f"the verification CT fits the mirror image of the planning CT (correlation {mirrored:.2f}) and not "
            f"the planning CT itself ({best:.2f}): wrong side, or left and right exchanged in an export.",
        )
    raise RefusedError(
        RefusalCode.ALIGNMENT_RESIDUAL_TOO_HIGH,
        f"the surroundings of the planning lesion are not found around the ablation zone (correlation {best:.2f}, "
        f"least {LEAST_COARSE_CORRELATION:g}): another patient, another lesion, or a zone far from the lesion. "
        "Check that both scans and the zone belong together.",
    )


def _distance_to_point(grid: VolumeGeometry, point_lps_mm: FloatArray) -> FloatArray:
    """Distance of every voxel of an axis-aligned grid to a point, mm."""
    offset = grid.to_index(point_lps_mm)
    z, y, x = (
        (np.arange(n) - o) * s for n, o, s in zip(grid.shape_zyx, offset, grid.spacing_zyx_mm, strict=True)
    )
    return np.asarray(np.sqrt(z[:, None, None] ** 2 + y[None, :, None] ** 2 + x[None, None, :] ** 2))


def _enough_evidence(
    beyond: npt.NDArray[np.bool_], from_lesion: FloatArray, reach_mm: float, most_mm: float
) -> npt.NDArray[np.bool_]:
    """Evidence near the lesion, reaching as far as it must to be enough."""
    needed = LEAST_EVIDENCE_ML * 1000.0 / FINE_SPACING_MM**3
    chosen = beyond & (from_lesion <= reach_mm)
    while np.count_nonzero(chosen) < needed and reach_mm < most_mm:
        reach_mm += REACH_STEP_MM
        chosen = beyond & (from_lesion <= reach_mm)
    return chosen


def _match_slice_mm(planning: CtVolume, verification: CtVolume) -> float:
    """The thicker slice distance, where it is thick enough to matter."""
    thicker = max(planning.geometry.spacing_zyx_mm[0], verification.geometry.spacing_zyx_mm[0])
    return thicker if thicker > 2.0 * FINE_SPACING_MM else 0.0


def _box_lps_mm(mask: LabelMask) -> tuple[FloatArray, FloatArray]:
    start, stop = mask.bounding_box()
    ends = np.array(list(np.ndindex(2, 2, 2)), dtype=float)
    corners = mask.geometry.to_lps(np.array(start) + ends * (np.array(stop) - 1 - np.array(start)))
    return corners.min(axis=0), corners.max(axis=0)


def _distance_from(mask: LabelMask, grid: VolumeGeometry, backend: BackendName) -> npt.NDArray[np.float32]:
    """Distance from every voxel of ``grid`` to the mask, mm."""
    marked = resample(
        mask.voxels.astype(np.float32),
        mask.geometry.index_from_lps @ grid.affine_lps_mm,
        grid.shape_zyx,
        order=1,
        backend=backend,
    )
    return distance_mm(marked > 0.25, grid.spacing_zyx_mm, backend=backend)


def _within(
    mask: LabelMask, grid: VolumeGeometry, reach_mm: float, backend: BackendName
) -> npt.NDArray[np.bool_]:
    return _distance_from(mask, grid, backend) <= reach_mm
