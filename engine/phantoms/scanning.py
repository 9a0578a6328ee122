"""Scanning a phantom: grids, slice profiles, noise, masks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from engine.geometry import FloatArray, Vector3, VolumeGeometry, apply_affine
from engine.kernels.resampling import resample
from engine.phantoms.ablation import RIM_MM, AblationShape, zone_hu
from engine.phantoms.motion import Motion
from engine.phantoms.thorax import EDGE_MM
from engine.phantoms.truth import PhantomTruth, Sampler, TruthField, find_truth, truth_lattice
from engine.phantoms.tumor import TumorShape
from engine.volume import Acquisition, CtVolume, LabelMask

SIMULATED: Final = "simulated phantom, not a patient"

MOTION_LATTICE_MM: Final = 2.0
"""The motion is smooth; images are made from it sampled this finely."""

TUMOR_HU: Final = 30.0
REACH_MM: Final = 14.0
"""Zone and truth are looked for within this distance of the tumor's surface."""

TRUTH_ROOM_MM: Final = 6.5
"""The truth is looked for this far from the tumor first: most margins are smaller, and the target ends at 5."""

_COARSE_MM: Final = 1.6


IndexArrays = tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], npt.NDArray[np.intp]]


@dataclass(frozen=True, eq=False)
class Scene:
    """Everything that is scanned: the chest (HU in the planning frame), tumor, motion and ablation."""

    chest_hu: npt.NDArray[np.float32]
    chest_geometry: VolumeGeometry
    lung_depth_mm: Sampler
    tumor: TumorShape
    tumor_reach_mm: float
    motion: Motion
    ablation: AblationShape
    noise_hu: float
    tumor_in_chest: bool
    """Whether the chest already shows the tumor (a real CT)."""


def grid_around(
    center_lps_mm: FloatArray, size_mm: float, spacing_zyx_mm: Vector3, frame: str
) -> VolumeGeometry:
    """A grid of a cube of ``size_mm`` around a point."""
    nz, ny, nx = (max(8, round(size_mm / s)) for s in spacing_zyx_mm)
    half_xyz = 0.5 * (np.array([nx, ny, nz]) - 1) * np.array(spacing_zyx_mm[::-1])
    x, y, z = (float(v) for v in center_lps_mm - half_xyz)
    return VolumeGeometry((nz, ny, nx), spacing_zyx_mm, origin_lps_mm=(x, y, z), frame_of_reference_uid=frame)


def scan_planning(rng: np.random.Generator, scene: Scene, grid: VolumeGeometry) -> tuple[CtVolume, LabelMask]:
    """The planning CT and its tumor mask."""

    def tissue(at: VolumeGeometry) -> FloatArray:
        hu = _chest_on(scene, at, moved=False)
        if not scene.tumor_in_chest:
            near, points = _near(at, scene.tumor.center_lps_mm, scene.tumor_reach_mm + 3.0)
            _blend(hu, near, scene.tumor.signed_distance_mm(points), TUMOR_HU)
        return hu

    near, points = _near(grid, scene.tumor.center_lps_mm, scene.tumor_reach_mm + 3.0)
    marked = np.zeros(grid.shape_zyx, dtype=np.bool_)
    marked[near] = scene.tumor.signed_distance_mm(points) <= 0.0
    return _acquire(rng, tissue, grid, scene.noise_hu), LabelMask(marked, grid, "tumor")


