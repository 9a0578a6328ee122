"""Patches as a segmentation network gets them from the engine, as inputs of measurements.

Real CT where there is any: the files passed in, else those below the folder that ``COLDSPOT_DATA``
names, else a rendered phantom of a chest; every reported figure names which.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from engine.arrays import Float32Array
from engine.errors import SourceModelError
from engine.files.reading import read_ct
from engine.geometry import VolumeGeometry
from engine.manifest import (
    IMAGE,
    NAMED_CHANNELS,
    PLANNING_CT_WARPED,
    VERIFICATION_CT,
    SegmentationSection,
)
from engine.phantoms.thorax import render_thorax
from engine.segmentation.companions import channel_volumes
from engine.segmentation.preprocessing import network_image
from engine.volume import CtVolume

DATA_VARIABLE = "COLDSPOT_DATA"
_REAL_CTS = ("ct-lidc0314/ct_right_lung.nii.gz", "ct-pyradiomics-lung1/image.nii.gz")
"""Thin slices, and slices of 5 mm."""

_PATCHES_PER_CT = 2
_NEEDLE_RADIUS_VOXELS = 1
_PHANTOM_CENTER_LPS_MM = (-75.0, 20.0, 0.0)
_PHANTOM_HALF_WIDTH_MM = 40.0
_PHANTOM_SEED = 4
_BALL_RADIUS_MM = 10.0


@dataclass(frozen=True, eq=False)
class SamplePatches:
    """Network inputs and where they come from.

    Parameters
    ----------
    inputs : tuple of dict of str to ndarray
        One patch each, (1, C, z, y, x), normalized.
    measured_on : str
        The images in words, for a report.
    """

    inputs: tuple[dict[str, Float32Array], ...]
    measured_on: str


def sample_patches(
    section: SegmentationSection, images: Sequence[Path] = (), *, per_ct: int = _PATCHES_PER_CT
) -> SamplePatches:
    """Cut patches out of CTs after the network's own preprocessing.

    Parameters
    ----------
    section : SegmentationSection
        Of several channels the planning CT is the same CT, with a ball in its middle as the tumor.
    images : sequence of Path, optional
        CTs; by default two of ``COLDSPOT_DATA`` when that is set, else a phantom.
    per_ct : int, optional
        The most varied patch first. From the first one a copy is made with a bright line through
        it, as a needle left in place makes.

    Raises
    ------
    SourceModelError
        If the network needs several images, and their names do not say which.
    InputError
        If a CT cannot be read.
    """
    names = [channel.name for channel in section.channels]
    if len(names) > 1 and not {VERIFICATION_CT} <= set(names) <= set(NAMED_CHANNELS):
        raise SourceModelError(
            f"the network needs {len(names)} images ({', '.join(names)}), and there is one CT: say by --channel which "
            f"is which of {', '.join(NAMED_CHANNELS)}"
        )
    folder = os.environ.get(DATA_VARIABLE)
    paths = list(images) or ([Path(folder) / name for name in _REAL_CTS] if folder else [])
    cts = [(path.parent.name or path.name, read_ct(path)) for path in paths]
    measured_on = f"patches of real CT: {', '.join(name for name, _ in cts)}"
    if not cts:
        cts, measured_on = (
            [("phantom", _phantom())],
            "patches of a rendered phantom of a chest, not of a real CT",
        )
    patches = [patch for _, ct in cts for patch in _patches(ct, section, per_ct)]
    patches.append(_with_needle(patches[0]))
    return SamplePatches(
        tuple({IMAGE: patch} for patch in patches), f"{measured_on}; one with a needle drawn in"
    )


def _patches(ct: CtVolume, section: SegmentationSection, count: int) -> list[Float32Array]:
    """The patches of a CT that vary most, from a lattice that steps by half a patch."""
    volumes = channel_volumes(section, ct.voxels_hu, ct.geometry, partial(_unchanged, ct))
    image = network_image(volumes, ct.geometry.spacing_zyx_mm, section).voxels
    size = np.array(section.patch_shape)
    last = np.array(image.shape[1:]) - size
    starts = [
        sorted({*range(0, end + 1, max(step // 2, 1)), end}) for end, step in zip(last, size, strict=True)
    ]
    candidates = []
    for z in starts[0]:
        for y in starts[1]:
            for x in starts[2]:
                stop = np.array((z, y, x)) + size
                patch = image[:, z : stop[0], y : stop[1], x : stop[2]]
                candidates.append((-float(patch[:, ::4, ::4, ::4].std()), (z, y, x), patch))
    candidates.sort(key=lambda item: item[:2])
    return [patch[None].copy() for _, _, patch in candidates[:count]]


def _unchanged(ct: CtVolume, name: str, grid: VolumeGeometry) -> Float32Array:
    """What a network takes beside a CT, had nothing changed: the CT itself, and a ball's distance in its middle."""
    if name == PLANNING_CT_WARPED:
        return ct.voxels_hu.astype(np.float32)
    center = (np.array(grid.shape_zyx) - 1) / 2
    offset_mm = (np.moveaxis(np.indices(grid.shape_zyx), 0, -1) - center) * np.array(grid.spacing_zyx_mm)
    return np.asarray(np.linalg.norm(offset_mm, axis=-1) - _BALL_RADIUS_MM, dtype=np.float32)


def _with_needle(patch: Float32Array) -> Float32Array:
    """A copy with a line along the last axis as bright as the patch's brightest voxel."""
    needle = patch.copy()
    z, y = patch.shape[2] // 2, patch.shape[3] // 2
    width = slice(z, z + _NEEDLE_RADIUS_VOXELS + 1), slice(y, y + _NEEDLE_RADIUS_VOXELS + 1)
    needle[:, :, width[0], width[1]] = patch.max()
    return needle


def _phantom() -> CtVolume:
    """Part of a rendered chest: lung, vessels, wall."""
    center, half = np.array(_PHANTOM_CENTER_LPS_MM), np.full(3, _PHANTOM_HALF_WIDTH_MM)
    chest = render_thorax(np.random.default_rng(_PHANTOM_SEED), center, half)
    return CtVolume(np.rint(chest.hu).astype(np.int16), chest.geometry)
