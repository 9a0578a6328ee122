"""Matching equations: every backend sums what plain loops over voxels and nodes sum."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import config, cuda
from scipy import ndimage

from engine.arrays import BoolArray, Float32Array, Float64Array
from engine.errors import InvalidGeometryError, InvalidRequestError
from engine.kernels.arguments import Index3, node_shape
from engine.kernels.backend import KernelBackend
from engine.kernels.matching import local_moments, match_equations
from tests.support.simulator import run_in_the_simulator

SIMULATED = bool(config.ENABLE_CUDASIM)
NEEDS_CUDA = pytest.mark.skipif(not cuda.is_available(), reason="no CUDA device; run in the simulator below")
EVERY_BACKEND = pytest.mark.parametrize(
    "kernels", [KernelBackend.REFERENCE, KernelBackend.CPU, pytest.param(KernelBackend.GPU, marks=NEEDS_CUDA)]
)
EXAMPLES = settings(max_examples=40, deadline=None, derandomize=True)
SHAPES = st.tuples(st.integers(1, 7), st.integers(1, 8), st.integers(1, 40))
CELLS = st.one_of(st.sampled_from([1.0, 2.0, 3.0, 60.0]), st.floats(1.0, 9.0))
SEEDS = st.integers(0, 2**32 - 1)
PAIRS = [(0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2)]
SPACING_MM = 1.5
RATIO = 2.0


class Case(NamedTuple):
    """Arguments of ``match_equations`` in order."""

    fixed: Float32Array
    warped: Float32Array
    evidence: BoolArray
    model: Float64Array


def a_case(seed: int, shape: tuple[int, ...], model_cell: float, unknown: float = 0.03) -> Case:
    rng = np.random.default_rng(seed)
    fixed, warped = rng.normal(-500, 300, (2, *shape)).astype(np.float32)
    warped[rng.random(shape) < unknown] = np.nan
    nodes = nodes_of(shape, model_cell)
    model = np.stack(
        [
            rng.normal(-500, 50, nodes),
            rng.normal(-500, 50, nodes),
            rng.uniform(0.7, 1.4, nodes),
            rng.uniform(1e2, 1e4, nodes),
        ],
        axis=-1,
    )
    case = Case(fixed, warped, rng.random(shape) < 0.9, model)
    for array in case:
        array.setflags(write=False)
    return case


def nodes_of(shape: tuple[int, ...], cell: float) -> Index3:
    nz, ny, nx = shape
    return node_shape((nz, ny, nx), cell)


def hats(voxel: tuple[int, ...], nodes: Index3, cell: float) -> dict[Index3, float]:
    """What every node gets of a voxel."""
    found = {}
    for k, j, i in np.ndindex(*nodes):
        share = math.prod(max(0.0, 1.0 - abs(v / cell - n)) for v, n in zip(voxel, (k, j, i), strict=True))
        if share > 0.0:
            found[k, j, i] = share
    return found


def moments_by_loops(case: Case, cell: float) -> Float64Array:
    sums = np.zeros((*nodes_of(case.fixed.shape, cell), 6))
    for voxel in np.ndindex(*case.fixed.shape):
        f, w = float(case.fixed[voxel]), float(case.warped[voxel])
        if case.evidence[voxel] and math.isfinite(f) and math.isfinite(w):
            for node, share in hats(voxel, sums.shape[:3], cell).items():
                sums[node] += share * np.array([1.0, f, w, f * f, w * w, f * w])
    return sums


def equations_by_loops(case: Case, model_cell: float, cell: float) -> tuple[Float64Array, Float64Array]:
    shape = case.fixed.shape
    nodes = nodes_of(shape, cell)
    tensor, force = np.zeros((*nodes, 6)), np.zeros((*nodes, 3))
    for voxel in np.ndindex(*shape):
        if not case.evidence[voxel] or any(i in (0, n - 1) for i, n in zip(voxel, shape, strict=True)):
            continue
        shares = hats(voxel, case.model.shape[:3], model_cell)
        mean_f, mean_w, gain, variance = sum(share * case.model[node] for node, share in shares.items())
        d = (case.fixed[voxel] - mean_f) - gain * (case.warped[voxel] - mean_w)
        g = np.zeros(3)
        for axis, step in enumerate(np.eye(3, dtype=int)):
            ahead, behind = tuple(np.add(voxel, step)), tuple(np.subtract(voxel, step))
            for image, factor in ((case.fixed, 1.0), (case.warped, gain)):
                g[axis] += 0.5 * factor * (float(image[ahead]) - float(image[behind])) / (2 * SPACING_MM)
        weight = 1.0 / (variance * (1.0 + d * d / (variance * RATIO**2)))
        if np.isfinite(weight * g).all() and np.isfinite(d):
            for node, share in hats(voxel, nodes, cell).items():
                tensor[node] += share * weight * np.array([g[p] * g[q] for p, q in PAIRS])
                force[node] += share * weight * g * d
    return tensor, force


def equations(
    case: Case, model_cell: float, cell: float, kernels: KernelBackend = KernelBackend.CPU
) -> tuple[Float64Array, Float64Array]:
    return match_equations(
        *case,
        model_cell=model_cell,
        cell=cell,
        spacing_mm=SPACING_MM,
        outlier_ratio=RATIO,
        kernels=kernels,
    )


def assert_same(
    found: tuple[Float64Array, ...], expected: tuple[Float64Array, ...], rtol: float = 1e-9
) -> None:
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == np.float64
        assert one.shape == other.shape
        np.testing.assert_allclose(one, other, rtol=rtol, atol=rtol * max(np.abs(other).max(), 1e-300))


@EVERY_BACKEND
@pytest.mark.parametrize("cell", [1.0, 2.5, 20.0])
def test_sums_are_those_of_plain_loops(kernels: KernelBackend, cell: float) -> None:
    case = a_case(1, (3, 4, 3) if SIMULATED else (5, 4, 6), 1.7)
    found = local_moments(case.fixed, case.warped, case.evidence, cell, kernels=kernels)
    assert_same((found,), (moments_by_loops(case, cell),))
    # differences between neighbors are taken in single precision
    assert_same(equations(case, 1.7, cell, kernels), equations_by_loops(case, 1.7, cell), 1e-6)


@EXAMPLES
@given(shape=SHAPES, seed=SEEDS, cell=CELLS, model_cell=CELLS, unknown=st.sampled_from([0.0, 0.05, 1.0]))
def test_cpu_agrees_with_the_definition(
    shape: tuple[int, ...], seed: int, cell: float, model_cell: float, unknown: float
) -> None:
    case = a_case(seed, shape, model_cell, unknown)
    images = case.fixed, case.warped, case.evidence
    assert_same(
        (local_moments(*images, cell),), (local_moments(*images, cell, kernels=KernelBackend.REFERENCE),)
    )
    assert_same(equations(case, model_cell, cell), equations(case, model_cell, cell, KernelBackend.REFERENCE))


def test_many_slabs_over_all_threads_agree_with_the_definition() -> None:
    case = a_case(2, (40, 45, 50), 5.3)
    images = case.fixed, case.warped, case.evidence
    for cell in (1.1, 3.0):
        assert_same(
            (local_moments(*images, cell),), (local_moments(*images, cell, kernels=KernelBackend.REFERENCE),)
        )
        assert_same(equations(case, 5.3, cell), equations(case, 5.3, cell, KernelBackend.REFERENCE))


@EXAMPLES
@given(shape=SHAPES, seed=SEEDS, cell=CELLS)
def test_nodes_share_every_voxel_once(shape: tuple[int, ...], seed: int, cell: float) -> None:
    case = a_case(seed, shape, 3.0)
    found = local_moments(case.fixed, case.warped, case.evidence, cell).sum(axis=(0, 1, 2))
    known = case.evidence & np.isfinite(case.warped)
    f, w = case.fixed[known].astype(np.float64), case.warped[known].astype(np.float64)
    expected = [known.sum(), f.sum(), w.sum(), (f * f).sum(), (w * w).sum(), (f * w).sum()]
    np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-9)


@EXAMPLES
@given(seed=SEEDS, cell=CELLS)
def test_every_tensor_is_a_sum_of_outer_products(seed: int, cell: float) -> None:
    tensor, _ = equations(a_case(seed, (6, 5, 7), 2.0), 2.0, cell)
    blocks = tensor[..., ((0, 1, 2), (1, 3, 4), (2, 4, 5))]
    values = np.linalg.eigvalsh(blocks)
    assert (values[..., 0] >= -1e-12 * np.maximum(values[..., 2], 1e-300)).all()


@EVERY_BACKEND
@pytest.mark.parametrize("image", ["warped", "fixed"])
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_an_unknown_voxel_and_its_neighbors_do_not_count(
    kernels: KernelBackend, image: str, bad: float
) -> None:
    shape = (3, 4, 5) if SIMULATED else (5, 5, 5)
    case = a_case(3, shape, 2.0, 0.0)._replace(evidence=np.ones(shape, dtype=bool))
    hole = (1, 2, 3) if SIMULATED else (2, 2, 2)
    with_hole = getattr(case, image).copy()
    with_hole[hole] = bad
    holed = case._replace(**{image: with_hole})
    alone, around = case.evidence.copy(), case.evidence.copy()
    alone[hole] = False
    around[ndimage.distance_transform_cdt(alone, "taxicab") <= 1] = False
    moments = [
        local_moments(c.fixed, c.warped, e, 2.0, kernels=kernels)
        for c, e in ((holed, case.evidence), (case, alone))
    ]
    assert np.array_equal(moments[0], moments[1])
    found = equations(holed, 2.0, 2.0, kernels)
    assert_same(found, equations(case._replace(evidence=around), 2.0, 2.0, kernels), 1e-14)
    assert np.abs(found[0]).max() > 0.0


@EVERY_BACKEND
def test_without_evidence_nothing_pulls(kernels: KernelBackend) -> None:
    case = a_case(4, (3, 3, 4), 2.0)
    nowhere = case._replace(evidence=np.zeros_like(case.evidence))
    assert (local_moments(*nowhere[:3], 2.0, kernels=kernels) == 0.0).all()
    assert all((part == 0.0).all() for part in equations(nowhere, 2.0, 2.0, kernels))


@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 5, 5), (5, 2, 5), (5, 5, 2), (2, 2, 2)])
def test_a_thin_image_has_no_inner_voxel(shape: tuple[int, ...]) -> None:
    case = a_case(5, shape, 2.0)
    assert all((part == 0.0).all() for part in equations(case, 2.0, 2.0))


def integers(seed: int) -> Case:
    """A case whose differences are exact in single precision."""
    case = a_case(seed, (6, 7, 8), 2.5, 0.0)
    return case._replace(fixed=np.round(case.fixed), warped=np.round(case.warped))


@EXAMPLES
@given(seed=SEEDS, scale=st.sampled_from([0.25, 0.5, 2.0]), offset=st.integers(-500, 500))
def test_contrast_and_offset_that_the_model_knows_change_nothing(
    seed: int, scale: float, offset: int
) -> None:
    case = integers(seed)
    model = case.model.copy()
    model[..., 1] = model[..., 1] * scale + offset
    # between nodes, gain times mean is no straight line: of these two only one may vary
    model[..., 2] = 1.0 / scale
    plain = case.model.copy()
    plain[..., 2] = 1.0
    changed = case._replace(warped=case.warped * np.float32(scale) + np.float32(offset), model=model)
    assert_same(equations(changed, 2.5, 3.0), equations(case._replace(model=plain), 2.5, 3.0), 1e-11)


@EXAMPLES
@given(seed=SEEDS, gain=st.sampled_from([0.5, 1.0, 1.25]), offset=st.integers(-300, 300))
def test_an_image_that_the_model_explains_does_not_pull(seed: int, gain: float, offset: int) -> None:
    case = integers(seed)
    model = np.broadcast_to(np.array([0.0, -offset / gain, gain, 400.0]), case.model.shape)
    fixed = (gain * case.warped + offset).astype(np.float32)
    tensor, force = equations(case._replace(fixed=fixed, model=model), 2.5, 3.0)
    assert np.abs(force).max() <= 1e-12 * np.abs(tensor).max()
    assert tensor[..., 0].max() > 0.0


@EVERY_BACKEND
def test_a_translated_image_is_found(kernels: KernelBackend) -> None:
    def smooth(place: Float64Array) -> Float32Array:
        z, y, x = np.moveaxis(place, -1, 0)
        waves = np.sin(z / 2.5 + 1.0) + np.cos(y / 2.2) + np.sin(x / 2.7) + np.sin((z + y - x) / 3.1)
        return np.asarray(100.0 * waves, dtype=np.float32)

    shape = (6, 6, 6) if SIMULATED else (20, 18, 22)
    index = np.moveaxis(np.indices(shape), 0, -1).astype(np.float64)
    shift = np.array([0.12, -0.2, 0.3])
    model = np.broadcast_to(np.array([0.0, 0.0, 1.0, 1e6]), (*nodes_of(shape, 50.0), 4))
    case = Case(smooth(index), smooth(index - shift), np.ones(shape, dtype=bool), model)
    tensor, force = (part.sum(axis=(0, 1, 2)) for part in equations(case, 50.0, 50.0, kernels))
    found = np.linalg.solve(tensor[[[0, 1, 2], [1, 3, 4], [2, 4, 5]]], force)
    # central differences of these waves are 3 % low
    np.testing.assert_allclose(found, shift * SPACING_MM, rtol=0.06, atol=0.01)


def test_an_outlier_counts_half_at_its_ratio() -> None:
    ramp = np.broadcast_to(np.arange(5, dtype=np.float32) * 10, (5, 5, 5))
    model = np.zeros((*nodes_of((5, 5, 5), 2.0), 4))
    model[..., 2:] = 1.0, 25.0
    force = {}
    for difference in (0.0, 5.0 * RATIO):
        case = Case(ramp.copy(), ramp - np.float32(difference), np.ones((5, 5, 5), dtype=bool), model)
        tensor, _ = equations(case, 2.0, 2.0)
        force[difference] = tensor[1, 1, 1, 5]
    assert force[10.0] == pytest.approx(0.5 * force[0.0])


def test_the_caller_keeps_its_arrays_and_may_pass_views() -> None:
    case = a_case(6, (5, 6, 7), 2.0)
    order: list[Any] = [np.asfortranarray(array) for array in case]
    views = Case(*order)
    assert_same(equations(views, 2.0, 3.0), equations(case, 2.0, 3.0), 0.0)
    once, again = equations(case, 2.0, 3.0), equations(case, 2.0, 3.0)
    once[0][:] = 0.0
    assert again[0].any()


CASE = a_case(0, (4, 5, 6), 2.0)


@pytest.mark.parametrize("place", range(3))
def test_images_of_another_kind_are_refused(place: int) -> None:
    for bad, error in (
        (CASE[place][:1], InvalidGeometryError),
        (CASE[place][0], InvalidGeometryError),
        (CASE[place][:0], InvalidGeometryError),
        (CASE[place].astype(np.float64), InvalidRequestError),
        (None, InvalidGeometryError),
    ):
        case: list[Any] = [bad if i == place else array for i, array in enumerate(CASE)]
        with pytest.raises(error):
            equations(Case(*case), 2.0, 2.0)
        with pytest.raises(error):
            local_moments(case[0], case[1], case[2], 2.0)


@pytest.mark.parametrize("bad", [0.0, 0.99, -3.0, math.nan, math.inf])
def test_cells_below_a_voxel_are_refused(bad: float) -> None:
    with pytest.raises(InvalidRequestError, match="cell must be at least 1"):
        local_moments(*CASE[:3], bad)
    for names in ("cell", "model_cell"):
        cells: Any = {"cell": 2.0, "model_cell": 2.0, names: bad}
        with pytest.raises(InvalidRequestError, match=f"{names} must be at least 1"):
            match_equations(*CASE, **cells, spacing_mm=1.0, outlier_ratio=2.0)


@pytest.mark.parametrize("bad", [0.0, -1.0, math.nan, math.inf])
@pytest.mark.parametrize("name", ["spacing_mm", "outlier_ratio"])
def test_scales_that_mean_nothing_are_refused(name: str, bad: float) -> None:
    scales: Any = {"spacing_mm": 1.0, "outlier_ratio": 2.0, name: bad}
    with pytest.raises(InvalidRequestError, match=f"{name} must be positive"):
        match_equations(*CASE, model_cell=2.0, cell=2.0, **scales)


def test_models_that_cannot_be_read_off_are_refused() -> None:
    nan, flat = CASE.model.copy(), CASE.model.copy()
    nan[1, 1, 1, 0] = math.nan
    flat[1, 1, 1, 3] = 0.0
    for model in (nan, flat, CASE.model[:-1], CASE.model[..., :3], CASE.model[0]):
        with pytest.raises(InvalidRequestError, match="model must be finite"):
            equations(CASE._replace(model=model), 2.0, 2.0)
    with pytest.raises(InvalidRequestError, match="model must be finite"):
        equations(CASE, 3.0, 2.0)


@pytest.mark.skipif(SIMULATED, reason="already in the simulator")
def test_the_gpu_twin_passes_in_the_simulator() -> None:
    run_in_the_simulator(__file__, passed=11)