def scan_verification(
    rng: np.random.Generator, scene: Scene, grid: VolumeGeometry
) -> tuple[CtVolume, LabelMask, LabelMask]:
    """The verification CT with its zone and core masks."""
    reach = scene.tumor_reach_mm + REACH_MM

    @lru_cache(maxsize=1)  # the only profile of a slice one millimeter thick is the grid itself
    def burn(at: VolumeGeometry) -> tuple[IndexArrays, FloatArray, FloatArray, FloatArray]:
        near, points = _near(at, scene.motion.verification_center, reach)
        depth, tumor_distance, lung_depth = _depths(scene, points)
        # No burn outside lung and tumor.
        allowed = np.maximum(lung_depth, -tumor_distance)
        return near, np.minimum(depth, allowed), np.minimum(depth - RIM_MM, allowed), tumor_distance

    def tissue(at: VolumeGeometry) -> FloatArray:
        hu = _chest_on(scene, at, moved=True)
        near, zone_depth, _, tumor_distance = burn(at)
        if not scene.tumor_in_chest:
            _blend(hu, near, tumor_distance, TUMOR_HU)
        # The burn hides three quarters of what lay there: the tumor's outline fades.
        faded = 0.25 * hu[near] + 0.75 * zone_hu(rng, zone_depth)
        _blend(hu, near, -zone_depth, np.maximum(faded, hu[near] - 100.0))
        return hu

    near, zone_depth, core_depth, _ = burn(grid)
    zone, core = np.zeros(grid.shape_zyx, dtype=np.bool_), np.zeros(grid.shape_zyx, dtype=np.bool_)
    zone[near], core[near] = zone_depth >= 0.0, core_depth >= 0.0
    ct = _acquire(rng, tissue, grid, scene.noise_hu)
    return ct, LabelMask(zone, grid, "ablation zone"), LabelMask(core, grid, "ablation core")


def scene_truth(scene: Scene) -> PhantomTruth:
    """What is true of a scene."""
    least_jacobian = scene.motion.least_jacobian()
    truth = _truth_within(scene, TRUTH_ROOM_MM, least_jacobian)
    margins = (truth.minimal_margin_mm, truth.lung_clipped.minimal_margin_mm, truth.core.minimal_margin_mm)
    if max(margins) < TRUTH_ROOM_MM:
        return truth
    # What was found is no less than the truth, which may lie outside the lattice.
    return _truth_within(scene, min(max(margins) + 0.5, REACH_MM), least_jacobian)


def _truth_within(scene: Scene, room_mm: float, least_jacobian: float) -> PhantomTruth:
    """The truth from a lattice that holds every point within ``room_mm`` of the tumor."""
    points = _lattice_around_tumor(scene, room_mm)
    burn_depth, tumor_distance, lung_depth = (
        found.reshape(points.shape[:-1]) for found in _depths(scene, points.reshape(-1, 3))
    )
    return find_truth(
        TruthField(points, tumor_distance, burn_depth, lung_depth, RIM_MM),
        tumor_volume_ml=scene.tumor.volume_ml,
        planning_from_verification=scene.motion.planning_from_verification,
        least_jacobian=least_jacobian,
        rigid=not scene.motion.bumps and scene.motion.contraction == 0.0,
    )


def _lattice_around_tumor(scene: Scene, room_mm: float) -> FloatArray:
    """The smallest box of the truth's lattice that holds every point within ``room_mm`` of the tumor."""
    half = np.arange(0.0, scene.tumor_reach_mm + room_mm + _COARSE_MM, _COARSE_MM)
    axis = np.concatenate([-half[:0:-1], half])
    coarse = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1)
    coarse = coarse.reshape(-1, 3) + scene.motion.verification_center
    # No point is farther from a coarse one than half the diagonal of its cell.
    close = coarse[_tumor_distance_mm(scene, coarse) < room_mm + 0.5 * np.sqrt(3.0) * _COARSE_MM]
    return truth_lattice(close.min(axis=0), close.max(axis=0))


