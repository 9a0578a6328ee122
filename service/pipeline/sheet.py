"""The sheet: slices through the tumor and the largest uncovered regions, oriented as a radiologist reads them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from engine import DISCLAIMER
from engine.assessment.wording import contours_to_check, place_in_words, volume_in_words
from service.figures_in_words import alignment_line

if TYPE_CHECKING:
    import numpy.typing as npt
    from matplotlib.axes import Axes

    from engine.assessment.outcome import AblationAssessment, AssessmentMaps
    from engine.findings import ContourOrigin

_LUNG_WINDOW_HU = (-1250.0, 250.0)
"""Level -500, width 1500: the usual lung window."""

_TUMOR_COLOR = "#ffd400"
_TARGET_COLOR = "#ffffff"
_ZONE_COLOR = "#35c4ff"
_UNCOVERED_COLOR = "#ff2d55"
_BACKGROUND = "#101418"

_MAX_REGIONS = 2
_MIN_DRAWN_ML = 0.05

_PLANES = (("axial", 0), ("coronal", 1), ("sagittal", 2))


def draw_sheet(assessment: AblationAssessment, path: Path | BinaryIO) -> None:
    """Draw axial, coronal and sagittal slices through the tumor and the largest cold spots.

    Parameters
    ----------
    assessment : AblationAssessment
        With maps.
    path : Path or binary file
        PNG to write.
    """
    maps = assessment.maps
    if maps is None:
        raise ValueError("an assessment without maps has nothing to draw")
    rows = [("through the tumor", _tumor_center(maps)), *_region_rows(assessment, maps)]
    with mpl.rc_context({"font.size": 9, "text.color": "white", "axes.labelcolor": "white"}):
        figure = Figure(figsize=(10.5, 1.1 + 3.4 * len(rows)), facecolor=_BACKGROUND, layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots(len(rows), 3, squeeze=False)
        for row, (title, index) in zip(axes, rows, strict=True):
            for axis, (plane, normal) in zip(row, _PLANES, strict=True):
                _draw_slice(axis, maps, index, normal, f"{plane}, {title}")
        figure.suptitle(_headline(assessment), fontsize=11, color="white")
        figure.legend(
            handles=_legend(assessment),
            loc="outside lower center",
            ncols=5,
            frameon=False,
            labelcolor="white",
        )
        figure.savefig(path, dpi=110, facecolor=_BACKGROUND)


def _region_rows(
    assessment: AblationAssessment, maps: AssessmentMaps
) -> Iterator[tuple[str, npt.NDArray[np.int64]]]:
    """Yield title and voxel of the uncovered regions that are drawn, the largest first."""
    side = assessment.lesion.lung_side
    regions = [spot for spot in assessment.uncovered if spot.rank == 1 or spot.volume_ml >= _MIN_DRAWN_ML]
    for spot in regions[:_MAX_REGIONS]:
        deepest = maps.geometry.to_index(np.array(spot.deepest_lps_mm))
        title = (
            f"region {spot.rank}: {volume_in_words(spot.volume_ml)} {place_in_words(spot.directions, side)}"
        )
        yield title, np.rint(deepest).astype(np.int64)


def _draw_slice(axis: Axes, maps: AssessmentMaps, index: npt.NDArray[Any], normal: int, title: str) -> None:
    def slice_of(volume: npt.NDArray[Any]) -> npt.NDArray[Any]:
        plane = np.take(volume, int(np.clip(index[normal], 0, volume.shape[normal] - 1)), axis=normal)
        # Superior is up in coronal and sagittal views; anterior is up in axial ones, as the array has it.
        return np.asarray(plane if normal == 0 else plane[::-1])

    hu = slice_of(maps.ct_hu)
    axis.imshow(hu, cmap="gray", vmin=_LUNG_WINDOW_HU[0], vmax=_LUNG_WINDOW_HU[1], interpolation="bilinear")
    shade = np.zeros((*hu.shape, 4))
    shade[slice_of(maps.uncovered)] = (*mpl.colors.to_rgb(_UNCOVERED_COLOR), 0.55)
    axis.imshow(shade, interpolation="nearest")
    for volume, color, style in (
        (maps.zone, _ZONE_COLOR, "solid"),
        (maps.target, _TARGET_COLOR, "dashed"),
        (maps.tumor, _TUMOR_COLOR, "solid"),
    ):
        outline = slice_of(volume).astype(float)
        if outline.any() and not outline.all():
            axis.contour(outline, levels=[0.5], colors=[color], linewidths=1.3, linestyles=[style])
    _mark_sides(axis, normal)
    _draw_scale(axis, maps, hu.shape)
    axis.set_title(title, color="white", fontsize=9)
    axis.set_xticks([])
    axis.set_yticks([])


def _mark_sides(axis: Axes, normal: int) -> None:
    """Write the patient's sides at the left and right edge, so that a mirrored sheet is noticed."""
    left, right = ("A", "P") if normal == 2 else ("R", "L")
    for x, letter in ((0.03, left), (0.97, right)):
        axis.text(x, 0.5, letter, transform=axis.transAxes, ha="center", va="center", color="#8fd18f")


def _draw_scale(axis: Axes, maps: AssessmentMaps, shape: tuple[int, ...]) -> None:
    length = 10.0 / maps.geometry.spacing_zyx_mm[2]
    x, y = 0.06 * shape[1], 0.95 * shape[0]
    axis.plot([x, x + length], [y, y], color="white", linewidth=2)
    axis.text(x + length * 1.15, y, "10 mm", va="center", fontsize=8)


def _tumor_center(maps: AssessmentMaps) -> npt.NDArray[np.int64]:
    return np.asarray(np.rint(np.argwhere(maps.tumor).mean(axis=0)), dtype=np.int64)


def _headline(assessment: AblationAssessment) -> str:
    coverage, margin = assessment.coverage, assessment.margin
    if coverage.tcr is None or coverage.tcr_interval_90 is None or margin.minimal_mm is None:
        raise ValueError("an assessment with maps has its numbers")
    low, high = coverage.tcr_interval_90
    alignment, quality = assessment.alignment, assessment.alignment.quality
    aligned = alignment_line(
        alignment.method,
        alignment.residual_mm,
        quality.inverse_consistency_mm if quality else None,
        quality.contraction if quality else None,
    )
    to_check = contours_to_check(assessment.lesion.origin, coverage.zone_origin)
    figures = (
        f"TCR {coverage.tcr:.3f} (90 %: {low:.3f} to {high:.3f}) · minimal margin {margin.minimal_mm:.1f} mm · "
        f"P(complete) {coverage.probability_complete:.2f}"
    )
    lines = (figures, f"alignment: {aligned}", to_check, DISCLAIMER)
    return "\n".join(line for line in lines if line)


def _legend(assessment: AblationAssessment) -> list[Any]:
    tumor = _mark(assessment.lesion.origin)
    zone = _mark(assessment.coverage.zone_origin)
    return [
        Line2D([], [], color=_TUMOR_COLOR, label=f"tumor{tumor}"),
        Line2D([], [], color=_TARGET_COLOR, linestyle="dashed", label="target (tumor + margin)"),
        Line2D([], [], color=_ZONE_COLOR, label=f"ablation zone{zone}"),
        Patch(facecolor=_UNCOVERED_COLOR, alpha=0.55, label="uncovered in lung, for review"),
    ]


def _mark(origin: ContourOrigin) -> str:
    """Return what the legend adds to a contour that a model drew."""
    if origin.model is None:
        return ""
    return " (demo model)" if origin.model.demo else " (by a model)"
