"""What ``coldspot register`` does: read two CTs, register them, score landmarks, write the field."""

from __future__ import annotations

import contextlib
import json
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import numpy as np
from scipy import ndimage

from engine.assessment.same_patient import check_same_patient
from engine.errors import InvalidRequestError
from engine.files.displacement_file import write_displacement
from engine.files.image_file import write_volume
from engine.files.reading import read_ct, read_mask
from engine.geometry import VolumeGeometry
from engine.input_warning import InputWarning, InputWarningCode
from engine.kernels.backend import KernelBackend
from engine.progress import TextProgress
from engine.refusal import RefusedError
from engine.registration.field import DisplacementField
from engine.registration.register import RegisteredPair, register
from engine.registration.warping import warp
from engine.structures.mask_warnings import inspected
from engine.unit_doubt import STORED_OFFSET_HU, looks_like_stored_values
from engine.volume import CtVolume, LabelMask
from service.commands.landmarks import read_landmarks, score_landmarks
from service.commands.out_folder import require_out_folder
from service.commands.registration_report import refused_report, registered_report

FIELD_FILE: Final = "displacement.nii.gz"
WARPED_FILE: Final = "warped.nii.gz"
REPORT_FILE: Final = "registration.json"

_WARM_UP_VOXELS: Final = 60
_WARM_UP_SPACING_MM: Final = 2.0


@dataclass(frozen=True)
class RegistrationRequest:
    """Two CTs to register, and where the result goes.

    Parameters
    ----------
    fixed, moving : Path
        CT after the ablation, and planning CT.
    out : Path
        Folder of the result.
    fixed_zone, moving_tumor, landmarks : Path, optional
    fixed_series, moving_series : str
        Which one, if a folder holds several: number, UID or description.
    fixed_zone_structure, moving_tumor_structure : str
        Which one, if a file has several: label, number or label of a segment, ROI name.
    deadline_s : float, optional
        Limit for the registration alone.
    """

    fixed: Path
    moving: Path
    out: Path
    fixed_zone: Path | None = None
    moving_tumor: Path | None = None
    landmarks: Path | None = None
    fixed_series: str = ""
    moving_series: str = ""
    fixed_zone_structure: str = ""
    moving_tumor_structure: str = ""
    deadline_s: float | None = None


def register_files(request: RegistrationRequest, progress: TextProgress) -> dict[str, Any]:
    """Register two CTs from files and write ``displacement.nii.gz``, ``warped.nii.gz`` and ``registration.json``.

    Parameters
    ----------
    request : RegistrationRequest
    progress : callable
        Called with what is being done.

    Returns
    -------
    dict
        What ``registration.json`` holds. A refusal has null for every number and leaves no field.

    Raises
    ------
    InputError, InterruptedAssessmentError, BackendError
    """
    _require_time(request.deadline_s)
    _clear(request.out)
    progress("reading")
    landmarks = None if request.landmarks is None else read_landmarks(request.landmarks)
    fixed = in_hounsfield_units(read_ct(request.fixed, request.fixed_series))
    moving = in_hounsfield_units(read_ct(request.moving, request.moving_series))
    zone = _mask(request.fixed_zone, fixed, "ablation zone", request.fixed_zone_structure)
    tumor = _mask(request.moving_tumor, moving, "tumor", request.moving_tumor_structure)
    warnings = [
        *check_same_patient(moving, fixed, ("moving", "fixed")),
        *(f"fixed CT: {warning}" for warning in fixed.acquisition.warnings),
        *(f"moving CT: {warning}" for warning in moving.acquisition.warnings),
        *(str(warning) for mask in (zone, tumor) if mask is not None for warning in mask.warnings),
    ]
    progress("loading the kernels")
    warm_up(with_zone=zone is not None, with_tumor=tumor is not None)
    progress("registering")
    started = time.perf_counter()
    try:
        pair = register(
            fixed,
            moving,
            fixed_zone=zone,
            moving_tumor=tumor,
            deadline_s=request.deadline_s,
            kernels=KernelBackend.CPU,
        )
    except RefusedError as refused:
        report = refused_report(refused.refusal, warnings, with_landmarks=landmarks is not None)
        _write(request.out, report)
    else:
        duration_s = time.perf_counter() - started
        score = None if landmarks is None else score_landmarks(pair.field, landmarks)
        report = registered_report(pair, score, duration_s, [*warnings, *_doubts(pair)])
        progress("writing")
        _write(request.out, report, pair.field, warp(moving, fixed, pair.field))
    return report


