"""The chests that scenes are painted into: procedural ones, and real CTs where they are at hand."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.spatial.transform import Rotation

from engine.arrays import Float32Array, Float64Array
from engine.errors import InvalidRequestError
from engine.files.image_file import read_ct_image
from engine.geometry import VolumeGeometry
from engine.kernels.resampling import resample
from engine.phantoms.chest import Chest, chest_of_ct, procedural_chest, random_place
from engine.phantoms.thorax import lung_depth_mm
from export.demo_segmenters.scenes.fields import PatchGrid, smooth_displacement_mm
from export.demo_segmenters.tasks import TaskName

REAL_CHESTS: Final[dict[str, tuple[TaskName, ...]]] = {
    "ct-lesionsizing/PartSolidLesionCropped.mha": ("zone",),
    "ct-lesionsizing/DataCropped.mha": ("zone",),
    "ct-totalseg-nifti/pulmonary_ct_cropped.nii.gz": ("zone", "tumor"),
    "ct-totalseg-nifti/example_ct.nii.gz": ("zone", "tumor"),
    "pair-popi5mm/10-P_5x5x5.nii.gz": ("zone",),
    "pair-popi5mm/60-P_5x5x5.nii.gz": ("zone",),
    "ct-cip-small/ct-64.nrrd": ("zone", "tumor"),
    "radiomics-pyradiomics-parity/lung2_image_crop.nrrd": ("zone",),
}
"""Real CTs below the data folder, and the tasks they are used for.

