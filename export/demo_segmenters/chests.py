"""The chests that training scenes are painted into: procedural ones, and real CTs where they are at hand."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np

from engine.arrays import Float64Array
from engine.errors import InvalidRequestError
from engine.files.image_file import read_ct_image
from engine.phantoms.chest import Chest, chest_of_ct, procedural_chest, random_place
from engine.phantoms.thorax import lung_depth_mm
from export.demo_segmenters.tasks import TaskName

REAL_CHESTS: Final[dict[str, tuple[TaskName, ...]]] = {
    "ct-lesionsizing/PartSolidLesionCropped.mha": ("zone",),
    "ct-lesionsizing/DataCropped.mha": ("zone",),
    "ct-totalseg-nifti/pulmonary_ct_cropped.nii.gz": ("zone", "tumor"),
    "ct-totalseg-nifti/example_ct.nii.gz": ("zone", "tumor"),
    "pair-popi5mm/10-P_5x5x5.nii.gz": ("zone",),
    "pair-popi5mm/60-P_5x5x5.nii.gz": ("zone",),
    "ct-cip-small/ct-64.nrrd": ("zone", "tumor"),
}
"""Real CTs below the data folder, and the tasks they are used for.

None is of a patient of the ablation cases, which are kept for evaluation. A CT with a lesion of its own is
no background for the tumor: there it would be an unmarked one. For the zone it is what an untreated lesion is.
"""

_REAL_SHARE: Final = 0.3
PLEURAL_SHARE: Final = 0.3
_DEEP_MM: Final = (9.0, 45.0)
_AT_PLEURA_MM: Final = (1.0, 9.0)

_RIGHT_LUNG_LPS_MM: Final = (np.array([-128.0, -70.0, -95.0]), np.array([-30.0, 70.0, 95.0]))


def read_real_chests(folder: Path | None, task: TaskName) -> list[Chest]:
    """Read the real CTs of a task that lie below a folder, in the order of :data:`REAL_CHESTS`.

    Raises
    ------
    InvalidRequestError
        A folder is given and one of them is missing from it.
    """
    if folder is None:
        return []
    files = [folder / name for name, tasks in REAL_CHESTS.items() if task in tasks]
    missing = [str(path) for path in files if not path.is_file()]
    if missing:
        raise InvalidRequestError(f"no such CT: {', '.join(missing)}; leave the folder out for phantoms only")
    cts = [read_ct_image(path) for path in files]
    return [chest_of_ct(ct, ct.geometry.corners_lps_mm().mean(axis=0)) for ct in cts]


def draw_chest(
    rng: np.random.Generator, real: list[Chest], half_width_mm: float
) -> tuple[Chest, Float64Array]:
    """Draw a chest and a place in its lung, LPS mm (3,).

    A procedural chest is rendered ``half_width_mm`` around the place and no farther: scans end somewhere.
    """
    depth = _AT_PLEURA_MM if rng.random() < PLEURAL_SHARE else _DEEP_MM
    if real and rng.random() < _REAL_SHARE:
        chest = real[int(rng.integers(len(real)))]
        # A crop may hold little lung: any depth is welcome there.
        depth = (_AT_PLEURA_MM[0], _DEEP_MM[1])
        return chest, random_place(rng, chest.lung_depth_mm, chest.low_lps_mm, chest.high_lps_mm, depth)
    low, high = _RIGHT_LUNG_LPS_MM
    center_lps_mm = random_place(rng, lung_depth_mm, low, high, depth)
    return procedural_chest(rng, center_lps_mm, half_width_mm), center_lps_mm
