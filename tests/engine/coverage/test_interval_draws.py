"""What the interval makes of its draws: which offset moves which limit, and what each draw's numbers amount to."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from scipy.spatial.transform import Rotation

from engine.coverage.contour_error import LocalDoubt
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
    greatest_undisturbed_mm: float = 100.0
    covered: int = 3
    included: int = 4
    asked: dict[str, Any] = field(default_factory=dict)
    undisturbed: dict[str, Any] = field(default_factory=dict)

    def __call__(self, *arguments: Any, kernels: KernelBackend) -> DrawnCoverage:
        names = (
            "field",
            "points",
            "values",
            "surface",
            "maps",
            "value_limits",
            "field_limits",
            "modes",
            "weights",
        )
        asked = dict(zip(names, arguments, strict=True))
        per_draw = ("maps", "value_limits", "field_limits", "weights")
        self.undisturbed = {name: asked[name][0] for name in per_draw}
        self.asked = asked | {name: asked[name][1:] for name in per_draw} | {"kernels": kernels}
        count = len(self.asked["maps"])
        greatest = np.broadcast_to(np.asarray(self.greatest_mm, dtype=float), count)
        return DrawnCoverage(
            np.full(count + 1, self.included),
            np.full(count + 1, self.covered),
            np.concatenate([[self.greatest_undisturbed_mm], greatest]),
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


@pytest.mark.parametrize("slices_mm", [(1.0, 1.0), (5.0, 2.5)])
def test_slices_leave_a_surface_open_where_it_faces_along_their_normal(
    grid: MeasurementField, evaluation: Evaluation, slices_mm: tuple[float, float]
) -> None:
    """Most at the ends (0.1 of the slice distance), nothing at the sides; the tumor as a whole stays in its place."""
    interval(grid, slices_mm=slices_mm)
    assert np.abs(drawn_shifts(grid, evaluation)).max() < 1e-9
    normals = grid.geometry.to_lps(evaluation.asked["surface"]) - (0.2, -0.1, 0.3)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    toward_zone = grid.geometry.to_lps(evaluation.asked["surface"]) - (2.2, -0.1, 0.3)
    toward_zone /= np.linalg.norm(toward_zone, axis=1, keepdims=True)
    sd_mm = np.linalg.norm(evaluation.asked["modes"], axis=1)
    expected = 0.1 * np.hypot(slices_mm[0] * normals[:, 0], slices_mm[1] * toward_zone[:, 2])
    assert sd_mm == pytest.approx(expected, abs=0.05 * max(slices_mm) / 5.0 + 0.008)


def test_local_errors_are_as_large_as_asked_for_and_alike_nearby(
    grid: MeasurementField, evaluation: Evaluation
) -> None:
    interval(grid, tumor_local_sd=0.6, zone_local_sd=0.8, draws=4000)
    errors = evaluation.asked["weights"] @ evaluation.asked["modes"].T
    assert errors.std() == pytest.approx(1.0, rel=0.03)
    points = grid.geometry.to_lps(evaluation.asked["surface"])
    together = np.corrcoef(errors[:, ::20].T)
    apart_mm = np.linalg.norm(points[::20, None] - points[None, ::20], axis=-1)
    assert together[apart_mm < 1.0].min() > 0.9
    assert 0.25 < together[np.abs(apart_mm - 5.0) < 0.5].mean() < 0.6
    assert abs(together[apart_mm > 10.0].mean()) < 0.1


def test_a_doubt_known_place_by_place_stays_in_its_place(
    grid: MeasurementField, evaluation: Evaluation
) -> None:
    places = np.array([[-20.0, 0.0, 0.0], [20.0, 0.0, 0.0]])
    doubt = LocalDoubt(places, np.array([0.0, 2.0]))
    interval(grid, tumor_local_sd=doubt)
    sd_mm = np.linalg.norm(evaluation.asked["modes"], axis=1)
    right = grid.geometry.to_lps(evaluation.asked["surface"])[:, 0] > 0
    assert sd_mm[right] == pytest.approx(2.0)
    assert sd_mm[~right] == pytest.approx(0.0)
    interval(grid, zone_local_sd=doubt)
    assert np.array_equal(np.linalg.norm(evaluation.asked["modes"], axis=1), sd_mm)


@pytest.mark.parametrize("target_margin_mm", [4.0, 5.0])
def test_coverage_is_counted_with_the_mean_local_error_where_the_margin_falls_short(
    grid: MeasurementField, evaluation: Evaluation, target_margin_mm: float
) -> None:
    """The zone of 12 mm is shifted by 2 mm along x: margins from 3 mm on one side to 7 mm on the other."""
    interval(grid, tumor_local_sd=0.6, zone_contour_sd_mm=0.0, target_margin_mm=target_margin_mm)
    from_zone_mm = np.linalg.norm(
        grid.geometry.to_lps(evaluation.asked["surface"]) - (2.2, -0.1, 0.3), axis=1
    )
    short = np.maximum(from_zone_mm - 12.0 + target_margin_mm, 0.0)
    errors = evaluation.asked["weights"] @ (short @ evaluation.asked["modes"] / short.sum())
    assert evaluation.asked["field_limits"] == pytest.approx(-errors, abs=0.15)
    assert np.corrcoef(evaluation.asked["field_limits"], -errors)[0, 1] > 0.95


def test_the_first_draw_is_undisturbed(grid: MeasurementField, evaluation: Evaluation) -> None:
    interval(grid, PoseUncertainty(np.eye(3), 3.0), tumor_local_sd=0.6)
    first = evaluation.undisturbed
    assert np.array_equal(first["maps"], np.eye(3, 4))
    assert (first["value_limits"], first["field_limits"]) == (5.0, 0.0)
    assert not first["weights"].any()


@pytest.mark.parametrize(("undisturbed_mm", "moved_mm"), [(-4.0, 2.0), (-2.0, 0.0), (1.0, 0.0)])
def test_draws_that_lie_too_low_are_moved_up_to_what_was_measured(
    grid: MeasurementField, evaluation: Evaluation, undisturbed_mm: float, moved_mm: float
) -> None:
    evaluation.greatest_mm = np.linspace(-3.0, -1.0, 1001)
    evaluation.greatest_undisturbed_mm = undisturbed_mm
    sharp: dict[str, Any] = {"tumor_contour_sd_mm": 0.0, "zone_contour_sd_mm": 0.0, "draws": 1001}
    low, high = interval(grid, **sharp).minimal_mm_90
    assert (low, high) == pytest.approx((1.1 + moved_mm, 2.9 + moved_mm))


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
    found = {tuple(point) for point in evaluation.asked["surface"]}
    assert found <= {tuple(point) for point in grid.tumor_surface_index}
    assert len(found) < 0.5 * len(grid.tumor_surface_index)
    assert evaluation.asked["kernels"] is grid.kernels


def test_the_draws_are_the_same_ones_every_time(grid: MeasurementField) -> None:
    """An assessment that is repeated has to give the figures of its report."""
    pose = PoseUncertainty(np.diag([0.5, 0.8, 1.2]), 2.0)
    recorded = interval(grid, pose, (1.0, 5.0), draws=200)
    assert recorded.tcr_90 == pytest.approx((0.7934711161049947, 0.9719926336575146), rel=1e-12)
    assert recorded.minimal_mm_90 == pytest.approx((1.7570225178187477, 4.26805284914178), rel=1e-12)
    assert interval(grid, pose, (1.0, 5.0), draws=200, seed=1).minimal_mm_90 != recorded.minimal_mm_90
