"""Lesion patches as a feature network gets them from the engine, as inputs of measurements.

Real CT where there is any: the lesions passed in, else those below the folder that ``COLDSPOT_DATA``
names, else simulated chests; every reported figure names which.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from engine.files.reading import read_ct, read_mask
from engine.manifest import FeatureSection
from engine.manifest.features import PATCH
from engine.phantoms import make_procedure
from engine.response.patch import lesion_patch
from engine.volume import CtVolume, LabelMask
from export.parity.sample_patches import DATA_VARIABLE

_REAL_LESIONS = (
    ("ct-lidc0314/ct_right_lung.nii.gz", "ct-lidc0314/nodule_consensus50.nii.gz"),
    ("ct-pyradiomics-lung1/image.nii.gz", "ct-pyradiomics-lung1/label.nii.gz"),
)
"""Thin slices, and slices of 5 mm."""

_SIMULATED_LESIONS = 2
_SIMULATED_SIZE_MM = 60.0

Lesion = tuple[CtVolume, LabelMask]


@dataclass(frozen=True, eq=False)
class SampleLesions:
    """Network inputs and where they come from.

    Parameters
    ----------
    inputs : tuple of dict of str to ndarray
        One patch each, (1, 1, z, y, x), normalized.
    measured_on : str
        The images in words, for a report.
    """

    inputs: tuple[dict[str, npt.NDArray[np.float32]], ...]
    measured_on: str


def sample_lesions(section: FeatureSection, files: Sequence[tuple[Path, Path]] = ()) -> SampleLesions:
    """Cut lesions out of CTs as the section's recipe says.

    Parameters
    ----------
    section : FeatureSection
    files : sequence of (Path, Path), optional
        CT and mask; by default two of ``COLDSPOT_DATA`` when that is set, else simulated chests.

    Raises
    ------
    InputError
        If a CT or a mask cannot be read, or they do not fit.
    """
    folder = os.environ.get(DATA_VARIABLE)
    lesion_files = list(files) or [
        (Path(folder) / ct, Path(folder) / mask) for ct, mask in _REAL_LESIONS if folder
    ]
    lesions: list[Lesion] = []
    for ct_path, mask_path in lesion_files:
        ct = read_ct(ct_path)
        lesions.append((ct, read_mask(mask_path, ct, "lesion")))
    names = ", ".join(path.parent.name or path.name for path, _ in lesion_files)
    measured_on = f"lesions in real CT: {names}"
    if not lesions:
        lesions, measured_on = simulated_lesions(), "lesions of simulated chests, not of real CT"
    inputs = tuple({PATCH: lesion_patch(ct, mask, section)[None, None]} for ct, mask in lesions)
    return SampleLesions(inputs, measured_on)


def simulated_lesions() -> list[Lesion]:
    """Tumors of phantoms, each on its planning CT."""
    phantoms = [make_procedure(seed, size_mm=_SIMULATED_SIZE_MM) for seed in range(_SIMULATED_LESIONS)]
    return [(phantom.planning, phantom.tumor) for phantom in phantoms]
