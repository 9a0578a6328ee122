"""Times every voxel kernel beside the libraries that do the same, in one run, in turns.

    python -m benchmarks.kernels [--only GROUP …] [--json] [--edge 192] [--threads 2]

Medians of five after one call that is not timed (of three where a peer takes over 1.5 s; one call where it takes
over 4 s), least and greatest beside ours; `runs` in the JSON says how many. A peer that is not installed is named.
A floor is the time to move the kernel's bytes once at the bandwidth that was measured in the same run.
"""

from __future__ import annotations

import argparse
import importlib
import json
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import SimpleITK as itk
from scipy import ndimage

from benchmarks.kernels.chest_rows import chest_resampling_rows
from benchmarks.kernels.timing import (
    REPEATS,
    Call,
    Row,
    as_text,
    bandwidth,
    is_installed,
    machine,
    pin,
    row,
)
from benchmarks.threads import THREADS
from engine.kernels.backend import KernelBackend

SPACING_ZYX_MM = (1.0, 0.7, 0.7)
BOUND_MM = 12.0
GROUPS = (
    "chest-resampling",
    "distance",
    "signed-distance",
    "resampling",
    "counting",
    "descriptor",
    "deformation",
)


def ball(edge: int, radius: float) -> Any:
    """Signed distance in voxels to a ball a little off the middle."""
    z, y, x = np.ogrid[:edge, :edge, :edge]
    return np.sqrt((z - 0.5 * edge) ** 2 + (y - 0.46 * edge) ** 2 + (x - 0.42 * edge) ** 2) - radius


def distance_rows(edge: int, threads: int) -> Iterator[Row]:
    from engine.kernels.distance import distance_mm

    masks = {
        "a tumor": ball(edge, 0.12 * edge) < 0,
        "a thick shell": np.abs(ball(edge, 0.3 * edge)) < 0.12 * edge,
        "speckles": np.random.default_rng(1).random((edge,) * 3) < 0.001,
    }
    for name, mask in masks.items():
        image = itk.GetImageFromArray(mask.astype(np.uint8))
        image.SetSpacing(SPACING_ZYX_MM[::-1])
        maurer = partial(itk.SignedMaurerDistanceMap, image, squaredDistance=False, useImageSpacing=True)
        others: dict[str, Call | None] = {
            "SimpleITK": maurer,
            "scipy": partial(ndimage.distance_transform_edt, ~mask, sampling=SPACING_ZYX_MM),
            "edt": None,
        }
        if is_installed("edt"):
            edt = importlib.import_module("edt").edt
            others["edt"] = partial(edt, ~mask, anisotropy=SPACING_ZYX_MM, parallel=threads)
        own = partial(distance_mm, mask, SPACING_ZYX_MM)
        size = f"{edge}^3"
        yield row(f"distance to {name}", size, own, others)
        yield row(f"distance to {name}, {BOUND_MM:g} mm", size, partial(own, bound_mm=BOUND_MM), others)


def signed_distance_rows(edge: int) -> Iterator[Row]:
    from engine.kernels.distance import signed_distance_mm

    occupancy = np.clip(0.5 - ball(edge, 0.25 * edge), 0, 1).astype(np.float32)
    own = partial(signed_distance_mm, occupancy, SPACING_ZYX_MM)
    tree = partial(own, kernels=KernelBackend.REFERENCE)
    yield row("signed distance", f"{edge}^3", own, {"scipy tree": tree})
    bounded = partial(own, bound_mm=BOUND_MM)
    yield row(f"signed distance, {BOUND_MM:g} mm", f"{edge}^3", bounded, {"scipy tree": tree})


