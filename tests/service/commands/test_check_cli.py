"""``coldspot check``: what it prints of good inputs and of bad ones."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import service.commands.cli
from engine.files.image_file import write_mask, write_volume
from engine.volume import LabelMask
from tests.support.image_files.procedure import (
    BOTH_CTS,
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


@pytest.fixture(autouse=True)
def _stubbed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service.commands.cli, "make_pipeline", lambda _settings: ReadingStub())
    monkeypatch.setenv("COLUMNS", "200")


@pytest.fixture
def paths(tmp_path: Path) -> dict[str, Path]:
    return write_procedure(tmp_path)


def test_good_inputs_are_described(paths: dict[str, Path]) -> None:
    exit_code, told = checked(*options(paths))
    assert (exit_code, told["errors"]) == (0, [])
    for seed, name in enumerate(BOTH_CTS):
        hu = ct(seed).voxels_hu
        assert told[name]["shape_zyx"] == list(GRID.shape_zyx)
        assert told[name]["spacing_zyx_mm"] == pytest.approx(GRID.spacing_zyx_mm)
        assert told[name]["origin_lps_mm"] == pytest.approx(GRID.origin_lps_mm)
        assert (told[name]["hu_min"], told[name]["hu_max"]) == (hu.min(), hu.max())
        assert told[name]["orientation_zyx"] == ["superior", "posterior", "left"]
        assert told[name]["format"] == "NIfTI"
    for name, mask in (("tumor", TUMOR), ("zone", ZONE)):
        assert told[name]["voxels"] == np.count_nonzero(mask.voxels)
        assert told[name]["volume_ml"] == pytest.approx(mask.volume_ml)
        assert [told[name][key] for key in ("parts", "holes", "empty_slices")] == [1, 0, 0]
    assert all(isinstance(warning, str) for warning in told["warnings"])
    assert [detail["message"] for detail in told["warning_details"]] == told["warnings"]


def test_what_was_not_given_is_null(paths: dict[str, Path]) -> None:
    exit_code, told = checked("--planning", str(paths["planning"]))
    assert exit_code == 0
    assert told["planning"]
    for name in ("verification", "tumor", "zone", "core"):
        assert told[name] is None
    assert told["errors"] == []


def test_faults_of_masks_are_counted_and_named(paths: dict[str, Path]) -> None:
    voxels = ZONE.voxels.copy()
    middle = [int(size) // 2 for size in GRID.shape_zyx]
    voxels[middle[0] + 1] = False
    voxels[middle[0] - 3, middle[1], middle[2]] = False
    voxels[2, 2, 2] = True
    write_mask(paths["zone"], LabelMask(voxels, GRID))
    exit_code, told = checked(*options(paths))
    assert exit_code == 0
    zone = told["zone"]
    assert (zone["parts"], zone["holes"]) == (3, 1)
    codes = [detail["code"] for detail in told["warning_details"] if detail["input"] == "zone"]
    assert codes == ["mask_slice_lost", "mask_hole", "mask_stray_part", "mask_several_parts"]


def test_clinical_mode_refuses_and_still_tells_the_figures(
    paths: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    voxels = ZONE.voxels.copy()
    voxels[GRID.shape_zyx[0] // 2] = False
    write_mask(paths["zone"], LabelMask(voxels, GRID))
    monkeypatch.setenv("COLDSPOT_CLINICAL_MODE", "true")
    exit_code, told = checked(*options(paths))
    assert exit_code == 2
    assert [(error["code"], error["input"]) for error in told["errors"]] == [
        ("refused_in_clinical_mode", "zone")
    ]
    assert told["zone"]["empty_slices"] == 1
    assert run("assess", *options(paths), "--json").exit_code == 2


def test_one_error_does_not_hide_another(paths: dict[str, Path]) -> None:
    paths["planning"].write_bytes(paths["planning"].read_bytes()[:-9])
    write_mask(paths["core"], LabelMask(np.zeros(GRID.shape_zyx, dtype=np.bool_), GRID))
    exit_code, told = checked(*options({**paths, "zone": paths["zone"].with_name("nowhere.nii.gz")}))
    assert exit_code == 2
    assert [(error["code"], error["input"]) for error in told["errors"]] == [
        ("unreadable_file", "planning"),
        ("unreadable_file", "zone"),
        ("empty_mask", "core"),
    ]
    assert all(error["message"] for error in told["errors"])
    assert told["planning"] is told["zone"] is told["core"] is None
    assert told["verification"]
    assert told["tumor"]["voxels"] == np.count_nonzero(TUMOR.voxels), "read without its CT"
    assert "the tumor mask was not compared with its CT, which could not be read" in told["warnings"]


def test_wrong_settings_are_told_in_the_same_form(
    paths: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLDSPOT_MAX_VOXELS", "many")
    exit_code, told = checked(*options(paths))
    assert exit_code == 2
    assert [(error["code"], error["input"]) for error in told["errors"]] == [("invalid_request", None)]
    assert told["planning"] is None


def test_a_person_reads_a_table(paths: dict[str, Path]) -> None:
    good = run("check", *options(paths))
    assert good.exit_code == 0
    for part in (
        "These inputs can be assessed",
        "planning.nii.gz, NIfTI",
        "HU",
        "mL",
        "parts 1",
        "Research software",
    ):
        assert part in good.stdout
    paths["tumor"].unlink()
    bad = run("check", *options(paths))
    assert bad.exit_code == 2
    assert "cannot be assessed" in bad.stdout
    assert "ERROR, Tumor mask" in bad.stdout
    assert "unreadable_file" in bad.stdout


@pytest.mark.parametrize(
    ("spacing_zyx_mm", "code"), [((6.0, 0.8, 0.8), "slices_too_thick"), ((1.5, 0.8, 0.8), None)]
)
def test_a_refusal_that_needs_no_measurement_is_found(
    paths: dict[str, Path], spacing_zyx_mm: tuple[float, float, float], code: str | None
) -> None:
    grid = replace(GRID, spacing_zyx_mm=spacing_zyx_mm)
    write_volume(paths["verification"], ct(1, grid).voxels_hu, grid)
    for name, mask in (("zone", ZONE), ("core", ZONE)):
        write_mask(paths[name], LabelMask(mask.voxels, grid))
    exit_code, told = checked(*options(paths))
    assert [error["code"] for error in told["errors"]] == ([] if code is None else [code])
    assert exit_code == (0 if code is None else 3)


def test_structures_cut_by_the_field_of_view_are_refusals(paths: dict[str, Path]) -> None:
    at_the_edge = np.zeros(GRID.shape_zyx, dtype=np.bool_)
    at_the_edge[:6, 20:30, 20:30] = True
    for name in ("tumor", "zone"):
        write_mask(paths[name], LabelMask(at_the_edge, GRID))
    exit_code, told = checked(*options(paths))
    assert exit_code == 3
    assert [(error["code"], error["input"]) for error in told["errors"]] == [
        ("target_cut_by_field_of_view", "planning"),
        ("zone_cut_by_field_of_view", "zone"),
    ]