None is of a patient of the ablation cases or of the truth cases, which are kept for evaluation. A CT with a lesion
of its own is no background for the tumor: there it would be an unmarked one. For the zone it is old disease, seen
in both scans.
"""

HELD_OUT: Final = ("ct-lesionsizing/DataCropped.mha", "ct-totalseg-nifti/pulmonary_ct_cropped.nii.gz")
"""No scene of these is trained on: the operating point is chosen on them and on procedural chests of other seeds."""

_SPACING_MM: Final = 1.25
_LUNG_SPACING_MM: Final = 2.0
_PROCEDURAL_HALF_MM: Final = 62.0
_REAL_SHARE: Final = 0.5
_PLEURAL_SHARE: Final = 0.35
_DEEP_MM: Final = (7.0, 60.0)
_AT_PLEURA_MM: Final = (0.5, 7.0)
_ANY_MM: Final = (0.5, 60.0)
_PLACES: Final = 24
_RIGHT_LUNG_LPS_MM: Final = (np.array([-128.0, -70.0, -95.0]), np.array([-30.0, 70.0, 95.0]))


@dataclass(frozen=True, eq=False)
class Background:
    """A chest on isotropic grids, with places in its lung.

    Parameters
    ----------
    hu : ndarray of int16, (z, y, x)
        Every ``_SPACING_MM``.
    lung_depth_mm : ndarray of float32, (z, y, x)
        Every ``_LUNG_SPACING_MM`` from the same corner; negative outside lung.
    places_mm : ndarray, (N, 3)
        Offsets from that corner along z, y, x.
    is_real : bool
    """

    hu: npt.NDArray[np.int16]
    lung_depth_mm: Float32Array
    places_mm: Float32Array
    is_real: bool


@dataclass(frozen=True, eq=False)
class LocalChest:
    """HU and depth below the pleura (mm, negative outside lung) on the grid of a scene, (z, y, x)."""

    hu: Float32Array
    lung_depth_mm: Float32Array


def read_real_backgrounds(folder: Path | None, task: TaskName, *, held_out: bool) -> list[Background]:
    """Read the real CTs of a task that lie below a folder.

    Parameters
    ----------
    folder : Path, optional
        None gives an empty list.
    task : {'zone', 'tumor'}
    held_out : bool
        Those of :data:`HELD_OUT`, or those that are trained on.

    Raises
    ------
    InvalidRequestError
        A folder is given and one of them is missing from it.
    """
    if folder is None:
        return []
    names = [name for name, tasks in REAL_CHESTS.items() if task in tasks]
    missing = [str(folder / name) for name in names if not (folder / name).is_file()]
    if missing:
        raise InvalidRequestError(f"no such CT: {', '.join(missing)}; leave the folder out for phantoms only")
    cts = [read_ct_image(folder / name) for name in names if (name in HELD_OUT) == held_out]
    chests = [chest_of_ct(ct, ct.geometry.corners_lps_mm().mean(axis=0)) for ct in cts]
    return [
        _background(np.random.default_rng([number]), chest, real=True) for number, chest in enumerate(chests)
    ]


def procedural_background(rng: np.random.Generator) -> Background:
    """Render a chest around a place in lung."""
    depth = _AT_PLEURA_MM if rng.random() < _PLEURAL_SHARE else _DEEP_MM
    center_lps_mm = random_place(rng, lung_depth_mm, *_RIGHT_LUNG_LPS_MM, depth)
    chest = procedural_chest(rng, center_lps_mm, _PROCEDURAL_HALF_MM)
    return _background(rng, chest, real=False, place_lps_mm=center_lps_mm)


def chosen_background(rng: np.random.Generator, real: list[Background]) -> Background:
    """One of the real chests, or a new procedural one."""
    if real and rng.random() < _REAL_SHARE:
        return real[int(rng.integers(len(real)))]
    return procedural_background(rng)


def local_chest(rng: np.random.Generator, background: Background, grid: PatchGrid) -> LocalChest:
    """Place, turn, scale, mirror and bend a chest onto the grid of a scene."""
    place = background.places_mm[int(rng.integers(len(background.places_mm)))]
    turn = Rotation.from_rotvec(rng.normal(0.0, 0.15, 3)).as_matrix()
    turn = turn @ np.diag(rng.choice([-1.0, 1.0], 3) if rng.random() < 0.5 else [1.0, 1.0, 1.0])
    linear = np.asarray(turn * rng.uniform(0.85, 1.2, 3), dtype=np.float32)
    positions = np.tensordot(linear, grid.positions_mm(), axes=1)
    positions += smooth_displacement_mm(
        rng, grid, float(rng.uniform(20.0, 45.0)), float(rng.uniform(0.0, 4.0))
    )
    positions += place[:, None, None, None]
    hu = ndimage.map_coordinates(
        background.hu, positions / np.float32(_SPACING_MM), output=np.float32, order=1, mode="mirror"
    )
    depth = ndimage.map_coordinates(
        background.lung_depth_mm, positions / np.float32(_LUNG_SPACING_MM), order=1, mode="mirror"
    )
    return LocalChest(hu, np.asarray(depth, dtype=np.float32))


def _background(
    rng: np.random.Generator, chest: Chest, *, real: bool, place_lps_mm: Float64Array | None = None
) -> Background:
    low, high = chest.low_lps_mm, chest.high_lps_mm
    grid = VolumeGeometry((1, 1, 1), (1.0,) * 3).around(low, high, _SPACING_MM)
    to_index = chest.geometry.index_from_lps @ grid.affine_lps_mm
    hu = resample(chest.hu, to_index, grid.shape_zyx, order=1, fill=-1000.0)
    coarse = VolumeGeometry((1, 1, 1), (1.0,) * 3).around(low, high, _LUNG_SPACING_MM)
    points = coarse.to_lps(np.moveaxis(np.indices(coarse.shape_zyx), 0, -1).reshape(-1, 3).astype(np.float64))
    depth = chest.lung_depth_mm(points).reshape(coarse.shape_zyx)
    if place_lps_mm is None:
        shallow, deep = int(_PLACES * _PLEURAL_SHARE), _ANY_MM
        ranges = [_AT_PLEURA_MM] * shallow + [deep] * (_PLACES - shallow)
        places = np.stack([random_place(rng, chest.lung_depth_mm, low, high, depth) for depth in ranges])
    else:
        places = place_lps_mm[None]
    offsets = (places - np.array(grid.origin_lps_mm))[:, ::-1]
    return Background(
        np.clip(hu, -1024, 3071).astype(np.int16),
        depth.astype(np.float32),
        np.ascontiguousarray(offsets, dtype=np.float32),
        real,
    )
