"""Scanning a phantom: grids, slice profiles, noise, masks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from engine.arrays import Float32Array, Float64Array
from engine.geometry import Vector3, VolumeGeometry, VoxelBox
from engine.kernels.resampling import resample
from engine.phantoms.ablation import RIM_MM, AblationShape, zone_hu
from engine.phantoms.motion import Motion
from engine.phantoms.thorax import EDGE_MM
from engine.phantoms.truth import PhantomTruth, Sampler, TruthField, find_truth, truth_lattice
from engine.phantoms.tumor import TumorShape
from engine.volume import Acquisition, CtVolume, LabelMask

SIMULATED: Final = "simulated phantom, not a patient"

_MOTION_LATTICE_MM: Final = 3.0
"""The motion is smooth; images are made from it sampled this finely."""

TUMOR_HU: Final = 30.0
REACH_MM: Final = 16.0
"""Zone and truth are looked for within this distance of the tumor's surface."""

_TRUTH_PADDING_MM: Final = 6.5
"""The truth is looked for this far from the tumor first: most margins are smaller, and the target ends at 5."""

_COARSE_MM: Final = 1.6

_SMOOTH_STEP: Final = 4
"""What is smooth is taken on every such point of the truth's lattice, 1.6 mm apart."""


_IndexArrays = tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], npt.NDArray[np.intp]]


@dataclass(frozen=True, eq=False)
class Scene:
    """Everything that is scanned: the chest (HU in the planning frame), tumor, motion and ablation."""

    chest_hu: Float32Array
    chest_geometry: VolumeGeometry
    lung_depth_mm: Sampler
    tumor: TumorShape
    tumor_max_radius_mm: float
    motion: Motion
    ablation: AblationShape
    noise_hu: float
    tumor_in_chest: bool
    """Whether the chest already shows the tumor (a real CT)."""
    chest_slice_mm: float = 0.0
    """Slice thickness that the chest itself was scanned with; no thinner profile can be made of it."""


def grid_around(
    center_lps_mm: Float64Array, size_mm: float, spacing_zyx_mm: Vector3, frame: str
) -> VolumeGeometry:
    """A grid of a cube of ``size_mm`` around a point."""
    nz, ny, nx = (max(8, round(size_mm / s)) for s in spacing_zyx_mm)
    half_xyz = 0.5 * (np.array([nx, ny, nz]) - 1) * np.array(spacing_zyx_mm[::-1])
    x, y, z = (float(v) for v in center_lps_mm - half_xyz)
    return VolumeGeometry((nz, ny, nx), spacing_zyx_mm, origin_lps_mm=(x, y, z), frame_of_reference_uid=frame)


def scan_planning(rng: np.random.Generator, scene: Scene, grid: VolumeGeometry) -> tuple[CtVolume, LabelMask]:
    """The planning CT and its tumor mask."""

    def tissue(slice_grid: VolumeGeometry) -> Float64Array:
        hu = _chest_on(scene, slice_grid, None)
        if not scene.tumor_in_chest:
            near, points = voxels_within(
                slice_grid, scene.tumor.center_lps_mm, scene.tumor_max_radius_mm + 3.0
            )
            _blend(hu, near, scene.tumor.signed_distance_mm(points), TUMOR_HU)
        return hu

    near, points = voxels_within(grid, scene.tumor.center_lps_mm, scene.tumor_max_radius_mm + 3.0)
    marked = np.zeros(grid.shape_zyx, dtype=np.bool_)
    marked[near] = scene.tumor.signed_distance_mm(points) <= 0.0
    return _acquire(rng, tissue, grid, scene), LabelMask(marked, grid, "tumor")


