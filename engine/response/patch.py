"""The patch that a foundation model for lung CT sees: cut, resized and normalized as published.

Source: the programs of FM-LCT (feature extraction, preprocessing and fine-tuning) and LC-NICER; see
:class:`engine.manifest.FeatureSection`. All cut the tight box around the mask and average it onto one cube,
whatever the spacing is: features of CTs with other slice thickness are other features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np
import numpy.typing as npt

from engine.arrays import Float64Array
from engine.errors import EmptyMaskError, InvalidRequestError
from engine.kernels.components import find_components
from engine.manifest import FeatureSection
from engine.manifest.features import Recipe
from engine.volume import CtVolume, LabelMask

_DIVISOR_OFFSET: Final = 1e-8
"""Added to standard deviation and range, as published."""

_OUTSIDE: Final[dict[Recipe, float]] = {
    "zscore_patch": 0.0,
    # LC-NICER cuts its boxes elsewhere and blanks nothing; what it scales to 0 stands for "nothing" here.
    "hu_-1024_3072": 0.0,
    "window_-450_1500": -1024.0,
}
"""Value outside the mask with ``roi_only``, before that recipe's last step."""


def lesion_patch(ct: CtVolume, lesion: LabelMask, section: FeatureSection) -> npt.NDArray[np.float32]:
    """Cut a lesion out of a CT and prepare it for the network.

    Parameters
    ----------
    ct : CtVolume
    lesion : LabelMask
        On the grid of the CT.
    section : FeatureSection
        Recipe, size of the patch, and whether tissue outside the mask is blanked.

    Returns
    -------
    ndarray of float32, ``section.patch_shape``
        Axes z, y, x; for ``hu_-1024_3072`` x, y, z, as the reader of that program gives them.

    Raises
    ------
    GridMismatchError, EmptyMaskError
        If the mask is not on the CT, has no voxel, or (blanked outside) no patch voxel lies wholly in it.
    InvalidRequestError
        If everything in the box has one value: nothing can be told from it.
    """
    marked = lesion.require_on(ct)
    if section.recipe == "window_-450_1500":
        parts = find_components(marked.voxels, ct.geometry.spacing_zyx_mm)
        marked = replace(marked, voxels=parts.labels == 1)
    box = marked.bounding_box().slices
    hu, inside = ct.voxels_hu[box].astype(np.float64), marked.voxels[box]
    is_transposed = section.recipe == "hu_-1024_3072"
    if is_transposed:
        hu, inside = np.clip((hu + 1024) / 4096, 0, 1).transpose(2, 1, 0), inside.transpose(2, 1, 0)
    patch = area_resize(hu, section.patch_shape)
    if section.roi_only:
        # Truncated to an integer as published: only what lies wholly inside remains.
        whole = area_resize(inside.astype(np.float64), section.patch_shape) >= 1
        if not whole.any():
            raise EmptyMaskError(
                f"no voxel of the patch lies wholly in the {lesion.name} mask, which is too thin for this "
                "recipe; use a model without roi_only, or a CT with thinner slices"
            )
        patch = np.where(whole, patch, _OUTSIDE[section.recipe])
    if float(np.ptp(patch)) == 0:
        raise InvalidRequestError(
            f"all voxels in the box around the {lesion.name} have the same value; check the mask and the CT"
        )
    return _normalized(patch, section.recipe).astype(np.float32)


def area_resize(values: Float64Array, shape: Sequence[int]) -> Float64Array:
    """Resize by averaging: each new voxel is the mean of all old ones that it touches.

    Parameters
    ----------
    values : ndarray of float, (z, y, x)
    shape : sequence of 3 ints
        Larger or smaller than before along any axis.

    Returns
    -------
    ndarray of float64, ``shape``

    Notes
    -----
    Along each axis the new voxel ``i`` averages old ones from ``floor(i n / m)`` up to, not including,
    ``ceil((i + 1) n / m)``: adaptive average pooling, which MONAI and PyTorch call mode ``area``.
    """
    resized = np.asarray(values, dtype=np.float64)
    for axis, size in enumerate(shape):
        touched = _touched(resized.shape[axis], size)
        sums = np.moveaxis(np.tensordot(touched, resized, axes=(1, axis)), 0, axis)
        # Divided after the sum, a box of ones gives exactly 1.
        counts = touched.sum(axis=1).reshape([-1 if other == axis else 1 for other in range(3)])
        resized = sums / counts
    return resized


def _touched(old: int, new: int) -> Float64Array:
    """Which of the old voxels each new one touches, (new, old), 0 or 1."""
    index = np.arange(new)
    start, stop = index * old // new, -(-(index + 1) * old // new)
    place = np.arange(old)
    return np.asarray((place >= start[:, None]) & (place < stop[:, None]), dtype=np.float64)


def _normalized(patch: Float64Array, recipe: Recipe) -> Float64Array:
    """Last step of a recipe."""
    if recipe == "zscore_patch":
        return np.asarray((patch - patch.mean()) / (patch.std(ddof=1) + _DIVISOR_OFFSET))
    if recipe == "window_-450_1500":
        window = np.clip(patch, -1200, 300)
        return np.asarray((window - window.min()) / (float(np.ptp(window)) + _DIVISOR_OFFSET))
    return patch
