"""The kinds of alignment: what each is called, and how sure it says it is."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from engine.geometry import RigidTransform
from engine.registration.alignment import DeformableRegistration, RigidAlignment, Translation
from engine.registration.coarse_to_fine import leaves_time_to_refine
from tests.support.registration_quality import GOOD

POSE: tuple[Any, Any, Any, Any] = (RigidTransform.identity(), 0.9, np.diag([1.0, 4.0, 4.0]), 2.0)
NOTHING: Any = None


@pytest.mark.parametrize(
    ("alignment", "method"),
    [
        (Translation(*POSE), "translation"),
        (RigidAlignment(*POSE, NOTHING, NOTHING), "rigid"),
        (DeformableRegistration(*POSE, NOTHING, NOTHING, GOOD, coarse_only=False), "deformable"),
        (DeformableRegistration(*POSE, NOTHING, NOTHING, GOOD, coarse_only=True), "deformable_coarse"),
    ],
)
def test_every_kind_has_its_name_and_its_expected_error(alignment: Any, method: str) -> None:
    assert alignment.method == method
    assert alignment.uncertainty_mm == pytest.approx(3.0)


def test_only_a_deadline_that_is_too_near_rules_the_fine_deformation_out() -> None:
    comparison: Any = SimpleNamespace(fine=SimpleNamespace(evidence=np.ones((100, 100, 100), dtype=np.bool_)))
    assert leaves_time_to_refine(comparison, None)
    assert leaves_time_to_refine(comparison, 3.6)
    assert not leaves_time_to_refine(comparison, 3.4)
