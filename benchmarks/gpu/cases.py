"""What the GPU benchmark runs: every kernel on a fixed input, its CPU twin to agree with, and peers on the device."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, is_dataclass
from functools import partial
from importlib import import_module
from typing import Any, Final

import numpy as np

from engine.kernels.bending import solve_bending
from engine.kernels.components import find_components
from engine.kernels.coverage import count_coverage
from engine.kernels.distance import distance_mm, signed_distance_mm
from engine.kernels.matching import local_moments, match_equations
from engine.kernels.pose_draws import evaluate_draws
from engine.kernels.power_sums import power_sums
from engine.kernels.resampling import resample
from engine.kernels.self_similarity import self_similarity_codes

SPACING_ZYX_MM: Final = (1.0, 0.7, 0.7)
BOUND_MM: Final = 12.0
EDGES_MM: Final = (0.0, 5.0, 10.0)
DRAWS: Final = 1000

Peer = Callable[[Callable[[Any], Any]], Callable[[], Any]]
"""Takes a function that copies an array to the device; returns the call to time."""


@dataclass(frozen=True)
class KernelCase:
    """One kernel on one input.

    Parameters
    ----------
    name : str
    run : callable
        With ``kernels=KernelBackend.GPU`` or ``CPU``.
    tolerance : float
        Largest difference from the CPU twin, in the result's own unit.
    min_bytes : int
        That a kernel has to read and write, each once.
    peers : dict of str to callable
        By the module that has to be installed.
    """

    name: str
    run: Callable[..., Any]
    tolerance: float
    min_bytes: int
    peers: dict[str, Peer] = field(default_factory=dict)


def kernel_cases(edge: int) -> Iterator[KernelCase]:
    """Yield every kernel, on volumes of ``edge`` voxels along each axis."""
    voxels = edge**3
    solid = ball(edge, 0.2)
    tumor = solid < 0
    run = partial(distance_mm, tumor, SPACING_ZYX_MM)
    yield KernelCase("distance", run, 1e-3, 5 * voxels, distance_peers(tumor))
    yield KernelCase(
        "distance, 12 mm", partial(run, bound_mm=BOUND_MM), 1e-3, 5 * voxels, distance_peers(tumor)
    )
    occupancy = np.clip(0.5 - solid, 0, 1).astype(np.float32)
    signed = partial(signed_distance_mm, occupancy, SPACING_ZYX_MM, bound_mm=BOUND_MM)
    yield KernelCase("signed distance, 12 mm", signed, 1e-3, 8 * voxels)
    covered, counted = solid < 4.5, np.random.default_rng(4).random(solid.shape) < 0.9
    count = partial(count_coverage, solid.astype(np.float32), covered, counted, EDGES_MM)
    yield KernelCase("coverage counts", count, 0.0, 6 * voxels)
    hu = smooth(np.random.default_rng(5), edge).astype(np.int16)
    yield KernelCase("power sums", partial(power_sums, hu), 0.0, hu.nbytes)
    yield from resampling_cases(edge)
    for name, mask in (("few", tumor), ("many", ~counted)):
        components = partial(find_components, mask, SPACING_ZYX_MM)
        yield KernelCase(f"components, {name}", components, 1e-6, 5 * voxels, label_peers(mask))
    yield from registration_cases(edge // 2)
    yield pose_draws_case(edge)


def resampling_cases(edge: int) -> Iterator[KernelCase]:
    """Yield resampling by an affine map and by a displacement."""
    rng = np.random.default_rng(2)
    voxels = rng.integers(-1000, 400, (edge,) * 3, dtype=np.int16)
    matrix = np.array([[0.8, 0.1, 0.0], [-0.1, 0.9, 0.1], [0.0, -0.1, 0.9]])
    index_map = np.column_stack([matrix, np.full(3, 0.04 * edge)])
    run = partial(resample, voxels, index_map, voxels.shape)
    for order in (1, 3):
        peers = affine_peers(voxels, index_map, order)
        # half a HU: rounding to whole numbers may fall to either side
        yield KernelCase(f"resample, order {order}", partial(run, order=order), 1.0, 4 * edge**3, peers)
    nodes = rng.uniform(-2, 2, (*(-(-edge // 8) + 1,) * 3, 3)).astype(np.float32)
    moved = partial(run, displacement=nodes, displacement_map=np.diag([1 / 8, 1 / 8, 1 / 8, 1.0]))
    yield KernelCase("resample, displaced, order 1", moved, 1.0, 4 * edge**3)


def registration_cases(edge: int) -> Iterator[KernelCase]:
    """Yield the kernels of the registration."""
    rng = np.random.default_rng(6)
    fixed, warped = (smooth(rng, edge) for _ in range(2))
    voxels, known = edge**3, np.ones((edge,) * 3, dtype=bool)
    yield KernelCase("self-similarity codes", partial(self_similarity_codes, fixed), 0.0, 12 * voxels)
    moments = partial(local_moments, fixed, warped, known, 3)
    yield KernelCase("local moments", moments, 1.0, 9 * voxels)
    model = np.zeros((*moments().shape[:3], 4))
    model[..., 2:] = 1.0, 1000.0
    match = partial(
        match_equations, fixed, warped, known, model, model_cell=3, cell=3, spacing_mm=1.5, outlier_ratio=2.0
    )
    yield KernelCase("match equations", match, 1.0, 9 * voxels)
    tensor, force = match()
    solve = partial(solve_bending, tensor, force, 2.0)
    yield KernelCase("bending, to 1e-3", solve, 0.05, 2 * force.nbytes + tensor.nbytes)


def pose_draws_case(edge: int) -> KernelCase:
    """A thousand poses of a tumor's surface in the distance map of a zone."""
    rng = np.random.default_rng(8)
    zone = ball(edge, 0.22).astype(np.float32)
    points = np.argwhere(np.abs(ball(edge, 0.18)) < 0.5)[:20000] * 1.0
    maps = np.tile(np.eye(3, 4), (DRAWS, 1, 1))
    maps[:, :, 3] = rng.normal(0.0, 1.5, (DRAWS, 3))
    run = partial(
        evaluate_draws,
        zone,
        points,
        rng.uniform(0.0, 5.0, len(points)),
        points[::4],
        maps,
        np.full(DRAWS, 5.0),
        np.zeros(DRAWS),
    )
    return KernelCase(f"{DRAWS} pose draws", run, 2.0, zone.nbytes + 2 * points.nbytes)


