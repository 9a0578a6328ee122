"""Pose draws: every backend gives the reference's counts."""

from __future__ import annotations

import numpy as np
import pytest
from numba import config

from engine.errors import InvalidRequestError
from engine.kernels.backend import KernelBackend
from engine.kernels.pose_draws import DrawnCoverage, evaluate_draws
from tests.support.simulator import run_in_the_simulator

BACKENDS = [
    KernelBackend.CPU,
    pytest.param(KernelBackend.GPU, marks=pytest.mark.skipif(not config.ENABLE_CUDASIM, reason="no GPU")),
]


def drawn(kernels: KernelBackend, seed: int = 0, draws: int = 7) -> DrawnCoverage:
    rng = np.random.default_rng(seed)
    field = rng.normal(size=(6, 7, 8)).astype(np.float32)
    maps = np.tile(np.eye(3, 4), (draws, 1, 1)) + rng.normal(scale=0.2, size=(draws, 3, 4))
    return evaluate_draws(
        field,
        rng.uniform(-1, 8, (40, 3)),
        rng.uniform(-2, 6, 40),
        rng.uniform(0, 6, (15, 3)),
        maps,
        rng.uniform(3, 6, draws),
        rng.normal(scale=0.3, size=draws),
        rng.normal(scale=0.4, size=(15, 3)),
        rng.normal(size=(draws, 3)),
        kernels=kernels,
    )


@pytest.mark.parametrize("kernels", BACKENDS)
@pytest.mark.parametrize("seed", range(4))
def test_backends_give_the_counts_of_the_reference(kernels: KernelBackend, seed: int) -> None:
    expected, found = drawn(KernelBackend.REFERENCE, seed), drawn(kernels, seed)
    assert np.array_equal(found.included, expected.included)
    assert np.array_equal(found.covered, expected.covered)
    assert np.allclose(found.max_on_surface, expected.max_on_surface, atol=1e-9, rtol=0)


@pytest.mark.parametrize("kernels", BACKENDS)
@pytest.mark.parametrize("scale", [0.0, 0.003, 0.02, 0.1], ids=lambda scale: f"moved-{scale}")
def test_a_distance_of_which_most_samples_are_not_needed(kernels: KernelBackend, scale: float) -> None:
    rng = np.random.default_rng(5)
    z, y, x = np.ogrid[:16, :17, :18]
    field = (np.sqrt((z - 8) ** 2 + (y - 8) ** 2 + (x - 9) ** 2) - 5.2).astype(np.float32)
    points = rng.uniform(1, 15, (300, 3))
    surface = 8 + 4 * np.array([[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0.8, -0.8]])
    maps = np.tile(np.eye(3, 4), (20, 1, 1)) + rng.normal(scale=[scale] * 3 + [20 * scale], size=(20, 3, 4))
    tables = points, rng.uniform(-2, 6, 300), surface, maps, rng.uniform(3, 6, 20), rng.normal(size=20)
    offsets = rng.normal(scale=3 * scale, size=(5, 4)), rng.normal(size=(20, 4))
    expected, found = (
        evaluate_draws(field, *tables, *offsets, kernels=one) for one in (KernelBackend.REFERENCE, kernels)
    )
    assert np.array_equal(found.included, expected.included)
    assert np.array_equal(found.covered, expected.covered)
    assert np.allclose(found.max_on_surface, expected.max_on_surface, atol=1e-9, rtol=0)


@pytest.mark.parametrize("kernels", [KernelBackend.REFERENCE, *BACKENDS])
def test_limits_include_the_field_and_exclude_the_value(kernels: KernelBackend) -> None:
    field = np.zeros((2, 2, 2), dtype=np.float32)
    still = np.eye(3, 4)[None]
    found = evaluate_draws(
        field,
        [[0, 0, 0], [1, 1, 1]],
        [4.0, 5.0],
        [[0, 0, 0]],
        still,
        [5.0],
        [0.0],
        kernels=kernels,
    )
    assert (found.included.tolist(), found.covered.tolist(), found.max_on_surface.tolist()) == (
        [1],
        [1],
        [0.0],
    )


@pytest.mark.parametrize("kernels", [KernelBackend.REFERENCE, *BACKENDS])
def test_beyond_the_border_the_outermost_values_hold(kernels: KernelBackend) -> None:
    field = np.arange(8, dtype=np.float32).reshape(2, 2, 2)
    found = evaluate_draws(
        field,
        [[9, 9, 9]],
        [0.0],
        [[-5, 9, 0], [9, -3, 0]],
        np.eye(3, 4)[None],
        [1.0],
        [7.0],
        kernels=kernels,
    )
    assert found.max_on_surface[0] == 4.0
    assert found.covered[0] == 1


@pytest.mark.parametrize("kernels", [KernelBackend.REFERENCE, *BACKENDS])
def test_an_offset_along_the_surface_decides_where_the_greatest_lies(kernels: KernelBackend) -> None:
    field = np.arange(8, dtype=np.float32).reshape(2, 2, 2)
    surface = [[0, 0, 0], [1, 1, 1]]
    found = evaluate_draws(
        field,
        [[0, 0, 0]],
        [0.0],
        surface,
        np.tile(np.eye(3, 4), (3, 1, 1)),
        [1.0] * 3,
        [7.0] * 3,
        [[2.0, 0.0], [0.0, 1.0]],
        [[0.0, 0.0], [5.0, 1.0], [1.0, -9.0]],
        kernels=kernels,
    )
    assert found.max_on_surface.tolist() == [7.0, 10.0, 2.0]


@pytest.mark.parametrize(
    ("modes", "weights", "named"),
    [
        ([[1.0]], [[1.0]], "surface_modes"),
        ([[1.0], [2.0]], [[1.0, 2.0]], "mode_weights"),
        ([[1.0], [np.inf]], [[1.0]], "surface_modes"),
    ],
)
def test_offsets_of_another_surface_are_refused(modes: object, weights: object, named: str) -> None:
    field = np.zeros((2, 2, 2), dtype=np.float32)
    still = np.eye(3, 4)[None]
    with pytest.raises(InvalidRequestError, match=named):
        evaluate_draws(field, [[0, 0, 0]], [0.0], [[0, 0, 0]] * 2, still, [1.0], [0.0], modes, weights)  # type: ignore[arg-type]  # hostile


@pytest.mark.parametrize(
    "table", [np.zeros((0, 3)), np.zeros((4, 2)), [[np.nan, 0, 0]]], ids=["empty", "2D", "nan"]
)
def test_tables_that_cannot_be_drawn_are_refused(table: object) -> None:
    field = np.zeros((2, 2, 2), dtype=np.float32)
    with pytest.raises(InvalidRequestError, match="points_index"):
        evaluate_draws(field, table, [0.0], [[0, 0, 0]], np.eye(3, 4)[None], [1.0], [0.0])  # type: ignore[arg-type]  # hostile


@pytest.mark.skipif(bool(config.ENABLE_CUDASIM), reason="already in the simulator")
def test_the_gpu_twin_passes_in_the_simulator() -> None:
    run_in_the_simulator(__file__, passed=11)
