"""What the interval makes of its draws: which offset moves which limit, and what each draw's numbers amount to."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from scipy.spatial.transform import Rotation

from engine.coverage.grid import MeasurementField, build_measurement_field
from engine.coverage.interval import CoverageInterval, PoseUncertainty, coverage_interval
from engine.geometry import RigidTransform
from engine.kernels.backend import KernelBackend
from engine.kernels.pose_draws import DrawnCoverage
from engine.structures.surface import StructureSurface
from tests.support.spheres import ball, centered_grid

Z = np.array([0.0, 0.0, 1.0])
X = np.array([1.0, 0.0, 0.0])
STILL = PoseUncertainty(np.zeros((3, 3)), 0.0)


@pytest.fixture(scope="module")
def grid() -> MeasurementField:
    voxels = centered_grid((1.0, 1.0, 1.0), 20.0)
    tumor = ball(voxels, (0.2, -0.1, 0.3), 7.0, "tumor")
    zone = ball(voxels, (2.2, -0.1, 0.3), 12.0, "ablation zone")
    return build_measurement_field(
        StructureSurface(tumor), StructureSurface(zone), None, None, RigidTransform.identity()
    )


@dataclass
class Evaluation:
    """Stands for the kernel: keeps what it was asked, answers what the test wants."""

    greatest_mm: float | npt.NDArray[np.float64] = 0.0
    covered: int = 3
    included: int = 4
    asked: dict[str, Any] = field(default_factory=dict)

    def __call__(self, *arguments: Any, kernels: KernelBackend) -> DrawnCoverage:
        names = ("field", "points", "values", "surface", "maps", "value_limits", "field_limits")
        self.asked = dict(zip(names, arguments, strict=True)) | {"kernels": kernels}
        count = len(self.asked["maps"])
        return DrawnCoverage(
            np.full(count, self.included),
            np.full(count, self.covered),
            np.broadcast_to(np.asarray(self.greatest_mm, dtype=float), count),
        )


@pytest.fixture
def evaluation(monkeypatch: pytest.MonkeyPatch) -> Evaluation:
    evaluation = Evaluation()
    monkeypatch.setattr("engine.coverage.interval.evaluate_draws", evaluation)
    return evaluation


def interval(
    grid: MeasurementField,
    pose: PoseUncertainty = STILL,
    slices_mm: tuple[float, float] = (0, 0),
    **more: Any,
) -> CoverageInterval:
    planning, verification = slices_mm
    contours = {"tumor_contour_sd_mm": 0.25, "zone_contour_sd_mm": 0.25} | more
    return coverage_interval(
        grid, pose, planning_slice=(X, planning), verification_slice=(Z, verification), **contours
    )


def moves_lps(grid: MeasurementField, evaluation: Evaluation) -> npt.NDArray[np.float64]:
    """The drawn rigid motions, (draws, 4, 4) in LPS."""
    maps = evaluation.asked["maps"]
    whole = np.tile(np.eye(4), (len(maps), 1, 1))
    whole[:, :3, :] = maps
    return np.asarray(grid.geometry.affine_lps_mm @ whole @ grid.geometry.index_from_lps)


def drawn_shifts(grid: MeasurementField, evaluation: Evaluation) -> npt.NDArray[np.float64]:
    """Where the tumor's center goes in each draw, (draws, 3) LPS mm."""
    center = grid.geometry.to_lps(grid.tumor_surface_index.mean(axis=0))
    moves = moves_lps(grid, evaluation)
    return np.asarray(moves[:, :3, :3] @ center + moves[:, :3, 3] - center)


def test_a_draw_has_the_margin_that_its_own_contours_leave(
    grid: MeasurementField, evaluation: Evaluation
) -> None:
    """The larger the tumor's contour and the smaller the zone's, the smaller the margin."""
    evaluation.greatest_mm = np.linspace(-3.0, 5.0, 1000)
    measured = interval(grid, tumor_contour_sd_mm=1.0, zone_contour_sd_mm=0.5, target_margin_mm=4.0)
    tumor_offset = evaluation.asked["value_limits"] - 4.0
    margin = evaluation.asked["field_limits"] - tumor_offset - evaluation.greatest_mm
    assert measured.minimal_mm_90 == pytest.approx(np.quantile(margin, (0.05, 0.95)))
    assert measured.probability_complete == np.mean(margin >= 4.0)
    assert measured.tcr_90 == (0.75, 0.75)


