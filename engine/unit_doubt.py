"""Signs that voxels are not Hounsfield units: a chest has air and soft tissue, and a wrong unit lacks one of them."""

from __future__ import annotations

from typing import Final

import numpy as np

from engine.arrays import AnyArray
from engine.errors import NotCtError
from engine.hounsfield import AIR_HU
from engine.input_warning import InputWarning, InputWarningCode
from engine.volume import CtVolume

_LUNG_IS_BELOW_HU: Final = -200
_TISSUE_IS_ABOVE_HU: Final = -150
"""Fat is the lightest of it, at -120 to -60."""

STORED_OFFSET_HU: Final = 1024
"""What stored values of CT mostly lie above HU: without the rescale intercept air is 0 and water 1024."""

_MIN_AIR_SHARE: Final = 0.005
_MIN_WATER_SHARE: Final = 0.05
"""Without its rescale intercept a CT has next to nothing between air and fat, and its soft tissue where only
dense bone can be: no CT in HU has a twentieth of its voxels there."""

_ALL_ARE_COUNTED: Final = 1 << 20
"""Voxels of which each counts for a share; of more, every fourth along each axis."""

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
    has_air = any(bool(((plane < _LUNG_IS_BELOW_HU) & (plane > AIR_HU)).any()) for plane in hu)
    is_stored = looks_like_stored_values(hu)
    if is_stored or not has_air:
        shown = hu[hu > AIR_HU]
        likely = (
            "it looks like HU + 1024, stored values without their offset; export it in Hounsfield units"
            if is_stored or (shown.size and shown.min() >= 0)
            else "no lung or air is in it; choose a CT of the chest in Hounsfield units"
        )
        found = "hardly a voxel" if has_air else "no voxel"
        message = f"{name} has {found} below {_LUNG_IS_BELOW_HU} HU, padding aside: {likely}"
        return [InputWarning(InputWarningCode.NO_AIR, message)]
    if not any(bool((plane > _TISSUE_IS_ABOVE_HU).any()) for plane in hu):
        message = (
            f"{name} has no voxel above {_TISSUE_IS_ABOVE_HU} HU: no soft tissue is in it, as if an offset had been "
            "subtracted twice; choose a CT of the chest in Hounsfield units"
        )
        return [InputWarning(InputWarningCode.NO_TISSUE, message)]
    return []


def looks_like_stored_values(hu: AnyArray) -> bool:
    """Return whether a CT holds HU + 1024: hardly any lung or air, and much at 1024; a few stray voxels decide nothing.

    Parameters
    ----------
    hu : ndarray, (z, y, x)
        What are taken for HU; what lies at -1024 or below is taken for padding.
    """
    sample = hu if hu.size <= _ALL_ARE_COUNTED else hu[::4, ::4, ::4]
    air = np.count_nonzero((sample > AIR_HU) & (sample < _LUNG_IS_BELOW_HU))
    water = np.count_nonzero((sample >= STORED_OFFSET_HU - 50) & (sample <= STORED_OFFSET_HU + 100))
    return bool(air < _MIN_AIR_SHARE * sample.size and water >= _MIN_WATER_SHARE * sample.size)


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
