"""What an ablation leaves in the verification CT beside its zone: gas, blood, needles, collapsed lung, other air."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np

from engine.arrays import BoolArray, Float32Array, Float64Array
from engine.geometry import VolumeGeometry, VoxelBox
from engine.phantoms.conditions.fields import FieldsOnGrid
from engine.phantoms.thorax import EDGE_MM

_BLOOD_HU: Final = -250.0
_COLLAPSED_HU: Final = 25.0
_GAS_HU: Final = -950.0
_NEEDLE_HU: Final = 2800.0
_NEEDLE_RADIUS_MM: Final = 0.9
_STREAK_HU: Final = 160.0
_STREAK_WAVE_MM: Final = 7.0
_STREAK_FADE_MM: Final = 16.0
_STREAK_THICKNESS_MM: Final = 2.5


@dataclass(frozen=True, eq=False)
class Tract:
    """A needle's way, verification frame: from ``tip`` backwards along ``direction``."""

    tip_lps_mm: Float64Array
    direction: Float64Array


@dataclass(frozen=True, eq=False)
class Sphere:
    """A ball of gas, verification frame."""

    center_lps_mm: Float64Array
    radius_mm: float


@dataclass(frozen=True, eq=False)
class Findings:
    """Everything beside tumor and zone.

    Parameters
    ----------
    tracts : sequence of Tract
    needles : int
        In so many of the tracts a needle lies.
    blood_mm : float
        Width of the blood along the first tract.
    gas : sequence of Sphere
        In the zone.
    bowel : sequence of Sphere
        Outside the lung.
    collapse_place_lps_mm : ndarray, (3,)
        On the pleura, verification frame.
    collapse_mm : float
        Depth of the collapsed lung there.
    skin_shift_mm : float
    space_hu : float, optional
        Of what lies between lung and wall.
    texture_seed : int
    """

    tracts: tuple[Tract, ...]
    needles: int
    blood_mm: float
    gas: tuple[Sphere, ...]
    bowel: tuple[Sphere, ...]
    collapse_place_lps_mm: Float64Array
    collapse_mm: float
    skin_shift_mm: float
    space_hu: float | None
    texture_seed: int


_COLLAPSE_REACH_MM: Final = 40.0
_SKIN_AT_MM: Final = 30.0
"""The procedural chest's skin lies this far outside the pleura."""


class Canvas:
    """HU on one grid, painted step by step; positions are made once."""

    def __init__(self, fields: FieldsOnGrid, hu: Float32Array) -> None:
        self.fields = fields
        self.hu = hu

    @property
    def grid(self) -> VolumeGeometry:
        """Of the fields."""
        return self.fields.grid

    @cached_property
    def axes_xyz(self) -> tuple[Float32Array, Float32Array, Float32Array]:
        """Coordinates along x, y, z, each along its own array axis."""
        (nz, ny, nx), (dz, dy, dx) = self.grid.shape_zyx, self.grid.spacing_zyx_mm
        x, y, z = self.grid.origin_lps_mm
        along = x + dx * np.arange(nx), y + dy * np.arange(ny), z + dz * np.arange(nz)
        ax, ay, az = (a.astype(np.float32) for a in along)
        return ax[None, None, :], ay[None, :, None], az[:, None, None]

    def blend(self, share: Float32Array, hu: float | Float32Array) -> None:
        """Mix in HU by a share of 0 to 1."""
        self.hu += share * (hu - self.hu)

    def across_mm(self, tract: Tract) -> tuple[Float32Array, Float32Array]:
        """Distance of every voxel to a tract's line, and how far behind the tip it lies."""
        offset = [a - np.float32(c) for a, c in zip(self.axes_xyz, tract.tip_lps_mm, strict=True)]
        behind = sum(o * np.float32(d) for o, d in zip(offset, tract.direction, strict=True))
        square = sum(o * o for o in offset) - behind * behind
        return np.sqrt(np.maximum(square, 0.0)), np.asarray(behind)


def paint_before_zone(canvas: Canvas, findings: Findings) -> None:
    """What lies around a zone: collapsed lung, blood, fluid or air beside the lung, other air."""
    fields = canvas.fields
    if findings.collapse_mm:
        _paint_collapse(canvas, findings)
    if findings.blood_mm:
        across, behind = canvas.across_mm(findings.tracts[0])
        rng = np.random.default_rng(findings.texture_seed)
        width = 0.5 * findings.blood_mm * (1.0 + 0.25 * np.sin(behind / 3.0 + rng.uniform(0.0, 6.0)))
        share = np.clip(0.5 + (width - across) / 3.0, 0.0, 1.0) * ((behind > 0.0) & fields.in_chest)
        canvas.blend(share.astype(np.float32), np.maximum(canvas.hu, _BLOOD_HU))
    if findings.space_hu is not None:
        canvas.hu[fields.pleural_space] = findings.space_hu
        if findings.space_hu > _COLLAPSED_HU - 100.0:
            _close_edge(canvas, fields.lung_depth_mm < fields.wall_depth_mm - 1.0)
    for sphere in findings.bowel:
        _paint_gas(canvas, sphere, where=fields.wall_depth_mm < -3.0)
    if findings.skin_shift_mm:
        lower = fields.wall_depth_mm < findings.skin_shift_mm - _SKIN_AT_MM
        # The mediastinum is as far from the lung as the skin is, but its tissue has no air beside it.
        lateral = canvas.axes_xyz[0] < _LATERAL_X_MM
        canvas.hu[lower & lateral] = -1000.0