def scan_verification(
    rng: np.random.Generator, scene: Scene, grid: VolumeGeometry
) -> tuple[CtVolume, LabelMask, LabelMask]:
    """The verification CT with its zone and core masks."""
    reach = scene.tumor_max_radius_mm + REACH_MM
    moved = _sample_motion(scene, grid)

    @lru_cache(maxsize=1)  # the only profile of a slice one millimeter thick is the grid itself
    def ablation_depths_on(
        slice_grid: VolumeGeometry,
    ) -> tuple[_IndexArrays, Float64Array, Float64Array, Float64Array]:
        near, points = voxels_within(slice_grid, scene.motion.verification_center, reach)
        tumor_distance = _tumor_distance_mm(scene, points)
        depth = scene.ablation.depth_mm(tumor_distance, points - scene.motion.verification_center)
        lung_depth = moved.lung_depth_at(points)
        # Nothing is ablated outside lung and tumor.
        allowed = np.maximum(lung_depth, -tumor_distance)
        return near, np.minimum(depth, allowed), np.minimum(depth - RIM_MM, allowed), tumor_distance

    def tissue(slice_grid: VolumeGeometry) -> Float64Array:
        hu = _chest_on(scene, slice_grid, moved)
        near, zone_depth, _, tumor_distance = ablation_depths_on(slice_grid)
        if not scene.tumor_in_chest:
            _blend(hu, near, tumor_distance, TUMOR_HU)
        # The zone hides three quarters of what lay there: the tumor's outline fades.
        faded = 0.25 * hu[near] + 0.75 * zone_hu(rng, zone_depth)
        _blend(hu, near, -zone_depth, np.maximum(faded, hu[near] - 100.0))
        return hu

    near, zone_depth, core_depth, _ = ablation_depths_on(grid)
    zone, core = np.zeros(grid.shape_zyx, dtype=np.bool_), np.zeros(grid.shape_zyx, dtype=np.bool_)
    zone[near], core[near] = zone_depth >= 0.0, core_depth >= 0.0
    ct = _acquire(rng, tissue, grid, scene)
    return ct, LabelMask(zone, grid, "ablation zone"), LabelMask(core, grid, "ablation core")


def scene_truth(scene: Scene) -> PhantomTruth:
    """What is true of a scene."""
    min_jacobian = scene.motion.min_jacobian()
    truth = _truth_within(scene, _TRUTH_PADDING_MM, min_jacobian)
    margins = (truth.minimal_margin_mm, truth.lung_clipped.minimal_margin_mm, truth.core.minimal_margin_mm)
    if max(margins) < _TRUTH_PADDING_MM:
        return truth
    # What was found is no less than the truth, which may lie outside the lattice.
    return _truth_within(scene, min(max(margins) + 0.5, REACH_MM), min_jacobian)


def _truth_within(scene: Scene, padding_mm: float, min_jacobian: float) -> PhantomTruth:
    """The truth from a lattice that holds every point within ``padding_mm`` of the tumor."""
    points = _lattice_around_tumor(scene, padding_mm)
    tumor_distance = _tumor_distance_mm(scene, points.reshape(-1, 3)).reshape(points.shape[:-1])
    ablation_depth = scene.ablation.depth_mm(tumor_distance, points - scene.motion.verification_center)
    return find_truth(
        TruthField(points, tumor_distance, ablation_depth, _lung_depth_on(scene, points), RIM_MM),
        tumor_volume_ml=scene.tumor.volume_ml,
        planning_from_verification=scene.motion.planning_from_verification,
        min_jacobian=min_jacobian,
        rigid=scene.motion.rigid,
    )


def _lattice_around_tumor(scene: Scene, padding_mm: float) -> Float64Array:
    """The smallest box of the truth's lattice that holds every point within ``padding_mm`` of the tumor."""
    half = np.arange(0.0, scene.tumor_max_radius_mm + padding_mm + _COARSE_MM, _COARSE_MM)
    axis = np.concatenate([-half[:0:-1], half])
    coarse = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1)
    coarse = coarse.reshape(-1, 3) + scene.motion.verification_center
    # No point is farther from a coarse one than half the diagonal of its cell.
    close = coarse[_tumor_distance_mm(scene, coarse) < padding_mm + 0.5 * np.sqrt(3.0) * _COARSE_MM]
    return truth_lattice(close.min(axis=0), close.max(axis=0))


