"""Every kernel on every backend: one test body, judged by closed forms, SciPy and SimpleITK.

``gpu`` runs where CUDA answers: on a GPU, or in Numba's simulator (tests/engine/kernels/test_kernels_gpu.py).
"""

from __future__ import annotations

import math
from dataclasses import fields
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numba import config, cuda
from scipy import ndimage

from engine.errors import BackendError, GridMismatchError, InvalidGeometryError, InvalidRequestError
from engine.kernels.backend import KernelBackend, select
from engine.kernels.components import find_components
from engine.kernels.coverage import count_coverage
from engine.kernels.cpu.occupied_box import occupied_box
from engine.kernels.cpu.threads import SMALLEST_TASK, over
from engine.kernels.distance import distance_mm, signed_distance_mm, surface_points_mm
from engine.kernels.power_sums import power_sums
from engine.kernels.resampling import resample

SIMULATED = bool(config.ENABLE_CUDASIM)
NEEDS_CUDA = pytest.mark.skipif(
    not cuda.is_available(), reason="no CUDA device; see tests/engine/kernels/test_kernels_gpu.py"
)
EVERY_BACKEND = pytest.mark.parametrize(
    "kernels", [KernelBackend.REFERENCE, KernelBackend.CPU, pytest.param(KernelBackend.GPU, marks=NEEDS_CUDA)]
)
FAST_BACKENDS = pytest.mark.parametrize(
    "kernels", [KernelBackend.CPU, pytest.param(KernelBackend.GPU, marks=NEEDS_CUDA)]
)
EXAMPLES = settings(
    max_examples=3 if SIMULATED else 60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
LARGEST = (3, 4, 5) if SIMULATED else (9, 12, 40)

SHAPES = st.tuples(*(st.integers(1, n) for n in LARGEST))
SPACINGS = st.tuples(*(st.sampled_from([0.5, 0.7, 1.0, 2.5]),) * 3)
DENSITIES = st.sampled_from([0.0, 0.01, 0.1, 0.5, 0.95, 1.0])
BOUNDS = st.sampled_from([None, 0.4, 1.0, 3.3])
SEEDS = st.integers(0, 2**32 - 1)


def frozen(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    array.setflags(write=False)
    return array


def a_region(rng: np.random.Generator, shape: tuple[int, ...]) -> tuple[slice, slice, slice]:
    starts = [int(rng.integers(0, n)) for n in shape]
    a, b, c = (slice(s, int(rng.integers(s + 1, n + 1))) for s, n in zip(starts, shape, strict=True))
    return a, b, c


def an_index_map(rng: np.random.Generator, aligned: bool) -> np.ndarray[Any, Any]:
    matrix = np.diag(rng.uniform(0.4, 1.6, 3) * rng.choice([-1, 1], 3))
    if not aligned:
        matrix += rng.uniform(-0.3, 0.3, (3, 3))
    return np.column_stack([matrix, rng.uniform(-1, 4, 3)])


def shifted_by(x: float) -> np.ndarray[Any, Any]:
    return np.column_stack([np.eye(3), [0.0, 0.0, x]])


def same_tables(a: Any, b: Any, rtol: float = 1e-12) -> None:
    for field in fields(a):
        x, y = getattr(a, field.name), getattr(b, field.name)
        np.testing.assert_allclose(x, y, rtol=rtol, err_msg=field.name)
        assert np.asarray(x).dtype == np.asarray(y).dtype, field.name


# --- distance to a mask ----------------------------------------------------------------------


@EVERY_BACKEND
def test_distance_to_one_voxel_is_the_norm(kernels: KernelBackend) -> None:
    shape, spacing = (3, 4, 5), (2.5, 0.7, 1.1)
    mask = np.zeros(shape, dtype=bool)
    mask[2, 0, 4] = True
    offset = (np.moveaxis(np.mgrid[:3, :4, :5], 0, -1) - (2, 0, 4)) * spacing
    np.testing.assert_allclose(
        distance_mm(frozen(mask), spacing, kernels=kernels), np.linalg.norm(offset, axis=-1), rtol=1e-6
    )


@EVERY_BACKEND
def test_distance_of_empty_and_full_masks(kernels: KernelBackend) -> None:
    empty, full = np.zeros((2, 3, 4), dtype=bool), np.ones((2, 3, 4), dtype=bool)
    assert np.isposinf(distance_mm(empty, (1, 1, 1), kernels=kernels)).all()
    assert np.isposinf(distance_mm(empty, (1, 1, 1), bound_mm=2, kernels=kernels)).all()
    assert (distance_mm(full, (1, 1, 1), kernels=kernels) == 0).all()


@FAST_BACKENDS
@EXAMPLES
@given(shape=SHAPES, spacing=SPACINGS, density=DENSITIES, bound=BOUNDS, seed=SEEDS)
def test_distance_is_scipys(
    kernels: KernelBackend, shape: Any, spacing: Any, density: float, bound: float | None, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    mask = frozen(rng.random(shape) < density)
    region = a_region(rng, shape)
    expected = np.full(shape, np.inf)
    if mask.any():
        expected = ndimage.distance_transform_edt(~mask, sampling=spacing)
    if bound is not None:
        expected = np.where(expected > bound * (1 + 1e-6), np.inf, expected)
    found = distance_mm(mask, spacing, bound_mm=bound, region=region, kernels=kernels)
    assert found.dtype == np.float32
    assert found.flags.c_contiguous
    np.testing.assert_allclose(found, expected[region], rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(
        distance_mm(mask, spacing, bound_mm=bound, kernels=kernels), expected, rtol=1e-6, atol=1e-6
    )


@pytest.mark.parametrize("density", [0.0005, 0.3])
def test_distance_of_a_larger_mask_takes_both_paths(density: float) -> None:
    # long rows: outward search where marks are dense, the stack of parabolas where they are few
    mask = np.random.default_rng(7).random((70, 75, 90)) < density
    expected = ndimage.distance_transform_edt(~mask, sampling=(1.0, 0.7, 0.8))
    np.testing.assert_allclose(distance_mm(mask, (1.0, 0.7, 0.8)), expected, rtol=1e-6)


def test_distance_outside_is_simpleitks() -> None:
    mask = np.zeros((20, 22, 24), dtype=bool)
    mask[8:12, 5:9, 10:20] = True
    image = sitk.GetImageFromArray(mask.astype(np.uint8))
    image.SetSpacing((0.7, 0.8, 1.25))
    maurer = sitk.GetArrayFromImage(
        sitk.SignedMaurerDistanceMap(image, squaredDistance=False, useImageSpacing=True)
    )
    np.testing.assert_allclose(distance_mm(mask, (1.25, 0.8, 0.7))[~mask], maurer[~mask], rtol=1e-5)


# --- signed distance to a sub-voxel surface ----------------------------------------------------


@EVERY_BACKEND
def test_signed_distance_to_an_oblique_free_plane(kernels: KernelBackend) -> None:
    # occupancy falls by a quarter per voxel along z and crosses one half at z = 1.6
    z = np.arange(4, dtype=np.float32).reshape(4, 1, 1)
    occupancy = np.broadcast_to(np.float32(0.5) - (z - np.float32(1.6)) / 4, (4, 3, 2)).astype(np.float32)
    found = signed_distance_mm(frozen(occupancy), (2.0, 1.0, 1.0), kernels=kernels)
    np.testing.assert_allclose(found, np.broadcast_to(2.0 * (z - 1.6), found.shape), atol=1e-5)


@EVERY_BACKEND
def test_signed_distance_without_a_surface(kernels: KernelBackend) -> None:
    nothing, everything = np.zeros((2, 2, 3), dtype=np.float32), np.ones((2, 2, 3), dtype=np.float32)
    assert np.isposinf(signed_distance_mm(nothing, (1, 1, 1), kernels=kernels)).all()
    assert np.isneginf(signed_distance_mm(everything, (1, 1, 1), kernels=kernels)).all()


def test_signed_distance_of_a_sphere_is_sub_voxel() -> None:
    index = np.moveaxis(np.mgrid[:40, :40, :40], 0, -1)
    truth = np.linalg.norm(index - (19.3, 20.1, 18.7), axis=-1) - 12.0
    occupancy = np.clip(0.5 - truth, 0, 1).astype(np.float32)
    found = signed_distance_mm(occupancy, (1, 1, 1))
    # the nearest crossing on a grid edge is never nearer than the surface, and at most a face's diagonal off
    near = np.abs(truth) > 2
    assert np.abs(found - truth)[near].max() < 0.25
    assert np.abs(found - truth)[near].mean() < 0.05
    assert ((found < 0) == (occupancy >= 0.5)).all()


@FAST_BACKENDS
@EXAMPLES
@given(
    shape=SHAPES,
    spacing=SPACINGS,
    bound=BOUNDS,
    blocky=st.booleans(),
    level=st.sampled_from([0.5, 0.2]),
    seed=SEEDS,
)
def test_signed_distance_is_the_definitions(
    kernels: KernelBackend,
    shape: Any,
    spacing: Any,
    bound: float | None,
    blocky: bool,
    level: float,
    seed: int,
) -> None:
    rng = np.random.default_rng(seed)
    occupancy = rng.random(shape, dtype=np.float32)
    if blocky:
        occupancy = np.clip(ndimage.gaussian_filter(np.round(occupancy), 1.0) * 3 - 1, 0, 1)
    frozen(occupancy)
    region = a_region(rng, shape)
    for box in (None, region):
        found = signed_distance_mm(
            occupancy, spacing, level=level, bound_mm=bound, region=box, kernels=kernels
        )
        expected = signed_distance_mm(
            occupancy, spacing, level=level, bound_mm=bound, region=box, kernels=KernelBackend.REFERENCE
        )
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected, rtol=2e-6, atol=2e-6)


def test_surface_points_lie_on_edges_at_the_level() -> None:
    occupancy = np.array([[[0.0, 1.0]], [[0.0, 0.25]]], dtype=np.float32)
    points = surface_points_mm(occupancy, (3.0, 1.0, 2.0))
    np.testing.assert_allclose(sorted(map(tuple, points)), [(0.0, 0.0, 1.0), (2.0, 0.0, 2.0)])


# --- resampling -----------------------------------------------------------------------------


@FAST_BACKENDS
@pytest.mark.parametrize("order", [0, 1, 3])
@pytest.mark.parametrize("displaced", [False, True])
@EXAMPLES
@given(shape=SHAPES, aligned=st.booleans(), seed=SEEDS)
def test_resampling_is_the_definitions(
    kernels: KernelBackend, order: int, displaced: bool, shape: Any, aligned: bool, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    voxels = frozen((rng.standard_normal(shape) * 300).astype(np.float32))
    options: dict[str, Any] = {"order": order, "fill": -7}
    if displaced:
        options["displacement"] = frozen(rng.standard_normal((2, 3, 2, 3)).astype(np.float32))
        options["displacement_map"] = np.diag([0.4, 0.3, 0.3, 1.0]) if aligned else an_index_map(rng, aligned)
    matrix, out_shape = an_index_map(rng, aligned), LARGEST[::-1] if SIMULATED else (6, 7, 31)
    found = resample(voxels, matrix, out_shape, kernels=kernels, **options)
    expected = resample(voxels, matrix, out_shape, kernels=KernelBackend.REFERENCE, **options)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=2e-3)
    hounsfield = voxels.astype(np.int16)
    exact = resample(
        hounsfield.astype(np.float32), matrix, out_shape, kernels=KernelBackend.REFERENCE, **options
    )
    rounded = resample(hounsfield, matrix, out_shape, kernels=kernels, **options)
    assert rounded.dtype == np.int16
    assert np.abs(rounded - exact).max() <= 0.5 + 2e-3


@EVERY_BACKEND
def test_cubic_resampling_is_scipys(kernels: KernelBackend) -> None:
    rng = np.random.default_rng(3)
    voxels = rng.standard_normal((5, 4, 6)).astype(np.float32)
    matrix = np.array([[0.6, 0.1, 0.0, 0.5], [-0.1, 0.5, 0.1, 1.0], [0.0, 0.1, 0.7, 0.7]])
    expected = ndimage.affine_transform(
        voxels.astype(float), matrix[:, :3], matrix[:, 3], output_shape=(4, 3, 5), order=3, mode="mirror"
    )
    found = resample(voxels, matrix, (4, 3, 5), order=3, fill=np.nan, kernels=kernels)
    inside = np.isfinite(found)
    assert inside.mean() > 0.9
    np.testing.assert_allclose(found[inside], expected[inside], atol=2e-6)


@pytest.mark.parametrize("turned", [False, True])
def test_cubic_resampling_of_more_than_a_block_is_scipys(turned: bool) -> None:
    # more columns than one block of the prefilter, most samples away from every border
    voxels = (np.random.default_rng(6).standard_normal((30, 70, 75)) * 300).astype(np.int16)
    matrix = np.array([[0.7, 0.05 * turned, 0.0], [0.0, -0.9, 0.06 * turned], [0.04 * turned, 0.0, 1.2]])
    offset = (1.3, 68.2, -0.4)
    shape = (38, 74, 66)
    expected = ndimage.affine_transform(
        voxels.astype(float), matrix, offset, output_shape=shape, order=3, mode="mirror"
    )
    found = resample(voxels, np.column_stack([matrix, offset]), shape, order=3, fill=-9999)
    inside = found != -9999
    assert inside.mean() > 0.8
    assert np.abs(found - expected)[inside].max() <= 0.5 + 2e-3


@EVERY_BACKEND
def test_displacement_is_added_in_input_voxels(kernels: KernelBackend) -> None:
    rng = np.random.default_rng(4)
    voxels = rng.standard_normal((4, 4, 6)).astype(np.float32)
    displacement = rng.uniform(-0.4, 0.4, (2, 2, 2, 3)).astype(np.float32)
    where = np.asarray(np.mgrid[:2, :2, :4]).astype(float)
    shift = [
        ndimage.map_coordinates(displacement[..., a], where / 4, order=1, mode="nearest") for a in range(3)
    ]
    expected = ndimage.map_coordinates(voxels.astype(float), where + 1 + np.stack(shift), order=1)
    found = resample(
        voxels,
        np.c_[np.eye(3), [1, 1, 1]],
        (2, 2, 4),
        displacement=displacement,
        displacement_map=np.diag([0.25, 0.25, 0.25, 1]),
        kernels=kernels,
    )
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_linear_resampling_is_simpleitks() -> None:
    rng = np.random.default_rng(5)
    voxels = rng.standard_normal((9, 10, 11)).astype(np.float32)
    matrix = np.array([[0.5, 0.1, 0.0, 1.0], [-0.1, 0.6, 0.1, 1.0], [0.0, 0.1, 0.7, 1.0]])
    transform = sitk.AffineTransform(matrix[::-1, 2::-1].ravel().tolist(), matrix[::-1, 3].tolist())
    image = sitk.Resample(sitk.GetImageFromArray(voxels), (8, 7, 9), transform, sitk.sitkLinear)
    found = resample(voxels, matrix, (9, 7, 8), fill=0)
    np.testing.assert_allclose(found, sitk.GetArrayFromImage(image), atol=1e-5)


@EVERY_BACKEND
@pytest.mark.parametrize("order", [0, 1, 3])
def test_border_rule(kernels: KernelBackend, order: int) -> None:
    # samples at -0.75, -0.5, 0, 1, 2, 2.25 and 2.5 of a row of three voxels
    voxels = np.array([[[10, 20, 40]]], dtype=np.int16)
    at = [-0.75, -0.5, -0.25, 2.0, 2.25, 2.5]
    found = [
        int(
            resample(
                voxels,
                shifted_by(x),
                (1, 1, 1),
                order=order,
                fill=-99,
                kernels=kernels,
            )[0, 0, 0]
        )
        for x in at
    ]
    assert found[0] == found[-1] == -99
    if order < 3:
        assert found[1:-1] == [10, 10, 40, 40]
    else:
        mirrored = ndimage.map_coordinates([10.0, 20.0, 40.0], [at[1:-1]], order=3, mode="mirror")
        np.testing.assert_allclose(found[1:-1], mirrored, atol=0.5)


@EVERY_BACKEND
def test_nearest_ties_go_up_and_labels_keep_their_type(kernels: KernelBackend) -> None:
    half = shifted_by(0.5)
    labels = np.array([[[3, 5, 9]]], dtype=np.uint8)
    found = resample(labels, half, (1, 1, 3), order=0, fill=0, kernels=kernels)
    assert found.dtype == np.uint8
    assert found.ravel().tolist() == [5, 9, 0]
    mask = resample(labels > 4, half, (1, 1, 3), order=0, fill=1, kernels=kernels)
    assert mask.dtype == np.bool_
    assert mask.ravel().tolist() == [True, True, True]


@EVERY_BACKEND
def test_int16_rounds_half_away_and_saturates(kernels: KernelBackend) -> None:
    half = shifted_by(0.5)
    voxels = np.array([[[0, 1, -2, -1]]], dtype=np.int16)
    assert resample(voxels, half, (1, 1, 3), kernels=kernels).ravel().tolist() == [1, -1, -2]
    edge = np.array([[[-32768, 32767, 32767, -32768]]], dtype=np.int16)
    assert resample(edge, half, (1, 1, 3), order=3, kernels=kernels)[0, 0, 1] == 32767


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

    parts = over(1000, SMALLEST_TASK, part, -1)
    assert [i for found in parts for i in found] == list(range(1000))
    for fails_at in (0, 999):
        with pytest.raises(ValueError, match=str(fails_at)):
            over(1000, SMALLEST_TASK, part, fails_at)


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
