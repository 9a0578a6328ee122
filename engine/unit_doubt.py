"""Signs that voxels are not Hounsfield units: a chest has air and soft tissue, and a wrong unit lacks one of them."""

from __future__ import annotations

from typing import Final

from engine.arrays import AnyArray
from engine.errors import NotCtError
from engine.hounsfield import AIR_HU
from engine.input_warning import InputWarning, InputWarningCode
from engine.volume import CtVolume

_LUNG_IS_BELOW_HU: Final = -200
_TISSUE_IS_ABOVE_HU: Final = -150
"""Fat is the lightest of it, at -120 to -60."""

UNIT_CODES: Final = frozenset({InputWarningCode.NO_AIR, InputWarningCode.NO_TISSUE})
"""Warnings that doubt the unit of the voxels."""


def unit_warnings(hu: AnyArray, name: str) -> list[InputWarning]:
    """Return a warning where no voxel can be lung, or none soft tissue.

    Parameters
    ----------
    hu : ndarray, (z, y, x)
        What are taken for HU; what lies at -1024 or below is taken for padding.
    name : str
        The file or the CT, for the message.
    """
    # Slice by slice: nearly every CT shows both in its first one.
    if not any(bool(((plane < _LUNG_IS_BELOW_HU) & (plane > AIR_HU)).any()) for plane in hu):
        shown = hu[hu > AIR_HU]
        likely = (
            "it looks like HU + 1024, stored values without their offset; export it in Hounsfield units"
            if shown.size and shown.min() >= 0
            else "no lung or air is in it; choose a CT of the chest in Hounsfield units"
        )
        message = f"{name} has no voxel below {_LUNG_IS_BELOW_HU} HU, padding aside: {likely}"
        return [InputWarning(InputWarningCode.NO_AIR, message)]
    if not any(bool((plane > _TISSUE_IS_ABOVE_HU).any()) for plane in hu):
        message = (
            f"{name} has no voxel above {_TISSUE_IS_ABOVE_HU} HU: no soft tissue is in it, as if an offset had been "
            "subtracted twice; choose a CT of the chest in Hounsfield units"
        )
        return [InputWarning(InputWarningCode.NO_TISSUE, message)]
    return []


def require_hounsfield(ct: CtVolume, name: str) -> None:
    """Refuse a CT that its reader doubts to be in Hounsfield units: lung and tumor could not be found in it.

    Parameters
    ----------
    ct : CtVolume
    name : str
        Which one, for the message.

    Raises
    ------
    NotCtError
    """
    for warning in ct.warnings:
        if warning.code in UNIT_CODES:
            raise NotCtError(f"the {name} CT is not a CT of the chest in Hounsfield units: {warning}")