def resampling_rows(edge: int) -> Iterator[Row]:
    from engine.kernels.resampling import resample

    voxels = np.random.default_rng(2).integers(-1000, 400, (edge,) * 3, dtype=np.int16)
    image = itk.GetImageFromArray(voxels)
    offset = [8.0, 8.0, 8.0]
    scaled, rotated = np.diag([0.8, 0.9, 0.9]), np.array([[0.8, 0.1, 0], [-0.1, 0.9, 0.1], [0, -0.1, 0.9]])
    for name, matrix in (("scaled", scaled), ("turned", rotated)):
        transform = itk.AffineTransform(matrix[::-1, ::-1].ravel().tolist(), offset)
        own = partial(resample, voxels, np.column_stack([matrix, offset]), voxels.shape)
        affine = partial(ndimage.affine_transform, voxels, matrix, offset[0], mode="mirror")
        for order, interpolator in ((1, itk.sitkLinear), (3, itk.sitkBSpline)):
            others: dict[str, Call | None] = {
                "SimpleITK": partial(itk.Resample, image, image, transform, interpolator),
                "scipy": partial(affine, order=order),
            }
            if name == "scaled":
                others["scikit-image"] = _resize(voxels, order)
            yield row(
                f"resample int16, {name}, order {order}", f"{edge}^3", partial(own, order=order), others
            )
    field = np.random.default_rng(3).uniform(-2, 2, (*(-(-edge // 8) + 1,) * 3, 3)).astype(np.float32)
    fields = itk.GetImageFromArray(field[..., ::-1].astype(np.float64), isVector=True)
    fields.SetSpacing(offset)
    transform_of_field = itk.DisplacementFieldTransform(fields)
    displaced = partial(resample, voxels, np.eye(4), voxels.shape, displacement=field)
    yield row(
        "resample int16, displaced, order 1",
        f"{edge}^3",
        partial(displaced, displacement_map=np.diag([1 / 8, 1 / 8, 1 / 8, 1.0])),
        {"SimpleITK": partial(itk.Resample, image, image, transform_of_field, itk.sitkLinear)},
    )


def _resize(voxels: Any, order: int) -> Call | None:
    """scikit-image's resampling to the same number of voxels; None if it is not installed."""
    if not is_installed("scikit-image"):
        return None
    resize = importlib.import_module("skimage.transform").resize
    part = voxels[tuple(slice(int(n * s)) for n, s in zip(voxels.shape, (0.8, 0.9, 0.9), strict=True))]
    return partial(resize, part, voxels.shape, order=order, preserve_range=True, anti_aliasing=False)


def counting_rows(edge: int) -> Iterator[Row]:
    from engine.kernels.components import find_components
    from engine.kernels.coverage import count_coverage

    distance = ball(edge, 0.2 * edge).astype(np.float32)
    covered, counted = distance < 4.5, np.random.default_rng(4).random(distance.shape) < 0.9
    own = partial(count_coverage, distance, covered, counted, (0.0, 5.0, 10.0))
    yield row("coverage counts", f"{edge}^3", own, {"numpy": partial(own, kernels=KernelBackend.REFERENCE)})
    for name, mask in (("few", covered & (distance > -2)), ("many", ~counted)):
        image = itk.GetImageFromArray(mask.astype(np.uint8))
        others: dict[str, Call | None] = {
            "SimpleITK": partial(itk.ConnectedComponent, image, True),
            "scipy": partial(ndimage.label, mask, np.ones((3, 3, 3))),
            "cc3d": None,
            "scikit-image": None,
        }
        if is_installed("connected-components-3d"):
            others["cc3d"] = partial(
                importlib.import_module("cc3d").connected_components, mask, connectivity=26
            )
        if is_installed("scikit-image"):
            label = importlib.import_module("skimage.measure").label
            others["scikit-image"] = partial(label, mask, connectivity=3)
        yield row(f"components, {name}", f"{edge}^3", partial(find_components, mask, (1, 1, 1)), others)


def descriptor_rows(edge: int) -> Iterator[Row]:
    from engine.kernels.self_similarity import self_similarity_codes

    noise = np.random.default_rng(5).standard_normal((edge,) * 3)
    hu = (ndimage.gaussian_filter(noise, 1.0) * 1000).astype(np.float32)
    own = partial(self_similarity_codes, hu)
    yield row(
        "self-similarity codes", f"{edge}^3", own, {"numpy": partial(own, kernels=KernelBackend.REFERENCE)}
    )


def deformation_rows(edge: int, cell: int) -> Iterator[Row]:
    from engine.kernels.bending import solve_bending
    from engine.kernels.matching import local_moments, match_equations

    rng = np.random.default_rng(6)
    fixed, warped = (ndimage.gaussian_filter(rng.standard_normal((2, *(edge,) * 3)), 1.0) * 1000).astype("f4")
    images = fixed, warped, np.ones(fixed.shape, dtype=bool)
    moments = partial(local_moments, *images, cell)
    yield row(
        "local moments", f"{edge}^3", moments, {"numpy": partial(moments, kernels=KernelBackend.REFERENCE)}
    )
    model = np.zeros((*moments().shape[:3], 4))
    model[..., 2:] = 1.0, 1000.0
    match = partial(
        match_equations, *images, model, model_cell=cell, cell=cell, spacing_mm=1.5, outlier_ratio=2.0
    )
    yield row(
        "match equations", f"{edge}^3", match, {"numpy": partial(match, kernels=KernelBackend.REFERENCE)}
    )
    tensor, force = match()
    yield row("bending, to 1e-3", f"{len(tensor)}^3", partial(solve_bending, tensor, force, 2.0), {})


def main() -> None:
    arguments = _arguments()
    edge, threads = arguments.edge, arguments.threads
    pin(threads)
    itk.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)
    report = machine(threads)
    floors = report["bandwidth_bytes_per_ms"] = bandwidth(threads)
    groups: dict[str, Callable[[], Iterator[Row]]] = {
        "chest-resampling": partial(chest_resampling_rows, floors),
        "distance": partial(distance_rows, edge, threads),
        "signed-distance": partial(signed_distance_rows, edge // 2),
        "resampling": partial(resampling_rows, edge),
        "counting": partial(counting_rows, edge),
        "descriptor": partial(descriptor_rows, edge // 2),
        "deformation": partial(deformation_rows, 3 * edge // 8, 3),
    }
    if not arguments.json:
        print(f"{report['processor']}, {threads} threads (scipy, numpy: 1), load {report['load_before']:.1f}")
        print(f"read {floors['read'] / 1e6:.1f} GB/s, copy {floors['copy'] / 1e6:.1f} GB/s (read + written)")
        print(f"{report['versions']}; medians of {REPEATS}")
        print("kernel, voxels, coldspot ms [least, greatest], others ms (times coldspot)")
    report["rows"] = []
    for name in arguments.only or groups:
        for measured in groups[name]():
            report["rows"].append(measured)
            if not arguments.json:
                print(as_text(measured), flush=True)
    if arguments.json:
        print(json.dumps(report))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--only", nargs="+", metavar="GROUP", choices=GROUPS, help=", ".join(GROUPS))
    parser.add_argument("--edge", type=int, default=192, help="voxels along each axis, but for the chest")
    parser.add_argument("--threads", type=int, default=THREADS, help="scipy and numpy use one")
    return parser.parse_args()


if __name__ == "__main__":
    main()
