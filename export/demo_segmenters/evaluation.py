"""How well a demo segmenter does on cases it was not trained on, found as an assessment finds them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from scipy.spatial import KDTree

from engine.arrays import Float64Array
from engine.assessment.planning import prepare_planning, require_prepared
from engine.assessment.verification import assess_ablation
from engine.files.reading import read_ct, read_mask
from engine.kernels.distance import surface_points_mm
from engine.manifest import PerformanceFigure
from engine.progress import ItemProgress
from engine.refusal import RefusedError
from engine.structures.model_contour import StructureSegmenter
from engine.structures.tumor_search import find_tumor
from engine.volume import LabelMask
from export.demo_segmenters.tasks import TaskName

CASES: Final = ("ablation-cases", "truth-cases")
WHERE: Final = "real CT with a painted ablation, of a patient that training did not see"

MIN_DICE: Final[dict[TaskName, float]] = {"zone": 0.85, "tumor": 0.75}
"""Below, a case is listed among the failures. Readers of one nodule agree with 0.77 to 0.89."""

_MAX_TCR_ERROR: Final = 0.1
"""Beyond, a case is listed among the failures too: readers of one nodule move TCR by as much."""

_ZONE_FILES: Final = ("ablation_zone.nii.gz", "zone.nii.gz")


@dataclass(frozen=True)
class CaseAgreement:
    """One case: what was found against its true mask.

    Parameters
    ----------
    case : str
    dice : float
        0 if nothing was found.
    distance_95_mm : float
        95th percentile of the distances from either surface to the other; infinite if nothing was found.
    volume_ratio : float
        Found over true.
    tcr_error : float, optional
        Coverage with the found zone and the true tumor less the true one; None for a tumor.
    refusal : str
        Why nothing was found; empty otherwise.
    """

    case: str
    dice: float
    distance_95_mm: float
    volume_ratio: float
    tcr_error: float | None = None
    refusal: str = ""


def case_folders(folder: Path) -> list[Path]:
    """The cases with known truth below a folder, in the order of their names."""
    return [truth.parent for kind in CASES for truth in sorted((folder / kind).glob("*/truth.json"))]


def evaluate(
    task: TaskName,
    segmenter: StructureSegmenter,
    folder: Path,
    on_progress: ItemProgress | None = None,
) -> tuple[CaseAgreement, ...]:
    """Segment every case with known truth below a folder.

    Parameters
    ----------
    task : {'zone', 'tumor'}
    segmenter : StructureSegmenter
    folder : Path
        Holds ``ablation-cases/<case>/`` and ``truth-cases/<case>/``.
    on_progress : callable, optional
        Called with the number of cases done, and their total.

    Returns
    -------
    tuple of CaseAgreement
        In the order of :func:`case_folders`.
    """
    cases = case_folders(folder)
    agreements = []
    for number, case in enumerate(cases, start=1):
        agreements.append(_tumor(segmenter, case) if task == "tumor" else _zone(segmenter, case))
        if on_progress is not None:
            on_progress(number, len(cases))
    return tuple(agreements)


def figures(task: TaskName, agreements: Sequence[CaseAgreement]) -> tuple[PerformanceFigure, ...]:
    """Medians, then Dice and surface distance by case, for the manifest."""
    if not agreements:
        return ()
    all_of_them = f"{len(agreements)} cases below"
    found = [agreement for agreement in agreements if not agreement.refusal]
    errors = [agreement.tcr_error for agreement in found if agreement.tcr_error is not None]
    rows = [_figure("Dice, median", float(np.median([it.dice for it in agreements])), all_of_them)]
    if found:
        median_mm = float(np.median([it.distance_95_mm for it in found]))
        rows.append(_figure("95 % surface distance (mm), median", median_mm, f"{len(found)} cases below"))
    if errors:
        measured_on = f"{len(errors)} cases below, with the true tumor mask"
        rows.append(_figure("TCR error, mean", float(np.mean(errors)), measured_on))
        rows.append(
            _figure("TCR error, median of absolute values", float(np.median(np.abs(errors))), measured_on)
        )
    for agreement in agreements:
        measured_on = f"{WHERE}{_note(task, agreement)}"
        rows.append(_figure(f"Dice, {agreement.case}", agreement.dice, measured_on))
        if not agreement.refusal:
            name = f"95 % surface distance (mm), {agreement.case}"
            rows.append(_figure(name, agreement.distance_95_mm, measured_on))
    return tuple(rows)


def failures(task: TaskName, agreements: Sequence[CaseAgreement]) -> tuple[str, ...]:
    """Warnings for the model card: cases below :data:`MIN_DICE` or beyond ``_MAX_TCR_ERROR``, in words."""
    return tuple(
        f"failed on {agreement.case}: {agreement.refusal or _in_words(agreement)}"
        for agreement in agreements
        if agreement.dice < MIN_DICE[task] or abs(agreement.tcr_error or 0.0) > _MAX_TCR_ERROR
    )


def _figure(name: str, value: float, measured_on: str) -> PerformanceFigure:
    return PerformanceFigure(name=name, value=round(value, 3), measured_on=measured_on)


def _in_words(agreement: CaseAgreement) -> str:
    words = f"Dice {agreement.dice:.2f}, volume {agreement.volume_ratio:.2f} of the true one"
    return words if agreement.tcr_error is None else f"{words}, TCR off by {agreement.tcr_error:+.3f}"


def _note(task: TaskName, agreement: CaseAgreement) -> str:
    if agreement.refusal:
        return "; nothing was found"
    note = f"; {task} volume {agreement.volume_ratio:.2f} of the true one"
    return note if agreement.tcr_error is None else f"{note}, TCR off by {agreement.tcr_error:+.3f}"


def _truth(case: Path) -> dict[str, Any]:
    return dict(json.loads((case / "truth.json").read_text()))


def _tumor(segmenter: StructureSegmenter, case: Path) -> CaseAgreement:
    planning = read_ct(case / "planning.nii.gz")
    true = read_mask(case / "tumor.nii.gz", planning, "tumor")
    x, y, z = _truth(case)["target_planning_lps_mm"]
    return _agreement(case.name, true, lambda: (find_tumor(planning, segmenter, (x, y, z)).mask, None))


def _zone(segmenter: StructureSegmenter, case: Path) -> CaseAgreement:
    """With the tumor's true mask, so that the zone alone is judged."""
    planning, verification = read_ct(case / "planning.nii.gz"), read_ct(case / "verification.nii.gz")
    tumor = read_mask(case / "tumor.nii.gz", planning, "tumor")
    (path,) = (case / name for name in _ZONE_FILES if (case / name).is_file())
    truth = _truth(case)
    true_tcr = float(truth.get("of_supplied_masks", truth)["tcr"])

    def find() -> tuple[LabelMask, float | None]:
        prepared = require_prepared(prepare_planning(planning, tumor))
        answer = assess_ablation(prepared, verification, None, zone_segmenter=segmenter)
        if answer.refusal is not None:
            raise RefusedError.again(answer.refusal)
        tcr = answer.coverage.tcr
        return answer.require_zone(), None if tcr is None else tcr - true_tcr

    return _agreement(case.name, read_mask(path, verification, "ablation zone"), find)


