"""Growth curves of the kernels: time and memory against volume size, number of slices and tumor size.

    python -m benchmarks.kernels.growth [--json] [--plot FILE.png] [--only CURVE …] [--threads 2]

Distance to a tumor (up to 12 mm, whole volume), and resampling to 1 mm, linear and cubic, of int16. Medians of five
after one call that is not timed. Memory is what a call allocates at its peak beyond its input, the result included.
"""

from __future__ import annotations

import argparse
import json
import tracemalloc
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np

from benchmarks.kernels.chest_rows import SPACING_ZYX_MM, TUMOR_RADIUS_MM, tumor_of
from benchmarks.kernels.timing import Call, Row, machine, pin, row
from benchmarks.threads import THREADS

BOUND_MM: Final = 12.0
WHOLE: Final = (300, 512, 512)
Shape = tuple[int, int, int]

SHAPES_BY_SIZE: Final[tuple[Shape, ...]] = ((75, 128, 128), (150, 256, 256), (225, 384, 384), WHOLE)
SHAPES_BY_SLICES: Final[tuple[Shape, ...]] = tuple((n, 512, 512) for n in (75, 150, 300, 600))
TUMOR_RADII_MM: Final = (5.0, 10.0, 15.0, 25.0, 40.0)
CURVES: Final = ("size", "slices", "tumor")
LABELS: Final = {"size": "voxels, millions", "slices": "slices of 512 x 512", "tumor": "tumor diameter, mm"}


def points(curve: str) -> Iterator[Row]:
    """Time every kernel at every point of a curve."""
    if curve == "tumor":
        for radius in TUMOR_RADII_MM:
            yield from _distance_points(curve, 2 * radius, WHOLE, radius)
        return
    for shape in SHAPES_BY_SIZE if curve == "size" else SHAPES_BY_SLICES:
        position = float(np.prod(shape)) / 1e6 if curve == "size" else float(shape[0])
        yield from _distance_points(curve, position, shape, TUMOR_RADIUS_MM)
        yield from _resampling_points(curve, position, shape)


def _distance_points(curve: str, position: float, shape: Shape, radius_mm: float) -> Iterator[Row]:
    from engine.kernels.distance import distance_mm

    distance = partial(distance_mm, tumor_of(shape, radius_mm), SPACING_ZYX_MM, bound_mm=BOUND_MM)
    yield _point(curve, position, f"distance, {BOUND_MM:g} mm", distance)


def _resampling_points(curve: str, position: float, shape: Shape) -> Iterator[Row]:
    from engine.kernels.resampling import resample

    voxels = np.random.default_rng(2).integers(-1000, 400, shape, dtype=np.int16)
    out = tuple(int(n * s) for n, s in zip(shape, SPACING_ZYX_MM, strict=True))
    to_index = np.diag([*(1 / s for s in SPACING_ZYX_MM), 1.0])
    for order, name in ((1, "resampling, linear"), (3, "resampling, cubic")):
        yield _point(curve, position, name, partial(resample, voxels, to_index, out, order=order))


def _point(curve: str, position: float, kernel: str, call: Call) -> Row:
    timed = row(kernel, "", call, {})
    low, high = timed["spread_ms"]["coldspot"]
    return {
        "curve": curve,
        "at": position,
        "kernel": kernel,
        "ms": timed["coldspot_ms"],
        "least_ms": low,
        "greatest_ms": high,
        "peak_mb": _peak_mb(call),
    }


def _peak_mb(call: Call) -> float:
    """Peak memory of a call, MB; NumPy reports its arrays to tracemalloc."""
    tracemalloc.start()
    call()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 1e6


def draw(report: Row, to: Path) -> None:
    """Draw time above and memory below, one column per curve."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    curves = [curve for curve in CURVES if any(p["curve"] == curve for p in report["points"])]
    figure, axes = plt.subplots(2, len(curves), figsize=(3.6 * len(curves), 5.6), squeeze=False, sharey="row")
    for column, curve in zip(axes.T, curves, strict=True):
        for kernel in dict.fromkeys(p["kernel"] for p in report["points"]):
            at_curve = [p for p in report["points"] if (p["curve"], p["kernel"]) == (curve, kernel)]
            for axis, value in zip(column, ("ms", "peak_mb"), strict=True):
                if at_curve:
                    axis.plot(
                        [p["at"] for p in at_curve], [p[value] for p in at_curve], marker=".", label=kernel
                    )
        for axis in column:
            axis.set_yscale("log")
            axis.grid(visible=True, alpha=0.3)
        column[1].set_xlabel(LABELS[curve])
    axes[0, 0].set_ylabel("time, ms")
    axes[1, 0].set_ylabel("peak memory, MB")
    legend = axes[0, 0].get_legend_handles_labels()
    figure.legend(*legend, loc="lower center", ncols=len(legend[0]), fontsize="small", frameon=False)
    figure.suptitle(
        f"{report['machine']['processor']}, {report['machine']['threads']} threads", fontsize="small"
    )
    figure.tight_layout(rect=(0, 0.05, 1, 1))
    figure.savefig(to, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="draw the curves")
    parser.add_argument("--only", nargs="+", choices=CURVES, default=CURVES)
    parser.add_argument("--threads", type=int, default=THREADS)
    arguments = parser.parse_args()
    pin(arguments.threads)
    report: Row = {"machine": machine(arguments.threads), "points": []}
    if not arguments.json:
        host = report["machine"]
        print(f"{host['processor']}, {host['threads']} threads, load {host['load_before']:.1f}")
        print("curve, at, kernel, ms [least, greatest], peak MB")
    for curve in arguments.only:
        for point in points(curve):
            report["points"].append(point)
            if not arguments.json:
                spread = f"[{point['least_ms']:.1f}, {point['greatest_ms']:.1f}]"
                print(
                    f"{curve:7} {point['at']:7.1f} {point['kernel']:20} {point['ms']:8.1f} {spread:18} "
                    f"{point['peak_mb']:7.1f}",
                    flush=True,
                )
    if arguments.plot:
        draw(report, arguments.plot)
    if arguments.json:
        print(json.dumps(report))


if __name__ == "__main__":
    main()
