"""Further parts of tumor and zone: where they are, and what they do to the margin.

A voxel far off decides the minimal margin as a second lesion would. Nothing is left out here: the reader hears of every
part, and of the figures without it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np

from engine.arrays import BoolArray, Float64Array, Int32Array
from engine.assessment.wording import volume_in_words
from engine.coverage.grid import MeasurementField
from engine.coverage.ratio import measure_coverage
from engine.coverage.surface_margin import measure_surface_margin
from engine.kernels.components import Components, find_components

_NAMED: Final = 3
"""So many further parts are named with their places; the others are counted."""


def part_warnings(grid: MeasurementField, minimal_mm: float, target_margin_mm: float) -> tuple[str, ...]:
    """Return what further parts of tumor and zone do to the margin; nothing where each is in one part.

    Parameters
    ----------
    grid : MeasurementField
    minimal_mm : float
        The minimal margin of all parts together.
    target_margin_mm : float
    """
    return (*_tumor_warning(grid, minimal_mm), *_zone_warning(grid, minimal_mm, target_margin_mm))


def _tumor_warning(grid: MeasurementField, minimal_mm: float) -> tuple[str, ...]:
    parts = _parts(grid, grid.tumor)
    if len(parts) < 2:
        return ()
    owner = _owner(parts.labels, grid.tumor_surface_index)
    margin = measure_surface_margin(grid).margin_mm
    margins = [float(margin[owner == label].min(initial=np.inf)) for label in range(1, len(parts) + 1)]
    further = [
        f"{_part(grid, parts, row)}, margin {margins[row]:.1f} mm"
        for row in range(1, min(len(parts), _NAMED + 1))
    ]
    return (
        (
            f"the tumor has {len(parts)} separate parts, measured as one with a margin of {minimal_mm:.1f} mm; the "
            f"largest alone has a margin of {margins[0]:.1f} mm. Further: {_listed(further, len(parts))}. Remove what "
            "does not belong to it, or give the point of the target, which chooses one"
        ),
    )


def _zone_warning(grid: MeasurementField, minimal_mm: float, target_margin_mm: float) -> tuple[str, ...]:
    parts = _parts(grid, grid.zone)
    if len(parts) < 2:
        return ()
    alone = replace(
        grid,
        zone_occupancy=np.where(parts.labels > 1, np.float32(0.0), grid.zone_occupancy),
        core_occupancy=None,
    )
    whole, _ = measure_coverage(
        alone, alone.zone, alone.distance_to_zone_mm, target_margin_mm=target_margin_mm
    )
    further = [_part(grid, parts, row) for row in range(1, min(len(parts), _NAMED + 1))]
    return (
        (
            f"the ablation zone has {len(parts)} separate parts, counted together with a margin of {minimal_mm:.1f} "
            f"mm; the largest alone gives a margin of {whole.minimal_mm:.1f} mm and a coverage of {whole.tcr:.3f}. "
            f"Further: {_listed(further, len(parts))}. Remove what is no ablation zone"
        ),
    )


def _parts(grid: MeasurementField, mask: BoolArray) -> Components:
    return find_components(mask, grid.geometry.spacing_zyx_mm, kernels=grid.kernels)


def _owner(labels: Int32Array, surface_index: Float64Array) -> Int32Array:
    """The part that each surface point belongs to: a point lies between a marked voxel and one that is not."""
    ends = (np.floor(surface_index), np.ceil(surface_index))
    last = np.array(labels.shape) - 1
    low, high = (labels[tuple(np.clip(end, 0, last).astype(np.int64).T)] for end in ends)
    return np.asarray(np.maximum(low, high))


def _part(grid: MeasurementField, parts: Components, row: int) -> str:
    x, y, z = grid.geometry.to_lps(parts.centroids_index_zyx[row])
    return f"{volume_in_words(float(parts.volumes_ml[row]))} at LPS ({x:.1f}, {y:.1f}, {z:.1f}) mm"


def _listed(named: list[str], parts: int) -> str:
    more = parts - 1 - len(named)
    return "; ".join([*named, *([f"and {more} more"] if more > 0 else [])])
