"""What goes up to the device, counted; and both kinds of memory."""

from __future__ import annotations

from collections import Counter

import pytest

from engine.arrays import AnyArray
from engine.kernels.gpu import residency
from engine.kernels.gpu.residency import Residency
from tests.support.kernels.resident_volumes import (
    SIMULATED,
)


@pytest.fixture
def went_up(monkeypatch: pytest.MonkeyPatch) -> Counter[tuple[int, ...]]:
    """How many arrays of each shape were copied to the device."""
    seen: Counter[tuple[int, ...]] = Counter()
    count = Residency._count_upload

    def counted(held: Residency, array: AnyArray) -> None:
        seen[array.shape] += 1
        count(held, array)

    monkeypatch.setattr(Residency, "_count_upload", counted)
    return seen


@pytest.fixture(params=["own memory", "shared memory"])
def memory(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """A device with memory of its own, and one that shares the host's."""
    shares = request.param == "shared memory"
    if shares and not SIMULATED:
        pytest.skip("decided by the device")
    monkeypatch.setattr(residency, "shares_memory", lambda: shares)
    return str(request.param)
