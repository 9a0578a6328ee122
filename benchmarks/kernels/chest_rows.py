"""Resampling of a whole chest, 512 x 512 x 300 voxels of 0.7 x 0.7 x 1 mm, and a tumor in it."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import SimpleITK as itk

from benchmarks.kernels.timing import Call, Row, row

SHAPE_ZYX: Final = (300, 512, 512)
SPACING_ZYX_MM: Final = (1.0, 0.7, 0.7)
TUMOR_RADIUS_MM: Final = 15.0
TUMOR_INDEX_ZYX: Final = (150, 230, 300)


def ball(
    shape: tuple[int, int, int], center: tuple[float, float, float], radius_mm: float
) -> npt.NDArray[np.bool_]:
    """Voxels within ``radius_mm`` of a fractional index; the whole volume is touched."""
    squares = [
        ((np.arange(n) - c) * s).astype(np.float32) ** 2
        for n, c, s in zip(shape, center, SPACING_ZYX_MM, strict=True)
    ]
    mask = np.zeros(shape, dtype=np.bool_)
    mask[:] = False  # pages of fresh zeros are one and the same, and would be read at the cache's speed
    for z in np.flatnonzero(squares[0] <= radius_mm**2):
        mask[z] = squares[0][z] + squares[1][:, None] + squares[2] <= radius_mm**2
    return mask


def tumor_of(shape: tuple[int, int, int], radius_mm: float = TUMOR_RADIUS_MM) -> npt.NDArray[np.bool_]:
    """Mask of a tumor, at the same relative position in a chest of any size."""
    z, y, x = (c * n / m for c, n, m in zip(TUMOR_INDEX_ZYX, shape, SHAPE_ZYX, strict=True))
    return ball(shape, (z, y, x), radius_mm)


def chest_resampling_rows(floors: dict[str, float]) -> Iterator[Row]:
    """Time resampling to 1 mm, which is what happens to the planning CT."""
    from engine.kernels.resampling import resample

    voxels = np.random.default_rng(2).integers(-1000, 400, SHAPE_ZYX, dtype=np.int16)
    shape = tuple(int(n * s) for n, s in zip(SHAPE_ZYX, SPACING_ZYX_MM, strict=True))
    image, grid = itk.GetImageFromArray(voxels), itk.Image(*shape[::-1], itk.sitkInt16)
    image.SetSpacing(SPACING_ZYX_MM[::-1])
    to_index = np.diag([*(1 / s for s in SPACING_ZYX_MM), 1.0])
    floor_ms = (voxels.nbytes + 2.0 * float(np.prod(shape))) / floors["copy"]
    for order, name, interpolator in ((1, "linear", itk.sitkLinear), (3, "cubic", itk.sitkBSpline)):
        others: dict[str, Call | None] = {
            "SimpleITK": partial(itk.Resample, image, grid, itk.Transform(), interpolator)
        }
        own: Any = partial(resample, voxels, to_index, shape, order=order)
        yield row(f"resample int16 to 1 mm, {name}", "512x512x300", own, others, floor_ms)
