"""Patients who turned between the scans: pairs cut out of one chest, a ball for a tumor, and a closed-form truth."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

import numpy as np
from scipy import ndimage
from scipy.spatial.transform import Rotation

from engine.arrays import Float32Array, Float64Array
from engine.files.image_file import read_ct_image
from engine.findings import TARGET_MARGIN_MM
from engine.geometry import RigidTransform, VolumeGeometry
from engine.phantoms.chest import procedural_chest
from engine.volume import Acquisition, CtVolume, LabelMask

REAL: Final = {
    "lidc": "ct-lidc0314/ct_right_lung.nii.gz",
    "pulmonary": "ct-totalseg-nifti/pulmonary_ct_cropped.nii.gz",
    "torso": "ct-totalseg-nifti/example_ct.nii.gz",
    "lung1": "ct-pyradiomics-lung1/image.nii.gz",
}
"""Backgrounds by name; slices of 1, 1.5, 3 and 5 mm."""

FROM_EDGE_MM: Final = 32.0
"""A tumor lies this far from the end of the CT; beyond it the CT goes on as its mirror image, in both scans."""

SEEN_MM: Final = 15.0
SEEN_SHARE: Final = 0.5
"""Of the tissue this far around a tumor so much is lung: neither the edge of the body nor bowel."""

SCAN_MM: Final = 116.0
TUMOR_HU: Final = 20.0
CORE_HU: Final = -20.0
GROUND_GLASS_HU: Final = -380.0
GROUND_GLASS_MM: Final = 4.0

_GOLDEN: Final = 0.5 * (np.sqrt(5.0) - 1.0)
"""Multiples of it fill an interval evenly from the first few on."""


@dataclass(frozen=True, eq=False)
class Background:
    """A chest, sampled by cubic splines; ``voxels`` are their coefficients."""

    name: str
    hu: Float32Array
    geometry: VolumeGeometry

    @cached_property
    def _coefficients(self) -> Float32Array:
        return np.asarray(ndimage.spline_filter(self.hu, 3, output=np.float32, mode="mirror"))

    def at(self, points_lps_mm: Float64Array) -> Float32Array:
        """HU at points (..., 3)."""
        index = np.moveaxis(self.geometry.to_index(points_lps_mm), -1, 0)
        sampled = ndimage.map_coordinates(self._coefficients, index, order=3, mode="mirror", prefilter=False)
        return np.asarray(sampled, dtype=np.float32)

    @cached_property
    def places_lps_mm(self) -> Float64Array:
        """Voxels of lung far enough from the end of the CT, (N, 3)."""
        spacing = np.array(self.geometry.spacing_zyx_mm)
        smooth = ndimage.gaussian_filter(self.hu, 2.5 / spacing)
        aerated = (self.hu > -940.0) & (self.hu < -600.0)
        width = [int(n) for n in np.ceil(2.0 * SEEN_MM / spacing)]
        around = ndimage.uniform_filter(aerated.astype(np.float32), width)
        lung = (smooth > -930.0) & (smooth < -650.0) & (around > SEEN_SHARE)
        off = np.minimum(np.ceil(FROM_EDGE_MM / spacing), np.array(lung.shape) // 2 - 1).astype(int)
        inner = tuple(slice(o, -o) for o in off)
        index = np.argwhere(lung[inner]) + off
        return self.geometry.to_lps(index.astype(float))


@dataclass(frozen=True)
class TurnedDescription:
    """All random choices of a case but the place of its zone."""

    number: int
    background: str
    angle_deg: float
    axis: tuple[float, float, float]
    bend_mm: float
    noise_hu: float
    tumor_radius_mm: float
    margin_mm: float


@dataclass(frozen=True, eq=False)
class TurnedPair:
    """Both scans before the zone is painted.

    Parameters
    ----------
    description : TurnedDescription
    planning : CtVolume
    tumor : LabelMask
    verification : CtVolume
    planning_from_verification : RigidTransform
        True motion of the tumor.
    center_lps_mm : ndarray, (3,)
        True center of the tumor in the verification CT.
    noise : ndarray of float32, (z, y, x)
        Of the verification CT, for the zone that is painted into it.
    """

    description: TurnedDescription
    planning: CtVolume
    tumor: LabelMask
    verification: CtVolume
    planning_from_verification: RigidTransform
    center_lps_mm: Float64Array
    noise: Float32Array

    @property
    def zone_radius_mm(self) -> float:
        """The zone covers the tumor by the asked margin where it lies right."""
        return self.description.tumor_radius_mm + self.description.margin_mm

    def with_zone(self, center_lps_mm: Float64Array) -> tuple[CtVolume, LabelMask]:
        """The verification CT with a round zone at a place, and its mask."""
        grid = self.verification.geometry
        depth = self.zone_radius_mm - _distance_mm(grid, center_lps_mm)
        inside = depth > 0.0
        glass = np.clip(depth / GROUND_GLASS_MM, 0.0, 1.0)
        hu = self.verification.voxels_hu.astype(np.float32)
        painted = GROUND_GLASS_HU + (CORE_HU - GROUND_GLASS_HU) * (glass > 0.99) + self.noise
        hu = np.where(inside, np.maximum(painted, hu), hu)
        voxels = np.clip(np.round(hu), -1024, 3000).astype(np.int16)
        return CtVolume(voxels, grid, self.verification.acquisition), LabelMask(inside, grid, "zone")

    def true_margin_mm(self, zone_center_lps_mm: Float64Array) -> float:
        """Least margin of the tumor in a zone at a place."""
        off = float(np.linalg.norm(zone_center_lps_mm - self.center_lps_mm))
        return self.zone_radius_mm - off - self.description.tumor_radius_mm

    def true_tcr(self, zone_center_lps_mm: Float64Array) -> float:
        """Share of the tumor with its target margin in a zone at a place: the lens of two balls."""
        off = float(np.linalg.norm(zone_center_lps_mm - self.center_lps_mm))
        a, b = self.description.tumor_radius_mm + TARGET_MARGIN_MM, self.zone_radius_mm
        if off <= abs(b - a):
            return 1.0 if b >= a else float((b / a) ** 3)
        if off >= a + b:
            return 0.0
        lens = (a + b - off) ** 2 * (off**2 + 2 * off * (a + b) - 3 * (a - b) ** 2) / (12 * off)
        return float(lens / (4.0 / 3.0 * a**3))


def backgrounds(root: Path | None) -> dict[str, Background]:
    """All chests there are: procedural ones, and real ones where their folder is given."""
    found = {}
    for name, path in REAL.items():
        if root is not None and (root / path).exists():
            ct = read_ct_image(root / path)
            found[name] = Background(name, ct.voxels_hu.astype(np.float32), ct.geometry)
    for seed in (1, 2):
        chest = procedural_chest(np.random.default_rng(seed), np.array([-70.0, 8.0, 10.0]), 85.0)
        found[f"procedural-{seed}"] = Background(f"procedural-{seed}", chest.hu, chest.geometry)
    return found


def descriptions(
    seed: int, count: int, names: list[str], max_angle_deg: float = 30.0
) -> Iterator[TurnedDescription]:
    """Cases with angles spread evenly up to the largest, however many; two of three about the body's axis."""
    for number in range(count):
        rng = np.random.default_rng([seed, number])
        axis = rng.normal(size=3) * (np.array([0.25, 0.25, 1.0]) if rng.random() < 0.65 else 1.0)
        x, y, z = (float(v) for v in axis / np.linalg.norm(axis))
        yield TurnedDescription(
            number,
            names[number % len(names)],
            float(max_angle_deg * ((number + 0.5) * _GOLDEN % 1.0)),
            (x, y, z),
            float(rng.uniform(0.0, 5.0)),
            float(rng.uniform(10.0, 30.0)),
            float(rng.uniform(4.0, 10.0)),
            float(rng.uniform(4.0, 9.0)),
        )


