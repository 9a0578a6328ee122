"""What ``coldspot register`` says: one object for a program, one table for a person."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import asdict, fields
from typing import Any

from rich.table import Table

from engine import DISCLAIMER, __version__
from engine.findings import RegistrationQuality
from engine.refusal import Refusal
from engine.registration.register import RegisteredPair
from service.commands.landmarks import LandmarkScore
from service.commands.terminal import fact_table
from service.figures_in_words import number


def registered_report(
    pair: RegisteredPair,
    score: LandmarkScore | None,
    duration_s: float,
    warnings: Iterable[str],
) -> dict[str, Any]:
    """Return the object that ``--json`` prints of a registration.

    Parameters
    ----------
    pair : RegisteredPair
    score : LandmarkScore, optional
    duration_s : float
    warnings : iterable of str
    """
    alignment, grid = pair.alignment, pair.field.geometry
    return {
        "method": alignment.method,
        "duration_s": duration_s,
        "landmarks": None if score is None else asdict(score),
        "quality": _quality(alignment.quality),
        "uncertainty_mm": _finite(alignment.uncertainty_mm),
        "moving_from_fixed": alignment.planning_from_verification.matrix.tolist(),
        "grid": {
            "shape_zyx": list(grid.shape_zyx),
            "spacing_zyx_mm": list(grid.spacing_zyx_mm),
            "directions_zyx_lps": [list(axis) for axis in grid.directions_zyx_lps],
            "origin_lps_mm": list(grid.origin_lps_mm),
        },
        "refusal": None,
        **_always(warnings),
    }


def refused_report(refusal: Refusal, warnings: Iterable[str], *, with_landmarks: bool) -> dict[str, Any]:
    """Return the object that ``--json`` prints of a refusal: the same keys, every number null."""
    return {
        "method": None,
        "duration_s": None,
        "landmarks": _nulls(LandmarkScore) if with_landmarks else None,
        "quality": _nulls(RegistrationQuality),
        "uncertainty_mm": None,
        "moving_from_fixed": None,
        "grid": None,
        "refusal": {"code": str(refusal.code), "reason": refusal.reason},
        **_always(warnings),
    }


def registration_table(report: dict[str, Any]) -> Table:
    """Return the readable summary of one registration."""
    return fact_table(_title(report), _rows(report))


def _title(report: dict[str, Any]) -> str:
    if report["refusal"] is not None:
        return "Not registered: no trustworthy field can be given"
    return "Where each place of the fixed CT lies in the moving CT"


def _rows(report: dict[str, Any]) -> Iterator[tuple[str, str]]:
    if report["refusal"] is not None:
        yield "REFUSED", f"{report['refusal']['reason']} ({report['refusal']['code']})"
    else:
        yield "Method", report["method"]
        yield "Expected error", f"{number(report['uncertainty_mm'], 2)} mm"
        yield from _landmark_rows(report["landmarks"])
        for name, value in report["quality"].items():
            if value is not None:
                yield _label(name), _measure(name, value)
        yield "Field", _extent(report["grid"])
        yield "Duration", f"{number(report['duration_s'], 2)} s, without reading and writing files"
    for warning in report["warnings"]:
        yield "Warning", warning


def _landmark_rows(landmarks: dict[str, Any] | None) -> Iterator[tuple[str, str]]:
    if landmarks is None:
        return
    mean, median, p95, greatest, unregistered = (
        number(landmarks[name], 2)
        for name in ("mean_mm", "median_mm", "p95_mm", "max_mm", "unregistered_mean_mm")
    )
    yield "Landmark error", f"mean {mean}, median {median}, 95 % below {p95}, greatest {greatest} mm"
    yield "Unregistered", f"mean {unregistered} mm"
    beyond = f", {landmarks['outside']} beyond the field left out" if landmarks["outside"] else ""
    yield "Landmarks", f"{landmarks['scored']} scored{beyond}"


def _extent(grid: dict[str, Any]) -> str:
    voxels = " × ".join(str(count) for count in reversed(grid["shape_zyx"]))
    spacing = " × ".join(f"{mm:.3g}" for mm in reversed(grid["spacing_zyx_mm"]))
    return f"{voxels} voxels of {spacing} mm (x, y, z)"


def _label(name: str) -> str:
    return name.removesuffix("_mm").removesuffix("_share").replace("_", " ").capitalize()


def _measure(name: str, value: float) -> str:
    """Return a quality figure with the unit that its name ends in."""
    if name.endswith("_mm"):
        return f"{number(value, 2)} mm"
    if name.endswith("_share"):
        return f"{100.0 * value:.2f} %"
    return number(value, 3)


def _always(warnings: Iterable[str]) -> dict[str, Any]:
    return {
        "warnings": list(dict.fromkeys(warnings)),
        "software": f"coldspot {__version__}",
        "disclaimer": DISCLAIMER,
    }


def _quality(quality: RegistrationQuality) -> dict[str, float | None]:
    return {name: _finite(value) for name, value in asdict(quality).items()}


def _nulls(kind: type) -> dict[str, float | None]:
    return {field.name: None for field in fields(kind)}


def _finite(value: float | None) -> float | None:
    return float(value) if value is not None and math.isfinite(value) else None