def _depths(scene: Scene, points: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Depth in the burn, tumor distance and lung depth at verification positions, (N,) each."""
    tumor_distance = _tumor_distance_mm(scene, points)
    depth = scene.ablation.depth_mm(tumor_distance, points - scene.motion.verification_center)
    return depth, tumor_distance, scene.lung_depth_mm(scene.motion.to_planning(points))


def _tumor_distance_mm(scene: Scene, points: FloatArray) -> FloatArray:
    """Signed distance of verification positions (N, 3) to the tumor where it lies in that frame."""
    # The tumor moves rigidly: distances to it are the same in both frames.
    return scene.tumor.signed_distance_mm(apply_affine(scene.motion.planning_from_verification, points))


def _chest_on(scene: Scene, grid: VolumeGeometry, *, moved: bool) -> FloatArray:
    """The chest on a grid of the planning frame, or of the verification frame (``moved``)."""
    to_index = scene.chest_geometry.index_from_lps
    if not moved:
        return _resampled(scene, to_index @ grid.affine_lps_mm, grid)
    rigid = scene.motion.planning_from_verification
    low, high = grid.corners_lps_mm().min(axis=0), grid.corners_lps_mm().max(axis=0)
    coarse = grid.around(low - MOTION_LATTICE_MM, high + MOTION_LATTICE_MM, MOTION_LATTICE_MM)
    points = coarse.to_lps(np.moveaxis(np.indices(coarse.shape_zyx), 0, -1))
    beyond_rigid = scene.motion.to_planning(points) - (points @ rigid[:3, :3].T + rigid[:3, 3])
    displacement = np.ascontiguousarray(beyond_rigid @ to_index[:3, :3].T, dtype=np.float32)
    return _resampled(
        scene,
        to_index @ rigid @ grid.affine_lps_mm,
        grid,
        displacement=displacement,
        displacement_map=coarse.index_from_lps @ grid.affine_lps_mm,
    )


def _resampled(
    scene: Scene,
    index_map: FloatArray,
    grid: VolumeGeometry,
    displacement: npt.NDArray[np.float32] | None = None,
    displacement_map: FloatArray | None = None,
) -> FloatArray:
    hu = resample(
        scene.chest_hu,
        index_map,
        grid.shape_zyx,
        order=3,
        fill=-1000.0,
        displacement=displacement,
        displacement_map=displacement_map,
    )
    return np.asarray(hu, dtype=np.float64)


def _blend(hu: FloatArray, near: IndexArrays, distance_mm: FloatArray, inside_hu: float | FloatArray) -> None:
    """Mix in what lies inside a surface, with a partial-volume edge."""
    share = np.clip(0.5 - distance_mm / (2.0 * EDGE_MM), 0.0, 1.0)
    hu[near] += share * (inside_hu - hu[near])


def _acquire(
    rng: np.random.Generator,
    tissue: Callable[[VolumeGeometry], FloatArray],
    grid: VolumeGeometry,
    noise_hu: float,
) -> CtVolume:
    """Average over the slice profile, add noise, round to HU."""
    thickness = grid.spacing_zyx_mm[0]
    across = max(1, round(thickness))
    normal = np.array(grid.directions_zyx_lps[0])
    hu = np.zeros(grid.shape_zyx)
    for step in range(across):
        shift = ((step + 0.5) / across - 0.5) * thickness * normal
        x, y, z = (float(v) for v in np.array(grid.origin_lps_mm) + shift)
        hu += tissue(replace(grid, origin_lps_mm=(x, y, z))) / across
    noise = rng.standard_normal(grid.shape_zyx).astype(np.float32)
    correlated = ndimage.gaussian_filter(noise, (0.0, 0.7, 0.7))
    hu += noise_hu * correlated / correlated.std()
    voxels = np.clip(np.rint(hu), -1024, 3071).astype(np.int16)
    said = Acquisition(series_description=SIMULATED, slice_thickness_mm=thickness)
    return CtVolume(voxels, grid, said)


def _near(grid: VolumeGeometry, center: FloatArray, radius: float) -> tuple[IndexArrays, FloatArray]:
    """Indices of the voxels within ``radius`` of a point, as NumPy takes them, and their positions (N, 3)."""
    room = radius / np.array(grid.spacing_zyx_mm)
    at = grid.to_index(center)
    first = np.clip(np.floor(at - room), 0, grid.shape_zyx).astype(int)
    last = np.clip(np.ceil(at + room) + 1, 0, grid.shape_zyx).astype(int)
    away = np.ogrid[tuple(slice(a, b) for a, b in zip(first, last, strict=True))]
    square = sum(((n - c) * s) ** 2 for n, c, s in zip(away, at, grid.spacing_zyx_mm, strict=True))
    within = np.argwhere(np.asarray(square) <= radius**2) + first
    return (within[:, 0], within[:, 1], within[:, 2]), grid.to_lps(within)
