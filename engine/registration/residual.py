"""What a rigid alignment leaves over: the displacement of the surroundings, and their similarity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from engine.geometry import FloatArray
from engine.kernels.backend import BackendName
from engine.kernels.resampling import resample
from engine.registration.region import ComparisonRegion

WINDOW_SD_MM: Final = 5.0
"""Local displacements are estimated over Gaussian windows this wide: several vessels, one breathing mode."""

ITERATIONS: Final = 6

GREATEST_STEP_MM: Final = 2.0

POINT_SPACING_MM: Final = 4.0

STRUCTURE_HU_PER_MM: Final = 25.0
"""Windows whose smallest principal gradient is below this carry no evidence along every axis."""


@dataclass(frozen=True, eq=False)
class Residual:
    """Displacements that remain at structured points, LPS mm.

    Parameters
    ----------
    points_lps_mm : ndarray, (N, 3)
        In the verification frame.
    displacement_mm : ndarray, (N, 3)
        Where the aligned planning CT shows the same structure, minus the point.
    similarity : float
        Normalised correlation over the evidence.
    """

    points_lps_mm: FloatArray
    displacement_mm: FloatArray
    similarity: float


def residual_displacement(
    planning: ComparisonRegion,
    verification: ComparisonRegion,
    evidence: npt.NDArray[np.bool_],
    planning_from_verification: FloatArray,
    *,
    backend: BackendName = "cpu",
) -> Residual:
    """Estimate the displacement left between aligned regions, window by window.

    Notes
    -----
    Weighted least squares on the optical-flow constraint in Gaussian windows (Lucas and Kanade, IJCAI
    1981), iterated with warping; windows without structure along every axis are left out.
    """
    verification, evidence = _crop(verification, evidence)
    grid, source = verification.geometry, planning.geometry
    spacing = grid.spacing_zyx_mm[0]
    base = source.index_from_lps @ planning_from_verification @ grid.affine_lps_mm
    known = (
        resample(planning.inside.astype(np.float32), base, grid.shape_zyx, order=1, backend=backend) > 0.99
    )
    weight = (evidence & known).astype(np.float32)
    flow = np.zeros((*grid.shape_zyx, 3), dtype=np.float32)  # zyx, mm of the verification grid
    sigma = WINDOW_SD_MM / spacing
    similarity = 0.0
    for iteration in range(ITERATIONS):
        warped = _warp(planning, base, flow / spacing, grid.shape_zyx, backend)
        if iteration == 0:
            similarity = correlation(verification.hu, warped, weight > 0)
        step, tensor = _window_flow(verification.hu, warped, weight, spacing, sigma)
        flow += step
    stride = max(1, round(POINT_SPACING_MM / spacing))
    lattice = np.zeros(grid.shape_zyx, dtype=np.bool_)
    lattice[::stride, ::stride, ::stride] = True
    index = np.argwhere((weight > 0) & lattice)
    least = np.sqrt(np.maximum(np.linalg.eigvalsh(tensor[tuple(index.T)])[:, 0], 0.0))
    index = index[least > STRUCTURE_HU_PER_MM]
    displacement_zyx = flow[tuple(index.T)].astype(np.float64)
    return Residual(
        points_lps_mm=grid.to_lps(index.astype(float)),
        displacement_mm=displacement_zyx[:, ::-1] if len(index) else np.zeros((0, 3)),
        similarity=similarity,
    )


def correlation(
    one: npt.NDArray[np.float32], other: npt.NDArray[np.float32], where: npt.NDArray[np.bool_]
) -> float:
    """Normalised correlation of two images over ``where``; 0 where either is constant."""
    if np.count_nonzero(where) < 2:
        return 0.0
    a, b = one[where].astype(np.float64), other[where].astype(np.float64)
    a, b = a - a.mean(), b - b.mean()
    norm = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / norm if norm > 0 else 0.0


def _warp(
    planning: ComparisonRegion,
    base: FloatArray,
    flow_voxels: npt.NDArray[np.float32],
    shape: tuple[int, int, int],
    backend: BackendName,
) -> npt.NDArray[np.float32]:
    in_source = np.ascontiguousarray(flow_voxels @ base[:3, :3].T.astype(np.float32))
    return np.asarray(
        resample(
            planning.hu,
            base,
            shape,
            displacement=in_source,
            displacement_map=np.eye(4),
            order=1,
            fill=-1000.0,
            backend=backend,
        )
    )


def _window_flow(
    fixed: npt.NDArray[np.float32],
    warped: npt.NDArray[np.float32],
    weight: npt.NDArray[np.float32],
    spacing: float,
    sigma: float,
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """One Lucas-Kanade step (zyx, mm) and the structure tensor of each window, HU²/mm²."""
    gradient = [0.5 * (g + h) / spacing for g, h in zip(np.gradient(fixed), np.gradient(warped), strict=True)]
    difference = fixed - warped
    total = np.maximum(ndimage.gaussian_filter(weight, sigma), 1e-3)
    tensor = np.empty((*fixed.shape, 3, 3), dtype=np.float32)
    right = np.empty((*fixed.shape, 3), dtype=np.float32)
    for i in range(3):
        right[..., i] = ndimage.gaussian_filter(weight * gradient[i] * difference, sigma) / total
        for j in range(i, 3):
            tensor[..., i, j] = ndimage.gaussian_filter(weight * gradient[i] * gradient[j], sigma) / total
            tensor[..., j, i] = tensor[..., i, j]
    ridge = 5.0**2  # HU²/mm²: image noise of about 20 HU over a few voxels
    step = np.linalg.solve(tensor + ridge * np.eye(3, dtype=np.float32), right[..., None])[..., 0]
    return np.clip(step, -GREATEST_STEP_MM, GREATEST_STEP_MM).astype(np.float32), tensor


def _crop(
    region: ComparisonRegion, evidence: npt.NDArray[np.bool_]
) -> tuple[ComparisonRegion, npt.NDArray[np.bool_]]:
    """The part of a region that its evidence needs."""
    marked = np.argwhere(evidence)
    if len(marked) == 0:
        return region, evidence
    low, high = marked.min(axis=0), marked.max(axis=0) + 1
    box = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    geometry = region.geometry.crop([int(v) for v in low], [int(v) for v in high])
    return ComparisonRegion(region.hu[box], region.inside[box], geometry), evidence[box]
