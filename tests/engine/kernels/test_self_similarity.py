"""Self-similarity codes: every backend gives the same bits, and they mean what the method says."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import config, cuda
from scipy import ndimage

from engine.errors import InvalidGeometryError, InvalidRequestError
from engine.kernels.backend import KernelBackend
from engine.kernels.self_similarity import CODE_BITS, PAIRS, self_similarity_codes
from tests.support.simulator import run_in_the_simulator

SIMULATED = bool(config.ENABLE_CUDASIM)
NEEDS_CUDA = pytest.mark.skipif(not cuda.is_available(), reason="no CUDA device; run in the simulator below")
EVERY_BACKEND = pytest.mark.parametrize(
    "kernels", [KernelBackend.REFERENCE, KernelBackend.CPU, pytest.param(KernelBackend.GPU, marks=NEEDS_CUDA)]
)
FAST_BACKENDS = pytest.mark.parametrize(
    "kernels", [KernelBackend.CPU, pytest.param(KernelBackend.GPU, marks=NEEDS_CUDA)]
)
EXAMPLES = settings(max_examples=1 if SIMULATED else 40, deadline=None, derandomize=True)
SHAPES = st.tuples(*(st.integers(1, n) for n in ((2, 1, 3) if SIMULATED else (7, 9, 40))))
REACHES = st.just((1, 1)) if SIMULATED else st.tuples(st.integers(1, 3), st.integers(1, 4))
SEEDS = st.integers(0, 2**32 - 1)

Codes = np.ndarray[Any, np.dtype[np.uint64]]
Volume = np.ndarray[Any, np.dtype[np.float32]]


def whole_hu(seed: int, shape: tuple[int, ...]) -> Volume:
    """Whole HU so small that float32 adds their squares exactly, in any order."""
    return np.random.default_rng(seed).integers(-120, 120, shape).astype(np.float32)


def smooth_hu(seed: int, shape: tuple[int, ...]) -> Volume:
    noise = np.random.default_rng(seed).standard_normal(shape)
    return (ndimage.gaussian_filter(noise, 1.0) * 1000 - 500).astype(np.float32)


def by_loops(hu: Volume, at: tuple[int, ...], radius: int, dilation: int) -> int:
    """Code of one voxel, straight from the paper, in whole numbers and float64."""

    def value(*index: int) -> int:
        return int(hu[tuple(min(max(i, 0), n - 1) for i, n in zip(index, hu.shape, strict=True))])

    distances = []
    for first, second in PAIRS:
        a, b = (np.array(at) + dilation * first, np.array(at) + dilation * second)
        offsets = (np.array(o) - radius for o in np.ndindex(*(2 * radius + 1,) * 3))
        distances.append(sum((value(*(a + o)) - value(*(b + o))) ** 2 for o in offsets))
    excess = [d - min(distances) for d in distances]
    mean = sum(excess) / 12
    code = 0
    for k, d in enumerate(excess):
        for level in range(5):
            code |= (d < -math.log((level + 1.5) / 6) * mean) << (5 * k + level)
    return code


def test_pairs_are_the_neighbors_that_do_not_face_each_other() -> None:
    assert PAIRS.shape == (12, 2, 3)
    assert (np.abs(PAIRS).sum(axis=2) == 1).all()
    assert (((PAIRS[:, 0] - PAIRS[:, 1]) ** 2).sum(axis=1) == 2).all()
    assert len({frozenset(map(tuple, pair.tolist())) for pair in PAIRS}) == 12


@EVERY_BACKEND
@pytest.mark.parametrize(("radius", "dilation"), [(1, 1)] if SIMULATED else [(1, 2), (2, 1), (1, 3)])
def test_codes_are_those_of_the_paper(kernels: KernelBackend, radius: int, dilation: int) -> None:
    hu = whole_hu(1, (1, 2, 3) if SIMULATED else (4, 5, 6))
    found = self_similarity_codes(hu, radius=radius, dilation=dilation, kernels=kernels)
    assert found.dtype == np.uint64
    for at in list(np.ndindex(hu.shape))[:: 1 if radius == 1 else 7]:
        assert int(found[at]) == by_loops(hu, at, radius, dilation), at


@FAST_BACKENDS
@EXAMPLES
@given(shape=SHAPES, reaches=REACHES, seed=SEEDS)
def test_every_backend_gives_the_bits_of_the_definition(
    kernels: KernelBackend, shape: tuple[int, ...], reaches: tuple[int, int], seed: int
) -> None:
    hu = smooth_hu(seed, shape)
    hu.setflags(write=False)
    radius, dilation = reaches
    found = self_similarity_codes(hu, radius=radius, dilation=dilation, kernels=kernels)
    expected = self_similarity_codes(hu, radius=radius, dilation=dilation, kernels=KernelBackend.REFERENCE)
    assert np.array_equal(found, expected)
    assert found.flags.c_contiguous


def test_many_slices_over_all_threads_give_the_bits_of_the_definition() -> None:
    hu = smooth_hu(3, (61, 40, 53))
    assert np.array_equal(
        self_similarity_codes(hu), self_similarity_codes(hu, kernels=KernelBackend.REFERENCE)
    )


@EVERY_BACKEND
def test_what_is_flat_is_alike_everywhere(kernels: KernelBackend) -> None:
    all_alike = np.uint64(2**CODE_BITS - 1)
    flat = np.full((1, 1, 3), 1e6, dtype=np.float32)
    but_for_rounding = np.array([[[-1024, -1024.0001, -1023.9999]]], dtype=np.float32)
    assert len(np.unique(but_for_rounding)) == 3
    for hu in (flat, but_for_rounding):
        assert (self_similarity_codes(hu, dilation=1, kernels=kernels) == all_alike).all()


@EXAMPLES
@given(seed=SEEDS)
def test_codes_are_bars_and_one_pair_is_the_likest(seed: int) -> None:
    codes = self_similarity_codes(smooth_hu(seed, (5, 6, 7)))
    bars = codes[..., None] >> np.arange(0, CODE_BITS, 5, dtype=np.uint64) & np.uint64(31)
    assert np.isin(bars, [0, 1, 3, 7, 15, 31]).all()
    assert (bars.max(axis=-1) == 31).all()
    assert (bars.min(axis=-1) < 31).all()


@EXAMPLES
@given(seed=SEEDS, gain=st.floats(0.05, 20.0), offset=st.floats(-300, 300))
def test_gain_and_offset_change_nothing_but_rounding(seed: int, gain: float, offset: float) -> None:
    hu = smooth_hu(seed, (8, 9, 10))
    codes = self_similarity_codes(hu)
    changed = self_similarity_codes((hu.astype(np.float64) * gain + offset).astype(np.float32))
    flipped = np.bitwise_count(codes ^ changed)
    assert flipped.max() <= 2
    assert (flipped > 0).mean() < 0.02
    assert np.array_equal(self_similarity_codes(hu * np.float32(4)), codes)


@EXAMPLES
@given(seed=SEEDS, shift=st.tuples(*(st.integers(0, 4),) * 3))
def test_codes_move_with_the_image(seed: int, shift: tuple[int, int, int]) -> None:
    whole, inner = smooth_hu(seed, (15, 16, 17)), (slice(3, 8),) * 3
    moved = tuple(slice(s, s + 11) for s in shift)
    there = tuple(slice(s + 3, s + 8) for s in shift)
    assert np.array_equal(
        self_similarity_codes(np.ascontiguousarray(whole[moved]))[inner], self_similarity_codes(whole)[there]
    )


@EXAMPLES
@given(seed=SEEDS, axes=st.permutations([0, 1, 2]), flips=st.tuples(*(st.booleans(),) * 3))
def test_no_axis_and_no_side_is_preferred(seed: int, axes: list[int], flips: tuple[bool, ...]) -> None:
    hu = whole_hu(seed, (4, 5, 6))
    view = tuple(slice(None, None, -1 if flip else 1) for flip in flips)
    codes = self_similarity_codes(hu).transpose(axes)[view]
    turned = self_similarity_codes(hu.transpose(axes)[view])  # not contiguous, too
    # pairs change places, so codes do, but neither their ones nor their distances
    for other in ((0, 0, 0), (1, 2, 1)):
        assert np.array_equal(
            np.bitwise_count(codes ^ codes[other]), np.bitwise_count(turned ^ turned[other])
        )
    assert np.array_equal(np.bitwise_count(codes), np.bitwise_count(turned))


def test_the_caller_keeps_its_array() -> None:
    hu = smooth_hu(0, (3, 4, 5))
    before = hu.copy()
    self_similarity_codes(hu)
    assert hu.flags.writeable
    assert np.array_equal(hu, before)


HU = np.zeros((2, 3, 4), dtype=np.float32)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 2e6, -2e6])
def test_hu_that_no_ct_has_are_refused(bad: float) -> None:
    hu = HU.copy()
    hu[1, 2, 3] = bad
    with pytest.raises(InvalidRequestError, match="finite"):
        self_similarity_codes(hu)


@pytest.mark.parametrize("shape", [(3, 4), (0, 3, 4), (1, 2, 3, 4)])
def test_what_is_no_volume_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InvalidGeometryError, match="hu"):
        self_similarity_codes(np.zeros(shape, dtype=np.float32))


@pytest.mark.parametrize("dtype", [np.float64, np.int16, np.bool_])
def test_other_types_are_refused(dtype: Any) -> None:
    with pytest.raises(InvalidRequestError, match="float32"):
        self_similarity_codes(HU.astype(dtype))


@pytest.mark.parametrize("bad", [0, -1, 1.0, "1", None, True])
@pytest.mark.parametrize("name", ["radius", "dilation"])
def test_reaches_that_are_no_count_are_refused(name: str, bad: Any) -> None:
    with pytest.raises(InvalidRequestError, match=name):
        self_similarity_codes(HU, **{name: bad})


@pytest.mark.skipif(SIMULATED, reason="already in the simulator")
def test_the_gpu_twin_passes_in_the_simulator() -> None:
    run_in_the_simulator(__file__, passed=3)