def make_pair(chest: Background, described: TurnedDescription, seed: int) -> TurnedPair:
    """Cut both scans out of a chest."""
    rng = np.random.default_rng([seed, described.number, 1])
    places = chest.places_lps_mm
    before = places[rng.integers(len(places))]
    after = before + rng.uniform(-12.0, 12.0, 3)
    turn = Rotation.from_rotvec(np.deg2rad(described.angle_deg) * np.array(described.axis)).as_matrix()
    motion = RigidTransform.from_rotation(turn, before - turn @ after)
    thickness = max(1.0, chest.geometry.spacing_zyx_mm[0])
    planning_grid = _grid(before + rng.uniform(-6.0, 6.0, 3), SCAN_MM + 8.0, (thickness, 0.75, 0.75))
    verification_grid = _grid(after + rng.uniform(-4.0, 4.0, 3), SCAN_MM, (thickness, 0.8, 0.8))
    bend = _Bend(rng, after, described.bend_mm)
    radius = described.tumor_radius_mm
    scans, noises = [], []
    for grid, center, is_after in ((planning_grid, before, False), (verification_grid, after, True)):
        hu = np.empty(grid.shape_zyx, dtype=np.float32)
        for z in range(grid.shape_zyx[0]):
            points = grid.to_lps(_slice_index(grid, z))
            hu[z] = chest.at(motion.apply(points + bend.at(points)) if is_after else points)
        share = np.clip(0.5 + (radius - _distance_mm(grid, center)), 0.0, 1.0)
        noise = _noise(rng, grid, described.noise_hu)
        hu = np.maximum(hu, hu + share * (TUMOR_HU - hu)) + noise
        voxels = np.clip(np.round(hu), -1024, 3000).astype(np.int16)
        scans.append(CtVolume(voxels, grid, Acquisition()))
        noises.append(noise)
    tumor = LabelMask(_distance_mm(planning_grid, before) < radius, planning_grid, "tumor")
    return TurnedPair(described, scans[0], tumor, scans[1], motion, after, noises[1])


