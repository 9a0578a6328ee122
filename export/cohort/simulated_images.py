"""The images of a simulated cohort, and the table that goes with them."""

from __future__ import annotations

import csv
import io
import json
import math
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from scipy import ndimage

from engine.errors import ConflictError, InvalidRequestError
from engine.files.image_file import write_mask, write_volume
from engine.manifest import SIMULATED_COHORT
from engine.phantoms import PhantomProcedure, make_procedure
from engine.progress import CountProgress, ignore_progress
from export.cohort.simulation import ASSUMPTIONS, TRUE_LOG_RISK, SimulatedCase, draw_cases

_TABLE_FILE: Final = "cohort.csv"
_README_FILE: Final = "README.txt"
_DRAWN_FILE: Final = "simulation.json"
IMAGES: Final = ("planning", "verification", "tumor", "zone", "core")

_COMPLETE_MARGIN_MM: Final = (6.5, 8.0)
_INCOMPLETE_MARGIN_MM: Final = (-2.0, 3.0)
"""Least margins of the zones: far enough from 5 mm that the drawn coverage is not in doubt."""

_GRAIN_MM: Final = 1.2
_GRAIN_HU: Final = 35.0
"""Size and standard deviation of the zone's simulated grain where it is average."""


def simulate_cohort_folder(
    out: Path,
    cases: int,
    *,
    seed: int = 1,
    size_mm: float = 100.0,
    on_progress: CountProgress | None = None,
) -> Path:
    """Draw a cohort and make its images; a run that was stopped goes on.

    Parameters
    ----------
    out : Path
        Gets ``cohort.csv`` and a folder of images for every case.
    cases, seed : int
    size_mm : float
        Edge of both scans of each case.
    on_progress : callable, optional
        Called with a phase, the number of cases done, and their total.

    Returns
    -------
    Path
        The table.

    Raises
    ------
    ConflictError
        If another simulation is in this folder.
    InvalidRequestError
        If the folder cannot be written, or holds something else.
    """
    notify = on_progress or ignore_progress
    simulated = draw_cases(cases, seed)
    try:
        _begin(out, {"cases": cases, "seed": seed, "size_mm": size_mm})
        for number, case in enumerate(simulated, start=1):
            _keep_images(out / "cases" / case.case_id, case, [seed, number], size_mm)
            notify("simulating cases", number, cases)
        (out / _README_FILE).write_text(_readme(cases, seed), encoding="utf-8")
        return _write_table(out / _TABLE_FILE, [_row(case) for case in simulated])
    except OSError as error:
        raise InvalidRequestError(
            f"{out} cannot be written ({error.strerror}); name another", "out"
        ) from error


def phantom_of(case: SimulatedCase, seed: Sequence[int], size_mm: float) -> PhantomProcedure:
    """The procedure of a case without its grain: a lesion of its size, an ablation with its coverage."""
    rng = np.random.default_rng(seed)
    low, high = _COMPLETE_MARGIN_MM if case.complete else _INCOMPLETE_MARGIN_MM
    return make_procedure(
        int(rng.integers(2**31)),
        kind="complete" if case.complete else "under",
        minimal_margin_mm=float(rng.uniform(low, high)),
        tumor_volume_ml=math.pi / 6.0 * case.lesion_diameter_mm**3 / 1000.0,
        noise_hu=case.center.noise_hu,
        size_mm=size_mm,
        planning_spacing_zyx_mm=case.center.spacing_zyx_mm,
        verification_spacing_zyx_mm=case.center.spacing_zyx_mm,
    )


def _keep_images(folder: Path, case: SimulatedCase, seed: Sequence[int], size_mm: float) -> None:
    """Write the images of a case unless they exist; the folder appears whole or not at all."""
    if folder.exists():
        return
    unfinished = folder.with_name(f".{folder.name}")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    procedure = phantom_of(case, seed, size_mm)
    offset = round(case.center.offset_hu)
    planning = procedure.planning.voxels_hu + np.int16(offset)
    verification = _with_grain(procedure, case.grain, seed) + np.int16(offset)
    write_volume(unfinished / "planning.nii.gz", planning, procedure.planning.geometry)
    write_volume(unfinished / "verification.nii.gz", verification, procedure.verification.geometry)
    for name in ("tumor", "zone", "core"):
        write_mask(unfinished / f"{name}.nii.gz", getattr(procedure, name))
    unfinished.rename(folder)


def _with_grain(procedure: PhantomProcedure, grain: float, seed: Sequence[int]) -> np.ndarray:
    """HU of the verification CT with the zone's grain: smooth noise, the stronger the greater ``grain``."""
    ct, rng = procedure.verification, np.random.default_rng([*seed, 1])
    box = procedure.zone.bounding_box().slices
    inside = procedure.zone.voxels[box]
    sigma = [_GRAIN_MM / spacing for spacing in ct.geometry.spacing_zyx_mm]
    noise = ndimage.gaussian_filter(rng.standard_normal(inside.shape), sigma)
    hu = ct.voxels_hu.copy()
    hu[box] += np.rint(inside * noise / noise.std() * _GRAIN_HU * math.exp(0.5 * grain)).astype(np.int16)
    return hu


def _begin(out: Path, drawing: Mapping[str, float]) -> None:
    """Claim the folder for this simulation, or find it claimed by the same one."""
    claim = out / _DRAWN_FILE
    text = json.dumps({"source": SIMULATED_COHORT, **drawing}, indent=1) + "\n"
    if claim.exists():
        if claim.read_text(encoding="utf-8") != text:
            raise ConflictError(f"{out} holds another simulation (see {_DRAWN_FILE}): name another folder")
        return
    if out.exists() and any(out.iterdir()):
        raise InvalidRequestError(f"{out} is not empty: name a new folder", "out")
    (out / "cases").mkdir(parents=True)
    unfinished = out / f".{_DRAWN_FILE}"
    unfinished.write_text(text, encoding="utf-8")
    unfinished.replace(claim)


def _row(case: SimulatedCase) -> dict[str, object]:
    return {
        "case_id": case.case_id,
        "source": SIMULATED_COHORT,
        **{name: f"cases/{case.case_id}/{name}.nii.gz" for name in IMAGES},
        "sex": "m" if case.male else "f",
        "fibrinogen_g_per_l": case.fibrinogen_g_per_l,
        "months": case.months,
        "event": int(case.progressed),
        "split": case.center.split,
        "center": case.center.name,
        "age_years": case.age_years,
        "lesion_diameter_mm": case.lesion_diameter_mm,
        "true_complete_coverage": int(case.complete),
        TRUE_LOG_RISK: round(case.true_log_risk, 6),
    }


def _write_table(path: Path, rows: Iterable[Mapping[str, object]]) -> Path:
    """Write rows of the same columns as CSV, whole or not at all."""
    listed, text = list(rows), io.StringIO()
    writer = csv.DictWriter(text, list(listed[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(listed)
    unfinished = path.with_name(f".{path.name}")
    unfinished.write_text(text.getvalue(), encoding="utf-8")
    unfinished.replace(path)
    return path


def _readme(cases: int, seed: int) -> str:
    lines = [f"A {SIMULATED_COHORT} of {cases} cases (seed {seed}): nobody in it is a patient.", ""]
    return "\n".join([*lines, *(f"- {line}" for line in ASSUMPTIONS)]) + "\n"
