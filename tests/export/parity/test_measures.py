"""Measures that are added up against the same ones taken at once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from export.parity.measures import NEAR_TIE, DifferenceSummary, LabelAgreement


@settings(max_examples=50, deadline=None)
@given(
    arrays(np.float32, st.integers(1, 3000), elements=st.floats(0, 100, width=32)),
    st.integers(1, 64),
    st.integers(1, 5),
)
@example(np.repeat(np.array([1, 0], np.float32), [3, 2997]), 4, 1)
def test_percentile_and_mean_need_only_the_largest_differences(
    differences: np.ndarray, capacity: int, parts: int
) -> None:
    summary = DifferenceSummary(capacity)
    for part in np.array_split(differences, parts):
        summary.add(part, np.zeros_like(part))
    assert summary.max == differences.max()
    assert summary.mean == pytest.approx(differences.mean(dtype=np.float64), rel=1e-6)
    exact = np.sort(differences)[differences.size - 1 - differences.size // 1000]
    if capacity > differences.size / 1000:
        assert summary.percentile_99_9 == exact
    else:
        assert exact <= summary.percentile_99_9 <= summary.max


@settings(max_examples=50, deadline=None)
@given(
    arrays(np.float32, (st.integers(2, 6)).map(lambda k: (k, 2, 3, 4)), elements=st.floats(-1, 1, width=32))
)
def test_a_near_tie_is_one_of_the_two_best_labels(logits: np.ndarray) -> None:
    best = np.sort(logits, axis=0)[-2:]
    agreement = LabelAgreement(exclusive=True)
    other = logits.copy()
    other[0] += 10  # every label becomes 0
    agreement.add(logits[None], other[None])
    flipped = logits.argmax(axis=0) != 0
    assert agreement.flips == np.count_nonzero(flipped)
    assert agreement.near_tie_flips == np.count_nonzero(flipped & (best[1] - best[0] < NEAR_TIE))
