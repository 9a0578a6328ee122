"""Volumes that stay on the device while kernels, registration, measurement and assessment use them."""

from __future__ import annotations

from collections import Counter
from typing import Any, NoReturn

import numpy as np
import pytest

from benchmarks.gpu.cases import KernelCase, kernel_cases, largest_difference
from engine.arrays import AnyArray, read_only
from engine.assessment import verification as assessment
from engine.assessment.planning import AssessmentSettings, RefusedPlanning
from engine.assessment.verification import assess_ablation
from engine.coverage import grid as measurement
from engine.coverage.figures import find_coverage
from engine.coverage.grid import MeasurementField, build_measurement_field, region_hu
from engine.coverage.interval import CoverageInterval, PoseUncertainty, coverage_interval
from engine.coverage.surface_margin import MARGIN_BANDS_MM
from engine.findings import SUPPLIED, ContourOrigin, CoverageFinding, LesionFinding, MarginFinding
from engine.geometry import RigidTransform
from engine.kernels.backend import KernelBackend, resident
from engine.kernels.gpu import residency
from engine.refusal import Refusal, RefusalCode, RefusedError
from engine.registration.deformation import Deformation, Level, deform
from engine.structures.surface import StructureSurface
from engine.volume import CtVolume
from tests.support.kernels.resident_volumes import (
    ON_THE_GPU,
    SIMULATED,
    SPACING,
)
from tests.support.spheres import ball, centered_grid, everywhere
from tests.support.textures import bump, fixed_region, moving_region, scan

CASES = [
    case for case in kernel_cases(4) if "draws" not in case.name
]  # a thousand are too many for a simulator


@ON_THE_GPU
@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_every_kernel_finds_the_same_with_and_without(kernels: KernelBackend, case: KernelCase) -> None:
    expected = case.run(kernels=kernels)
    with resident(kernels):
        once, again = case.run(kernels=kernels), case.run(kernels=kernels)
    # on a GPU sums of floats come in any order
    tolerance = 0.0 if SIMULATED else case.tolerance
    assert largest_difference(once, expected) <= tolerance
    assert largest_difference(again, expected) <= tolerance


def deformed(kernels: KernelBackend) -> Deformation:
    grid = centered_grid((5.0, 5.0, 5.0), 10.0)
    way = bump(np.zeros(3), np.array([0.0, 0.0, 2.0]), 12.0)
    fixed = fixed_region(5, grid, lambda points: points + way(points))
    moving = moving_region(5, centered_grid((5.0, 5.0, 5.0), 15.0))
    evidence = read_only(np.ones(grid.shape_zyx, dtype=np.bool_))
    # Two levels that only look at the images: a step takes the simulator a minute.
    levels = (Level(5.0, 10.0, 10.0, 0, 1.0), Level(5.0, 20.0, 10.0, 0, 1.0))
    return deform(fixed, moving, evidence, RigidTransform.identity(), levels, kernels=kernels)


@ON_THE_GPU
def test_a_registration_brings_its_images_up_once(
    kernels: KernelBackend, went_up: Counter[tuple[int, ...]]
) -> None:
    with resident(kernels) as held:
        found = deformed(kernels)
        # two kernels at each level: fixed and evidence but for the first time, and warped
        assert held.traffic.spared_uploads >= 2 * (4 - 1) + 4
    assert went_up[found.warped.shape] == 2  # fixed and evidence
    assert went_up[7, 7, 7] == 1  # moving
    expected = deformed(KernelBackend.CPU)
    np.testing.assert_allclose(found.force, expected.force, rtol=1e-4, atol=1e-6)
    assert np.abs(expected.force).max() > 0.0


def measured(
    kernels: KernelBackend,
) -> tuple[CoverageFinding, MarginFinding, CoverageInterval, AnyArray, MeasurementField]:
    """What an assessment does with two contours."""
    grid = centered_grid(SPACING, 14.0)
    tumor, zone = ball(grid, (0.3, 0.2, 0.1), 5.0, "tumor"), ball(grid, (1.0, 0.0, 0.5), 10.0, "zone")
    core = StructureSurface(ball(grid, (1.0, 0.0, 0.5), 8.0, "core"))
    field = build_measurement_field(
        StructureSurface(tumor),
        StructureSurface(zone),
        core,
        everywhere(grid),
        RigidTransform.identity(),
        kernels=kernels,
    )
    coverage, margin = find_coverage(
        field,
        target_margin_mm=5.0,
        zone_volume_ml=zone.volume_ml,
        zone_origin=SUPPLIED,
        core_origin=SUPPLIED,
    )
    interval = coverage_interval(
        field,
        PoseUncertainty(np.eye(3), 1.0),
        planning_slice=(np.array([0.0, 0.0, 1.0]), 1.0),
        verification_slice=(np.array([0.0, 0.0, 1.0]), 1.0),
        tumor_contour_sd_mm=0.25,
        zone_contour_sd_mm=0.25,
        draws=5,
    )
    return coverage, margin, interval, region_hu(scan(3, grid), field.geometry, kernels), field


@ON_THE_GPU
def test_a_measurement_says_the_same_and_brings_nothing_up_twice(
    kernels: KernelBackend,
    memory: str,
    went_up: Counter[tuple[int, ...]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(measurement, "MEASUREMENT_SPACING_MM", 8.0)  # the simulator takes a voxel at a time
    with resident(kernels) as held:
        *found, hu_there, field = measured(kernels)
        traffic = held.traffic
    *expected, hu_expected, _ = measured(KernelBackend.CPU)
    for one, other in zip(found, expected, strict=True):
        numbers = {name: value for name, value in vars(other).items() if value is not None}
        for name, value in numbers.items():
            if isinstance(value, str | bool | ContourOrigin):
                assert getattr(one, name) == value, name
            elif isinstance(value, CoverageInterval):
                for part, expected_part in vars(value).items():
                    assert getattr(getattr(one, name), part) == pytest.approx(expected_part, abs=1e-4), part
            else:
                assert getattr(one, name) == pytest.approx(value, abs=1e-4), name
    assert np.abs(hu_there.astype(int) - hu_expected).max() <= 1
    shape = field.geometry.shape_zyx
    flat = int(np.prod(shape))
    assert went_up[shape] == 1  # what is not lung; every field and distance was made on the device
    assert went_up[flat,] == 3  # zone and core, and once for both what can be assessed
    assert traffic.spared_uploads >= 3 + 2 + 1 + 1  # occupancies, tumor's distance twice, assessable, zone's
    assert len(MARGIN_BANDS_MM) == 3


@ON_THE_GPU
def test_an_assessment_keeps_its_volumes_there(
    kernels: KernelBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    grid = centered_grid(SPACING, 3.0)
    seen: list[Any] = []

    def refuse(_: object) -> NoReturn:
        seen.append((held := residency.current(), held and held.is_open))
        raise RefusedError(RefusalCode.NO_ZONE, "seen enough")

    monkeypatch.setattr(assessment, "require_prepared", refuse)
    prepared = _nothing_prepared(scan(0, grid))
    for where in (kernels, KernelBackend.CPU):
        assess_ablation(prepared, scan(1, grid), None, settings=AssessmentSettings(kernels=where))
    (held, was_open), (on_cpu, _) = seen
    assert was_open
    assert held is not None
    assert not held.is_open
    assert on_cpu is None


def _nothing_prepared(planning: CtVolume) -> RefusedPlanning:
    refusal = Refusal(RefusalCode.LESION_NOT_FOUND, "never asked for")
    return RefusedPlanning(planning, LesionFinding(None, None, None, SUPPLIED, None), refusal, (), {})
