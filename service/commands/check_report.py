"""What was checked, as JSON for a program and as a table for a person."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from engine import DISCLAIMER
from engine.input_warning import InputWarningCode
from engine.structures.mask_inspection import inspect_mask
from service.commands.checking import CORE, PLANNING, TUMOR, VERIFICATION, ZONE, CheckedInputs, InputProblem
from service.commands.terminal import fact_table
from service.figures_in_words import NOT_GIVEN, number, position

if TYPE_CHECKING:
    from rich.table import Table

    from engine.geometry import Vector3, VolumeGeometry
    from engine.volume import LabelMask

_CTS: Final = (PLANNING, VERIFICATION)
_MASKS: Final = (TUMOR, ZONE, CORE)
_DIRECTIONS: Final = (("right", "left"), ("anterior", "posterior"), ("inferior", "superior"))
_TITLES: Final = {
    PLANNING: "Planning CT",
    VERIFICATION: "Verification CT",
    TUMOR: "Tumor mask",
    ZONE: "Ablation zone mask",
    CORE: "Core mask",
}


def check_json(checked: CheckedInputs) -> dict[str, Any]:
    """Return what was checked; every input has a key, null where it was not given or could not be read."""
    return {
        **{name: _ct_figures(checked, name) for name in _CTS},
        **{name: _mask_figures(checked, name) for name in _MASKS},
        "warnings": list(dict.fromkeys(named.warning.message for named in checked.warnings)),
        "warning_details": [
            {"code": named.warning.code.value, "message": named.warning.message, "input": named.input}
            for named in checked.warnings
        ],
        "errors": [_problem(problem) for problem in checked.problems],
        "disclaimer": DISCLAIMER,
    }


def check_table(report: dict[str, Any]) -> Table:
    """Return the readable form of a checked procedure."""
    errors = report["errors"]
    title = "These inputs can be assessed" if not errors else "These inputs cannot be assessed as they are"
    return fact_table(title, _facts(report))


def _problem(problem: InputProblem) -> dict[str, Any]:
    return {"code": problem.code, "message": problem.message, "input": problem.input}


def _ct_figures(checked: CheckedInputs, name: str) -> dict[str, Any] | None:
    ct = checked.cts.get(name)
    if ct is None:
        return None
    acquisition = ct.acquisition
    return {
        "source": checked.sources[name].name,
        "format": checked.sources[name].format,
        **_grid(ct.geometry),
        "hu_min": int(ct.voxels_hu.min()),
        "hu_max": int(ct.voxels_hu.max()),
        "acquired_at": acquisition.acquired_at or None,
        "series_description": acquisition.series_description or None,
        "convolution_kernel": acquisition.convolution_kernel or None,
        "slice_thickness_mm": acquisition.slice_thickness_mm,
        "instance_count": acquisition.instance_count,
        "patient_match": _is_same_patient(checked) if name == VERIFICATION else None,
    }


def _is_same_patient(checked: CheckedInputs) -> bool | None:
    """Whether both CTs name one patient; None where one of them names nobody."""
    named = [ct.acquisition.patient_id for ct in checked.cts.values()]
    return named[0] == named[1] if len(named) == 2 and all(named) else None


def _mask_figures(checked: CheckedInputs, name: str) -> dict[str, Any] | None:
    mask = checked.masks.get(name)
    if mask is None:
        return None
    found = inspect_mask(mask)
    return {
        "source": checked.sources[name].name,
        "format": checked.sources[name].format,
        "voxels": found.voxels,
        "volume_ml": found.volume_ml,
        "parts": len(found.parts),
        "holes": len(found.holes),
        "empty_slices": found.empty_slices,
        "channels": len(found.channels),
        "pits": len(found.pits),
        "largest_part_lps_mm": list(found.parts[0].place_lps_mm),
        "patient_match": _is_patient_of_its_ct(checked, name, mask),
        **_grid(mask.geometry),
    }


def _is_patient_of_its_ct(checked: CheckedInputs, name: str, mask: LabelMask) -> bool | None:
    """True for a DICOM mask: one of another patient is an error. None where no patient was compared."""
    unchecked = any(warning.code is InputWarningCode.PATIENT_NOT_CHECKED for warning in mask.warnings)
    return None if unchecked or not checked.sources[name].is_dicom else True


def _grid(grid: VolumeGeometry) -> dict[str, Any]:
    return {
        "shape_zyx": list(grid.shape_zyx),
        "spacing_zyx_mm": list(grid.spacing_zyx_mm),
        "origin_lps_mm": list(grid.origin_lps_mm),
        "directions_zyx_lps": [list(direction) for direction in grid.directions_zyx_lps],
        "orientation_zyx": [_toward(direction) for direction in grid.directions_zyx_lps],
    }


def _toward(direction: Vector3) -> str:
    """The anatomical direction nearest to that in which an axis runs."""
    axis = int(np.argmax(np.abs(direction)))
    return _DIRECTIONS[axis][int(direction[axis] > 0)]


def _facts(report: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for name in _CTS:
        if report[name] is not None:
            yield _TITLES[name], "\n".join(_ct_lines(report[name]))
    for name in _MASKS:
        if report[name] is not None:
            yield _TITLES[name], "\n".join(_mask_lines(report[name]))
    for warning in report["warnings"]:
        yield "Warning", warning
    for error in report["errors"]:
        of = f", {_TITLES[error['input']]}" if error["input"] is not None else ""
        yield f"ERROR{of}", f"{error['message']} ({error['code']})"


def _ct_lines(figures: dict[str, Any]) -> Iterator[str]:
    yield _source_line(figures)
    yield _grid_line(figures)
    yield f"{figures['hu_min']} to {figures['hu_max']} HU"
    described = [
        figures["series_description"],
        figures["convolution_kernel"] and f"kernel {figures['convolution_kernel']}",
        figures["slice_thickness_mm"] and f"slice thickness {number(figures['slice_thickness_mm'], 2)} mm",
        figures["instance_count"] and f"{figures['instance_count']} instances",
    ]
    if any(described):
        yield ", ".join(part for part in described if part)
    yield f"acquired at {figures['acquired_at'] or NOT_GIVEN}"
    yield from _patient_line(figures, "planning CT")


def _mask_lines(figures: dict[str, Any]) -> Iterator[str]:
    yield _source_line(figures)
    yield f"{number(figures['volume_ml'], 2)} mL, {figures['voxels']} voxels"
    counted = ("parts", "holes", "empty_slices", "channels", "pits")
    yield ", ".join(f"{name.replace('_', ' ')} {figures[name]}" for name in counted)
    yield f"largest part at LPS ({position(figures['largest_part_lps_mm'])}) mm"
    yield from _patient_line(figures, "its CT")


def _source_line(figures: dict[str, Any]) -> str:
    return f"{figures['source']}, {figures['format']}"


def _grid_line(figures: dict[str, Any]) -> str:
    shape = " x ".join(str(size) for size in figures["shape_zyx"])
    spacing = " x ".join(f"{size:.4g}" for size in figures["spacing_zyx_mm"])
    toward = ", ".join(figures["orientation_zyx"])
    return f"{shape} voxels of {spacing} mm, axes toward {toward}, from LPS ({position(figures['origin_lps_mm'])}) mm"


def _patient_line(figures: dict[str, Any], other: str) -> Iterator[str]:
    if figures["patient_match"] is not None:
        yield f"patient: {'the same' if figures['patient_match'] else 'another'} as in {other}"
