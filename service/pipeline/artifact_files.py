"""The pictures of an assessment, as files: masks, margin map and CT of the measurement grid, and the sheet."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from engine.files.image_file import write_mask, write_volume
from engine.volume import LabelMask
from service.pipeline.sheet.drawing import draw_sheet

if TYPE_CHECKING:
    from engine.assessment.outcome import AblationAssessment, AssessmentMaps
    from service.pipeline.sheet.facts import SheetFacts

_CANNOT_BE_ASSESSED: Final = 2
"""Label of uncovered target outside the lung or at its edge; 1 is uncovered target in lung."""


def write_artifacts(assessment: AblationAssessment, facts: SheetFacts, folder: Path) -> None:
    """Write masks, margin map and sheet of a final assessment into ``folder``; of a refused one the sheet alone."""
    if assessment.maps is not None:
        _write_maps(assessment.maps, folder)
    draw_sheet(assessment, facts, folder / "sheet.png")


def _write_maps(maps: AssessmentMaps, folder: Path) -> None:
    """Write the masks, the margin map and the CT of the measurement grid as NIfTI."""
    masks = {"tumor": maps.tumor, "target": maps.target, "zone": maps.zone}
    for name, voxels in masks.items():
        write_mask(folder / f"{name}.nii.gz", LabelMask(voxels, maps.geometry, name))
    uncovered = np.where(maps.uncovered_outside, _CANNOT_BE_ASSESSED, maps.uncovered.astype(np.uint8))
    write_volume(folder / "uncovered.nii.gz", uncovered.astype(np.uint8), maps.geometry)
    write_volume(folder / "margin_mm.nii.gz", maps.margin_mm, maps.geometry)
    write_volume(folder / "verification_region.nii.gz", maps.ct_hu, maps.geometry)
