"""A scanner: slice profile, reconstruction kernel, noise, and slabs that do not fit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from scipy import ndimage

from engine.arrays import BoolArray, Float32Array
from engine.geometry import VolumeGeometry
from engine.phantoms.conditions.description import Kernel
from engine.phantoms.scanning import SIMULATED
from engine.volume import Acquisition, CtVolume

_SUB_SLICE_MM: Final = 1.25
"""A slice's profile is summed from slices no thicker."""

_BLUR_MM: Final[dict[Kernel, float]] = {"soft": 0.9, "standard": 0.0, "sharp": 0.0}
_EDGE_ENHANCEMENT: Final[dict[Kernel, float]] = {"soft": 0.0, "standard": 0.0, "sharp": 0.7}
_NOISE_GRAIN_VOXELS: Final[dict[Kernel, float]] = {"soft": 1.1, "standard": 0.7, "sharp": 0.35}


@dataclass(frozen=True, eq=False)
class Rendering:
    """What is there on one grid: HU, and masks by name."""

    hu: Float32Array
    masks: dict[str, BoolArray]


_Renderer = Callable[[VolumeGeometry], Rendering]


@dataclass(frozen=True)
class Protocol:
    """How a scan is made.

    Parameters
    ----------
    kernel : {'soft', 'standard', 'sharp'}
    noise_hu : float
        Standard deviation of the noise.
    step_mm : float
        Slices above the middle show the patient moved down by this much.
    """

    kernel: Kernel
    noise_hu: float
    step_mm: float = 0.0


def acquire(
    rng: np.random.Generator, render: _Renderer, grid: VolumeGeometry, protocol: Protocol
) -> tuple[CtVolume, dict[str, BoolArray]]:
    """Scan what a renderer shows; a voxel is marked where half of its slice's thickness is.

    Parameters
    ----------
    rng : numpy.random.Generator
    render : callable
    grid : VolumeGeometry
        Upright.
    protocol : Protocol

    Returns
    -------
    (CtVolume, dict of ndarray)
    """
    slabs = _slabs(grid, protocol.step_mm)
    renderings = [_averaged(render, slab) for slab in slabs]
    hu = np.concatenate([rendering[0] for rendering in renderings])
    masks = {
        name: np.concatenate([rendering[1][name] for rendering in renderings]) >= 0.5
        for name in renderings[0][1]
    }
    hu = _reconstructed(hu, grid, protocol.kernel)
    grain = _NOISE_GRAIN_VOXELS[protocol.kernel]
    noise = ndimage.gaussian_filter(rng.standard_normal(hu.shape).astype(np.float32), (0.0, grain, grain))
    hu += protocol.noise_hu * noise / noise.std()
    voxels = np.clip(np.rint(hu), -1024, 3071).astype(np.int16)
    acquisition = Acquisition(series_description=SIMULATED, slice_thickness_mm=grid.spacing_zyx_mm[0])
    return CtVolume(voxels, grid, acquisition), masks


def _slabs(grid: VolumeGeometry, step_mm: float) -> list[VolumeGeometry]:
    """The grid, or its lower and upper half with the upper one looking ``step_mm`` higher."""
    if not step_mm:
        return [grid]
    half, (nz, ny, nx) = grid.shape_zyx[0] // 2, grid.shape_zyx
    x, y, z = grid.origin_lps_mm
    upper = (x, y, z + half * grid.spacing_zyx_mm[0] + step_mm)
    return [
        replace(grid, shape_zyx=(half, ny, nx)),
        replace(grid, shape_zyx=(nz - half, ny, nx), origin_lps_mm=upper),
    ]


def _averaged(render: _Renderer, grid: VolumeGeometry) -> tuple[Float32Array, dict[str, Float32Array]]:
    """HU and shares of the masks, averaged over the slices' thickness."""
    (nz, ny, nx), (dz, dy, dx) = grid.shape_zyx, grid.spacing_zyx_mm
    parts = max(1, int(np.ceil(dz / _SUB_SLICE_MM - 1e-6)))
    x, y, z = grid.origin_lps_mm
    fine = replace(
        grid,
        shape_zyx=(nz * parts, ny, nx),
        spacing_zyx_mm=(dz / parts, dy, dx),
        origin_lps_mm=(x, y, z - 0.5 * dz * (1.0 - 1.0 / parts)),
    )
    rendering = render(fine)

    def mean(values: Float32Array | BoolArray) -> Float32Array:
        return np.asarray(values.reshape(nz, parts, ny, nx).mean(axis=1, dtype=np.float32))

    return mean(rendering.hu), {name: mean(mask) for name, mask in rendering.masks.items()}


def _reconstructed(hu: Float32Array, grid: VolumeGeometry, kernel: Kernel) -> Float32Array:
    in_plane = grid.spacing_zyx_mm[1]
    if _BLUR_MM[kernel]:
        hu = ndimage.gaussian_filter(hu, (0.0, _BLUR_MM[kernel] / in_plane, _BLUR_MM[kernel] / in_plane))
    if _EDGE_ENHANCEMENT[kernel]:
        hu = hu + _EDGE_ENHANCEMENT[kernel] * (hu - ndimage.gaussian_filter(hu, (0.0, 1.0, 1.0)))
    return np.asarray(hu, dtype=np.float32)
