"""Resampling between the CT's grid and the network's, whole and in slabs."""

from __future__ import annotations

import itertools
from functools import partial
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import ndimage

from engine.arrays import Float32Array
from engine.geometry import VoxelBox
from engine.segmentation import resampling
from engine.segmentation.resampling import Resizing, find_separate_axis, resize_volume
from engine.segmentation.restoring import Restorer
from engine.segmentation.sliding_window import Slab
from tests.support.stub_networks import section

# Resampling


shapes = st.tuples(*[st.integers(1, 9)] * 3)


def zoomed(volume: Float32Array, shape: tuple[int, ...], order: Literal[0, 1, 3]) -> Float32Array:
    """What skimage's resize does: SciPy's zoom over the same extent, clipped."""
    factors = [n / m for n, m in zip(shape, volume.shape, strict=True)]
    out = ndimage.zoom(volume.astype(float), factors, order=order, mode="nearest", grid_mode=True)
    return np.asarray(np.clip(out, volume.min(), volume.max()), dtype=np.float32)


@settings(max_examples=60, deadline=None)
@given(source=shapes, target=shapes, order=st.sampled_from([0, 1, 3]), slab=st.integers(1, 400))
def test_resizing_in_slabs_is_scipys_zoom(
    source: tuple[int, int, int], target: tuple[int, int, int], order: Literal[0, 1, 3], slab: int
) -> None:
    volume = np.random.default_rng(0).standard_normal(source).astype(np.float32)
    out = np.empty(target, dtype=np.float32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(resampling, "SLAB_VOXELS", slab)
        resize_volume(partial(slab_of, volume), Resizing(source, target, order), out)
    np.testing.assert_allclose(out, zoomed(volume, target, order), atol=3e-6)


def test_a_deep_volume_is_resized_in_several_slabs(monkeypatch: pytest.MonkeyPatch) -> None:
    volume = np.random.default_rng(1).standard_normal((300, 8, 9)).astype(np.float32)
    for target in ((211, 8, 9), (333, 10, 7)):
        calls: list[tuple[int, int]] = []

        def source(axis: int, a: int, b: int, calls: list[tuple[int, int]] = calls) -> Float32Array:
            calls.append((a, b))
            return slab_of(volume, axis, a, b)

        monkeypatch.setattr(resampling, "SLAB_VOXELS", 40 * 72)
        out = np.empty(target, dtype=np.float32)
        resize_volume(source, Resizing((300, 8, 9), target, 3), out)
        assert len(calls) > 6
        np.testing.assert_allclose(out, zoomed(volume, target, 3), atol=3e-6)


@settings(max_examples=40, deadline=None)
@given(source=shapes, target=shapes, axis=st.integers(0, 2), order=st.sampled_from([1, 3]))
def test_the_coarse_axis_is_resized_apart(
    source: tuple[int, int, int], target: tuple[int, int, int], axis: int, order: Literal[1, 3]
) -> None:
    volume = np.random.default_rng(0).standard_normal(source).astype(np.float32)
    across = [n for i, n in enumerate(target) if i != axis]
    plane = np.stack([zoomed(image, tuple(across), order) for image in np.moveaxis(volume, axis, 0)])
    at = source[axis] / target[axis] * (np.arange(target[axis]) + 0.5) - 0.5
    for separate_order, expected in (
        (0, plane[np.floor(at + 0.5).astype(int).clip(0, source[axis] - 1)]),
        (1, ndimage.map_coordinates(plane, grid(at, plane.shape), order=1, mode="nearest")),
    ):
        out = np.empty(target, dtype=np.float32)
        plan = Resizing(source, target, order, axis, separate_order)
        resize_volume(partial(slab_of, volume), plan, out)
        np.testing.assert_allclose(np.moveaxis(out, axis, 0), expected, atol=3e-6)


def slab_of(volume: Float32Array, axis: int, start: int, stop: int) -> Float32Array:
    return np.ascontiguousarray(np.moveaxis(volume, axis, 0)[start:stop])


def grid(first: Any, shape: tuple[int, ...]) -> Any:
    return np.meshgrid(first, np.arange(shape[1]), np.arange(shape[2]), indexing="ij")


@pytest.mark.parametrize(
    ("first", "second", "forced", "expected"),
    [
        ((5.0, 0.7, 0.7), (1.0, 1.0, 1.0), None, 0),
        ((1.0, 1.0, 1.0), (5.0, 0.7, 0.7), None, 0),
        ((0.7, 5.0, 0.7), (5.0, 0.7, 0.7), None, 1),
        ((3.0, 1.0, 1.0), (3.0, 1.0, 1.0), None, None),
        ((5.0, 5.0, 0.7), (1.0, 1.0, 1.0), None, None),
        ((5.0, 0.7, 0.7), (1.0, 1.0, 1.0), False, None),
        ((2.0, 1.0, 1.0), (9.0, 1.0, 1.0), True, 0),
        ((1.0, 1.0, 1.0), (9.0, 1.0, 1.0), True, None),
    ],
)
def test_the_rule_of_the_coarse_axis(
    first: tuple[float, ...], second: tuple[float, ...], forced: bool | None, expected: int | None
) -> None:
    assert find_separate_axis(first, second, forced) == expected


@settings(max_examples=150, deadline=None)
@example(
    network=(7, 1, 1),
    native=(1, 1, 1),
    cuts=[4, 6, 7],
    apart=None,
    separate_order=0,
    pad=(1, 0, 0),
    outputs=3,
)  # done before the last slab
@given(
    network=shapes,
    native=shapes,
    cuts=st.lists(st.integers(1, 10), max_size=4),
    apart=st.sampled_from([None, 0, 1, 2]),
    separate_order=st.sampled_from([0, 1]),
    pad=st.tuples(*[st.integers(0, 2)] * 3),
    outputs=st.sampled_from([2, 3]),
)
def test_labels_restored_in_slabs_are_those_of_the_whole(
    network: tuple[int, int, int],
    native: tuple[int, int, int],
    cuts: list[int],
    apart: int | None,
    separate_order: int,
    pad: tuple[int, int, int],
    outputs: int,
) -> None:
    names = ("background", "tumor", "lung")[:outputs]
    it = section(labels={name: value for value, name in enumerate(names)})
    logits = np.random.default_rng(2).standard_normal((outputs, *network)).astype(np.float32)
    padded = np.pad(logits, [(0, 0), *((p, 1) for p in pad)], constant_values=99)
    inside = VoxelBox(pad, (pad[0] + network[0], pad[1] + network[1], pad[2] + network[2]))
    labels, foreground = np.full(native, 77, dtype=np.uint8), np.empty(native, dtype=np.float16)
    restorer = Restorer(it, Resizing(network, native, 1, apart, separate_order), inside, labels, foreground)
    edges = sorted({0, padded.shape[1], *(c for c in cuts if c < padded.shape[1])})
    for start, stop in itertools.pairwise(edges):
        restorer.take(Slab(start, padded[:, start:stop]))
    expected = np.empty((outputs, *native), dtype=np.float32)
    for channel, out in zip(logits, expected, strict=True):
        plan = Resizing(network, native, 1, apart, separate_order)
        resize_volume(partial(slab_of, channel), plan, out)
    gap = np.sort(expected, axis=0)
    clear = gap[-1] - gap[-2] > 1e-5
    np.testing.assert_array_equal(labels[clear], expected.argmax(axis=0)[clear])
    share = np.exp(expected) / np.exp(expected).sum(axis=0)
    np.testing.assert_allclose(foreground, 1 - share[0], atol=1e-3)
