"""Times every voxel kernel beside the libraries that do the same, in one run.

``python benchmarks/kernels.py [--json] [--edge 192] [--threads 2]``: medians of five, after one
call that is not timed. ``edt`` takes part if it is installed.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as itk
from scipy import ndimage

REPEATS = 5
SPACING_ZYX_MM = (1.0, 0.7, 0.7)
BOUND_MM = 12.0
HAS_EDT = importlib.util.find_spec("edt") is not None

Call = Callable[[], object]
Row = dict[str, Any]


def median_ms(call: Call) -> float:
    call()
    durations = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        call()
        durations.append(time.perf_counter() - started)
    return 1000 * statistics.median(durations)


def row(kernel: str, edge: int, own: Call, **others: Call) -> Row:
    own_ms = median_ms(own)
    others_ms = {name.replace("_", " "): median_ms(call) for name, call in others.items()}
    ratios = {name: ms / own_ms for name, ms in others_ms.items()}
    return {"kernel": kernel, "edge": edge, "coldspot_ms": own_ms, "others_ms": others_ms, "ratios": ratios}


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
        others: dict[str, Call] = {
            "SimpleITK": maurer,
            "scipy": partial(ndimage.distance_transform_edt, ~mask, sampling=SPACING_ZYX_MM),
        }
        if HAS_EDT:
            edt = importlib.import_module("edt").edt
            others["edt"] = partial(edt, ~mask, anisotropy=SPACING_ZYX_MM, parallel=threads)
        own = partial(distance_mm, mask, SPACING_ZYX_MM)
        yield row(f"distance to {name}", edge, own, **others)
        yield row(f"distance to {name}, {BOUND_MM:g} mm", edge, partial(own, bound_mm=BOUND_MM), **others)


def signed_distance_rows(edge: int) -> Iterator[Row]:
    from engine.kernels.distance import signed_distance_mm

    occupancy = np.clip(0.5 - ball(edge, 0.25 * edge), 0, 1).astype(np.float32)
    own = partial(signed_distance_mm, occupancy, SPACING_ZYX_MM)
    tree = partial(own, backend="reference")
    yield row("signed distance", edge, own, scipy_tree=tree)
    yield row(f"signed distance, {BOUND_MM:g} mm", edge, partial(own, bound_mm=BOUND_MM), scipy_tree=tree)


def resampling_rows(edge: int) -> Iterator[Row]:
    from engine.kernels.resampling import resample

    voxels = np.random.default_rng(2).integers(-1000, 400, (edge,) * 3, dtype=np.int16)
    image = itk.GetImageFromArray(voxels)
    offset = [8.0, 8.0, 8.0]
    scaled, turned = np.diag([0.8, 0.9, 0.9]), np.array([[0.8, 0.1, 0], [-0.1, 0.9, 0.1], [0, -0.1, 0.9]])
    for name, matrix in (("scaled", scaled), ("turned", turned)):
        transform = itk.AffineTransform(matrix[::-1, ::-1].ravel().tolist(), offset)
        own = partial(resample, voxels, np.column_stack([matrix, offset]), voxels.shape)
        affine = partial(ndimage.affine_transform, voxels, matrix, offset[0], mode="mirror")
        for order, interpolator in ((1, itk.sitkLinear), (3, itk.sitkBSpline)):
            yield row(
                f"resample int16, {name}, order {order}",
                edge,
                partial(own, order=order),
                SimpleITK=partial(itk.Resample, image, image, transform, interpolator),
                scipy=partial(affine, order=order),
            )
    field = np.random.default_rng(3).uniform(-2, 2, (*(-(-edge // 8) + 1,) * 3, 3)).astype(np.float32)
    fields = itk.GetImageFromArray(field[..., ::-1].astype(np.float64), isVector=True)
    fields.SetSpacing(offset)
    moved = itk.DisplacementFieldTransform(fields)
    displaced = partial(resample, voxels, np.eye(4), voxels.shape, displacement=field)
    yield row(
        "resample int16, displaced, order 1",
        edge,
        partial(displaced, displacement_map=np.diag([1 / 8, 1 / 8, 1 / 8, 1.0])),
        SimpleITK=partial(itk.Resample, image, image, moved, itk.sitkLinear),
    )


def counting_rows(edge: int) -> Iterator[Row]:
    from engine.kernels.components import find_components
    from engine.kernels.coverage import count_coverage

    distance = ball(edge, 0.2 * edge).astype(np.float32)
    covered, counted = distance < 4.5, np.random.default_rng(4).random(distance.shape) < 0.9
    own = partial(count_coverage, distance, covered, counted, (0.0, 5.0, 10.0))
    yield row("coverage counts", edge, own, numpy=partial(own, backend="reference"))
    for name, mask in (("few", covered & (distance > -2)), ("many", ~counted)):
        image = itk.GetImageFromArray(mask.astype(np.uint8))
        yield row(
            f"components, {name}",
            edge,
            partial(find_components, mask, (1, 1, 1)),
            SimpleITK=partial(itk.ConnectedComponent, image, True),
            scipy=partial(ndimage.label, mask, np.ones((3, 3, 3))),
        )


def descriptor_rows(edge: int) -> Iterator[Row]:
    from engine.kernels.self_similarity import self_similarity_codes

    noise = np.random.default_rng(5).standard_normal((edge,) * 3)
    hu = (ndimage.gaussian_filter(noise, 1.0) * 1000).astype(np.float32)
    own = partial(self_similarity_codes, hu)
    yield row("self-similarity codes", edge, own, numpy=partial(own, backend="reference"))


def deformation_rows(edge: int, cell: int) -> Iterator[Row]:
    from engine.kernels.bending import solve_bending
    from engine.kernels.matching import local_moments, match_equations

    rng = np.random.default_rng(6)
    fixed, warped = (ndimage.gaussian_filter(rng.standard_normal((2, *(edge,) * 3)), 1.0) * 1000).astype("f4")
    images = fixed, warped, np.ones(fixed.shape, dtype=bool)
    moments = partial(local_moments, *images, cell)
    yield row("local moments", edge, moments, numpy=partial(moments, backend="reference"))
    model = np.zeros((*moments().shape[:3], 4))
    model[..., 2:] = 1.0, 1000.0
    match = partial(
        match_equations, *images, model, model_cell=cell, cell=cell, spacing_mm=1.5, outlier_ratio=2.0
    )
    yield row("match equations", edge, match, numpy=partial(match, backend="reference"))
    tensor, force = match()
    yield row("bending, to 1e-3", len(tensor), partial(solve_bending, tensor, force, 2.0))


def machine(threads: int) -> Row:
    """What ran, for the record."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    versions = {name: importlib.metadata.version(name) for name in ("numpy", "scipy", "numba", "SimpleITK")}
    versions["edt"] = importlib.metadata.version("edt") if HAS_EDT else "not installed"
    return {
        "processor": models[0] if models else platform.machine(),
        "cores": os.cpu_count(),
        "threads": threads,
        "load_before": os.getloadavg()[0],
        "versions": versions,
    }