def distance_peers(mask: Any) -> dict[str, Peer]:
    """Return exact Euclidean distance transforms of CuPy and cuCIM."""

    def peer(module: str, put: Callable[[Any], Any]) -> Callable[[], Any]:
        transform = import_module(module).distance_transform_edt
        return partial(transform, put(~mask), sampling=SPACING_ZYX_MM)

    return {
        "cupyx.scipy.ndimage": partial(peer, "cupyx.scipy.ndimage"),
        "cucim": partial(peer, "cucim.core.operations.morphology"),
    }


def affine_peers(voxels: Any, index_map: Any, order: int) -> dict[str, Peer]:
    """Return CuPy's resampling by the same map, and torch's where the order is linear."""

    def cupy(put: Callable[[Any], Any]) -> Callable[[], Any]:
        ndimage = import_module("cupyx.scipy.ndimage")
        image = put(voxels.astype(np.float32))
        matrix, offset = put(index_map[:, :3]), put(index_map[:, 3])
        return partial(ndimage.affine_transform, image, matrix, offset, order=order, mode="mirror")

    def torch(_put: Callable[[Any], Any]) -> Callable[[], Any]:
        library = import_module("torch")
        image = library.from_numpy(voxels.astype(np.float32))[None, None].cuda()
        # the same amount of work; what the map is does not matter to its time
        theta = library.eye(3, 4)[None].cuda() * 0.9
        functional = library.nn.functional
        grid = functional.affine_grid(theta, list(image.shape), align_corners=True)
        return partial(functional.grid_sample, image, grid, padding_mode="border", align_corners=True)

    return {"cupyx.scipy.ndimage": cupy, **({"torch": torch} if order == 1 else {})}


def label_peers(mask: Any) -> dict[str, Peer]:
    """Return CuPy's labeling of connected components."""

    def cupy(put: Callable[[Any], Any]) -> Callable[[], Any]:
        ndimage = import_module("cupyx.scipy.ndimage")
        return partial(ndimage.label, put(mask), put(np.ones((3, 3, 3))))

    return {"cupyx.scipy.ndimage": cupy}


def installed(module: str) -> bool:
    """Whether a peer is installed."""
    return importlib.util.find_spec(module.split(".", maxsplit=1)[0]) is not None


def ball(edge: int, share: float) -> Any:
    """Signed distance in voxels to a ball a little off the middle; its radius is a share of the edge."""
    z, y, x = np.ogrid[:edge, :edge, :edge]
    middle = 0.5 * edge, 0.46 * edge, 0.42 * edge
    return np.sqrt((z - middle[0]) ** 2 + (y - middle[1]) ** 2 + (x - middle[2]) ** 2) - share * edge


def smooth(rng: np.random.Generator, edge: int) -> Any:
    """Structure of a few voxels, in HU."""
    noise = rng.standard_normal((edge,) * 3)
    for axis in range(3):
        noise = noise + np.roll(noise, 1, axis) + np.roll(noise, -1, axis)
    return (noise * 40.0 - 800.0).astype(np.float32)


def largest_difference(actual: Any, expected: Any) -> float:
    """Return the largest difference of two arrays, or tuples or dataclasses of arrays; NaN counts as infinite."""
    if is_dataclass(actual):
        parts = [(getattr(actual, name), getattr(expected, name)) for name in actual.__dataclass_fields__]
    elif isinstance(actual, (tuple, list)):
        parts = list(zip(actual, expected, strict=True))
    else:
        return _difference(np.asarray(actual), np.asarray(expected))
    return max((largest_difference(*pair) for pair in parts), default=0.0)


def _difference(actual: Any, expected: Any) -> float:
    if actual.shape != expected.shape or actual.dtype.kind not in "fiub":
        return 0.0 if np.array_equal(actual, expected) else float("inf")
    if actual.dtype.kind != "f":
        if actual.dtype.kind == "b" or actual.dtype == np.uint64:  # marks and codes: how many differ
            return float(np.count_nonzero(actual != expected))
        return float(np.abs(actual.astype(np.int64) - expected.astype(np.int64)).max(initial=0))
    same = (actual == expected) | (np.isnan(actual) & np.isnan(expected))
    with np.errstate(invalid="ignore"):  # of infinities
        worst = np.abs(np.where(same, 0.0, actual.astype(np.float64) - expected))
    return float(np.nan_to_num(worst, nan=np.inf).max(initial=0.0))
