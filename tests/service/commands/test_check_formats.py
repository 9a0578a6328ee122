"""A lost slice of a mask is found whatever the format that the mask comes in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.files.image_file import write_mask
from engine.volume import LabelMask
from tests.support.dicom_files import mask_contours, write_ct_series, write_segmentation, write_structure_set
from tests.support.image_files.procedure import GRID, ZONE, checked, ct

LOST = int(GRID.shape_zyx[0]) // 2 + 2


def faulty() -> LabelMask:
    voxels = ZONE.voxels.copy()
    voxels[LOST] = False
    return LabelMask(voxels, GRID, ZONE.name)


def written(folder: Path, kind: str) -> Path:
    mask = faulty()
    if kind == "SEG":
        return write_segmentation(folder / "mask.dcm", ct(0), {"zone": mask.voxels})
    if kind == "RTSTRUCT":
        outlines = {"zone": mask_contours(mask)}
        return write_structure_set(
            folder / "mask.dcm", outlines, frame_of_reference_uid=GRID.frame_of_reference_uid
        )
    path = folder / f"mask{kind}"
    write_mask(path, mask)
    return path


def checked_on_dicom(folder: Path, kind: str) -> tuple[int, dict[str, Any]]:
    planning = folder / "ct"
    planning.mkdir()
    write_ct_series(planning, ct(0))
    return checked("--planning", str(planning), "--tumor", str(written(folder, kind)))


def test_outlines_without_a_slice_between_are_refused(tmp_path: Path) -> None:
    exit_code, told = checked_on_dicom(tmp_path, "RTSTRUCT")
    assert exit_code == 2
    assert [error["code"] for error in told["errors"]] == ["grid_mismatch"]
    assert "none between" in told["errors"][0]["message"]


@pytest.mark.parametrize("kind", [".nii", ".nii.gz", ".nrrd", ".mha", "SEG"])
def test_a_lost_slice_is_found_in_every_format(tmp_path: Path, kind: str) -> None:
    exit_code, told = checked_on_dicom(tmp_path, kind)
    assert exit_code == 0, told["errors"]
    tumor = told["tumor"]
    assert tumor["empty_slices"] == 1
    assert tumor["parts"] == 2
    assert tumor["voxels"] == np.count_nonzero(faulty().voxels)
    (lost,) = (w["message"] for w in told["warning_details"] if w["code"] == "mask_slice_lost")
    assert f"slice {LOST + 1} of {GRID.shape_zyx[0]}" in lost