_LATERAL_X_MM: Final = -60.0


def _close_edge(canvas: Canvas, beside: BoolArray) -> None:
    """The wall's inner edge, which the chest shows next to lung, where something as dense as itself lies there."""
    at_wall = np.abs(canvas.fields.wall_depth_mm) < 2.0 * EDGE_MM
    edge = at_wall & beside
    canvas.hu[edge] = np.maximum(canvas.hu[edge], _COLLAPSED_HU)


def _paint_collapse(canvas: Canvas, findings: Findings) -> None:
    offset = [a - np.float32(c) for a, c in zip(canvas.axes_xyz, findings.collapse_place_lps_mm, strict=True)]
    distance = np.sqrt(sum(o * o for o in offset))
    share = np.clip(1.0 - distance / _COLLAPSE_REACH_MM, 0.0, 1.0)
    depth = findings.collapse_mm * np.minimum(2.0 * share, 1.0)
    collapsed = (
        (canvas.fields.wall_depth_mm >= 0.0)
        * np.clip(0.5 + (depth - canvas.fields.lung_depth_mm) / (2.0 * EDGE_MM), 0.0, 1.0)
        * (depth > 0.5)
    )
    canvas.blend(collapsed.astype(np.float32), np.maximum(canvas.hu, _COLLAPSED_HU))
    _close_edge(canvas, depth > 2.0)


def _paint_gas(canvas: Canvas, sphere: Sphere, where: BoolArray | None = None) -> None:
    """Gas in a ball, with a partial-volume edge; only ``where`` it may lie."""
    reach = np.full(3, sphere.radius_mm + 2.0) / np.array(canvas.grid.spacing_zyx_mm)
    center = canvas.grid.to_index(sphere.center_lps_mm)
    box = VoxelBox.between(np.floor(center - reach), np.ceil(center + reach) + 1).clipped(
        canvas.grid.shape_zyx
    )
    slices = box.slices
    x, y, z = canvas.axes_xyz
    cx, cy, cz = (np.float32(c) for c in sphere.center_lps_mm)
    square = (x[:, :, slices[2]] - cx) ** 2 + (y[:, slices[1]] - cy) ** 2 + (z[slices[0]] - cz) ** 2
    share = np.clip(0.5 + (sphere.radius_mm - np.sqrt(square)) / (2.0 * EDGE_MM), 0.0, 1.0)
    if where is not None:
        share = share * where[slices]
    canvas.hu[slices] += (share * (_GAS_HU - canvas.hu[slices])).astype(np.float32)


def paint_after_zone(canvas: Canvas, findings: Findings) -> None:
    """What lies in a zone: gas and needles."""
    for sphere in findings.gas:
        _paint_gas(canvas, sphere)
    for tract in findings.tracts[: findings.needles]:
        across, behind = canvas.across_mm(tract)
        _paint_streaks(canvas, tract, across)
        share = np.clip(0.5 + (_NEEDLE_RADIUS_MM - across) / (2.0 * EDGE_MM), 0.0, 1.0) * (behind > 0.0)
        canvas.blend(share.astype(np.float32), _NEEDLE_HU)


def _paint_streaks(canvas: Canvas, tract: Tract, across: Float32Array) -> None:
    """Bright and dark bands beside the needle, in the slices that it crosses."""
    x, y, z = canvas.axes_xyz
    tx, ty, tz = (np.float32(c) for c in tract.tip_lps_mm)
    dx, dy, dz = (np.float32(d) for d in tract.direction)
    in_plane = np.hypot(dx, dy)
    # Where the needle is at its nearest in each column, and how far from its slice that is.
    along = ((x - tx) * dx + (y - ty) * dy) / max(float(in_plane), 1e-3) ** 2
    from_slice = z - (tz + along * dz)
    side = ((x - tx) * dy - (y - ty) * dx) / max(float(in_plane), 1e-3)
    strength = np.exp(-np.abs(side) / _STREAK_FADE_MM) * np.exp(-((from_slice / _STREAK_THICKNESS_MM) ** 2))
    beyond_tip = np.exp(np.minimum(along, 0.0) / 10.0)
    bands = np.cos(2.0 * np.pi * side / _STREAK_WAVE_MM) * strength * beyond_tip
    canvas.hu += (_STREAK_HU * bands * (across > _NEEDLE_RADIUS_MM)).astype(np.float32)
