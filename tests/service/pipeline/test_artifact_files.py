from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from engine.selftest.phantom import warm_up
from service.pipeline.artifact_files import write_artifacts

FILES = {
    *(
        f"{name}.nii.gz"
        for name in ("tumor", "target", "zone", "uncovered", "margin_mm", "verification_region")
    ),
    "sheet.png",
}


def test_an_assessment_has_its_pictures_and_a_refused_one_has_none(tmp_path: Path) -> None:
    assessment = warm_up()
    write_artifacts(replace(assessment, maps=None), tmp_path)
    assert list(tmp_path.iterdir()) == []
    write_artifacts(assessment, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == FILES
