"""Which CT images hold HU of one plane of the body, and which something else."""

from __future__ import annotations

from typing import Final

from pydicom.dataset import Dataset

from engine.dicom.attributes import words

_KEYWORDS: Final = ("ImageType", "FrameType", "VolumetricProperties", "VolumeBasedCalculationTechnique")

_NOT_A_SLICE: Final = frozenset(
    {
        # Image Type, third value and those of makers (PS3.3 C.8.2.1.1.1, C.8.16.1.3)
        "LOCALIZER", "PERFUSION", "MIP", "MINIP", "VRT", "PROJECTION IMAGE",
        # Derived Pixel Contrast (C.8.16.1.4): neither mean nor resampling changes what a value means
        "ADDITION", "DIVISION", "MASKED", "MAXIMUM", "MINIMUM", "MULTIPLICATION", "QUANTITY", "STD_DEVIATION",
        "SUBTRACTION",
        # Volumetric Properties and Volume Based Calculation Technique (C.8.16.2.1)
        "DISTORTED", "MAX_IP", "MIN_IP", "VOLUME_RENDER", "SURFACE_RENDER", "CURVED_MPR",
        # Multi-energy CT (C.8.15.3)
        "MAT_SPECIFIC", "MAT_FRACTIONAL", "MAT_VALUE_BASED", "EFF_ATOMIC_NUM", "ELECTRON_DENSITY",
    }
)  # fmt: skip


def kinds_other_than_slice(dataset: Dataset, where: str) -> tuple[str, ...]:
    """What the type of an image or a frame says it is, where that is no CT slice in HU.

    Parameters
    ----------
    dataset : Dataset
        An image, or the frame type of a frame (its functional group).
    where : str
        For messages.

    Returns
    -------
    tuple of str
        For example ``("localizer",)``, sorted; empty for a CT slice.

    Raises
    ------
    UnreadableFileError
        If an attribute is damaged.
    """
    named = {word.upper() for keyword in _KEYWORDS for word in words(dataset, keyword, where)}
    named |= {part for word in named for part in word.split()}  # "CT_SOM5 MIP"
    return tuple(sorted(kind.lower().replace("_", " ") for kind in named & _NOT_A_SLICE))
