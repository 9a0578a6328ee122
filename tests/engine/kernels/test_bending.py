"""Bending energy: every backend applies and inverts the operator that plain loops define."""

from __future__ import annotations

import math
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import config, cuda

from engine.arrays import Float64Array
from engine.errors import InvalidGeometryError, InvalidRequestError
from engine.kernels.backend import KernelBackend
from engine.kernels.bending import bending_force, solve_bending
from tests.support.simulator import run_in_the_simulator

SIMULATED = bool(config.ENABLE_CUDASIM)
NEEDS_CUDA = pytest.mark.skipif(not cuda.is_available(), reason="no CUDA device; run in the simulator below")
EVERY_BACKEND = pytest.mark.parametrize(
    "kernels", [KernelBackend.REFERENCE, KernelBackend.CPU, pytest.param(KernelBackend.GPU, marks=NEEDS_CUDA)]
)
EXAMPLES = settings(max_examples=40, deadline=None, derandomize=True)
SHAPES = st.tuples(*(st.integers(1, 5),) * 3)
SEEDS = st.integers(0, 2**32 - 1)
LATTICES = [(1, 1, 1), (1, 2, 3), (2, 2, 2), (3, 1, 4), (5, 3, 4)]
SOLVED_LATTICES = [(1, 1, 1), (1, 2, 2), (1, 1, 3)] if SIMULATED else [*LATTICES, (6, 6, 6)]
PLACES = ((0, 1, 2), (1, 3, 4), (2, 4, 5))


def differences(shape: tuple[int, ...]) -> list[tuple[float, dict[tuple[int, ...], float]]]:
    """Weight and stencil of every squared difference that lies inside the lattice."""
    found = []
    for at in np.ndindex(*shape):
        for axis in range(3):
            nodes = [tuple(i + k * (a == axis) for a, i in enumerate(at)) for k in range(3)]
            found.append((1.0, dict(zip(nodes, (1.0, -2.0, 1.0), strict=True))))
        for one, other in combinations(range(3), 2):
            nodes = [
                tuple(i + j * (a == one) + k * (a == other) for a, i in enumerate(at))
                for j in range(2)
                for k in range(2)
            ]
            found.append((2.0, dict(zip(nodes, (1.0, -1.0, -1.0, 1.0), strict=True))))
    return [
        (weight, stencil)
        for weight, stencil in found
        if all(i < n for node in stencil for i, n in zip(node, shape, strict=True))
    ]


def energy(shape: tuple[int, ...]) -> Float64Array:
    """Matrix of the bending energy of one component."""
    matrix = np.zeros((math.prod(shape),) * 2)
    for weight, stencil in differences(shape):
        row = np.zeros(shape)
        for node, value in stencil.items():
            row[node] = value
        matrix += weight * np.outer(row, row)
    return matrix


def whole(tensor: Float64Array, stiffness: float) -> Float64Array:
    """Dense ``T + stiffness R``."""
    matrix = np.asarray(stiffness * np.kron(energy(tensor.shape[:3]), np.eye(3)), dtype=np.float64)
    for n, block in enumerate(tensor.reshape(-1, 6)[:, PLACES]):
        matrix[3 * n : 3 * n + 3, 3 * n : 3 * n + 3] += block
    return matrix


def a_case(seed: int, shape: tuple[int, ...]) -> tuple[Float64Array, Float64Array]:
    """Tensor of three gradients at a node, and a right side."""
    rng = np.random.default_rng(seed)
    g = rng.standard_normal((3, *shape, 3))
    pairs = [(0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2)]
    tensor = np.stack([(g[..., p] * g[..., q]).sum(axis=0) for p, q in pairs], axis=-1)
    right = rng.standard_normal((*shape, 3))
    tensor.setflags(write=False)
    right.setflags(write=False)
    return tensor, right


@EVERY_BACKEND
@pytest.mark.parametrize("shape", LATTICES, ids=str)
def test_force_is_that_of_plain_loops(kernels: KernelBackend, shape: tuple[int, int, int]) -> None:
    _, field = a_case(1, shape)
    expected = (energy(shape) @ field.reshape(-1, 3)).reshape(field.shape)
    np.testing.assert_allclose(bending_force(field, kernels=kernels), expected, rtol=1e-12, atol=1e-12)


@EVERY_BACKEND
@pytest.mark.parametrize("shape", SOLVED_LATTICES, ids=str)
def test_solution_is_that_of_a_dense_solver(kernels: KernelBackend, shape: tuple[int, int, int]) -> None:
    tensor, right = a_case(2, shape)
    found = solve_bending(tensor, right, 0.6, tolerance=1e-11, iterations=5000, kernels=kernels)
    assert found.dtype == np.float64
    expected = np.linalg.solve(whole(tensor, 0.6), right.ravel()).reshape(right.shape)
    np.testing.assert_allclose(found, expected, rtol=1e-7, atol=1e-9 * np.abs(expected).max())


