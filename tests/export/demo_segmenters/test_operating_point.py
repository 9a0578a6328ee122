"""The operating point: errors on the safe side, probabilities as often right as they say."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the workshop is not installed: make setup-export")

from export.demo_segmenters.operating_point import (  # noqa: E402
    MAX_TCR_BIAS,
    MIN_VOLUME_RATIO,
    OperatingPoint,
    choose_operating_point,
)
from export.demo_segmenters.scenes.scene import EDGE, Patch  # noqa: E402
from export.demo_segmenters.tasks import STEPS_PER_MM, TASKS, TaskName  # noqa: E402


def biased(labels: int, shift_mm: float, factor: float) -> Callable[[Any], Any]:
    """A network whose logits are a signed distance: right, but for a shift and a factor."""

    def logits(image: Any) -> Any:
        depth = image[:, :1]
        rest = [torch.full_like(depth, -60.0)] * (labels - 1)
        return torch.cat([torch.zeros_like(depth), factor * (depth + shift_mm), *rest], dim=1)

    return logits


def balls(task: TaskName, count: int = 2) -> Iterator[Patch]:
    """Scenes whose first channel is, normalized, the depth below the true surface blurred by noise."""
    rng = np.random.default_rng(3)
    position = np.moveaxis(np.indices((EDGE,) * 3), 0, -1) - 0.5 * (EDGE - 1)
    for _ in range(count):
        zone = rng.uniform(10.0, 16.0) - np.linalg.norm(position - rng.uniform(-3, 3, 3), axis=-1)
        tumor = np.linalg.norm(position, axis=-1) - 8.0
        window = TASKS[task].channels[0].channel
        seen = (zone + rng.normal(0.0, 0.7, zone.shape)) * window.sd + window.mean
        channels = np.stack([np.clip(seen, -30000, 30000)] * len(TASKS[task].channels)).astype(np.int16)
        distance = np.clip(tumor * STEPS_PER_MM, -30000, 30000).astype(np.int16)
        yield Patch(channels, (zone >= 0.0).astype(np.uint8), distance)


def chosen(task: TaskName, shift_mm: float, factor: float = 4.0) -> OperatingPoint:
    network = biased(len(TASKS[task].labels), shift_mm, factor)
    return choose_operating_point(network, TASKS[task], balls(task))


@pytest.mark.parametrize("shift_mm", [-0.4, 0.0, 0.4])
def test_a_zone_is_not_drawn_too_large(shift_mm: float) -> None:
    assert chosen("zone", shift_mm).error <= MAX_TCR_BIAS


@pytest.mark.parametrize("shift_mm", [-0.4, 0.0, 0.4])
def test_a_tumor_is_not_drawn_too_small(shift_mm: float) -> None:
    assert chosen("tumor", shift_mm).error >= MIN_VOLUME_RATIO - 1.0


@pytest.mark.parametrize("task", ["zone", "tumor"])
def test_the_lead_rises_with_what_is_drawn_too_large(task: TaskName) -> None:
    leads = [chosen(task, shift_mm).lead for shift_mm in (-0.3, 0.0, 0.3)]
    assert leads == sorted(leads)
    assert leads[0] < leads[-1]


def test_a_network_that_is_too_sure_is_made_less_so() -> None:
    assert chosen("zone", 0.0, factor=12.0).sharpness < chosen("zone", 0.0, factor=2.0).sharpness


def test_nothing_to_choose_on_changes_nothing() -> None:
    point = choose_operating_point(biased(1, 0.0, 1.0), TASKS["tumor"], [])
    assert (point.lead, point.sharpness, point.scenes) == (0.0, 1.0, 0)
