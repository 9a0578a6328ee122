"""Training patches: phantom procedures, cut around the structure and away from it, kept on disk."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from engine.geometry import FloatArray, VolumeGeometry
from engine.kernels.resampling import resample
from engine.phantoms import PhantomProcedure, make_procedure
from engine.phantoms.ablation import AblationKind
from engine.volume import CtVolume, LabelMask
from export.demo_segmenters.tasks import TASKS, DemoTask, TaskName

EDGE: Final = 80
"""Voxels of a kept patch along each axis: room to shift a training patch in."""

NEAR_MM: Final = 8.0
SIZE_MM: Final = 112.0
AIR_HU: Final = -1024.0

KINDS: Final[tuple[AblationKind, ...]] = ("complete", "miss", "under", "half")
PLEURAL_SHARE: Final = 0.25


@dataclass(frozen=True, eq=False)
class Patch:
    """HU and labels of one kept patch, int16 and uint8, (z, y, x)."""

    hu: npt.NDArray[np.int16]
    labels: npt.NDArray[np.uint8]


def draw_procedure(seed: int, number: int) -> PhantomProcedure:
    """Simulate a training case; the same numbers give the same voxels."""
    rng = np.random.default_rng([seed, number])
    slice_mm = float(rng.choice([rng.uniform(0.7, 1.3), 2.5, 5.0], p=[0.7, 0.15, 0.15]))
    ours, theirs = rng.uniform(0.6, 0.9, 2)
    kind = KINDS[int(rng.integers(len(KINDS)))]
    return make_procedure(
        int(rng.integers(2**31)),
        kind=kind,
        tumor_volume_ml=None,
        pleural=bool(rng.random() < PLEURAL_SHARE),
        contraction=float(rng.uniform(0.0, 0.2)),
        greatest_bend_mm=float(rng.uniform(3.0, 8.0)),
        deformation="stiff",
        noise_hu=float(rng.uniform(5.0, 35.0)),
        size_mm=SIZE_MM,
        planning_spacing_zyx_mm=(slice_mm, float(ours), float(ours)),
        verification_spacing_zyx_mm=(slice_mm, float(theirs), float(theirs)),
    )


def keep_patches(seed: int, number: int, folder: Path) -> Path:
    """Cut the patches of one case for every task, unless they are there already.

    Parameters
    ----------
    seed, number : int
    folder : Path
        Made if it is not there.

    Returns
    -------
    Path
        An ``.npz`` with ``<task><k>_hu`` and ``<task><k>_labels``.
    """
    path = folder / f"case-{seed}-{number:04d}.npz"
    if path.is_file():
        return path
    folder.mkdir(parents=True, exist_ok=True)
    case = draw_procedure(seed, number)
    rng = np.random.default_rng([seed, number, 1])
    content: dict[str, Any] = {}
    for task in TASKS.values():
        ct, masks = _of_task(task, case)
        center = masks[0].geometry.to_lps(np.argwhere(masks[0].voxels).mean(axis=0))
        for k, reach in enumerate((NEAR_MM, task.jitter_mm)):
            patch = _cut(task, ct, masks, center + rng.uniform(-reach, reach, 3))
            content |= {f"{task.name}{k}_hu": patch.hu, f"{task.name}{k}_labels": patch.labels}
    unfinished = path.with_suffix(f".part-{os.getpid()}")
    with unfinished.open("wb") as file:
        np.savez(file, **content)
    unfinished.replace(path)
    return path


def read_patches(task: TaskName, paths: list[Path]) -> list[Patch]:
    """Read the kept patches of one task, in order."""
    found = []
    for path in paths:
        with np.load(path) as content:
            found += [
                Patch(content[f"{task}{k}_hu"], content[f"{task}{k}_labels"])
                for k in range(sum(name.startswith(task) and name.endswith("_hu") for name in content))
            ]
    return found


def _of_task(task: DemoTask, case: PhantomProcedure) -> tuple[CtVolume, tuple[LabelMask, ...]]:
    """The CT and the masks, a later one inside the one before."""
    if task.name == "zone":
        return case.verification, (case.zone, case.core)
    return case.planning, (case.tumor,)


def _cut(task: DemoTask, ct: CtVolume, masks: tuple[LabelMask, ...], center_lps_mm: FloatArray) -> Patch:
    low = center_lps_mm - 0.5 * (EDGE - 1) * task.spacing_mm
    x, y, z = (float(v) for v in low)
    grid = VolumeGeometry((EDGE,) * 3, (task.spacing_mm,) * 3, origin_lps_mm=(x, y, z))

    def on_grid(values: npt.NDArray[Any], of: VolumeGeometry, fill: float) -> npt.NDArray[np.float32]:
        to_values = of.index_from_lps @ grid.affine_lps_mm
        return np.asarray(resample(values, to_values, grid.shape_zyx, order=1, fill=fill))

    hu = np.clip(on_grid(ct.voxels_hu, ct.geometry, AIR_HU), AIR_HU, 3071.0).astype(np.int16)
    labels = np.zeros(grid.shape_zyx, dtype=np.uint8)
    for number, mask in enumerate(masks, start=1):
        labels[on_grid(mask.voxels.astype(np.float32), mask.geometry, 0.0) >= 0.5] = number
    return Patch(hu, labels)
