"""How well a demo segmenter does on cases it was not trained on, found as the engine finds them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from engine.files.reading import read_ct, read_mask
from engine.manifest import PerformanceFigure
from engine.progress import ItemProgress
from engine.refusal import RefusedError
from engine.structures.model_contour import StructureSegmenter
from engine.structures.tumor_search import find_tumor
from engine.structures.zone_search import find_zone
from engine.volume import LabelMask
from export.demo_segmenters.tasks import TaskName

CASES: Final = "ablation-cases"
WHERE: Final = "real CT with a painted ablation, of a patient that training did not see"

MIN_DICE: Final[dict[TaskName, float]] = {"zone": 0.85, "tumor": 0.75}
"""Below, a case is listed among the failures. Readers of one nodule agree with 0.77 to 0.89."""

TUMOR_POINTS: Final = 400


@dataclass(frozen=True)
class CaseAgreement:
    """One case: what was found against its true mask.

    Parameters
    ----------
    case : str
    dice : float
        0 if nothing was found.
    volume_ratio : float
        Found over true.
    refusal : str
        Why nothing was found; empty otherwise.
    """

    case: str
    dice: float
    volume_ratio: float
    refusal: str = ""


def evaluate(
    task: TaskName,
    segmenter: StructureSegmenter,
    folder: Path,
    on_progress: ItemProgress | None = None,
) -> tuple[CaseAgreement, ...]:
    """Segment every ablation case below a folder.

    Parameters
    ----------
    task : {'zone', 'tumor'}
    segmenter : StructureSegmenter
    folder : Path
        Holds ``ablation-cases/<case>/``.
    on_progress : callable, optional
        Called with the number of cases done, and their total.

    Returns
    -------
    tuple of CaseAgreement
        In the order of the cases' names.
    """
    cases = sorted(path.parent for path in (folder / CASES).glob("*/truth.json"))
    agreements = []
    for number, case in enumerate(cases, start=1):
        agreements.append(_tumor(segmenter, case) if task == "tumor" else _zone(segmenter, case))
        if on_progress is not None:
            on_progress(number, len(cases))
    return tuple(agreements)


def figures(task: TaskName, agreements: tuple[CaseAgreement, ...]) -> tuple[PerformanceFigure, ...]:
    """Dice by case and its median, for the manifest."""
    if not agreements:
        return ()
    rows = [
        PerformanceFigure(
            name=f"Dice, {agreement.case}",
            value=round(agreement.dice, 3),
            measured_on=f"{WHERE}{_note(task, agreement)}",
        )
        for agreement in agreements
    ]
    median = round(float(np.median([agreement.dice for agreement in agreements])), 3)
    return (
        PerformanceFigure(name="Dice, median", value=median, measured_on=f"{len(agreements)} cases below"),
        *rows,
    )


def failures(task: TaskName, agreements: tuple[CaseAgreement, ...]) -> tuple[str, ...]:
    """Warnings for the model card: cases below :data:`MIN_DICE`, in words."""
    return tuple(
        f"failed on {agreement.case}: {agreement.refusal or _in_words(agreement)}"
        for agreement in agreements
        if agreement.dice < MIN_DICE[task]
    )


def _in_words(agreement: CaseAgreement) -> str:
    return f"Dice {agreement.dice:.2f}, volume {agreement.volume_ratio:.2f} of the true one"


def _note(task: TaskName, agreement: CaseAgreement) -> str:
    if agreement.refusal:
        return "; nothing was found"
    return f"; {task} volume {agreement.volume_ratio:.2f} of the true one"


def _tumor(segmenter: StructureSegmenter, case: Path) -> CaseAgreement:
    planning = read_ct(case / "planning.nii.gz")
    true = read_mask(case / "tumor.nii.gz", planning, "tumor")
    x, y, z = json.loads((case / "truth.json").read_text())["target_planning_lps_mm"]
    return _agreement(case.name, true, lambda: find_tumor(planning, segmenter, (x, y, z)).mask)


def _zone(segmenter: StructureSegmenter, case: Path) -> CaseAgreement:
    verification = read_ct(case / "verification.nii.gz")
    true = read_mask(case / "ablation_zone.nii.gz", verification, "ablation zone")
    tumor = read_mask(case / "truth" / "tumor_in_verification.nii.gz", verification, "tumor")
    index = np.argwhere(tumor.voxels)
    points = tumor.geometry.to_lps(index[:: max(1, len(index) // TUMOR_POINTS)])
    return _agreement(case.name, true, lambda: find_zone(verification, segmenter, points).zone)


def _agreement(case: str, true: LabelMask, find: Callable[[], LabelMask]) -> CaseAgreement:
    try:
        contour = find()
    except RefusedError as refused:
        return CaseAgreement(case, 0.0, 0.0, str(refused))
    common_voxels = int(np.count_nonzero(contour.voxels & true.voxels))
    contour_voxels, true_voxels = int(np.count_nonzero(contour.voxels)), int(np.count_nonzero(true.voxels))
    return CaseAgreement(
        case, 2.0 * common_voxels / (contour_voxels + true_voxels), contour_voxels / true_voxels
    )