def _agreement(
    case: str, true: LabelMask, find: Callable[[], tuple[LabelMask, float | None]]
) -> CaseAgreement:
    try:
        contour, tcr_error = find()
    except RefusedError as refused:
        return CaseAgreement(case, 0.0, float("inf"), 0.0, refusal=str(refused))
    common_voxels = int(np.count_nonzero(contour.voxels & true.voxels))
    contour_voxels, true_voxels = int(np.count_nonzero(contour.voxels)), int(np.count_nonzero(true.voxels))
    return CaseAgreement(
        case,
        2.0 * common_voxels / (contour_voxels + true_voxels),
        surface_distance_95_mm(contour, true),
        contour_voxels / true_voxels,
        tcr_error,
    )


def surface_distance_95_mm(one: LabelMask, other: LabelMask) -> float:
    """95th percentile of the distances from the points of either mask's surface to the other surface, mm."""
    surfaces = [_surface_mm(mask) for mask in (one, other)]
    there, back = (KDTree(surfaces[1 - number]).query(surfaces[number])[0] for number in range(len(surfaces)))
    return float(np.percentile(np.concatenate([there, back]), 95.0))


def _surface_mm(mask: LabelMask) -> Float64Array:
    tight = mask.tight(2)
    grid = tight.geometry
    points = surface_points_mm(tight.voxels.astype(np.float32), grid.spacing_zyx_mm)
    return grid.to_lps(points / np.array(grid.spacing_zyx_mm))
