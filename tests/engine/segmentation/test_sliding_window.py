"""Patches over a volume: where they start, what they weigh, and how networks and mirrorings are averaged."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.arrays import Float32Array
from engine.segmentation.sliding_window import mirrorings, patch_starts, patch_weights
from tests.support.stub_networks import StubSession, above_zero, ct_of, section, segmenter

# Patches


def test_patches_start_where_nnunet_says() -> None:
    assert patch_starts(110, 64, 0.5) == [0, 23, 46]
    assert patch_starts(64, 64, 0.5) == [0]
    assert patch_starts(65, 64, 0.5) == [0, 1]


@given(size=st.integers(1, 300), patch=st.integers(1, 200), share=st.floats(0.1, 1))
def test_patches_cover_an_axis_with_no_step_too_long(size: int, patch: int, share: float) -> None:
    size = max(size, patch)
    starts = patch_starts(size, patch, share)
    assert (starts[0], starts[-1]) == (0, size - patch)
    assert all(0 <= b - a <= patch * share + 1 for a, b in itertools.pairwise(starts))


@pytest.mark.parametrize(("framework", "peak"), [("nnunet_v2", 10), ("nnunet_v1", 1)])
def test_a_patch_counts_most_in_its_middle_and_everywhere_a_little(framework: str, peak: float) -> None:
    weights = patch_weights((16, 24, 48), framework)
    assert weights.max() == weights[8, 12, 24] == peak
    assert weights.min() > 0
    profile = np.exp(-0.5 * (np.arange(-8, 8) / 2) ** 2)
    np.testing.assert_allclose(weights[:, 12, 24] / peak, profile, atol=2e-3)
    assert (weights[..., 1:] == weights[..., :0:-1]).all()


def test_mirrorings_are_all_sets_of_axes() -> None:
    assert mirrorings(()) == [()]
    assert len(set(mirrorings((0, 1, 2)))) == 8


@pytest.mark.parametrize("batch", [1, 3, 100])
def test_overlapping_patches_of_a_local_network_change_nothing(batch: int) -> None:
    ct, it = ct_of(), section()
    found = segmenter(it, batch=batch).segment(ct)
    np.testing.assert_array_equal(found.labels, ct.voxels_hu > 0)
    assert found.patches == 4 * 4 * 4
    assert found.geometry == ct.geometry
    logits = segmenter(it, batch=batch).logits(ct)
    np.testing.assert_allclose(logits[1], ct.voxels_hu, rtol=1e-5)


def test_a_network_of_a_fixed_batch_gets_full_batches() -> None:
    ct, it = ct_of(), section()
    session = StubSession(it, batch=5)
    np.testing.assert_array_equal(segmenter(it, session).segment(ct).labels, ct.voxels_hu > 0)
    assert set(session.batches) == {5}


def test_mirrored_patches_are_turned_back() -> None:
    it = section()
    slope = np.linspace(-1, 1, 12, dtype=np.float32)

    def leaning(image: Float32Array) -> Float32Array:
        return above_zero(image + 1e4 * slope)

    ct = ct_of()
    straight = segmenter(it, StubSession(it, leaning)).segment(ct)
    session = StubSession(it, leaning)
    upright = segmenter(it, session).segment(ct, mirror=True)
    assert (straight.labels != (ct.voxels_hu > 0)).mean() > 0.2
    np.testing.assert_array_equal(upright.labels, ct.voxels_hu > 0)
    assert len(session.batches) == 8 * upright.patches


def test_folds_are_averaged() -> None:
    it, ct = section(), ct_of()

    def high(image: Float32Array) -> Float32Array:
        return above_zero(image + 300)

    def low(image: Float32Array) -> Float32Array:
        return above_zero(image - 500)

    model = segmenter(it, StubSession(it, high), StubSession(it, low))
    np.testing.assert_array_equal(model.segment(ct).labels, ct.voxels_hu > 100)
