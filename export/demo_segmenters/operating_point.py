"""Where a network's logits are cut: on the safe side, and as sure of itself as it is right.

Chosen on held-out scenes, in chests that no training scene is painted into; never on the cases it is evaluated on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import torch

from engine.arrays import Float32Array, Float64Array
from engine.findings import TARGET_MARGIN_MM
from export.demo_segmenters.augmentation import network_input
from export.demo_segmenters.scenes.scene import EDGE, Patch
from export.demo_segmenters.tasks import PATCH, STEPS_PER_MM, DemoTask

_Network = Callable[[torch.Tensor], torch.Tensor]

MAX_TCR_BIAS: Final = 0.0
"""Mean of the coverage by the drawn zone less the coverage by the true one, on held-out scenes."""

MIN_VOLUME_RATIO: Final = 1.0
"""Median volume of the drawn tumor over the true one, on held-out scenes: a tumor must not be drawn too small."""

_LEADS: Final = tuple(round(float(lead), 2) for lead in np.arange(-2.0, 3.01, 0.1))
_SHARPNESSES: Final = tuple(round(float(factor), 2) for factor in np.geomspace(0.25, 2.0, 31))
_DOUBTFUL_LEAD: Final = 6.0
"""Calibrated where a contour may run: not in the lung far from any."""

_MIN_TARGET_VOXELS: Final = 50


@dataclass(frozen=True)
class OperatingPoint:
    """How the last layer is changed, and what that gives on held-out scenes.

    Parameters
    ----------
    lead : float
        By how much a label's logit must exceed the background's.
    sharpness : float
        What all logits are multiplied by, so that probabilities are as often right as they say.
    scenes : int
        Held-out scenes with the structure in them.
    error : float
        Mean error of TCR by the drawn zone, or median of the drawn tumor's volume over the true one less 1.
    dice : float
        Median.
    """

    lead: float
    sharpness: float
    scenes: int
    error: float
    dice: float


@dataclass(frozen=True, eq=False)
class _Scored:
    """A held-out scene with what the network gives for it."""

    logits: Float32Array
    labels: npt.NDArray[np.uint8]
    is_target: npt.NDArray[np.bool_]

    def lead(self) -> Float32Array:
        """Largest foreground logit less the background's."""
        return np.asarray(self.logits[1:].max(axis=0) - self.logits[0])


def choose_operating_point(network: _Network, task: DemoTask, held_out: Iterable[Patch]) -> OperatingPoint:
    """Choose the lead that keeps errors on the safe side, and the sharpness that is calibrated.

    Parameters
    ----------
    network : callable
        From an image (1, channel, z, y, x) to logits (1, label, z, y, x), as they are after training.
    task : DemoTask
    held_out : iterable of Patch

    Returns
    -------
    OperatingPoint
        The lead holds for logits that were multiplied by the sharpness before.
    """
    scored = [_scored(network, task, patch) for patch in held_out]
    scored = [scene for scene in scored if scene.labels.any()]
    if not scored:
        return OperatingPoint(0.0, 1.0, 0, 0.0, 0.0)
    margins = np.concatenate([_margins(scene) for scene in scored])
    sharpness = min(_SHARPNESSES, key=lambda factor: _surprise(margins, factor))
    errors = {lead: _error(task, scored, lead / sharpness) for lead in _LEADS}
    # The least lead of a zone, the largest of a tumor, whose error is on the safe side.
    if task.name == "zone":
        safe = [lead for lead in _LEADS if errors[lead] <= MAX_TCR_BIAS] or [_LEADS[-1]]
        lead = safe[0]
    else:
        safe = [lead for lead in _LEADS if errors[lead] >= MIN_VOLUME_RATIO - 1.0] or [_LEADS[0]]
        lead = safe[-1]
    dice = float(np.median([_dice(scene, lead / sharpness) for scene in scored]))
    return OperatingPoint(lead, sharpness, len(scored), errors[lead], dice)


def _scored(network: _Network, task: DemoTask, patch: Patch) -> _Scored:
    margin = (EDGE - PATCH) // 2
    inner = (slice(margin, margin + PATCH),) * 3
    with torch.no_grad():
        image = torch.from_numpy(network_input(patch, task, inner))[None]
        logits = network(image)[0].numpy()
    distance_mm = patch.tumor_distance[inner] / STEPS_PER_MM
    return _Scored(logits, patch.labels[inner], distance_mm <= TARGET_MARGIN_MM)


def _error(task: DemoTask, scored: list[_Scored], lead: float) -> float:
    if task.name == "zone":
        errors = [_tcr_error(scene, lead) for scene in scored if scene.is_target.sum() >= _MIN_TARGET_VOXELS]
        return float(np.mean(errors)) if errors else 0.0
    ratios = [(scene.lead() > lead).sum() / (scene.labels > 0).sum() for scene in scored]
    return float(np.median(ratios)) - 1.0


def _tcr_error(scene: _Scored, lead: float) -> float:
    drawn = (scene.lead() > lead)[scene.is_target]
    return float(drawn.mean() - (scene.labels[scene.is_target] > 0).mean())


def _dice(scene: _Scored, lead: float) -> float:
    drawn, true = scene.lead() > lead, scene.labels > 0
    return float(2.0 * (drawn & true).sum() / max(drawn.sum() + true.sum(), 1))


def _surprise(margins: Float64Array, factor: float) -> float:
    """Mean negative log-likelihood of the truth where its log-odds are ``margins`` times a factor, (N,)."""
    return float(np.logaddexp(0.0, -factor * margins).mean()) if margins.size else 0.0


def _margins(scene: _Scored) -> Float64Array:
    """By how much the truth, foreground or background, leads wherever the network is in any doubt, (N,)."""
    lead = scene.lead()
    doubtful = np.abs(lead) < _DOUBTFUL_LEAD
    return np.asarray(np.where(scene.labels > 0, lead, -lead)[doubtful], dtype=np.float64)
