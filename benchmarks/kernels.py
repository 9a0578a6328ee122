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
from pathlib import Path
from typing import Any

import numpy as np

REPEATS = 5
SPACING_ZYX_MM = (1.0, 0.7, 0.7)
BOUND_MM = 12.0

Row = dict[str, Any]


def median_ms(call: Callable[[], object]) -> float:
    call()
    durations = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        call()
        durations.append(time.perf_counter() - started)
    return 1000 * statistics.median(durations)


def ball(edge: int, radius: float) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Signed distance in voxels to a ball a little off the middle."""
    axes = np.ogrid[:edge, :edge, :edge]
    center = (0.5 * edge, 0.46 * edge, 0.42 * edge)
    return np.sqrt(sum((a - c) ** 2 for a, c in zip(axes, center, strict=True))) - radius


def row(
    kernel: str, shape: tuple[int, ...], own: Callable[[], object], **others: Callable[[], object]
) -> Row:
    own_ms = median_ms(own)
    rivals = {name: median_ms(call) for name, call in others.items()}
    return {
        "kernel": kernel,
        "shape_zyx": list(shape),
        "coldspot_ms": own_ms,
        "others_ms": rivals,
        "ratios": {name: ms / own_ms for name, ms in rivals.items()},
    }


def distance_rows(edge: int, threads: int) -> Iterator[Row]:
    import SimpleITK as sitk
    from scipy import ndimage

    from engine.kernels.distance import distance_mm

    rng = np.random.default_rng(1)
    masks = {
        "tumor": ball(edge, 0.12 * edge) < 0,
        "two lungs": (np.abs(ball(edge, 0.3 * edge)) < 0.12 * edge),
        "speckles": rng.random((edge,) * 3) < 0.001,
    }
    for name, mask in masks.items():
        image = sitk.GetImageFromArray(mask.astype(np.uint8))
        image.SetSpacing(SPACING_ZYX_MM[::-1])
        others: dict[str, Callable[[], object]] = {
            "SimpleITK": lambda image=image: sitk.SignedMaurerDistanceMap(
                image, squaredDistance=False, useImageSpacing=True
            ),
            "scipy": lambda mask=mask: ndimage.distance_transform_edt(~mask, sampling=SPACING_ZYX_MM),
        }
        if importlib.util.find_spec("edt"):
            import edt

            others["edt"] = lambda mask=mask: edt.edt(~mask, anisotropy=SPACING_ZYX_MM, parallel=threads)
        yield row(
            f"distance to {name}", mask.shape, lambda mask=mask: distance_mm(mask, SPACING_ZYX_MM), **others
        )
        yield row(
            f"distance to {name}, {BOUND_MM:g} mm",
            mask.shape,
            lambda mask=mask: distance_mm(mask, SPACING_ZYX_MM, bound_mm=BOUND_MM),
            **others,
        )


def signed_distance_rows(edge: int) -> Iterator[Row]:
    from engine.kernels.distance import signed_distance_mm

    edge //= 2
    occupancy = np.clip(0.5 - ball(edge, 0.25 * edge), 0, 1).astype(np.float32)

    def run(backend: str, bound_mm: float | None) -> Callable[[], object]:
        return lambda: signed_distance_mm(occupancy, SPACING_ZYX_MM, bound_mm=bound_mm, backend=backend)  # type: ignore[arg-type]

    tree = run("reference", None)
    yield row("signed distance", occupancy.shape, run("cpu", None), **{"scipy k-d tree": tree})
    yield row(
        f"signed distance, {BOUND_MM:g} mm", occupancy.shape, run("cpu", BOUND_MM), **{"scipy k-d tree": tree}
    )


def resampling_rows(edge: int) -> Iterator[Row]:
    import SimpleITK as sitk
    from scipy import ndimage

    from engine.kernels.resampling import resample

    voxels = np.random.default_rng(2).integers(-1000, 400, (edge,) * 3, dtype=np.int16)
    scale, turn = np.diag([0.8, 0.9, 0.9]), np.array([[0.8, 0.1, 0], [-0.1, 0.9, 0.1], [0, -0.1, 0.9]])
    displacement = np.random.default_rng(3).uniform(-2, 2, (edge // 8,) * 3 + (3,)).astype(np.float32)
    interpolators = {1: sitk.sitkLinear, 3: sitk.sitkBSpline}
    image = sitk.GetImageFromArray(voxels)
    for name, matrix in (("scaled", scale), ("turned", turn)):
        transform = sitk.AffineTransform(matrix[::-1, ::-1].ravel().tolist(), [8.0, 8.0, 8.0])
        index_map = np.column_stack([matrix, [8.0, 8.0, 8.0]])
        for order, interpolator in interpolators.items():
            yield row(
                f"resample int16, {name}, order {order}",
                voxels.shape,
                lambda m=index_map, o=order: resample(voxels, m, voxels.shape, order=o),
                SimpleITK=lambda t=transform, i=interpolator: sitk.Resample(image, image, t, i),
                scipy=lambda m=matrix, o=order: ndimage.affine_transform(
                    voxels, m, 8.0, order=o, mode="mirror"
                ),
            )
    yield from displaced_row(voxels, np.column_stack([scale, [8.0, 8.0, 8.0]]), displacement, sitk)


def displaced_row(voxels: Any, index_map: Any, displacement: Any, sitk: Any) -> Iterator[Row]:
    from engine.kernels.resampling import resample

    field = sitk.GetImageFromArray(displacement[..., ::-1].astype(np.float64), isVector=True)
    field.SetSpacing((8.0, 8.0, 8.0))
    transform = sitk.CompositeTransform(
        [
            sitk.AffineTransform(index_map[::-1, 2::-1].ravel().tolist(), [8.0] * 3),
            sitk.DisplacementFieldTransform(field),
        ]
    )
    image = sitk.GetImageFromArray(voxels)
    yield row(
        "resample int16, displaced, order 1",
        voxels.shape,
        lambda: resample(
            voxels,
            index_map,
            voxels.shape,
            displacement=displacement,
            displacement_map=np.diag([1 / 8, 1 / 8, 1 / 8, 1.0]),
        ),
        SimpleITK=lambda: sitk.Resample(image, image, transform, sitk.sitkLinear),
    )


def counting_rows(edge: int) -> Iterator[Row]:
    import SimpleITK as sitk
    from scipy import ndimage

    from engine.kernels.components import find_components
    from engine.kernels.coverage import count_coverage

    distance = ball(edge, 0.2 * edge).astype(np.float32)
    covered, counted = distance < 4.5, np.random.default_rng(4).random(distance.shape) < 0.9
    bands = (0.0, 5.0, 10.0)
    yield row(
        "coverage counts",
        distance.shape,
        lambda: count_coverage(distance, covered, counted, bands),
        numpy=lambda: count_coverage(distance, covered, counted, bands, backend="reference"),
    )
    for name, mask in (("few", covered & (distance > -2)), ("many", ~counted)):
        image = sitk.GetImageFromArray(mask.astype(np.uint8))
        yield row(
            f"components, {name}",
            mask.shape,
            lambda mask=mask: find_components(mask, (1, 1, 1)),
            SimpleITK=lambda image=image: sitk.RelabelComponent(sitk.ConnectedComponent(image, True)),  # noqa: FBT003
            scipy=lambda mask=mask: ndimage.label(mask, np.ones((3, 3, 3))),
        )


def machine() -> dict[str, Any]:
    """What ran, for the record."""
    model = platform.processor() or platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []:
        if line.startswith("model name"):
            model = line.split(":", 1)[1].strip()
            break
    names = ("numpy", "scipy", "numba", "SimpleITK")
    versions = {name: importlib.metadata.version(name) for name in names}
    versions["edt"] = (
        importlib.metadata.version("edt") if importlib.util.find_spec("edt") else "not installed"
    )
    return {
        "processor": model,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "versions": versions,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--edge", type=int, default=192, help="voxels along each axis")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="threads for every library")
    arguments = parser.parse_args()
    os.environ["NUMBA_NUM_THREADS"] = str(arguments.threads)
    import SimpleITK as sitk

    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(arguments.threads)
    report = {**machine(), "threads": arguments.threads, "load_before": os.getloadavg()[0], "rows": []}
    if not arguments.json:
        print(
            f"{report['processor']}, {arguments.threads} threads (scipy and numpy: 1); medians of {REPEATS}, ms"
        )
        print(f"{report['versions']}, load {report['load_before']:.1f}")
    rows = (distance_rows(arguments.edge, arguments.threads), signed_distance_rows(arguments.edge))
    for source in (*rows, resampling_rows(arguments.edge), counting_rows(arguments.edge)):
        for found in source:
            report["rows"].append(found)
            if not arguments.json:
                others = "  ".join(
                    f"{k} {ms:.1f} (x{ms / found['coldspot_ms']:.1f})" for k, ms in found["others_ms"].items()
                )
                print(
                    f"{found['kernel']:38} {found['shape_zyx'][0]:4}^3 {found['coldspot_ms']:9.1f}   {others}",
                    flush=True,
                )
    if arguments.json:
        print(json.dumps(report))


if __name__ == "__main__":
    main()
