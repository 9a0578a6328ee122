"""Counts, components and what every facade refuses: one test body for every backend."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from numba import cuda

from engine.errors import BackendError, GridMismatchError, InvalidGeometryError, InvalidRequestError
from engine.kernels.backend import KernelBackend, select
from engine.kernels.components import find_components
from engine.kernels.coverage import count_coverage
from engine.kernels.cpu.occupied_box import occupied_box
from engine.kernels.cpu.threads import MIN_TASK, over
from engine.kernels.distance import distance_mm, signed_distance_mm
from engine.kernels.power_sums import power_sums
from engine.kernels.resampling import resample
from tests.support.kernels.kernel_inputs import (
    DENSITIES,
    EVERY_BACKEND,
    EXAMPLES,
    FAST_BACKENDS,
    SEEDS,
    SHAPES,
    frozen,
    same_tables,
)

# --- coverage -------------------------------------------------------------------------------


@FAST_BACKENDS
@EXAMPLES
@given(shape=SHAPES, density=DENSITIES, seed=SEEDS)
def test_coverage_is_the_definitions(kernels: KernelBackend, shape: Any, density: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    distance = np.round(rng.normal(3, 4, shape), 0).astype(np.float32)
    distance[rng.random(shape) < 0.1] = np.inf
    arrays = frozen(distance), frozen(rng.random(shape) < density), frozen(rng.random(shape) < 0.5)
    for edges in ((0.0,), (0.0, 5.0, 10.0), (-2.0, 0.0, 5.0, math.inf)):
        same_tables(
            count_coverage(*arrays, edges, kernels=kernels),
            count_coverage(*arrays, edges, kernels=KernelBackend.REFERENCE),
        )


@EVERY_BACKEND
def test_coverage_by_hand(kernels: KernelBackend) -> None:
    distance = np.array([[[-1.0, 0.0, 4.9, 5.0, 7.0, 99.0]]], dtype=np.float32)
    covered = np.array([[[True, True, False, True, False, False]]])
    counted = np.array([[[True, True, False, False, True, True]]])
    found = count_coverage(distance, covered, counted, (0, 5, 10), kernels=kernels)
    assert found.voxels.tolist() == [1, 2, 2]
    assert found.covered.tolist() == [1, 1, 1]
    assert found.counted.tolist() == [1, 1, 1]
    assert found.covered_and_counted.tolist() == [1, 1, 0]
    assert found.nearest_uncovered_mm == pytest.approx(4.9)
    assert found.nearest_uncovered_counted_mm == 7.0
    everywhere = count_coverage(distance, np.ones_like(covered), counted, (0,), kernels=kernels)
    assert everywhere.nearest_uncovered_mm == math.inf


@EVERY_BACKEND
def test_a_distance_that_is_nan_is_refused(kernels: KernelBackend) -> None:
    distance = np.zeros((1, 2, 3), dtype=np.float32)
    distance[0, 1, 2] = np.nan
    anything = np.zeros(distance.shape, dtype=bool)
    with pytest.raises(InvalidRequestError, match="1 distances"):
        count_coverage(distance, anything, anything, (0, 5), kernels=kernels)


# --- boxes of marks and sums of powers ---------------------------------------------------------


def box_of_indices(mask: np.ndarray[Any, Any]) -> Any:
    index = np.nonzero(mask)
    return (
        None
        if index[0].size == 0
        else (tuple(int(a.min()) for a in index), tuple(int(a.max()) + 1 for a in index))
    )


@EXAMPLES
@given(shape=SHAPES, density=DENSITIES, seed=SEEDS)
def test_occupied_box_is_that_of_the_marked_indices(shape: Any, density: float, seed: int) -> None:
    mask = np.random.default_rng(seed).random(shape) < density
    assert occupied_box(frozen(mask)) == box_of_indices(mask)
    cut = mask[-1:, :, 1:] if shape[2] > 1 else mask  # neither contiguous nor aligned
    assert occupied_box(cut) == box_of_indices(cut)


def test_occupied_box_by_hand() -> None:
    mask = np.zeros((3, 4, 21), dtype=bool)
    assert occupied_box(mask) is None
    mask[1, 3, 2] = mask[2, 0, 20] = True
    assert occupied_box(mask) == ((1, 0, 2), (3, 4, 21))
    assert occupied_box(~mask) == ((0, 0, 0), (3, 4, 21))


@FAST_BACKENDS
@EXAMPLES
@given(shape=SHAPES, seed=SEEDS)
def test_power_sums_are_the_definitions(kernels: KernelBackend, shape: Any, seed: int) -> None:
    voxels = np.random.default_rng(seed).integers(-32768, 32768, shape).astype(np.int16)
    assert power_sums(frozen(voxels), kernels=kernels) == power_sums(voxels, kernels=KernelBackend.REFERENCE)


@EVERY_BACKEND
@pytest.mark.parametrize("value", [-32768, 32767, 0])
def test_power_sums_do_not_overflow(kernels: KernelBackend, value: int) -> None:
    voxels = np.full((2, 30, 40), value, dtype=np.int16)
    assert power_sums(voxels, kernels=kernels) == (2400 * value, 2400 * value**2)


# --- threads ----------------------------------------------------------------------------------


def test_parts_come_back_in_order_and_an_error_in_one_is_raised() -> None:
    def part(first: int, last: int, fails_at: int) -> range:
        if first <= fails_at < last:
            raise ValueError(fails_at)
        return range(first, last)

    parts = over(1000, MIN_TASK, part, -1)
    assert [i for found in parts for i in found] == list(range(1000))
    for fails_at in (0, 999):
        with pytest.raises(ValueError, match=str(fails_at)):
            over(1000, MIN_TASK, part, fails_at)


# --- components -----------------------------------------------------------------------------


@FAST_BACKENDS
@pytest.mark.parametrize("connectivity", [6, 26])
@EXAMPLES
@given(shape=SHAPES, density=DENSITIES, seed=SEEDS)
def test_components_are_scipys(
    kernels: KernelBackend, connectivity: int, shape: Any, density: float, seed: int
) -> None:
    mask = frozen(np.random.default_rng(seed).random(shape) < density)
    found = find_components(mask, (2.0, 1.0, 0.5), connectivity=connectivity, kernels=kernels)
    same_tables(
        found,
        find_components(mask, (2.0, 1.0, 0.5), connectivity=connectivity, kernels=KernelBackend.REFERENCE),
    )
    assert found.labels.dtype == np.int32
    assert ((found.labels > 0) == mask).all()


@EVERY_BACKEND
def test_components_by_hand(kernels: KernelBackend) -> None:
    mask = np.zeros((2, 3, 5), dtype=bool)
    mask[0, 0, 0] = mask[1, 2, 3:5] = mask[0, 0, 2] = True
    mask[1, 1, 1] = True  # touches both single voxels at corners only
    apart = find_components(mask, (10.0, 10.0, 10.0), connectivity=6, kernels=kernels)
    assert apart.sizes_voxels.tolist() == [2, 1, 1, 1]
    assert [int(apart.labels[i]) for i in ((1, 2, 3), (0, 0, 0), (0, 0, 2), (1, 1, 1))] == [1, 2, 3, 4]
    joined = find_components(mask, (10.0, 10.0, 10.0), kernels=kernels)
    assert len(joined) == 2
    assert joined.volumes_ml.tolist() == [3.0, 2.0]
    np.testing.assert_allclose(joined.centroids_index_zyx, [[1 / 3, 1 / 3, 1], [1, 2, 3.5]])
    assert joined.starts_zyx.tolist() == [[0, 0, 0], [1, 2, 3]]
    assert joined.stops_zyx.tolist() == [[2, 2, 3], [2, 3, 5]]


# --- what a facade refuses --------------------------------------------------------------------

MASK = np.ones((2, 3, 4), dtype=bool)
FIELD = np.zeros((2, 3, 4), dtype=np.float32)


@pytest.mark.parametrize("spacing", [(1, 1), (1, 0, 1), (1, -1, 1), (1, math.nan, 1), (math.inf, 1, 1)])
def test_spacing_is_checked(spacing: Any) -> None:
    for call in (lambda: distance_mm(MASK, spacing), lambda: find_components(MASK, spacing)):
        with pytest.raises(InvalidGeometryError, match="spacing"):
            call()


@pytest.mark.parametrize("shape", [(3, 4), (0, 3, 4), (1, 2, 3, 4)])
def test_volumes_are_checked(shape: Any) -> None:
    with pytest.raises(InvalidGeometryError):
        distance_mm(np.ones(shape, dtype=bool), (1, 1, 1))


@pytest.mark.parametrize(
    "region",
    [(slice(0, 2),) * 2, (slice(1, 1),) * 3, (slice(0, 9),) * 3, (slice(-1, 2),) * 3, (slice(0, 2, 2),) * 3],
)
def test_regions_are_checked(region: Any) -> None:
    with pytest.raises(InvalidRequestError, match="region"):
        distance_mm(MASK, (1, 1, 1), region=region)


def test_requests_out_of_range_are_refused() -> None:
    eye = np.eye(4)
    field = np.zeros((1, 1, 1, 3), dtype=np.float32)
    bad_field = np.full((1, 1, 1, 3), np.nan, dtype=np.float32)
    calls: list[tuple[type[Exception], Any]] = [
        (InvalidRequestError, lambda: distance_mm(FIELD, (1, 1, 1))),  # type: ignore[arg-type]
        (InvalidRequestError, lambda: distance_mm(MASK, (1, 1, 1), bound_mm=0)),
        (InvalidRequestError, lambda: distance_mm(MASK, (1, 1, 1), bound_mm=math.nan)),
        (InvalidRequestError, lambda: distance_mm(MASK, (1, 1, 1), kernels="tpu")),  # type: ignore[arg-type]
        (InvalidRequestError, lambda: signed_distance_mm(FIELD * np.nan, (1, 1, 1))),
        (InvalidRequestError, lambda: signed_distance_mm(FIELD, (1, 1, 1), level=math.nan)),
        (InvalidRequestError, lambda: resample(FIELD, eye, (1, 1, 1), order=2)),
        (InvalidRequestError, lambda: resample(MASK, eye, (1, 1, 1))),
        (InvalidRequestError, lambda: resample(FIELD.astype(np.int16), eye, (1, 1, 1), fill=0.5)),
        (InvalidRequestError, lambda: resample(FIELD, eye, (1, 1, 1), displacement=field)),
        (
            InvalidRequestError,
            lambda: resample(FIELD, eye, (1, 1, 1), displacement=bad_field, displacement_map=eye),
        ),
        (InvalidGeometryError, lambda: resample(FIELD, eye * np.nan, (1, 1, 1))),
        (InvalidGeometryError, lambda: resample(FIELD, eye[::-1], (1, 1, 1))),
        (InvalidGeometryError, lambda: resample(FIELD, eye, (1, 0, 1))),
        (GridMismatchError, lambda: count_coverage(FIELD, MASK, MASK[:1], (0,))),
        (InvalidRequestError, lambda: count_coverage(FIELD, MASK, MASK, ())),
        (InvalidRequestError, lambda: count_coverage(FIELD, MASK, MASK, (5, 5))),
        (InvalidRequestError, lambda: power_sums(FIELD)),  # type: ignore[arg-type]
        (InvalidRequestError, lambda: find_components(MASK, (1, 1, 1), connectivity=18)),
    ]
    for error, call in calls:
        with pytest.raises(error):
            call()


@pytest.mark.skipif(cuda.is_available(), reason="CUDA answers here")
def test_without_cuda_the_gpu_is_refused_not_replaced() -> None:
    with pytest.raises(BackendError, match="CUDA"):
        distance_mm(MASK, (1, 1, 1), kernels=KernelBackend.GPU)
    assert select(KernelBackend.CPU, "distance").__name__ == "engine.kernels.cpu.distance"