class _Bend:
    """A smooth displacement of the verification frame that is nought at the tumor's center."""

    def __init__(self, rng: np.random.Generator, center_lps_mm: Float64Array, greatest_mm: float) -> None:
        self._waves = rng.normal(size=(4, 3)) / 28.0  # mm: wavelengths of some 100 mm
        self._phases = rng.uniform(0.0, 2.0 * np.pi, 4)
        self._amplitudes = rng.normal(size=(4, 3))
        self._amplitudes *= greatest_mm / np.linalg.norm(self._amplitudes, axis=1).sum()
        self._center = center_lps_mm

    def at(self, points_lps_mm: Float64Array) -> Float64Array:
        return self._waves_at(points_lps_mm) - self._waves_at(self._center)

    def _waves_at(self, points_lps_mm: Float64Array) -> Float64Array:
        return np.asarray(
            np.sin((points_lps_mm - self._center) @ self._waves.T + self._phases) @ self._amplitudes
        )


def _grid(
    center_lps_mm: Float64Array, size_mm: float, spacing_zyx_mm: tuple[float, float, float]
) -> VolumeGeometry:
    nz, ny, nx = (round(size_mm / s) for s in spacing_zyx_mm)
    x, y, z = (float(v) for v in center_lps_mm - 0.5 * (np.array([nx, ny, nz]) - 1) * spacing_zyx_mm[::-1])
    return VolumeGeometry((nz, ny, nx), spacing_zyx_mm, origin_lps_mm=(x, y, z))


def _slice_index(grid: VolumeGeometry, z: int) -> Float64Array:
    ny, nx = grid.shape_zyx[1:]
    index = np.empty((ny, nx, 3))
    index[..., 0], index[..., 1], index[..., 2] = z, np.arange(ny)[:, None], np.arange(nx)
    return index


def _distance_mm(grid: VolumeGeometry, center_lps_mm: Float64Array) -> Float32Array:
    away = [
        ((np.arange(n) - c) * s).astype(np.float32) ** 2
        for n, c, s in zip(grid.shape_zyx, grid.to_index(center_lps_mm), grid.spacing_zyx_mm, strict=True)
    ]
    return np.asarray(np.sqrt(away[0][:, None, None] + away[1][:, None] + away[2]), dtype=np.float32)


def _noise(rng: np.random.Generator, grid: VolumeGeometry, sd_hu: float) -> Float32Array:
    white = rng.standard_normal(grid.shape_zyx, dtype=np.float32)
    smooth = ndimage.gaussian_filter(white, (0.0, 0.7, 0.7))
    return np.asarray(smooth * (sd_hu / smooth.std()), dtype=np.float32)
