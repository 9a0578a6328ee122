"""Does the interval hold on thick slices? Balls in balls at every phase of the slices, the pose off by what it claims.

``python -m benchmarks.calibration.thick_slices --cases 30 --out benchmarks/results/calibration/thick_slices.md``

No CT and no registration: masks of balls whose coverage has a formula, in both scans sampled at slice centers, and a
pose that is off by a random vector of the standard deviation that the interval is told. Minutes, not hours.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from engine.arrays import Float64Array
from engine.coverage.grid import build_measurement_field
from engine.coverage.interval import LOCAL_SHARE, UNIFORM_SHARE, PoseUncertainty, coverage_interval
from engine.coverage.ratio import measure_coverage
from engine.findings import READER_CONTOUR_SD_MM
from engine.geometry import RigidTransform, VolumeGeometry
from engine.phantoms.closed_form import rasterize_sphere, sphere_minimal_margin_mm, sphere_overlap_tcr
from engine.structures.surface import StructureSurface

SLICES_MM: Final = ((1.0, 1.0), (2.5, 2.5), (3.0, 3.0), (1.0, 5.0), (5.0, 1.0), (5.0, 5.0))
"""Slice distances of planning and verification CT."""

POSE_SD_MM: Final = 0.3
PIXEL_MM: Final = 0.75
_NORMAL: Final = np.array([0.0, 0.0, 1.0])


@dataclass(frozen=True)
class _Case:
    """Errors of one case, and whether its intervals hold the truth."""

    tcr_error: float
    margin_error_mm: float
    tcr_held: bool
    margin_held: bool
    tcr_width: float
    margin_width_mm: float


def measure_case(rng: np.random.Generator, slices_mm: tuple[float, float]) -> _Case:
    """Draw a tumor of 8 to 24 mm and a zone with a margin of 1 to 7 mm, and measure them."""
    tumor_mm, margin_mm = rng.uniform(4.0, 12.0), rng.uniform(1.0, 7.0)
    off = rng.normal(size=3) * rng.uniform(0.0, 1.2)
    zone_mm = tumor_mm + margin_mm + float(np.linalg.norm(off))
    tumor = rasterize_sphere(_grid(rng, slices_mm[0], tumor_mm + 2.0), np.zeros(3), tumor_mm)
    zone = rasterize_sphere(_grid(rng, slices_mm[1], zone_mm + 7.0), off, zone_mm, "ablation zone")
    moved = np.eye(4)
    moved[:3, 3] = rng.normal(0.0, POSE_SD_MM, 3)
    field = build_measurement_field(
        StructureSurface(tumor), StructureSurface(zone), None, None, RigidTransform(moved)
    )
    whole, _ = measure_coverage(field, field.zone, field.distance_to_zone_mm)
    interval = coverage_interval(
        field,
        PoseUncertainty(np.eye(3) * POSE_SD_MM**2, 0.5),
        planning_slice=(_NORMAL, slices_mm[0]),
        verification_slice=(_NORMAL, slices_mm[1]),
        tumor_contour_sd_mm=UNIFORM_SHARE * READER_CONTOUR_SD_MM,
        zone_contour_sd_mm=UNIFORM_SHARE * READER_CONTOUR_SD_MM,
        tumor_local_sd=LOCAL_SHARE * READER_CONTOUR_SD_MM,
        zone_local_sd=LOCAL_SHARE * READER_CONTOUR_SD_MM,
        draws=500,
    )
    shift_mm = float(np.linalg.norm(off))
    true_tcr = sphere_overlap_tcr(tumor_mm, 5.0, zone_mm, shift_mm)
    true_mm = sphere_minimal_margin_mm(tumor_mm, zone_mm, shift_mm)
    (low, high), (low_mm, high_mm) = interval.tcr_90, interval.minimal_mm_90
    return _Case(
        whole.tcr - true_tcr,
        whole.minimal_mm - true_mm,
        low <= true_tcr <= high,
        low_mm <= true_mm <= high_mm,
        high - low,
        high_mm - low_mm,
    )


def _grid(rng: np.random.Generator, slice_mm: float, half_mm: float) -> VolumeGeometry:
    """A grid around the origin at a random phase."""
    spacing = (slice_mm, PIXEL_MM, PIXEL_MM)
    nz, ny, nx = (2 * int(np.ceil(half_mm / s)) + 3 for s in spacing)
    first: Float64Array = (rng.uniform(-0.5, 0.5, 3) - [nx // 2, ny // 2, nz // 2]) * np.array(spacing[::-1])
    x, y, z = (float(v) for v in first)
    return VolumeGeometry((nz, ny, nx), spacing, origin_lps_mm=(x, y, z))


def _row(slices_mm: tuple[float, float], cases: list[_Case]) -> str:
    errors = np.array([case.tcr_error for case in cases])
    margins = np.array([case.margin_error_mm for case in cases])
    tcr_held, margin_held = (
        sum(held) for held in zip(*((c.tcr_held, c.margin_held) for c in cases), strict=True)
    )
    return (
        f"| {slices_mm[0]:g} / {slices_mm[1]:g} | {len(cases)} | {np.sqrt((errors**2).mean()):.3f} "
        f"| {margins.mean():+.2f} | {np.sqrt((margins**2).mean()):.2f} | {tcr_held} | {margin_held} "
        f"| {np.median([c.tcr_width for c in cases]):.2f} | {np.median([c.margin_width_mm for c in cases]):.2f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--cases", type=int, default=30, help="for each pair of slice distances")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    introduction = (
        f"`python -m benchmarks.calibration.thick_slices --cases {options.cases}`: masks at slice centers, pose off by "
        f"{POSE_SD_MM:g} mm (standard deviation along each axis), as the interval is told; contours exact, while the "
        "interval allows for a reader's error."
    )
    head = (
        "| slices, mm (planning / verification) | cases | RMS error of TCR | margin bias, mm | RMS error, mm "
        "| TCR held | margin held | median width of TCR | of margin, mm |"
    )
    lines = ["# Thick slices: balls in balls", "", introduction, "", head, "|---" * 9 + "|"]
    for number, slices_mm in enumerate(SLICES_MM):
        rng = np.random.default_rng([17, number])
        lines.append(_row(slices_mm, [measure_case(rng, slices_mm) for _ in range(options.cases)]))
        print(lines[-1], flush=True)
    options.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