def test_a_margin_of_exactly_the_target_is_complete(grid: MeasurementField, evaluation: Evaluation) -> None:
    evaluation.greatest_mm = -5.0
    sharp: dict[str, Any] = {"tumor_contour_sd_mm": 0.0, "zone_contour_sd_mm": 0.0}
    reached = interval(grid, **sharp)
    assert (reached.probability_complete, reached.tcr_90) == (1.0, (1.0, 1.0))
    evaluation.greatest_mm = float(np.nextafter(-5.0, 0.0))
    missed = interval(grid, **sharp)
    assert (missed.probability_complete, missed.tcr_90) == (0.0, (0.75, 0.75))


@pytest.mark.parametrize(("covered", "included", "tcr"), [(0, 0, 0.0), (1, 1, 1.0), (1, 2, 0.5)])
def test_a_draw_with_hardly_a_target_has_a_ratio(
    grid: MeasurementField, evaluation: Evaluation, covered: int, included: int, tcr: float
) -> None:
    evaluation.covered, evaluation.included = covered, included
    assert interval(grid).tcr_90 == (tcr, tcr)


@pytest.mark.parametrize(
    ("asked", "tumor_sd_mm", "zone_sd_mm"),
    [
        ({}, 0.25, 0.25),
        ({"tumor_contour_sd_mm": 1.5}, 1.5, 0.25),
        ({"zone_contour_sd_mm": 0.75}, 0.25, 0.75),
        ({"tumor_contour_sd_mm": 40.0, "zone_contour_sd_mm": 40.0}, 2.0, 40.0),
    ],
)
def test_contours_are_drawn_as_wide_as_their_origin_asks_for(
    grid: MeasurementField,
    evaluation: Evaluation,
    asked: dict[str, Any],
    tumor_sd_mm: float,
    zone_sd_mm: float,
) -> None:
    interval(grid, draws=4000, **asked)
    assert evaluation.asked["value_limits"].mean() == pytest.approx(5.0, abs=0.1 * tumor_sd_mm)
    assert evaluation.asked["value_limits"].std() == pytest.approx(tumor_sd_mm, rel=0.05)
    assert evaluation.asked["field_limits"].mean() == pytest.approx(0.0, abs=0.1 * zone_sd_mm)
    assert evaluation.asked["field_limits"].std() == pytest.approx(zone_sd_mm, rel=0.05)


@pytest.mark.parametrize(
    ("slices_mm", "sd_mm"),
    [((3.0, 0.0), (0.45, 0.0, 0.0)), ((0.0, 3.5), (0.0, 0.0, 0.875)), ((2.0, 5.0), (0.3, 0.0, 1.25))],
)
def test_slices_leave_the_place_open_along_their_normal(
    grid: MeasurementField,
    evaluation: Evaluation,
    slices_mm: tuple[float, float],
    sd_mm: tuple[float, float, float],
) -> None:
    """By 0.15 of the slice distance up to 3 mm, where neighbors help, and by a quarter beyond."""
    interval(grid, slices_mm=slices_mm, draws=4000)
    assert drawn_shifts(grid, evaluation).std(axis=0) == pytest.approx(sd_mm, rel=0.05, abs=1e-9)


def test_the_place_is_drawn_with_the_covariance_of_the_alignment(
    grid: MeasurementField, evaluation: Evaluation
) -> None:
    covariance = np.array([[1.0, 0.3, 0.0], [0.3, 0.5, 0.0], [0.0, 0.0, 2.0]])
    interval(grid, PoseUncertainty(covariance, 0.0), draws=20_000)
    shifts = drawn_shifts(grid, evaluation)
    assert np.abs(shifts.mean(axis=0)).max() < 0.05
    assert np.cov(shifts.T) == pytest.approx(covariance, abs=0.06)


