"""A check finds what an assessment of the same inputs ends with: by files of the field, and by spoiled ones."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import service.commands.cli
from engine.files.image_file import write_mask, write_volume
from engine.volume import LabelMask
from tests.support.dicom_files import mask_contours, write_ct_series, write_structure_set
from tests.support.image_files.procedure import (
    GRID,
    TUMOR,
    ZONE,
    ReadingStub,
    checked,
    ct,
    options,
    run,
    write_procedure,
)

DATA = os.environ.get("COLDSPOT_DATA")
FAULTS = Path(DATA or "absent") / "field-faults"
CASE = Path(DATA or "absent") / "ablation-cases" / "lidc-deep-complete"


@pytest.fixture(autouse=True)
def _stubbed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service.commands.cli, "make_pipeline", lambda _settings: ReadingStub())
    monkeypatch.setenv("COLUMNS", "200")


@pytest.fixture
def paths(tmp_path: Path) -> dict[str, Path]:
    return write_procedure(tmp_path)


Outcome = tuple[int, str | None]


def outcomes(paths: dict[str, Path]) -> tuple[Outcome, Outcome, dict[str, Any]]:
    """Exit code and first error of a check, and of an assessment, of the same inputs; and what the check told."""
    exit_code, told = checked(*options(paths))
    found = told["errors"][0]["code"] if told["errors"] else None
    assessed = run("assess", *options(paths), "--json")
    report = json.loads(assessed.stdout)
    refusal = report.get("refusal") or {}
    return (exit_code, found), (assessed.exit_code, report.get("error", refusal).get("code")), told


def _cut_off(paths: dict[str, Path]) -> None:
    paths["verification"].write_bytes(paths["verification"].read_bytes()[:-20])


def _one_byte(paths: dict[str, Path]) -> None:
    content = bytearray(paths["tumor"].read_bytes())
    content[len(content) // 2] ^= 1
    paths["tumor"].write_bytes(bytes(content))


def _gray_values(paths: dict[str, Path]) -> None:
    write_volume(paths["planning"], np.clip(ct(0).voxels_hu, 0, 255), GRID)


def _another_grid(paths: dict[str, Path]) -> None:
    write_mask(paths["zone"], LabelMask(ZONE.voxels, replace(GRID, origin_lps_mm=(0.0, 0.0, 0.0))))


def _several_labels(paths: dict[str, Path]) -> None:
    write_volume(paths["core"], ZONE.voxels.astype(np.uint8) + TUMOR.voxels, GRID)


def _fractions(paths: dict[str, Path]) -> None:
    write_volume(paths["tumor"], TUMOR.voxels * np.float32(0.5), GRID)


def _no_gzip(paths: dict[str, Path]) -> None:
    paths["planning"].write_bytes(gzip.decompress(paths["planning"].read_bytes()))


def _as_dicom(paths: dict[str, Path], **overrides: str) -> None:
    for seed, (name, drawn, mask) in enumerate(
        (("planning", "tumor", TUMOR), ("verification", "zone", ZONE))
    ):
        paths[name] = paths[name].with_name(name)
        paths[name].mkdir()
        write_ct_series(paths[name], ct(seed), **overrides)
        paths[drawn] = paths[drawn].with_name(f"{drawn}.dcm")
        outlines = {"drawn": mask_contours(mask)}
        write_structure_set(paths[drawn], outlines, frame_of_reference_uid=GRID.frame_of_reference_uid)


def _masks_of_another_patient(paths: dict[str, Path]) -> None:
    _as_dicom(paths, PatientID="ANOTHER")


SPOILED: dict[str, Callable[[dict[str, Path]], None]] = {
    "nothing": lambda _paths: None,
    "cut off": _cut_off,
    "one byte changed": _one_byte,
    "gray values": _gray_values,
    "another grid": _another_grid,
    "several labels": _several_labels,
    "fractions": _fractions,
    "not compressed": _no_gzip,
    "DICOM": _as_dicom,
    "masks of another patient": _masks_of_another_patient,
}


@pytest.mark.parametrize("spoil", SPOILED.values(), ids=SPOILED)
@pytest.mark.parametrize("clinical_mode", ["false", "true"])
def test_check_and_assess_end_alike(
    paths: dict[str, Path],
    monkeypatch: pytest.MonkeyPatch,
    spoil: Callable[[dict[str, Path]], None],
    clinical_mode: str,
) -> None:
    monkeypatch.setenv("COLDSPOT_CLINICAL_MODE", clinical_mode)
    spoil(paths)
    found, ended, _ = outcomes(paths)
    assert found == ended


ON_LIDC = {"planning": CASE / "planning.nii.gz", "verification": CASE / "verification.nii.gz"}
HALF = {"planning": CASE.parent / "lidc-half" / "planning.nii.gz"}
OUTLINED = {"planning": FAULTS / "rtstruct" / "ct"}
ROWS: dict[str, tuple[dict[str, Path], str | None, str | None, tuple[str, str, object] | None]] = {
    "pixdim 1, sform 0.78": (
        {"planning": FAULTS / "geometry" / "nifti_pixdim_1_sform_0.78.nii.gz"},
        "invalid_geometry",
        "invalid_geometry",
        None,
    ),
    "no orientation codes": (
        {"planning": FAULTS / "geometry" / "nifti_no_orientation_codes.nii.gz"},
        None,
        "refused_in_clinical_mode",
        ("planning", "shape_zyx", [40, 60, 60]),
    ),
    "sheared": (
        {"planning": FAULTS / "geometry" / "nifti_sheared_sform.nii.gz"},
        "gantry_tilt",
        "gantry_tilt",
        None,
    ),
    "no spacing": (
        {"planning": FAULTS / "geometry" / "mha_no_spacing.mha"},
        "invalid_geometry",
        "invalid_geometry",
        None,
    ),
    "no direction": (
        {"planning": FAULTS / "geometry" / "nrrd_direction_none.nrrd"},
        "invalid_geometry",
        "invalid_geometry",
        None,
    ),
    "one byte changed": (
        {**HALF, "tumor": FAULTS / "damaged" / "tumor_one_byte_changed.mha"},
        "unreadable_file",
        "unreadable_file",
        None,
    ),
    "whole": (
        {**HALF, "tumor": FAULTS / "damaged" / "tumor_whole.mha"},
        None,
        None,
        ("tumor", "voxels", 4467),
    ),
    "two crossing outlines": (
        {**OUTLINED, "tumor": FAULTS / "rtstruct" / "overlapping_two.dcm"},
        None,
        "refused_in_clinical_mode",
        ("tumor", "voxels", pytest.approx(13380, abs=20)),
    ),
    "an outline twice": (
        {**OUTLINED, "tumor": FAULTS / "rtstruct" / "repeated_other_start_3_slices.dcm"},
        None,
        None,
        ("tumor", "voxels", 13980),
    ),
    "two planes on one slice": (
        {**OUTLINED, "tumor": FAULTS / "rtstruct" / "two_planes_one_slice.dcm"},
        "grid_mismatch",
        "grid_mismatch",
        None,
    ),
    "another patient": (
        {**OUTLINED, "tumor": FAULTS / "rtstruct" / "other_patient_no_for.dcm"},
        "patient_mismatch",
        "patient_mismatch",
        None,
    ),
    "overlay in bit 12": (
        {"planning": FAULTS / "dicom-bits" / "overlay_bit12_jpegls"},
        None,
        None,
        ("planning", "hu_max", 96),
    ),
    "a slice without preamble": (
        {"planning": FAULTS / "left-out" / "last_slice_without_preamble"},
        None,
        None,
        ("planning", "shape_zyx", [12, 16, 16]),
    ),
    "an empty slice": (
        {**ON_LIDC, "zone": FAULTS / "mask-faults" / "zone_one_slice_empty.nii.gz"},
        None,
        "refused_in_clinical_mode",
        ("zone", "empty_slices", 1),
    ),
    "a stray voxel": (
        {**ON_LIDC, "tumor": FAULTS / "mask-faults" / "tumor_stray_voxel.nii.gz"},
        None,
        "refused_in_clinical_mode",
        ("tumor", "parts", 2),
    ),
}


@pytest.mark.skipif(not DATA, reason="COLDSPOT_DATA is not set: no files of the field to read")
@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
@pytest.mark.parametrize("is_clinical", [False, True], ids=["research", "clinical"])
def test_files_of_the_field_have_their_right_outcome_in_both(
    paths: dict[str, Path],
    monkeypatch: pytest.MonkeyPatch,
    row: tuple[dict[str, Path], str | None, str | None, tuple[str, str, object] | None],
    *,
    is_clinical: bool,
) -> None:
    given, code, clinical_code, figure = row
    expected = clinical_code if is_clinical else code
    monkeypatch.setenv("COLDSPOT_CLINICAL_MODE", str(is_clinical).lower())
    inputs = {"verification": paths["verification"], **given}
    found, ended, told = outcomes(inputs)
    assert found == ended == (0 if expected is None else 2, expected)
    if figure is not None:
        name, key, value = figure
        assert told[name][key] == value
