"""Radiomics of a 4 cm zone in a whole chest CT: a signature's eleven features, all 1316, and plain PyRadiomics.

    python -m benchmarks.radiomics [--repeats N] [--library] [--json]

CPU time is given with wall time: on a shared machine only CPU time repeats. ``--library`` also times PyRadiomics on the
whole CT, as its documentation calls it, and compares every feature. Needs ``make setup-export``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from typing import Any, Final

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from benchmarks.threads import THREADS
from engine.geometry import VolumeGeometry
from engine.manifest.signature import RadiomicsSettings
from engine.radiomics import EXTRACTOR, extract_features
from engine.volume import CtVolume, LabelMask
from tests.support.radiomics_zones import (
    SIGNATURE_FEATURES,
    library_features,
    relative_differences,
)

SHAPE_ZYX: Final = (300, 512, 512)
SPACING_ZYX_MM: Final = (1.0, 0.7, 0.7)
RADIUS_MM: Final = 20.0

Row = dict[str, Any]


def chest_with_zone() -> tuple[CtVolume, LabelMask]:
    """Correlated noise like lung, a zone like consolidation."""
    rng = np.random.default_rng(0)
    grid = VolumeGeometry(SHAPE_ZYX, SPACING_ZYX_MM)
    axes = [(np.arange(n) - n // 2) * step for n, step in zip(SHAPE_ZYX, SPACING_ZYX_MM, strict=True)]
    squared = axes[0][:, None, None] ** 2 + axes[1][:, None] ** 2 + axes[2] ** 2
    inside = squared <= RADIUS_MM**2
    # A block of noise, repeated: a whole chest of it would take longer than what is timed.
    block = ndimage.gaussian_filter(rng.normal(size=(50, 128, 128)), 1.0, mode="wrap")
    noise = np.tile(block / block.std(), (6, 4, 4)).astype(np.float32)
    hu = np.where(inside, -40 + 90 * noise, -800 + 120 * noise)
    return CtVolume(np.rint(hu).astype(np.int16), grid), LabelMask(inside, grid, "ablation zone")


def timed(name: str, compute: Callable[[], dict[str, float]], repeats: int) -> tuple[Row, dict[str, float]]:
    """Time after one call that is not counted."""
    features = compute()
    wall, cpu = [], []
    for _ in range(repeats):
        started, used = time.perf_counter(), time.process_time()
        compute()
        wall.append(time.perf_counter() - started)
        cpu.append(time.process_time() - used)
    row = {
        "contender": name,
        "features": len(features),
        "wall_s": statistics.median(wall),
        "least_wall_s": min(wall),
        "cpu_s": statistics.median(cpu),
        "runs": repeats,
    }
    return row, features


def as_itk(ct: CtVolume, zone: LabelMask) -> tuple[Any, Any]:
    images = sitk.GetImageFromArray(ct.voxels_hu), sitk.GetImageFromArray(zone.voxels.astype(np.uint8))
    for image in images:
        image.SetSpacing(ct.geometry.spacing_zyx_mm[::-1])
    return images


def run(options: argparse.Namespace) -> dict[str, Any]:
    ct, zone = chest_with_zone()
    settings = RadiomicsSettings()
    signature_row, signature_features = timed(
        "Coldspot, a signature of 11",
        lambda: extract_features(ct, zone, settings, SIGNATURE_FEATURES),
        options.repeats,
    )
    all_row, all_features = timed(
        "Coldspot, all", lambda: extract_features(ct, zone, settings), max(1, options.repeats // 3)
    )
    signature_row["worst_relative_difference_to_all"] = max(
        relative_differences(
            signature_features, {name: all_features[name] for name in signature_features}
        ).values()
    )
    rows = [signature_row, all_row]
    if options.library:
        image, mask = as_itk(ct, zone)
        library_row, library_values = timed(EXTRACTOR, lambda: library_features(image, mask, settings), 1)
        all_row["worst_relative_difference_to_library"] = max(
            relative_differences(all_features, library_values).values()
        )
        rows.append(library_row)
    return {
        "machine": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": THREADS,
        "load": os.getloadavg()[0],
        "python": platform.python_version(),
        "extractor": EXTRACTOR,
        "ct": {"shape_zyx": SHAPE_ZYX, "spacing_zyx_mm": SPACING_ZYX_MM},
        "zone_ml": zone.volume_ml,
        "rows": rows,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--library", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    report = run(options)
    if options.json:
        print(json.dumps(report, indent=2))
        return
    print(f"{report['zone_ml']:.1f} mL in {SHAPE_ZYX}, {THREADS} threads, load {report['load']:.1f}")
    for row in report["rows"]:
        print(
            f"{row['contender']:30} {row['features']:5} features  wall {row['wall_s']:.3f} s "
            f"(least {row['least_wall_s']:.3f})  CPU {row['cpu_s']:.3f} s  n={row['runs']}"
        )
        for key, value in row.items():
            if key.startswith("worst"):
                print(f"  {key}: {value:.2g}")


if __name__ == "__main__":
    main()
