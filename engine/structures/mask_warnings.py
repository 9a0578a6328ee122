"""What the inspection of a mask found, in words for its reader."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from engine.geometry import Vector3, VolumeGeometry
from engine.input_warning import InputWarning, InputWarningCode
from engine.structures.mask_inspection import MaskInspection, MaskPiece, inspect_mask
from engine.structures.slice_gaps import SliceGap
from engine.volume import LabelMask

_SMALL_ML: Final = 0.05
"""A hole below this volume is no vessel or cavity that anybody would leave out, a part below it no lesion."""

_NAMED: Final = 3
"""So many of a kind are named with their places; the others are counted."""

_AXES: Final = ("left-right", "anterior-posterior", "head-foot")


def inspected(mask: LabelMask) -> LabelMask:
    """Return a supplied mask with a warning for each kind of finding; its voxels stay as they are.

    Raises
    ------
    EmptyMaskError
    """
    return mask.with_warnings(_warnings(f"the {mask.name} mask", inspect_mask(mask), mask.geometry))


def _warnings(mask: str, found: MaskInspection, grid: VolumeGeometry) -> Iterator[InputWarning]:
    yield from _gap_warnings(mask, found, grid)
    small = [hole for hole in found.holes if hole.volume_ml < _SMALL_ML]
    if small or found.channels:
        cavities = sorted((*small, *found.channels), key=lambda cavity: -cavity.voxels)
        yield InputWarning(
            InputWarningCode.MASK_HOLE,
            f"{mask} has {_count(len(cavities), 'hole')} that no anatomy has: {_named(cavities)}; margin and "
            "coverage are measured up to them: fill what is no cavity, and send the mask again",
        )
    large = [hole for hole in found.holes if hole.volume_ml >= _SMALL_ML]
    if large:
        yield InputWarning(
            InputWarningCode.MASK_CAVITY,
            f"{mask} has {_count(len(large), 'cavity', 'cavities')} enclosed in it: {_named(large)}; left out of it "
            "as drawn",
        )
    yield from _part_warnings(mask, found.parts)
    if found.pits:
        yield InputWarning(
            InputWarningCode.MASK_PIT,
            f"{mask} has {_count(len(found.pits), 'pit')} one voxel wide in its surface: {_named(found.pits)}; "
            "measured as drawn",
        )


def _gap_warnings(mask: str, found: MaskInspection, grid: VolumeGeometry) -> Iterator[InputWarning]:
    lost = [gap for gap in found.gaps if gap.lost]
    if lost:
        yield InputWarning(
            InputWarningCode.MASK_SLICE_LOST,
            f"{mask} lacks {_count(sum(gap.count for gap in lost), 'slice')} between slices that it marks: "
            f"{_listed([_gap(gap, found.slice_axis, grid) for gap in lost])}; margin and coverage are measured with "
            "the gap: mark what is missing, and send the mask again",
        )
    narrow = [gap for gap in found.gaps if not gap.lost and not gap.empty]
    if narrow:
        yield InputWarning(
            InputWarningCode.MASK_SLICE_NARROW,
            f"{mask} is much narrower than both neighbors in {_count(len(narrow), 'slice')}: "
            f"{_listed([_gap(gap, found.slice_axis, grid) for gap in narrow])}; check that nothing was cut off",
        )


def _part_warnings(mask: str, parts: Sequence[MaskPiece]) -> Iterator[InputWarning]:
    stray = [part for part in parts[1:] if part.volume_ml < _SMALL_ML]
    if stray:
        yield InputWarning(
            InputWarningCode.MASK_STRAY_PART,
            f"{mask} has {_count(len(stray), 'stray part')} beside its largest: {_named(stray)}; each can decide on "
            "margin and coverage: remove what does not belong to it, and send the mask again",
        )
    large = [part for part in parts[1:] if part.volume_ml >= _SMALL_ML]
    if large:
        yield InputWarning(
            InputWarningCode.MASK_SEVERAL_PARTS,
            f"{mask} has {len(large) + 1} separate parts: {_named([parts[0], *large])}; check that all belong to it",
        )


def _gap(gap: SliceGap, slice_axis: int, grid: VolumeGeometry) -> str:
    if gap.axis == slice_axis:
        planes = f"slice {gap.first + 1}"
        if gap.count > 1:
            planes = f"slices {gap.first + 1} to {gap.first + gap.count}"
        planes += f" of {grid.shape_zyx[gap.axis]}"
    else:
        direction = _AXES[int(np.argmax(np.abs(grid.directions_zyx_lps[gap.axis])))]
        planes = f"plane {gap.first + 1} of {grid.shape_zyx[gap.axis]} along {direction}"
    what = "empty" if gap.empty else "partly empty"
    return f"{planes} ({what}, {_volume(gap.volume_ml)} missing at {_place(gap.place_lps_mm)})"


def _named(pieces: Sequence[MaskPiece]) -> str:
    return _listed([_piece(piece) for piece in pieces])


def _piece(piece: MaskPiece) -> str:
    size = f"{_volume(piece.volume_ml)} ({_count(piece.voxels, 'voxel')})"
    away = "" if piece.distance_mm is None else f", {piece.distance_mm:.1f} mm from the largest part"
    return f"{size} at {_place(piece.place_lps_mm)}{away}"


def _listed(named: Sequence[str]) -> str:
    more = len(named) - _NAMED
    return ", ".join([*named[:_NAMED], *([f"and {more} more"] if more > 0 else [])])


def _count(number: int, one: str, several: str = "") -> str:
    return f"{number} {one if number == 1 else several or f'{one}s'}"


def _volume(volume_ml: float) -> str:
    return f"{volume_ml:.2f} mL" if volume_ml >= _SMALL_ML else f"{volume_ml:.2g} mL"


def _place(place_lps_mm: Vector3) -> str:
    return f"LPS ({', '.join(f'{v:.1f}' for v in place_lps_mm)}) mm"
