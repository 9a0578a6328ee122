"""The limits at which a registration is refused, and the search it begins with."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from engine.findings import RegistrationQuality
from engine.refusal import RefusalCode, RefusedError
from engine.registration import acceptance as trust
from engine.registration.acceptance import require_trustworthy
from engine.registration.search.translation import masked_correlation
from tests.support.registration_quality import GOOD


def spoiled(name: str, figure: float) -> RegistrationQuality:
    changed: dict[str, Any] = {name: figure}
    return replace(GOOD, **changed)


@pytest.mark.parametrize(
    ("name", "limit", "worse", "code", "advice"),
    [
        (
            "evidence_share",
            trust.MIN_EVIDENCE_SHARE,
            -0.01,
            RefusalCode.LESION_OUTSIDE_OVERLAP,
            "field of view",
        ),
        ("new_air_ml", trust.MAX_NEW_AIR_ML, 0.1, RefusalCode.LUNG_CHANGED, "re-expanded"),
        ("mismatched_share", trust.MAX_MISMATCHED_SHARE, 0.01, RefusalCode.LUNG_CHANGED, "by eye"),
        ("min_jacobian", trust.MIN_JACOBIAN, -0.01, RefusalCode.FOLDING, "breath-hold"),
        ("similarity", trust.MIN_SIMILARITY, -0.01, RefusalCode.ALIGNMENT_RESIDUAL_TOO_HIGH, "by eye"),
        (
            "residual_mm",
            trust.MAX_RESIDUAL_MM,
            0.1,
            RefusalCode.ALIGNMENT_RESIDUAL_TOO_HIGH,
            "by eye",
        ),
        (
            "largest_residual_mm",
            trust.MAX_LARGEST_RESIDUAL_MM,
            0.1,
            RefusalCode.ALIGNMENT_RESIDUAL_TOO_HIGH,
            "by eye",
        ),
        (
            "inverse_consistency_mm",
            trust.MAX_INCONSISTENCY_MM,
            0.1,
            RefusalCode.ALIGNMENT_RESIDUAL_TOO_HIGH,
            "repeat the verification CT",
        ),
    ],
)
def test_every_limit_refuses_beyond_it_and_says_what_to_do(
    name: str, limit: float, worse: float, code: RefusalCode, advice: str
) -> None:
    require_trustworthy(GOOD)
    require_trustworthy(spoiled(name, limit))
    with pytest.raises(RefusedError) as caught:
        require_trustworthy(spoiled(name, limit + worse))
    assert caught.value.refusal.code is code
    assert advice in caught.value.refusal.reason


def test_masked_correlation_is_that_of_every_overlap() -> None:
    rng = np.random.default_rng(0)
    fixed, moving = rng.normal(size=(4, 5, 3)) * 300, rng.normal(size=(3, 2, 4)) * 300
    known, moving_known = rng.random(fixed.shape) > 0.2, rng.random(moving.shape) > 0.2
    found = masked_correlation(fixed.astype(np.float32), known, moving.astype(np.float32), moving_known)
    least = 0.3 * min(known.sum(), moving_known.sum())
    compared = 0
    for shift in np.ndindex(*found.shape):
        one, other = [], []
        for index in np.argwhere(moving_known):
            at = index + np.array(shift) - (np.array(moving.shape) - 1)
            if (at >= 0).all() and (at < fixed.shape).all() and known[tuple(at)]:
                one.append(fixed[tuple(at)])
                other.append(moving[tuple(index)])
        if len(one) < max(least, 1):
            assert found[shift] == 0.0
        elif len(one) > 2:
            assert found[shift] == pytest.approx(np.corrcoef(one, other)[0, 1], abs=1e-4)
            compared += 1
    assert compared > 20