def stretched_between(points: Float64Array, field: Callable[[Float64Array], Float64Array]) -> Float64Array:
    """A smooth field on a lattice of the truth, taken on every fourth point and linear in between.

    Parameters
    ----------
    points : ndarray, (nz, ny, nx, 3)
    field : callable
        From points (..., 3) to values (...) or (..., k).

    Returns
    -------
    ndarray, (nz, ny, nx) or (nz, ny, nx, k)
    """
    shape = points.shape[:3]
    ends = [np.append(np.arange(0, n - 1, _SMOOTH_STEP), n - 1) for n in shape]
    values = field(points[np.ix_(*ends)])
    for axis, (samples, n) in enumerate(zip(ends, shape, strict=True)):
        values = _stretched(values, axis, samples, n)
    return values


def _lung_depth_on(scene: Scene, points: Float64Array) -> Float64Array:
    return stretched_between(points, lambda coarse: scene.lung_depth_mm(scene.motion.to_planning(coarse)))


def _stretched(values: Float64Array, axis: int, samples: npt.NDArray[np.intp], count: int) -> Float64Array:
    """Linear interpolation along one axis from the indices ``samples`` to all of ``range(count)``."""
    index = np.arange(count)
    left = np.minimum(np.searchsorted(samples, index, side="right") - 1, len(samples) - 2)
    share = ((index - samples[left]) / (samples[left + 1] - samples[left])).reshape(
        [-1 if a == axis else 1 for a in range(values.ndim)]
    )
    return np.asarray(np.take(values, left, axis) * (1.0 - share) + np.take(values, left + 1, axis) * share)


def _tumor_distance_mm(scene: Scene, points: Float64Array) -> Float64Array:
    """Signed distance of verification positions (N, 3) to the tumor where it lies in that frame."""
    # The tumor moves rigidly: distances to it are the same in both frames.
    return scene.tumor.signed_distance_mm(scene.motion.planning_from_verification.apply(points))


@dataclass(frozen=True, eq=False)
class _SampledMotion:
    """The motion beyond the tumor's own, in chest voxels on a lattice of the verification frame.

    Parameters
    ----------
    lattice : VolumeGeometry
    lung_depth_mm : ndarray of float32, (z, y, x)
        Depth below the pleura.
    lung : ndarray of float32, (z, y, x, 3)
    wall : ndarray of float32, (z, y, x, 3), optional
        Where the lung slides, the chest wall's own.
    wall_lung_depth_mm : ndarray of float32, (z, y, x), optional
        Depth below the pleura of the places that ``wall`` leads to.
    """

    lattice: VolumeGeometry
    lung_depth_mm: Float32Array
    lung: Float32Array
    wall: Float32Array | None = None
    wall_lung_depth_mm: Float32Array | None = None

    def lung_depth_at(self, points_lps_mm: Float64Array) -> Float64Array:
        """Depth below the pleura at verification positions (N, 3)."""
        index = self.lattice.to_index(points_lps_mm).T
        depth = ndimage.map_coordinates(self.lung_depth_mm, index, order=1, mode="nearest")
        return np.asarray(depth, dtype=np.float64)


def _sample_motion(scene: Scene, grid: VolumeGeometry) -> _SampledMotion:
    """The motion around a scan, padded for its slices' profile."""
    motion = scene.motion
    padding = _MOTION_LATTICE_MM + 0.5 * max(grid.spacing_zyx_mm)
    low, high = grid.corners_lps_mm().min(axis=0), grid.corners_lps_mm().max(axis=0)
    lattice = grid.around(low - padding, high + padding, _MOTION_LATTICE_MM)
    points = lattice.to_lps(np.moveaxis(np.indices(lattice.shape_zyx), 0, -1)).reshape(-1, 3)
    with_tumor = motion.planning_from_verification.apply(points)
    to_index = scene.chest_geometry.index_from_lps[:3, :3]

    def beyond(mapped: Float64Array) -> Float32Array:
        displacement = (mapped - with_tumor) @ to_index.T
        return np.ascontiguousarray(displacement.reshape(*lattice.shape_zyx, 3), dtype=np.float32)

    def depth_of(mapped: Float64Array) -> Float32Array:
        return scene.lung_depth_mm(mapped).reshape(lattice.shape_zyx).astype(np.float32)

    lung = motion.lung_to_planning(points)
    if motion.slide is None:
        return _SampledMotion(lattice, depth_of(lung), beyond(lung))
    wall = motion.wall_to_planning(points)
    wall_depth, lung_depth = depth_of(wall), depth_of(lung)
    depth = np.where(wall_depth >= 0.0, lung_depth, wall_depth)
    return _SampledMotion(lattice, depth, beyond(lung), beyond(wall), wall_depth)