@EXAMPLES
@given(shape=SHAPES, seed=SEEDS, stiffness=st.floats(1e-3, 1e3))
def test_any_lattice_is_solved(shape: tuple[int, ...], seed: int, stiffness: float) -> None:
    tensor, right = a_case(seed, shape)
    found = solve_bending(tensor, right, stiffness, tolerance=1e-12, iterations=20000)
    left = whole(tensor, stiffness) @ found.ravel() - right.ravel()
    assert np.abs(left).max() <= 1e-8 * np.abs(right).max()


@EXAMPLES
@given(shape=SHAPES, seed=SEEDS)
def test_force_agrees_with_the_definition(shape: tuple[int, ...], seed: int) -> None:
    _, field = a_case(seed, shape)
    expected = bending_force(field, kernels=KernelBackend.REFERENCE)
    np.testing.assert_allclose(bending_force(field), expected, rtol=1e-12, atol=1e-12)


@EVERY_BACKEND
@settings(EXAMPLES, max_examples=2 if SIMULATED else 15)
@given(seed=SEEDS)
def test_an_affine_field_costs_nothing(kernels: KernelBackend, seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape = (2, 3, 2) if SIMULATED else tuple(rng.integers(1, 7, 3))
    index = np.moveaxis(np.indices(shape), 0, -1)
    field = index @ rng.normal(0, 10, (3, 3)) + rng.normal(0, 10, 3)
    assert np.abs(bending_force(field, kernels=kernels)).max() <= 1e-12 * max(np.abs(field).max(), 1.0)


def test_a_bent_field_costs() -> None:
    z, y, x = np.indices((4, 4, 4)).astype(np.float64)
    for bent in (z * z, y * y, x * x, z * y, z * x, y * x):
        field = np.stack([bent, 0 * bent, 0 * bent], axis=-1)
        assert (field * bending_force(field)).sum() > 1.0


@EXAMPLES
@given(shape=SHAPES, seed=SEEDS)
def test_the_energy_is_symmetric_and_never_negative(shape: tuple[int, ...], seed: int) -> None:
    u, v = np.random.default_rng(seed).standard_normal((2, *shape, 3))
    force_u, force_v = bending_force(u), bending_force(v)
    rounding = 1e-12 * u.size * np.abs(u).max() * max(np.abs(u).max(), np.abs(v).max())
    assert abs((u * force_v).sum() - (v * force_u).sum()) <= rounding
    assert (u * force_u).sum() >= -rounding


@EVERY_BACKEND
def test_without_evidence_the_prior_alone_is_solved(kernels: KernelBackend) -> None:
    shape = (1, 1, 3) if SIMULATED else (3, 4, 5)
    tensor, bent = np.zeros((*shape, 6)), a_case(3, shape)[1]
    right = bending_force(bent)
    found = solve_bending(tensor, right, 2.0, tolerance=1e-11, kernels=kernels)
    np.testing.assert_allclose(2.0 * bending_force(found), right, atol=1e-8)


@EVERY_BACKEND
def test_nothing_to_do_is_no_field(kernels: KernelBackend) -> None:
    tensor, right = a_case(4, (1, 2, 2))
    assert (solve_bending(tensor, 0.0 * right, 1.0, kernels=kernels) == 0.0).all()
    assert (solve_bending(0.0 * tensor, 0.0 * right, 1.0, kernels=kernels) == 0.0).all()


@EXAMPLES
@given(seed=SEEDS, tolerance=st.sampled_from([0.3, 1e-2, 1e-3, 1e-5]))
def test_it_stops_at_the_tolerance_that_was_asked_for(seed: int, tolerance: float) -> None:
    tensor, right = a_case(seed, (5, 4, 6))
    found = solve_bending(tensor, right, 0.5, tolerance=tolerance)
    blocks = tensor.reshape(-1, 6)[:, PLACES] + 0.5 * 42.0 * np.eye(3)

    def size(left: Float64Array) -> float:
        rest = left.reshape(-1, 3, 1)
        return math.sqrt(float((rest * np.linalg.solve(blocks, rest)).sum()))

    left = right.ravel() - whole(tensor, 0.5) @ found.ravel()
    assert size(left) <= 1.0001 * tolerance * size(right)
    assert size(left) > 1e-4 * tolerance * size(right)


@pytest.mark.parametrize("kernels", [KernelBackend.CPU, pytest.param(KernelBackend.GPU, marks=NEEDS_CUDA)])
def test_it_stops_after_the_iterations_that_were_allowed(kernels: KernelBackend) -> None:
    tensor, right = a_case(6, (1, 3, 2))
    found = solve_bending(tensor, right, 0.5, tolerance=1e-9, iterations=1, kernels=kernels)
    blocks = tensor.reshape(-1, 6)[:, PLACES] + 0.5 * 42.0 * np.eye(3)
    along = np.linalg.solve(blocks, right.reshape(-1, 3, 1)).ravel()
    step = (along @ right.ravel()) / (along @ whole(tensor, 0.5) @ along)
    np.testing.assert_allclose(found.ravel(), step * along, rtol=1e-12)


@pytest.mark.parametrize("kernels", [KernelBackend.CPU, pytest.param(KernelBackend.GPU, marks=NEEDS_CUDA)])
def test_no_step_is_made_past_the_tolerance(kernels: KernelBackend) -> None:
    """Also where the device has been told more steps than it needs."""
    tensor, right = a_case(6, (1, 3, 2))
    blocks = tensor.reshape(-1, 6)[:, PLACES] + 0.5 * 42.0 * np.eye(3)

    def size(found: Float64Array) -> float:
        left = right.ravel() - whole(tensor, 0.5) @ found.ravel()
        rest = left.reshape(-1, 3, 1)
        return math.sqrt(float((rest * np.linalg.solve(blocks, rest)).sum()))

    steps = [
        solve_bending(tensor, right, 0.5, tolerance=1e-9, iterations=k, kernels=kernels) for k in range(1, 7)
    ]
    enough = next(k for k, found in enumerate(steps) if size(found) <= 0.5 * size(np.zeros_like(right)))
    assert 0 < enough < 5
    found = solve_bending(tensor, right, 0.5, tolerance=0.5, kernels=kernels)
    np.testing.assert_allclose(found, steps[enough], rtol=1e-3, atol=1e-5)
    assert np.abs(found - steps[enough + 1]).max() > 1e-4


@pytest.mark.parametrize("unit", [2.0**-200, 2.0**200])
def test_units_do_not_matter(unit: float) -> None:
    tensor, right = a_case(7, (3, 4, 3))
    found = solve_bending(unit * tensor, unit * right, unit * 0.5)
    assert np.array_equal(found, solve_bending(tensor, right, 0.5))


def test_the_caller_may_pass_views() -> None:
    tensor, right = a_case(8, (3, 4, 5))
    views = np.asfortranarray(tensor), np.asfortranarray(right)
    assert np.array_equal(solve_bending(*views, 1.0), solve_bending(tensor, right, 1.0))
    assert np.array_equal(bending_force(views[1]), bending_force(right))
    turned = right[::-1, :, ::-1]
    np.testing.assert_allclose(bending_force(turned), bending_force(right)[::-1, :, ::-1], atol=1e-12)


TENSOR, RIGHT = a_case(0, (2, 3, 4))


@pytest.mark.parametrize(
    ("tensor", "right"),
    [
        (TENSOR[..., :5], RIGHT),
        (TENSOR, RIGHT[..., :2]),
        (TENSOR[:1], RIGHT),
        (TENSOR[0], RIGHT[0]),
        (TENSOR[:0], RIGHT[:0]),
    ],
    ids=["five numbers", "two components", "other lattice", "flat", "empty"],
)
def test_other_shapes_are_refused(tensor: Float64Array, right: Float64Array) -> None:
    with pytest.raises(InvalidGeometryError):
        solve_bending(tensor, right, 1.0)


def test_a_field_of_another_shape_is_refused() -> None:
    for field in (RIGHT[..., :2], RIGHT[0], RIGHT[:, :0]):
        with pytest.raises(InvalidGeometryError, match="field"):
            bending_force(field)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_numbers_that_are_not_finite_are_refused(bad: float) -> None:
    tensor, right = TENSOR.copy(), RIGHT.copy()
    tensor[1, 1, 1, 1] = right[1, 2, 3, 0] = bad
    with pytest.raises(InvalidRequestError, match="tensor must be finite"):
        solve_bending(tensor, RIGHT, 1.0)
    with pytest.raises(InvalidRequestError, match="right must be finite"):
        solve_bending(TENSOR, right, 1.0)
    with pytest.raises(InvalidRequestError, match="field must be finite"):
        bending_force(right)


@pytest.mark.parametrize(
    ("stiffness", "limits"),
    [
        (0.0, {}),
        (-1.0, {}),
        (math.nan, {}),
        (math.inf, {}),
        (1.0, {"tolerance": 0.0}),
        (1.0, {"tolerance": math.nan}),
        (1.0, {"iterations": 0}),
        (1.0, {"iterations": -1}),
    ],
)
def test_limits_that_mean_nothing_are_refused(stiffness: float, limits: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequestError, match="must be positive"):
        solve_bending(TENSOR, RIGHT, stiffness, **limits)


@pytest.mark.skipif(SIMULATED, reason="already in the simulator")
def test_the_gpu_twin_passes_in_the_simulator() -> None:
    run_in_the_simulator(__file__, passed=13)
