"""What a scanner makes of a chest: contrast medium, slice profile, kernel, noise, calibration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from engine.arrays import Float32Array
from export.demo_segmenters.scenes.fields import PatchGrid

_THICK_SHARE: Final = 0.4
_CONTRAST_SHARE: Final = 0.25
_MAX_THICKNESS_MM: Final = 5.5
_NEAREST_BEYOND: Final = 3.0
"""nnU-Net takes the nearest slice where slices are more than so many times as far apart as pixels."""


@dataclass(frozen=True, eq=False)
class Slices:
    """The slices of a scan, as matrices along z.

    Parameters
    ----------
    averaging : ndarray of float32, (slices, edge)
        Each slice's profile over the scene's grid.
    at_centers : ndarray of float32, (slices, edge)
        Linear interpolation at the slices' centers.
    back : ndarray of float32, (edge, slices)
        From slices to the network's grid, by nnU-Net's rule.
    """

    averaging: Float32Array
    at_centers: Float32Array
    back: Float32Array

    def seen_at_centers(self, image: Float32Array) -> Float32Array:
        """What a thin image warped onto these slices is on the network's grid."""
        return along_z(self.back, along_z(self.at_centers, image))


def draw_slices(rng: np.random.Generator, grid: PatchGrid) -> Slices | None:
    """Thick slices, or None where they are thinner than the scene's voxels."""
    if rng.random() >= _THICK_SHARE:
        return None
    distance = float(rng.uniform(grid.spacing_mm, _MAX_THICKNESS_MM))
    thickness = distance * float(rng.uniform(0.9, 1.6))
    centers = np.arange(float(rng.uniform(-distance, 0.0)), grid.edge * grid.spacing_mm + distance, distance)
    z = np.arange(grid.edge) * grid.spacing_mm
    away = np.abs(centers[:, None] - z[None, :])
    averaging = np.clip((0.5 * (thickness + grid.spacing_mm) - away) / grid.spacing_mm, 0.0, 1.0)
    # A slice beyond the end is that of the nearest voxel.
    averaging = np.where(
        averaging.any(axis=1, keepdims=True), averaging, away == away.min(axis=1, keepdims=True)
    )
    averaging /= averaging.sum(axis=1, keepdims=True)
    at_centers = _linear(np.clip(centers, z[0], z[-1]), z)
    pixels_mm = float(rng.uniform(0.6, 0.95))
    if distance > _NEAREST_BEYOND * pixels_mm:
        back = np.equal(
            np.abs(z[:, None] - centers[None, :]).argmin(axis=1)[:, None], np.arange(len(centers))
        )
    else:
        back = _linear(z, centers)
    return Slices(*(np.asarray(matrix, dtype=np.float32) for matrix in (averaging, at_centers, back)))


def along_z(matrix: Float32Array, image: Float32Array) -> Float32Array:
    """A matrix (n, z) applied to an image (z, y, x)."""
    return np.asarray(
        (matrix @ image.reshape(len(image), -1)).reshape(-1, *image.shape[1:]), dtype=np.float32
    )


def scanned(
    rng: np.random.Generator, hu: Float32Array, lung_depth_mm: Float32Array, slices: Slices | None
) -> Float32Array:
    """The scan of a chest ``hu`` (z, y, x), resampled to the network's grid."""
    image = _breathed(rng, hu, lung_depth_mm)
    if rng.random() < _CONTRAST_SHARE:
        vessels = np.clip((image + 60.0) / 80.0, 0.0, 1.0) * (image < 200.0) * (lung_depth_mm > -3.0)
        image += np.float32(rng.uniform(20.0, 250.0)) * vessels
    if slices is not None:
        image = along_z(slices.averaging, image)
    blur = float(rng.uniform(0.0, 0.7))
    image = ndimage.gaussian_filter(image, (0.0, blur, blur))
    if rng.random() < 0.3:  # a sharp kernel overshoots
        image += np.float32(rng.uniform(0.2, 1.2)) * (image - ndimage.gaussian_filter(image, (0, 0.9, 0.9)))
    image += _noise(rng, image.shape)
    image = image * np.float32(rng.normal(1.0, 0.02)) + np.float32(rng.normal(0.0, 12.0))
    return image if slices is None else along_z(slices.back, image)


def _breathed(rng: np.random.Generator, hu: Float32Array, lung_depth_mm: Float32Array) -> Float32Array:
    """Lung of another density: another depth of breath, or emphysema."""
    gain = np.where(lung_depth_mm > 0.0, np.float32(rng.uniform(0.7, 1.4)), np.float32(1.0))
    aerated = np.clip((-500.0 - hu) / 200.0, 0.0, 1.0)
    return np.asarray(hu + aerated * (gain - 1.0) * (hu + 1000.0), dtype=np.float32)


def _noise(rng: np.random.Generator, shape: tuple[int, ...]) -> Float32Array:
    """White to coarse noise; its standard deviation is drawn evenly on a scale of logarithms."""
    grain = float(rng.choice([0.0, rng.uniform(0.3, 0.8), rng.uniform(0.5, 1.5)]))
    noise = rng.standard_normal(shape, dtype=np.float32)
    if grain > 0.0:
        noise = ndimage.gaussian_filter(noise, (0.0 if rng.random() < 0.5 else grain, grain, grain))
    sd_hu = float(np.exp(rng.uniform(np.log(4.0), np.log(120.0))))
    return np.asarray(np.float32(sd_hu / noise.std()) * noise, dtype=np.float32)


def _linear(at: npt.NDArray[Any], knots: npt.NDArray[Any]) -> Float32Array:
    """Linear interpolation from values at knots to values at points, as a matrix."""
    index = np.interp(at, knots, np.arange(len(knots)))
    away = np.abs(index[:, None] - np.arange(len(knots))[None, :])
    return np.asarray(np.maximum(1.0 - away, 0.0), dtype=np.float32)
