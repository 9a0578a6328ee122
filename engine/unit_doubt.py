"""Signs that voxels are not Hounsfield units: a chest has air and soft tissue, and a wrong unit lacks one of them."""

from __future__ import annotations

from itertools import product
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

_AERATED_IS_BELOW_HU: Final = -500
"""Far enough from the 0 of air in stored values that noise of 150 HU does not reach it."""

_MIN_AIR_SHARE: Final = 0.005
_STORED_WATER_HU: Final = (850, 1150)
_MIN_WATER_SHARE: Final = 0.05
"""Without its rescale intercept a CT has next to nothing below fat, and its fat and muscle where only dense bone
can be: 0.02 of the voxels at most in 32 CTs of the chest, 0.1 and more with 1000 or 1024 added to them."""

_SHIFTED_TISSUE_HU: Final = (350, 1200)
_MIN_SHIFTED_SHARE: Final = 0.15
"""Bone and contrast together fill 0.13 of a chest at most."""

_SOFT_TISSUE_HU: Final = (-150, 150)
_BELOW_TISSUE_HU: Final = (-450, -150)
_MIN_TISSUE_SHARE: Final = 0.05
"""Soft tissue makes a peak: 0.12 and more of a chest, at least three times what lies in the 300 HU below it, which
hold its borders to air alone. Where an offset was subtracted twice, bone is all there is, and falls off from there."""

_MIN_BELOW_AIR_SHARE: Final = 0.1
"""Lung and air that an offset was subtracted from twice lie below air; a block cut out of lung has none of that."""

_ALL_ARE_COUNTED: Final = 1 << 20
"""Voxels of which each counts for a share; of more, every fourth along each axis."""

_PADDING_GAP_HU: Final = 200
"""A lowest value that fills a corner of the scan, with nothing in so much above it, is padding that an offset has
moved."""

_CORNER: Final = 3

_SUBTRACTED_TWICE_HU: Final = -850
"""Half of what is shown lies below this where it is tissue less 1024."""

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
    sample = _without_padding(hu)
    is_stored = _has_stored_water(sample)
    if is_stored or not has_air or _is_shifted_up(sample):
        likely = (
            "it looks like HU + 1024, stored values without their offset; export it in Hounsfield units"
            if is_stored or bool(((sample >= 0) | (sample <= AIR_HU)).all() and (sample > AIR_HU).any())
            else "no lung or air is in it; choose a CT of the chest in Hounsfield units"
        )
        found = "hardly a voxel" if has_air else "no voxel"
        message = f"{name} has {found} below {_LUNG_IS_BELOW_HU} HU, padding aside: {likely}"
        return [InputWarning(InputWarningCode.NO_AIR, message)]
    has_tissue = any(bool((plane > _TISSUE_IS_ABOVE_HU).any()) for plane in hu)
    if not has_tissue or _is_shifted_down(sample):
        found = "hardly a voxel" if has_tissue else "no voxel"
        message = (
            f"{name} has {found} of soft tissue, which lies above {_TISSUE_IS_ABOVE_HU} HU, as if an offset had been "
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
    return _has_stored_water(_without_padding(hu))


def require_hounsfield(ct: CtVolume, name: str) -> None:
    """Refuse a CT that is doubted to be in Hounsfield units: lung and tumor could not be found in it.

    Parameters
    ----------
    ct : CtVolume
        What its reader doubted counts, and an offset that the voxels show, whoever made them.
    name : str
        Which one, for the message.

    Raises
    ------
    NotCtError
    """
    noticed = [warning for warning in ct.warnings if warning.code in UNIT_CODES]
    if not noticed and _is_shifted(ct.voxels_hu):
        noticed = unit_warnings(ct.voxels_hu, f"the {name} CT")
    for warning in noticed:
        raise NotCtError(f"the {name} CT is not a CT of the chest in Hounsfield units: {warning}")


def require_offset(ct: CtVolume, name: str) -> None:
    """Refuse a CT of any part of the body that holds HU + 1024: no model knows its values.

    Parameters
    ----------
    ct : CtVolume
    name : str
        Which one, for the message.

    Raises
    ------
    NotCtError
    """
    if looks_like_stored_values(ct.voxels_hu):
        raise NotCtError(
            f"the {name} looks like HU + {STORED_OFFSET_HU}, stored values without their offset; export it in "
            "Hounsfield units"
        )


def _without_padding(hu: AnyArray) -> AnyArray:
    """Values that stand for all, (N,), less padding that an offset has moved."""
    sample = (hu if hu.size <= _ALL_ARE_COUNTED else hu[::4, ::4, ::4]).ravel()
    shown = sample[sample > AIR_HU]
    if shown.size == 0:
        return sample
    lowest = shown.min()
    above = shown[shown > lowest]
    if above.size == 0 or above.min() - lowest < _PADDING_GAP_HU:
        return sample
    ends = (slice(None, _CORNER), slice(-_CORNER, None))
    fills_a_corner = any((hu[corner] == lowest).all() for corner in product(ends, repeat=3))
    return sample[sample != lowest] if fills_a_corner else sample


def _share(sample: AnyArray, low: int, high: int) -> float:
    return float(np.count_nonzero((sample > low) & (sample < high))) / max(1, sample.size)


def _is_shifted(hu: AnyArray) -> bool:
    """Whether an offset is the only explanation: a block of lung, or of organs, is not doubted for what it lacks."""
    sample = _without_padding(hu)
    if (sample > _TISSUE_IS_ABOVE_HU).any():
        return _has_stored_water(sample) or _is_shifted_up(sample) or _is_shifted_down(sample)
    return _is_mostly_air(sample)


def _has_stored_water(sample: AnyArray) -> bool:
    hardly_air = _share(sample, AIR_HU, _AERATED_IS_BELOW_HU) < _MIN_AIR_SHARE
    return hardly_air and _share(sample, *_STORED_WATER_HU) >= _MIN_WATER_SHARE


def _is_shifted_up(sample: AnyArray) -> bool:
    hardly_air = _share(sample, AIR_HU, _AERATED_IS_BELOW_HU) < _MIN_AIR_SHARE
    return hardly_air and _share(sample, *_SHIFTED_TISSUE_HU) >= _MIN_SHIFTED_SHARE


def _is_shifted_down(sample: AnyArray) -> bool:
    tissue = _share(sample, *_SOFT_TISSUE_HU)
    lacks_peak = tissue < min(_MIN_TISSUE_SHARE, _share(sample, *_BELOW_TISSUE_HU))
    lies_below_air = np.count_nonzero(sample <= AIR_HU) >= _MIN_BELOW_AIR_SHARE * sample.size
    return lacks_peak and bool(lies_below_air) and _is_mostly_air(sample)


def _is_mostly_air(sample: AnyArray) -> bool:
    shown = sample[sample > AIR_HU]
    return bool(shown.size and np.median(shown) < _SUBTRACTED_TWICE_HU)
