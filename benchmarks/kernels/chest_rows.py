"""The kernels on a whole chest, 512 x 512 x 300 voxels of 0.7 x 0.7 x 1 mm, beside peers on it and on a crop.

Growth is counted in bands of 5 and 10 mm around a tumor of 3 cm in an ablation zone that misses a part of it.
Every contestant gives the same counts, or the row is not timed.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import SimpleITK as itk
from scipy import ndimage

from benchmarks.kernels.timing import Call, Row, is_installed, row

SHAPE_ZYX: Final = (300, 512, 512)
SPACING_ZYX_MM: Final = (1.0, 0.7, 0.7)
EDGES_MM: Final = (5.0, 10.0)
TUMOR_RADIUS_MM: Final = 15.0
ZONE_RADIUS_MM: Final = 21.0
TUMOR_INDEX_ZYX: Final = (150, 230, 300)

Masks = tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_], npt.NDArray[np.bool_]]
Distance = Callable[[npt.NDArray[np.bool_]], npt.NDArray[np.float32]]


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


def masks_of(shape: tuple[int, int, int], tumor_radius_mm: float = TUMOR_RADIUS_MM) -> Masks:
    """Tumor, ablation zone (shifted by 4 mm) and a lung that ends beside the tumor."""
    z, y, x = (c * n / m for c, n, m in zip(TUMOR_INDEX_ZYX, shape, SHAPE_ZYX, strict=True))
    tumor = ball(shape, (z, y, x), tumor_radius_mm)
    zone = ball(shape, (z, y, x + 4.0 / SPACING_ZYX_MM[2]), tumor_radius_mm + 6.0)
    lung = np.ones(shape, dtype=np.bool_)
    lung[:, :, int(x + (tumor_radius_mm + 5.0) / SPACING_ZYX_MM[2]) :] = False
    return tumor, zone, lung


def chest_growth_rows(threads: int, floors: dict[str, float]) -> Iterator[Row]:
    """Whole volume against peers on it, and against peers on the crop they find themselves."""
    from engine.kernels.growth import count_growth_coverage
    from engine.kernels.occupied_box import occupied_box

    masks = masks_of(SHAPE_ZYX)
    tumor = masks[0]
    own = partial(count_growth_coverage, *masks, SPACING_ZYX_MM, EDGES_MM)
    counts = own()
    expected = [int(v) for v in np.concatenate([counts.voxels, counts.covered_and_counted])]
    around = masks[1][_crop(tumor, EDGES_MM[-1])].size
    floor_ms = (tumor.nbytes + 2 * around) / floors["read"]
    size = "512x512x300"
    distances = _distances(threads)
    whole = {
        k: None if d is None else partial(_whole, d, masks) for k, d in distances.items() if k != "scipy"
    }
    crop = {k: None if d is None else partial(_on_crop, d, masks) for k, d in distances.items()}
    for name, call in {**whole, **crop}.items():
        if call is not None and name != "scipy" and list(call()) != expected:
            raise AssertionError(f"{name} counts otherwise than Coldspot: {list(call())}, {expected}")
    yield row("growth + coverage, peers whole", size, own, dict(whole), floor_ms)
    yield row("growth + coverage, peers on crop", size, own, dict(crop), floor_ms)
    one_band = partial(count_growth_coverage, *masks, SPACING_ZYX_MM, EDGES_MM[:1])
    dilated = {"fastmorph": partial(_dilated, masks, threads) if is_installed("fastmorph") else None}
    yield row("growth + coverage, one band", size, one_band, dict(dilated), floor_ms)
    boxes: dict[str, Call | None] = {
        "numpy": partial(_crop, tumor, 0.0),
        "scipy": partial(ndimage.find_objects, tumor.view(np.uint8)),
    }
    yield row("occupied box", size, partial(occupied_box, tumor), boxes, tumor.nbytes / floors["read"])


def _distances(threads: int) -> dict[str, Distance | None]:
    def maurer(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
        image = itk.GetImageFromArray(mask.view(np.uint8))
        image.SetSpacing(SPACING_ZYX_MM[::-1])
        found = itk.SignedMaurerDistanceMap(image, squaredDistance=False, useImageSpacing=True)
        return np.asarray(itk.GetArrayFromImage(found))

    def scipy(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
        return np.asarray(ndimage.distance_transform_edt(~mask, sampling=SPACING_ZYX_MM), dtype=np.float32)

    def edt(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
        found = importlib.import_module("edt").edt(~mask, anisotropy=SPACING_ZYX_MM, parallel=threads)
        return np.asarray(found)

    return {"SimpleITK": maurer, "edt": edt if is_installed("edt") else None, "scipy": scipy}


def _whole(distance: Distance, masks: Masks) -> npt.NDArray[np.int64]:
    tumor, covered, counted = masks
    return _counts(distance(tumor), covered, counted)


def _on_crop(distance: Distance, masks: Masks) -> npt.NDArray[np.int64]:
    """The best a peer can do: find the tumor, grow its box, and work there."""
    box = _crop(masks[0], EDGES_MM[-1])
    return _whole(distance, tuple(np.ascontiguousarray(m[box]) for m in masks))  # type: ignore[arg-type]


def _crop(mask: npt.NDArray[np.bool_], grow_mm: float) -> tuple[slice, ...]:
    """Box of a mask by NumPy, each pass over what the last one left: quicker than any other peer's."""
    box, marked = [], mask
    for axis in range(3):
        found = np.flatnonzero(marked.any(axis=tuple(a for a in range(3) if a != axis)))
        first, last = int(found[0]), int(found[-1]) + 1
        marked = marked[(slice(None),) * axis + (slice(first, last),)]
        grow = int(np.ceil(grow_mm / SPACING_ZYX_MM[axis]))
        box.append(slice(max(0, first - grow), last + grow))
    return tuple(box)


def _counts(
    distance: npt.NDArray[np.float32], covered: npt.NDArray[np.bool_], counted: npt.NDArray[np.bool_]
) -> npt.NDArray[np.int64]:
    """Bands and both masks by NumPy, only where a band is; and the least uncovered distance."""
    near = distance < EDGES_MM[-1]
    mm, is_covered, is_counted = distance[near], covered[near], counted[near]
    cell = 4 * (mm >= EDGES_MM[0]) + 2 * is_counted + is_covered
    table = np.bincount(cell, minlength=8).reshape(2, 2, 2)
    np.min(mm, where=~is_covered, initial=np.inf)
    return np.concatenate([table.sum(axis=(1, 2)), table[:, 1, 1]])


def _dilated(masks: Masks, threads: int) -> tuple[int, int, int]:
    dilate = importlib.import_module("fastmorph").spherical_dilate
    tumor, covered, counted = masks
    target = dilate(tumor, radius=EDGES_MM[0], parallel=threads, anisotropy=SPACING_ZYX_MM)
    in_zone = target & covered
    in_both = in_zone & counted
    return int(np.count_nonzero(target)), int(np.count_nonzero(in_zone)), int(np.count_nonzero(in_both))


def chest_resampling_rows(floors: dict[str, float]) -> Iterator[Row]:
    """To 1 mm, as the planning CT is."""
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