def test_rotations_are_about_the_tumors_center_and_have_no_preferred_sense(
    grid: MeasurementField, evaluation: Evaluation
) -> None:
    interval(grid, PoseUncertainty(np.zeros((3, 3)), 4.0), draws=4000)
    assert np.abs(drawn_shifts(grid, evaluation)).max() < 1e-9
    turns = np.rad2deg(Rotation.from_matrix(moves_lps(grid, evaluation)[:, :3, :3]).as_rotvec())
    assert turns.std(axis=0) == pytest.approx((4.0,) * 3, rel=0.05)
    assert np.abs(turns.mean(axis=0)).max() < 0.3


def test_the_target_is_sampled_every_millimeter_as_far_as_the_widest_draw_reaches(
    grid: MeasurementField, evaluation: Evaluation
) -> None:
    interval(grid, tumor_contour_sd_mm=1.0, target_margin_mm=4.0)
    points, values = evaluation.asked["points"], evaluation.asked["values"]
    widest = 4.0 + np.abs(evaluation.asked["value_limits"] - 4.0).max()
    near = np.argwhere(grid.distance_to_tumor_mm < widest)
    assert np.array_equal(points, near[(near % 2 == 0).all(axis=1)])
    assert np.array_equal(values, grid.distance_to_tumor_mm[tuple(points.astype(int).T)])
    assert (points.dtype, values.dtype) == (np.float64, np.float64)


def test_a_coarse_grid_is_sampled_at_every_voxel(grid: MeasurementField, evaluation: Evaluation) -> None:
    voxels = centered_grid((2.0, 2.0, 2.0), 20.0)
    tumor = ball(voxels, (0.2, -0.1, 0.3), 7.0, "tumor").voxels.astype(np.float32)
    lung = np.ones(voxels.shape_zyx, dtype=np.bool_)
    coarse = MeasurementField(voxels, tumor, tumor, None, lung, KernelBackend.CPU)
    interval(coarse)
    widest = 5.0 + np.abs(evaluation.asked["value_limits"] - 5.0).max()
    assert np.array_equal(evaluation.asked["points"], np.argwhere(coarse.distance_to_tumor_mm < widest))


@pytest.mark.parametrize(("everywhere", "distance_mm"), [(1.0, -1000.0), (0.0, 1000.0)])
def test_a_zone_without_a_surface_has_finite_distances(
    grid: MeasurementField, evaluation: Evaluation, everywhere: float, distance_mm: float
) -> None:
    boundless = replace(grid, zone_occupancy=np.full(grid.geometry.shape_zyx, everywhere, dtype=np.float32))
    assert np.isinf(boundless.distance_to_zone_mm).all()
    interval(boundless)
    assert (evaluation.asked["field"] == distance_mm).all()


def test_a_field_that_is_finite_is_handed_on_as_it_is(grid: MeasurementField, evaluation: Evaluation) -> None:
    interval(grid)
    assert evaluation.asked["field"] is grid.distance_to_zone_mm
    assert evaluation.asked["surface"] is grid.tumor_surface_index
    assert evaluation.asked["kernels"] is grid.kernels


def test_the_draws_are_the_same_ones_every_time(grid: MeasurementField) -> None:
    """An assessment that is repeated has to give the figures of its report."""
    pose = PoseUncertainty(np.diag([0.5, 0.8, 1.2]), 2.0)
    recorded = interval(grid, pose, (1.0, 5.0), draws=200)
    assert recorded.tcr_90 == pytest.approx((0.7062273777155116, 0.9157721674876846), rel=1e-12)
    assert recorded.minimal_mm_90 == pytest.approx((0.3600547067911441, 3.5227105993305576), rel=1e-12)
    assert interval(grid, pose, (1.0, 5.0), draws=200, seed=1).minimal_mm_90 != recorded.minimal_mm_90