def as_text(found: Row) -> str:
    others = "  ".join(f"{k} {ms:.1f} (x{found['ratios'][k]:.1f})" for k, ms in found["others_ms"].items())
    return f"{found['kernel']:36} {found['edge']:4}^3 {found['coldspot_ms']:9.1f}   {others}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--edge", type=int, default=192, help="voxels along each axis")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="scipy and numpy use one")
    arguments = parser.parse_args()
    edge, threads = arguments.edge, arguments.threads
    os.environ["NUMBA_NUM_THREADS"] = str(threads)  # read when the first kernel is imported
    itk.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)
    report = machine(threads)
    if not arguments.json:
        print(f"{report['processor']}, {threads} threads (scipy, numpy: 1), load {report['load_before']:.1f}")
        print(f"{report['versions']}; medians of {REPEATS}")
        print("kernel, voxels, coldspot ms, others ms (times coldspot)")
    report["rows"] = []
    groups = (
        distance_rows(edge, threads),
        signed_distance_rows(edge // 2),
        resampling_rows(edge),
        counting_rows(edge),
        descriptor_rows(edge // 2),
        deformation_rows(3 * edge // 8, 3),
    )
    for group in groups:
        for found in group:
            report["rows"].append(found)
            if not arguments.json:
                print(as_text(found), flush=True)
    if arguments.json:
        print(json.dumps(report))


if __name__ == "__main__":
    main()
