"""A refusal whose cause is that a CT is not in Hounsfield units says that first."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from engine.refusal import Refusal, RefusalCode
from engine.unit_doubt import UNIT_CODES
from engine.volume import CtVolume

_READ_FROM_HU: Final = frozenset(
    {
        RefusalCode.LESION_OUTSIDE_OVERLAP,
        RefusalCode.ALIGNMENT_RESIDUAL_TOO_HIGH,
        RefusalCode.WRONG_SIDE,
        RefusalCode.LUNG_CHANGED,
        RefusalCode.FOLDING,
        RefusalCode.NO_ZONE,
        RefusalCode.LESION_NOT_FOUND,
        RefusalCode.SEVERAL_LESIONS,
    }
)
"""Refusals that compare or search images by their HU, and so cannot be trusted where these are none."""


def with_unit_doubt(refusal: Refusal, planning: CtVolume, verification: CtVolume | None = None) -> Refusal:
    """Return a refusal whose reason begins with the doubt about the unit of a CT, if there is one.

    Parameters
    ----------
    refusal : Refusal
    planning : CtVolume
    verification : CtVolume, optional
    """
    if refusal.code not in _READ_FROM_HU:
        return refusal
    doubts = [
        f"the {name} CT is probably not in Hounsfield units: {warning}"
        for name, ct in (("planning", planning), ("verification", verification))
        if ct is not None
        for warning in ct.warnings
        if warning.code in UNIT_CODES
    ]
    return replace(refusal, reason=f"{'; '.join(doubts)}. Therefore: {refusal.reason}") if doubts else refusal
