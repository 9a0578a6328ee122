"""Power-on self-test: spheres in a textured block, whose coverage has a formula, through the real workflow.

The two scans have different grids and one of them has flipped axes, so that a mirrored or shifted answer is
caught before the first patient.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from engine.arrays import Float64Array
from engine.assessment.outcome import AblationAssessment
from engine.assessment.planning import AssessmentSettings, PlanningOutcome, prepare_planning
from engine.assessment.verification import assess_ablation
from engine.errors import SelfTestError
from engine.findings import Direction
from engine.geometry import VolumeGeometry
from engine.kernels.backend import KernelBackend
from engine.kernels.resampling import resample
from engine.phantoms.closed_form import rasterize_sphere, sphere_minimal_margin_mm, sphere_overlap_tcr
from engine.volume import Acquisition, CtVolume

TCR_TOLERANCE: Final = 0.02
_MARGIN_TOLERANCE_MM: Final = 0.6
_PLACE_TOLERANCE_MM: Final = 1.0

_TUMOR_RADIUS_MM: Final = 9.0
_ZONE_RADIUS_MM: Final = 13.0
_ZONE_SHIFT_LPS_MM: Final = np.array([2.0, 0.0, 0.0])
_PATIENT_SHIFT_LPS_MM: Final = np.array([3.3, -6.1, 7.4])
_TUMOR_LPS_MM: Final = np.array([1.3, -2.1, 0.7])
_TARGET_MARGIN_MM: Final = 5.0
_SIZE_MM: Final = 96.0


@dataclass(frozen=True)
class _SelfTestReport:
    """Measured against true."""

    tcr: float
    true_tcr: float
    minimal_mm: float
    true_minimal_mm: float
    place_error_mm: float


@dataclass(frozen=True, eq=False)
class MeasuredSpheres:
    """What the workflow gives for the spheres, in the order in which it comes."""

    prepared: PlanningOutcome
    preliminary: AblationAssessment
    final: AblationAssessment


def warm_up(kernels: KernelBackend = KernelBackend.CPU) -> AblationAssessment:
    """Run the whole workflow once, so that every kernel is compiled and every library loaded.

    Returns
    -------
    AblationAssessment
        Of the self-test's spheres; whoever draws sheets can draw one of it to warm up too.
    """
    return measure_spheres(kernels).final


def run_self_test(kernels: KernelBackend = KernelBackend.CPU) -> _SelfTestReport:
    """Compare the workflow's answer on the spheres with the formula.

    Returns
    -------
    _SelfTestReport

    Raises
    ------
    SelfTestError
        The answer is off by more than the tolerances, or refused: this installation must not measure.
    """
    assessment = measure_spheres(kernels).final
    coverage, margin = assessment.coverage, assessment.margin
    if (
        assessment.refusal is not None
        or coverage.tcr is None
        or margin.minimal_mm is None
        or not assessment.uncovered
    ):
        reason = assessment.refusal.reason if assessment.refusal else "no uncovered region was found"
        raise SelfTestError(f"the self-test phantom was not measured: {reason}; reinstall Coldspot")
    shift = float(np.linalg.norm(_ZONE_SHIFT_LPS_MM))
    # The zone is shifted to the left: what is missing lies to the right of the tumor.
    place = np.array(assessment.lesion.verification_centroid_lps_mm)
    report = _SelfTestReport(
        tcr=coverage.tcr,
        true_tcr=sphere_overlap_tcr(_TUMOR_RADIUS_MM, _TARGET_MARGIN_MM, _ZONE_RADIUS_MM, shift),
        minimal_mm=margin.minimal_mm,
        true_minimal_mm=sphere_minimal_margin_mm(_TUMOR_RADIUS_MM, _ZONE_RADIUS_MM, shift),
        place_error_mm=float(np.linalg.norm(place - _TUMOR_LPS_MM - _PATIENT_SHIFT_LPS_MM)),
    )
    wrong = (
        abs(report.tcr - report.true_tcr) > TCR_TOLERANCE
        or abs(report.minimal_mm - report.true_minimal_mm) > _MARGIN_TOLERANCE_MM
        or report.place_error_mm > _PLACE_TOLERANCE_MM
        or Direction.RIGHT not in assessment.uncovered[0].directions
    )
    if wrong:
        raise SelfTestError(
            f"the self-test phantom was measured wrongly: TCR {report.tcr:.3f} for {report.true_tcr:.3f}, margin "
            f"{report.minimal_mm:.2f} mm for {report.true_minimal_mm:.2f} mm, place off by {report.place_error_mm:.2f} "
            f"mm, missing part {' '.join(assessment.uncovered[0].directions)!r} for 'right'; reinstall Coldspot"
        )
    return report


@cache
def measure_spheres(
    kernels: KernelBackend = KernelBackend.CPU, zone_radius_mm: float = _ZONE_RADIUS_MM
) -> MeasuredSpheres:
    """Measure the two spheres; each zone once in a process.

    Parameters
    ----------
    kernels : KernelBackend
    zone_radius_mm : float
        From 16 mm on the zone covers the whole target.
    """
    texture, block = _texture()
    n = int(_SIZE_MM / 1.25)
    unrotated = VolumeGeometry(
        (n, n, n), (1.25, 1.25, 1.25), origin_lps_mm=(-_SIZE_MM / 2, -_SIZE_MM / 2, -_SIZE_MM / 2)
    )
    x, y, z = (
        float(v) for v in np.array([_SIZE_MM / 2, _SIZE_MM / 2, -_SIZE_MM / 2]) + _PATIENT_SHIFT_LPS_MM
    )
    rotated = VolumeGeometry(
        (n, n, n), (1.25, 1.25, 1.25), ((0.0, 0.0, 1.0), (0.0, -1.0, 0.0), (-1.0, 0.0, 0.0)), (x, y, z)
    )
    planning_tissue = _scan(texture, block, unrotated, np.zeros(3))
    verification_tissue = _scan(texture, block, rotated, _PATIENT_SHIFT_LPS_MM)
    tumor = rasterize_sphere(unrotated, _TUMOR_LPS_MM, _TUMOR_RADIUS_MM, "tumor")
    center = _TUMOR_LPS_MM + _PATIENT_SHIFT_LPS_MM + _ZONE_SHIFT_LPS_MM
    zone = rasterize_sphere(rotated, center, zone_radius_mm, "ablation zone")
    planning_tissue[tumor.voxels], verification_tissue[zone.voxels] = 30, -200
    acquisition = Acquisition(series_description="simulated phantom, not a patient")
    prepared = prepare_planning(CtVolume(planning_tissue, unrotated, acquisition), tumor)
    settings = AssessmentSettings(kernels=kernels)
    preliminary: list[AblationAssessment] = []
    final = assess_ablation(
        prepared,
        CtVolume(verification_tissue, rotated, acquisition),
        zone,
        settings=settings,
        on_preliminary=preliminary.append,
    )
    return MeasuredSpheres(prepared, preliminary[0], final)


def _texture() -> tuple[Float64Array, VolumeGeometry]:
    """Lung-like density with structure of 4 to 12 mm, on a block larger than both scans."""
    rng = np.random.default_rng(20260101)
    n = 64
    block = VolumeGeometry((n, n, n), (2.0, 2.0, 2.0), origin_lps_mm=(-float(n), -float(n), -float(n)))
    white = rng.standard_normal((n, n, n))
    fine, coarse = (ndimage.gaussian_filter(white, s, mode="wrap") for s in (1.2, 3.0))
    return -820.0 + 90.0 * fine / fine.std() + 60.0 * coarse / coarse.std(), block


def _scan(
    texture: Float64Array, block: VolumeGeometry, grid: VolumeGeometry, shift_lps_mm: Float64Array
) -> npt.NDArray[np.int16]:
    moved = np.eye(4)
    moved[:3, 3] = -shift_lps_mm
    index_map = block.index_from_lps @ moved @ grid.affine_lps_mm
    hu = resample(texture.astype(np.float32), index_map, grid.shape_zyx, order=3, fill=-820.0)
    return np.asarray(np.rint(hu), dtype=np.int16)