def _doubts(pair: RegisteredPair) -> Iterator[str]:
    """A warning for each region where the field should not be relied on."""
    for region in pair.doubtful:
        x, y, z = region.place_lps_mm
        yield (
            f"around LPS ({x:.0f}, {y:.0f}, {z:.0f}) mm of the fixed CT ({region.volume_ml:.0f} mL) the images still "
            f"disagree by {region.largest_mm:.1f} mm: do not rely on the field there"
        )


def _write(
    out: Path, report: dict[str, Any], field: DisplacementField | None = None, warped: CtVolume | None = None
) -> None:
    """Write the files of one answer; they appear in the folder when all of them are there."""
    text = json.dumps(report, indent=2, allow_nan=False) + "\n"
    try:
        with TemporaryDirectory(prefix=".coldspot-", dir=out) as folder:
            unfinished = Path(folder)
            if field is not None and warped is not None:
                write_displacement(unfinished / FIELD_FILE, field)
                write_volume(unfinished / WARPED_FILE, warped.voxels_hu, warped.geometry)
            (unfinished / REPORT_FILE).write_text(text, encoding="utf-8")
            for path in sorted(unfinished.iterdir()):
                path.replace(out / path.name)
    except OSError as error:
        raise InvalidRequestError(
            f"the files of the registration could not be written to {out}: {error.strerror}", "out"
        ) from error


def warm_up(*, with_zone: bool, with_tumor: bool) -> None:
    """Load (or the very first time compile) every kernel of a registration on a small pair made up for it."""
    fixed, moving, zone, tumor = _warm_up_pair()
    with contextlib.suppress(RefusedError):  # kernels are loaded, whatever comes of a made-up pair
        register(
            fixed,
            moving,
            fixed_zone=zone if with_zone else None,
            moving_tumor=tumor if with_tumor else None,
            kernels=KernelBackend.CPU,
        )


def _warm_up_pair() -> tuple[CtVolume, CtVolume, LabelMask, LabelMask]:
    """Smooth structure with a tumor in it, and the same moved by one voxel."""
    rng = np.random.default_rng(0)
    noise = ndimage.gaussian_filter(rng.standard_normal((_WARM_UP_VOXELS,) * 3), 2.0)
    hu = (-800.0 + 200.0 * noise / noise.std()).astype(np.int16)
    geometry = VolumeGeometry(hu.shape, (_WARM_UP_SPACING_MM,) * 3)
    away = np.indices(hu.shape) - _WARM_UP_VOXELS // 2
    radius_mm = _WARM_UP_SPACING_MM * np.sqrt((away**2).sum(axis=0))
    tumor, zone = radius_mm <= 6.0, radius_mm <= 12.0
    hu[tumor] = 40
    return (
        CtVolume(np.where(zone, -50, np.roll(hu, 1, axis=0)).astype(np.int16), geometry),
        CtVolume(hu, geometry),
        LabelMask(zone, geometry, "ablation zone"),
        LabelMask(tumor, geometry, "tumor"),
    )


def in_hounsfield_units(ct: CtVolume) -> CtVolume:
    """Return a CT that was stored without its rescale intercept (air 0, water 1024) in HU, with a warning.

    Only for registering, where 24 HU more or less decide nothing.
    """
    hu = ct.voxels_hu
    if not looks_like_stored_values(hu):
        return ct
    shifted = np.maximum(hu.astype(np.int32) - STORED_OFFSET_HU, np.iinfo(np.int16).min).astype(np.int16)
    message = (
        f"its values look like HU + {STORED_OFFSET_HU} (no rescale intercept): {STORED_OFFSET_HU} subtracted"
    )
    warning = InputWarning(InputWarningCode.UNIT_NOT_STATED, message)
    acquisition = replace(ct.acquisition, warnings=(*ct.acquisition.warnings, warning))
    return CtVolume(shifted, ct.geometry, acquisition)


def _mask(path: Path | None, ct: CtVolume, name: str, structure: str) -> LabelMask | None:
    return None if path is None else inspected(read_mask(path, ct, name, label=structure or None))


def _require_time(deadline_s: float | None) -> None:
    if deadline_s is not None and not (math.isfinite(deadline_s) and deadline_s > 0):
        raise InvalidRequestError(
            f"the deadline must be a positive time in s, not {deadline_s:g}", "deadline_s"
        )


def _clear(folder: Path) -> None:
    """Make the folder, without what an earlier call left: an old field must not pass for this one's."""
    require_out_folder(folder)
    try:
        for name in (FIELD_FILE, WARPED_FILE, REPORT_FILE):
            (folder / name).unlink(missing_ok=True)
    except OSError as error:
        raise InvalidRequestError(f"{folder} cannot take the result: {error.strerror}", "out") from error
