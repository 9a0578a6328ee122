from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk

from service.pipeline.artifact_files import write_artifacts
from tests.support.sheets import FACTS, missed, pleural, refused

FILES = {
    *(
        f"{name}.nii.gz"
        for name in ("tumor", "target", "zone", "uncovered", "margin_mm", "verification_region")
    ),
    "sheet.png",
}


def test_an_assessment_has_its_pictures_and_a_refused_one_only_its_sheet(tmp_path: Path) -> None:
    write_artifacts(refused(), FACTS, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["sheet.png"]
    write_artifacts(missed(), FACTS, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == FILES


def test_what_cannot_be_assessed_has_a_label_of_its_own(tmp_path: Path) -> None:
    for found, labels in ((missed(), {0, 1}), (pleural(), {0, 2})):
        write_artifacts(found, FACTS, tmp_path)
        stored = sitk.GetArrayFromImage(sitk.ReadImage(tmp_path / "uncovered.nii.gz"))
        assert set(np.unique(stored)) == labels
