"""Displacement search: every backend gives the definition's costs and choices, to the last bit."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import config, cuda
from scipy import ndimage

from engine.errors import GridMismatchError, InvalidGeometryError, InvalidRequestError
from engine.kernels.backend import BackendName
from engine.kernels.displacement_search import (
    GREATEST_CELL,
    UNKNOWN_COST,
    cheapest_displacement,
    displacement_costs,
)
from engine.kernels.self_similarity import CODE_BITS, self_similarity_codes

TESTS = Path(__file__).parent
SIMULATED = bool(config.ENABLE_CUDASIM)
NEEDS_CUDA = pytest.mark.skipif(not cuda.is_available(), reason="no CUDA device; run in the simulator below")
EVERY_BACKEND = pytest.mark.parametrize(
    "backend", ["reference", "cpu", pytest.param("gpu", marks=NEEDS_CUDA)]
)
FAST_BACKENDS = pytest.mark.parametrize("backend", ["cpu", pytest.param("gpu", marks=NEEDS_CUDA)])
EXAMPLES = settings(max_examples=3 if SIMULATED else 40, deadline=None, derandomize=True)
SHAPES = st.tuples(*(st.integers(1, n) for n in ((2, 3, 4) if SIMULATED else (6, 7, 30))))
RADII = st.integers(1, 1 if SIMULATED else 2)
CELLS = st.sampled_from([(1, 1), (2, 1), (2, 2), (3, 1), (4, 2), (5, 1), (6, 3), (6, 2), (4, 4), (9, 1)])
SHARES = st.sampled_from([0.0, 0.03, 0.5, 0.9, 1.0])
SEEDS = st.integers(0, 2**32 - 1)


class Case(NamedTuple):
    """Arguments of ``displacement_costs`` in order."""

    fixed: np.ndarray[Any, np.dtype[np.uint64]]
    moving: np.ndarray[Any, np.dtype[np.uint64]]
    weight: np.ndarray[Any, np.dtype[np.bool_]]
    known: np.ndarray[Any, np.dtype[np.bool_]]


def a_case(seed: int, shape: tuple[int, ...], weighted: float = 0.7, known: float = 0.7) -> Case:
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 2**CODE_BITS, (2, *shape), dtype=np.uint64)
    case = Case(codes[0].copy(), codes[1].copy(), rng.random(shape) < weighted, rng.random(shape) < known)
    for array in case:
        array.setflags(write=False)
    return case


def by_loops(case: Case, cell: int, radius: int, step: int, stride: int) -> dict[tuple[int, ...], float]:
    """Costs in shares of a code, one voxel after the other."""
    costs: dict[tuple[int, ...], float] = {}
    for p in np.ndindex(case.fixed.shape):
        if not case.weight[p] or any(i % cell % stride for i in p):
            continue
        for d in np.ndindex(*(2 * radius + 1,) * 3):
            q = tuple(i + step * (j - radius) for i, j in zip(p, d, strict=True))
            inside = all(0 <= i < n for i, n in zip(q, case.moving.shape, strict=True))
            cost = UNKNOWN_COST
            if inside and case.known[q]:
                cost = (int(case.fixed[p]) ^ int(case.moving[q])).bit_count() / CODE_BITS
            at = (*(i // cell for i in p), *d)
            costs[at] = costs.get(at, 0.0) + cost
    return costs


@EVERY_BACKEND
@pytest.mark.parametrize(
    ("cell", "step", "stride"), [(2, 1, 1), (4, 2, 2), (3, 3, 1)], ids=["every", "sparse", "steps"]
)
def test_costs_are_those_of_plain_loops(backend: BackendName, cell: int, step: int, stride: int) -> None:
    case = a_case(5, (3, 2, 4) if SIMULATED else (5, 4, 6))
    found = displacement_costs(*case, cell=cell, radius=1, step=step, stride=stride, backend=backend)
    assert found.dtype == np.float32
    assert found.shape == (*(-(-n // cell) for n in case.fixed.shape), 3, 3, 3)
    expected = by_loops(case, cell, 1, step, stride)
    for at in np.ndindex(found.shape):
        assert found[at] == pytest.approx(expected.get(at, 0.0), rel=1e-6), at


@FAST_BACKENDS
@EXAMPLES
@given(
    shape=SHAPES,
    cells=CELLS,
    radius=RADII,
    step=st.integers(1, 3),
    weighted=SHARES,
    known=SHARES,
    seed=SEEDS,
    strength=st.sampled_from([0.0, 0.01, 3.0]),
)
def test_every_backend_agrees_with_the_definition(
    backend: BackendName,
    shape: tuple[int, ...],
    cells: tuple[int, int],
    radius: int,
    step: int,
    weighted: float,
    known: float,
    seed: int,
    strength: float,
) -> None:
    case = a_case(seed, shape, weighted, known)
    cell, stride = cells
    reach: dict[str, Any] = {"cell": cell, "radius": radius, "step": step, "stride": stride}
    found = displacement_costs(*case, **reach, backend=backend)
    assert np.array_equal(found, displacement_costs(*case, **reach, backend="reference"))
    found.setflags(write=False)
    around = np.random.default_rng(seed).normal(0, 1, (*found.shape[:3], 3)).astype(np.float32)
    chosen = cheapest_displacement(found, around, strength, backend=backend)
    assert chosen.dtype == np.int32
    assert np.array_equal(chosen, cheapest_displacement(found, around, strength, backend="reference"))


def test_many_lines_over_all_threads_agree_with_the_definition() -> None:
    case = a_case(8, (22, 25, 41))
    for stride in (1, 2):
        found = displacement_costs(*case, cell=4, radius=2, stride=stride)
        assert np.array_equal(
            found, displacement_costs(*case, cell=4, radius=2, stride=stride, backend="reference")
        )


@EVERY_BACKEND
def test_an_unknown_voxel_costs_the_same_wherever_it_is(backend: BackendName) -> None:
    fixed, moving, weight, known = a_case(2, (2, 2, 3), 1.0, 0.0)
    costs = displacement_costs(fixed, moving, weight, known, cell=2, radius=1, backend=backend)
    assert np.array_equal(costs[0, 0, 0], np.full((3, 3, 3), np.float32(8 * UNKNOWN_COST)))
    assert np.array_equal(costs[0, 0, 1], np.full((3, 3, 3), np.float32(4 * UNKNOWN_COST)))
    # outside: a single voxel knows only itself
    alone = displacement_costs(*a_case(2, (1, 1, 1), 1.0, 1.0), cell=2, radius=1, backend=backend)[0, 0, 0]
    outside = np.arange(27).reshape(3, 3, 3) != 13
    assert (alone[outside] == np.float32(UNKNOWN_COST)).all()


@EVERY_BACKEND
def test_a_cell_without_evidence_costs_nothing(backend: BackendName) -> None:
    fixed, moving, weight, known = a_case(3, (2, 2, 4), 1.0)
    weight = weight.copy()
    weight[:, :, :2] = False
    costs = displacement_costs(fixed, moving, weight, known, cell=2, radius=1, backend=backend)
    assert (costs[0, 0, 0] == 0).all()
    assert (costs[0, 0, 1] > 0).all()
    nowhere = displacement_costs(
        fixed, moving, np.zeros_like(weight), known, cell=2, radius=1, backend=backend
    )
    assert (nowhere == 0).all()


@EXAMPLES
@given(shape=SHAPES, seed=SEEDS, step=st.integers(1, 2))
def test_a_cell_costs_what_its_parts_cost(shape: tuple[int, ...], seed: int, step: int) -> None:
    case = a_case(seed, shape)
    whole = displacement_costs(*case, cell=4, radius=1, step=step) * CODE_BITS
    parts = displacement_costs(*case, cell=2, radius=1, step=step).astype(np.float64) * CODE_BITS
    for axis in range(3):
        parts = np.add.reduceat(parts, range(0, parts.shape[axis], 2), axis)
    np.testing.assert_allclose(whole, parts, rtol=1e-6, atol=1e-4)


@EXAMPLES
@given(shape=SHAPES, seed=SEEDS, stride=st.sampled_from([1, 2, 3, 6]), step=st.integers(1, 4))
def test_a_stride_is_a_sparser_weight(shape: tuple[int, ...], seed: int, stride: int, step: int) -> None:
    fixed, moving, weight, known = a_case(seed, shape)
    sparse = np.zeros_like(weight)
    sparse[::stride, ::stride, ::stride] = weight[::stride, ::stride, ::stride]
    assert np.array_equal(
        displacement_costs(fixed, moving, weight, known, cell=6, radius=2, step=step, stride=stride),
        displacement_costs(fixed, moving, sparse, known, cell=6, radius=2, step=step),
    )


@settings(EXAMPLES, max_examples=10)
@given(seed=SEEDS, shift=st.tuples(*(st.integers(-3, 3),) * 3), stride=st.sampled_from([1, 2]))
def test_a_shifted_image_is_found_exactly(seed: int, shift: tuple[int, int, int], stride: int) -> None:
    noise = np.random.default_rng(seed).standard_normal((30, 30, 30))
    whole = (ndimage.gaussian_filter(noise, 1.0) * 1000).astype(np.float32)
    # a voxel p of the fixed crop lies at p + shift in the moving one
    fixed = whole[3:27, 3:27, 3:27]
    moving = whole[tuple(slice(3 - s, 27 - s) for s in shift)]
    inner = np.zeros(fixed.shape, dtype=bool)
    inner[3:-3, 3:-3, 3:-3] = True  # beyond, codes see the crop's own border
    costs = displacement_costs(
        self_similarity_codes(fixed),
        self_similarity_codes(moving),
        inner,
        inner,
        cell=4,
        radius=3,
        stride=stride,
    )
    middle = (slice(2, 4),) * 3
    still = np.zeros((*costs.shape[:3], 3), dtype=np.float32)
    for strength in (0.0, 1e-4):
        chosen = cheapest_displacement(costs, still, strength)[middle]
        assert (chosen == shift).all()
    z, y, x = (s + 3 for s in shift)
    assert (costs[(*middle, z, y, x)] == 0).all()


@EVERY_BACKEND
def test_cheapest_by_hand(backend: BackendName) -> None:
    costs = np.ones((1, 1, 4, 3, 3, 3), dtype=np.float32)
    costs[0, 0, 1, 2, 0, 1] = 0.5
    costs[0, 0, 2, 0, 2, 2] = costs[0, 0, 2, 2, 0, 0] = -1.0
    costs[0, 0, 3] = np.inf
    around = np.zeros((1, 1, 4, 3), dtype=np.float32)
    free = cheapest_displacement(costs, around, 0.0, backend=backend)[0, 0]
    # of equal ones the first, of none the first of all
    assert free.tolist() == [[-1, -1, -1], [1, -1, 0], [-1, 1, 1], [-1, -1, -1]]
    around[0, 0, 0] = (0.6, -7.0, 0.4)
    held = cheapest_displacement(costs, around, 10.0, backend=backend)[0, 0]
    assert held[:3].tolist() == [[1, -1, 0], [0, 0, 0], [0, 0, 0]]


@EXAMPLES
@given(seed=SEEDS, strength=st.floats(0, 2))
def test_cheapest_is_the_least_of_all(seed: int, strength: float) -> None:
    rng = np.random.default_rng(seed)
    costs = rng.random((2, 1, 3, 5, 5, 5)).astype(np.float32)
    around = rng.normal(0, 2, (2, 1, 3, 3)).astype(np.float32)
    chosen = cheapest_displacement(costs, around, strength)
    steps = np.moveaxis(np.mgrid[-2:3, -2:3, -2:3], 0, -1)
    for cell in np.ndindex(2, 1, 3):
        total = costs[cell] + strength * ((steps - around[cell]) ** 2).sum(axis=-1)
        d = chosen[cell]
        assert total[tuple(d + 2)] == pytest.approx(total.min(), rel=1e-5, abs=1e-5)


@EVERY_BACKEND
def test_costs_that_are_nan_are_refused(backend: BackendName) -> None:
    costs = np.zeros((1, 1, 2, 3, 3, 3), dtype=np.float32)
    costs[0, 0, 1, 1, 1, 1] = costs[0, 0, 0, 2, 2, 2] = np.nan
    with pytest.raises(InvalidRequestError, match="2 costs are NaN"):
        cheapest_displacement(costs, np.zeros((1, 1, 2, 3), dtype=np.float32), 0.1, backend=backend)


def test_the_caller_keeps_its_arrays_and_may_pass_views() -> None:
    case = [np.array(a) for a in a_case(4, (6, 8, 10))]
    expected = displacement_costs(*case, cell=4, radius=1)
    assert all(a.flags.writeable for a in case)
    views = [np.asfortranarray(a) for a in case]
    assert np.array_equal(displacement_costs(*views, cell=4, radius=1), expected)
    around = np.zeros((*expected.shape[:3], 3), dtype=np.float32)
    assert np.array_equal(
        cheapest_displacement(np.asfortranarray(expected), around[:, ::-1], 0.1),
        cheapest_displacement(expected, around, 0.1),
    )
    assert expected.flags.writeable


CASE = a_case(0, (2, 3, 4))
COSTS = np.zeros((1, 1, 2, 3, 3, 3), dtype=np.float32)
AROUND = np.zeros((1, 1, 2, 3), dtype=np.float32)


@pytest.mark.parametrize("place", range(4))
def test_grids_and_types_are_checked(place: int) -> None:
    for bad, error in (
        (CASE[place][:1], GridMismatchError),
        (CASE[place][0], InvalidGeometryError),
        (CASE[place][:0], InvalidGeometryError),
        (CASE[place].astype(np.int64), InvalidRequestError),
    ):
        case: list[Any] = [bad if i == place else a for i, a in enumerate(CASE)]
        with pytest.raises(error):
            displacement_costs(*case, cell=2, radius=1)


@pytest.mark.parametrize("place", [0, 1])
def test_codes_of_another_kind_are_refused(place: int) -> None:
    case: list[Any] = list(CASE)
    case[place] = case[place] | np.uint64(1 << CODE_BITS)
    with pytest.raises(InvalidRequestError, match="60 bits"):
        displacement_costs(*case, cell=2, radius=1)


@pytest.mark.parametrize("bad", [0, -2, 2.0, None, True])
@pytest.mark.parametrize("name", ["cell", "radius", "step", "stride"])
def test_reaches_that_are_no_count_are_refused(name: str, bad: Any) -> None:
    with pytest.raises(InvalidRequestError, match=name):
        displacement_costs(*CASE, **{"cell": 2, "radius": 1, name: bad})


@pytest.mark.parametrize(
    ("reach", "reason"),
    [
        ({"cell": GREATEST_CELL + 1, "radius": 1}, "at most"),
        ({"cell": 4, "radius": 1, "stride": 3}, "divide"),
        ({"cell": 2, "radius": 1, "stride": 4}, "divide"),
        ({"cell": 1, "radius": 500}, "larger cells"),
    ],
)
def test_searches_that_cannot_be_done_are_refused(reach: dict[str, int], reason: str) -> None:
    with pytest.raises(InvalidRequestError, match=reason):
        displacement_costs(*CASE, **reach)  # type: ignore[arg-type]  # one of its values is a stride


@pytest.mark.parametrize(
    "shape", [(1, 1, 2, 3, 3), (1, 1, 2, 3, 3, 5), (1, 1, 2, 4, 4, 4), (0, 1, 2, 3, 3, 3)]
)
def test_costs_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InvalidGeometryError, match="costs"):
        cheapest_displacement(np.zeros(shape, dtype=np.float32), AROUND, 0.1)


def test_choices_that_cannot_be_made_are_refused() -> None:
    calls: list[tuple[type[Exception], str, Any]] = [
        (InvalidRequestError, "costs", (COSTS.astype(np.float64), AROUND, 0.1)),
        (InvalidGeometryError, "costs", ([1.0], AROUND, 0.1)),
        (GridMismatchError, "around", (COSTS, AROUND[:, :, :1], 0.1)),
        (GridMismatchError, "around", (COSTS, AROUND.astype(np.float64), 0.1)),
        (GridMismatchError, "around", (COSTS, None, 0.1)),
        (InvalidRequestError, "around", (COSTS, AROUND * np.float32(np.nan), 0.1)),
        (InvalidRequestError, "around", (COSTS, AROUND + np.float32(1e30), 0.1)),
        (InvalidRequestError, "strength", (COSTS, AROUND, math.nan)),
        (InvalidRequestError, "strength inf", (COSTS, AROUND, math.inf)),
        (InvalidRequestError, "strength", (COSTS, AROUND, -0.1)),
    ]
    for error, reason, arguments in calls:
        with pytest.raises(error, match=reason):
            cheapest_displacement(*arguments)


@pytest.mark.skipif(SIMULATED, reason="already in the simulator")
def test_the_gpu_twin_passes_in_the_simulator() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "pytest", __file__, "-k", "gpu", "-q", "-p", "no:cacheprovider"],
        env={**os.environ, "NUMBA_ENABLE_CUDASIM": "1"},
        cwd=TESTS.parent,
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "8 passed" in run.stdout, run.stdout