def _chest_on(scene: Scene, grid: VolumeGeometry, moved: _SampledMotion | None) -> Float64Array:
    """The chest on a grid of the planning frame, or of the verification frame (``moved``)."""
    to_index = scene.chest_geometry.index_from_lps
    if moved is None:
        return _resampled(scene, to_index @ grid.affine_lps_mm, grid)
    index_map = to_index @ scene.motion.planning_from_verification.matrix @ grid.affine_lps_mm
    lattice_map = moved.lattice.index_from_lps @ grid.affine_lps_mm
    lung = _resampled(scene, index_map, grid, moved.lung, lattice_map)
    if moved.wall is None or moved.wall_lung_depth_mm is None:
        return lung
    wall = _resampled(scene, index_map, grid, moved.wall, lattice_map)
    depth = resample(moved.wall_lung_depth_mm, lattice_map, grid.shape_zyx, order=1)
    return np.where(depth >= 0.0, lung, wall)


def _resampled(
    scene: Scene,
    index_map: Float64Array,
    grid: VolumeGeometry,
    displacement: Float32Array | None = None,
    displacement_map: Float64Array | None = None,
) -> Float64Array:
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


def _blend(
    hu: Float64Array, near: _IndexArrays, distance_mm: Float64Array, inside_hu: float | Float64Array
) -> None:
    """Mix in what lies inside a surface, with a partial-volume edge."""
    share = np.clip(0.5 - distance_mm / (2.0 * EDGE_MM), 0.0, 1.0)
    hu[near] += share * (inside_hu - hu[near])


def _acquire(
    rng: np.random.Generator,
    tissue: Callable[[VolumeGeometry], Float64Array],
    grid: VolumeGeometry,
    scene: Scene,
) -> CtVolume:
    """Average over the slice profile, add noise, round to HU."""
    thickness = grid.spacing_zyx_mm[0]
    # The squares of the widths of slice profiles add.
    thinning = max(thickness**2 - scene.chest_slice_mm**2, 0.0)
    across = max(1, round(thinning**0.5))
    normal = np.array(grid.directions_zyx_lps[0])
    hu = np.zeros(grid.shape_zyx)
    for step in range(across):
        shift = ((step + 0.5) / across - 0.5) * thinning**0.5 * normal
        x, y, z = (float(v) for v in np.array(grid.origin_lps_mm) + shift)
        hu += tissue(replace(grid, origin_lps_mm=(x, y, z))) / across
    noise = rng.standard_normal(grid.shape_zyx).astype(np.float32)
    correlated = ndimage.gaussian_filter(noise, (0.0, 0.7, 0.7))
    hu += scene.noise_hu * correlated / correlated.std()
    voxels = np.clip(np.rint(hu), -1024, 3071).astype(np.int16)
    acquisition = Acquisition(series_description=SIMULATED, slice_thickness_mm=thickness)
    return CtVolume(voxels, grid, acquisition)


def voxels_within(
    grid: VolumeGeometry, center_lps_mm: Float64Array, radius_mm: float
) -> tuple[_IndexArrays, Float64Array]:
    """Indices of the voxels within a radius of a point, as NumPy takes them, and their positions (N, 3)."""
    padding = radius_mm / np.array(grid.spacing_zyx_mm)
    center = grid.to_index(center_lps_mm)
    first = np.clip(np.floor(center - padding), 0, grid.shape_zyx).astype(int)
    last = np.clip(np.ceil(center + padding) + 1, 0, grid.shape_zyx).astype(int)
    offsets = np.ogrid[VoxelBox.between(first, last).slices]
    squared_mm2 = sum(
        ((n - c) * s) ** 2 for n, c, s in zip(offsets, center, grid.spacing_zyx_mm, strict=True)
    )
    indices = np.argwhere(np.asarray(squared_mm2) <= radius_mm**2) + first
    return (indices[:, 0], indices[:, 1], indices[:, 2]), grid.to_lps(indices)
