"""Real CTs to simulate in: of patients whom no model and no limit of this repository was developed on."""

from __future__ import annotations

import os
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Final

import numpy as np

from engine.files.image_file import read_ct_image
from engine.geometry import VolumeGeometry
from engine.phantoms.chest import Chest, chest_of_ct
from engine.phantoms.conditions import PROCEDURAL
from engine.volume import CtVolume

_FILES: Final = {
    "heart": "ct-totalseg-nifti/pulmonary_ct_cropped.nii.gz",
    "lung_base": "ct-totalseg-nifti/example_ct.nii.gz",
    "popi_inhale": "pair-popi5mm/10-P_5x5x5.nii.gz",
}


def background_names() -> tuple[str, ...]:
    """The procedural chest, and the real CTs that ``COLDSPOT_DATA`` leads to."""
    root = os.environ.get("COLDSPOT_DATA")
    if not root:
        return (PROCEDURAL,)
    # Half of the cases are procedural: they have the finer lung.
    present = [name for name, path in _FILES.items() if (Path(root) / path).is_file()]
    return (PROCEDURAL,) * max(len(present), 1) + tuple(present)


@cache
def background(name: str) -> Chest | None:
    """A real chest, read once per process; None for the procedural one."""
    if name == PROCEDURAL:
        return None
    ct = _with_midline_at_0(read_ct_image(Path(os.environ["COLDSPOT_DATA"]) / _FILES[name]))
    middle = ct.geometry.to_lps(0.5 * (np.array(ct.geometry.shape_zyx) - 1.0))
    return chest_of_ct(ct, middle - np.array([20.0, 0.0, 0.0]))


def _with_midline_at_0(ct: CtVolume) -> CtVolume:
    """Some of them count from a corner of the scan; the side of a lung is told from the sign of x."""
    corners = ct.geometry.corners_lps_mm()
    if corners[:, 0].min() < 0.0 < corners[:, 0].max():
        return ct
    x, y, z = ct.geometry.origin_lps_mm
    geometry: VolumeGeometry = replace(ct.geometry, origin_lps_mm=(x - float(corners[:, 0].mean()), y, z))
    return CtVolume(ct.voxels_hu, geometry, ct.acquisition)
