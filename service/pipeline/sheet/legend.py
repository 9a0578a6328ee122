"""The legend: every mark of the images with its words."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from service.pipeline.sheet.marks import (
    NOT_ASSESSABLE,
    TARGET,
    TUMOR,
    UNCOVERED,
    UNCOVERED_OUTSIDE,
    ZONE,
    FillMark,
    OutlineMark,
    halo,
    swatch_of,
)
from service.pipeline.sheet.page import Block, Canvas
from service.pipeline.sheet.text import BODY, text_width_in

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from engine.assessment.outcome import AblationAssessment
    from engine.findings import ContourOrigin

_SWATCH_IN: Final = 0.38
_SWATCH_HEIGHT_IN: Final = 0.19
_GAP_IN: Final = 0.07
_BETWEEN_IN: Final = 0.22
_LINE_IN: Final = 0.24

_Swatch = Callable[["Axes"], None]


def legend_block(assessment: AblationAssessment, width_in: float) -> Block:
    """The marks beside each other, on as many lines as they need."""
    entries: list[tuple[str, _Swatch]] = [
        (f"tumor{_drawn_by(assessment.lesion.origin)}", _line(TUMOR)),
        (f"target: tumor and {assessment.coverage.target_margin_mm:g} mm around it", _line(TARGET)),
        (f"ablation zone{_drawn_by(assessment.coverage.zone_origin)}", _line(ZONE)),
        ("uncovered in lung, for review", _area(UNCOVERED)),
        ("uncovered outside the lung or at its edge: cannot be assessed", _area(UNCOVERED_OUTSIDE)),
        ("in the zone there: cannot be assessed either", _area(NOT_ASSESSABLE)),
    ]
    places, left, line = [], 0.0, 0
    for text, _ in entries:
        needed = _SWATCH_IN + _GAP_IN + text_width_in(text, BODY)
        if left > 0.0 and left + needed > width_in:
            left, line = 0.0, line + 1
        places.append((left, line * _LINE_IN))
        left += needed + _BETWEEN_IN

    def draw(canvas: Canvas, left_in: float, top_in: float) -> None:
        for (text, swatch), (x, y) in zip(entries, places, strict=True):
            axis = canvas.axes(left_in + x, top_in + y, _SWATCH_IN, _SWATCH_HEIGHT_IN)
            axis.set_axis_off()
            axis.set_xlim(0.0, 1.0)
            axis.set_ylim(0.0, 1.0)
            swatch(axis)
            text_top = top_in + y + (_SWATCH_HEIGHT_IN - BODY.line_in) / 2
            canvas.lines((text,), BODY, left_in + x + _SWATCH_IN + _GAP_IN, text_top)

    return Block((line + 1) * _LINE_IN, draw)


def _line(mark: OutlineMark) -> _Swatch:
    def draw(axis: Axes) -> None:
        axis.add_patch(Rectangle((0.0, 0.0), 1.0, 1.0, facecolor="#808080"))
        drawn = Line2D([0.06, 0.94], [0.5, 0.5], color=mark.color, linewidth=mark.width_pt)
        drawn.set_linestyle(mark.style)
        drawn.set_path_effects(halo(mark.width_pt + 1.6))
        axis.add_line(drawn)

    return draw


def _area(mark: FillMark) -> _Swatch:
    def draw(axis: Axes) -> None:
        axis.add_patch(Rectangle((0.02, 0.05), 0.96, 0.9, **swatch_of(mark)))

    return draw


def _drawn_by(origin: ContourOrigin) -> str:
    """What the legend adds to a contour that a model drew."""
    if origin.model is None:
        return ""
    return " (drawn by a demo model)" if origin.model.demo else " (drawn by a model)"
