"""Image panels: before and after the ablation, on the same slice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from service.pipeline.sheet.marks import (
    NOT_ASSESSABLE,
    TARGET,
    TUMOR,
    UNCOVERED,
    UNCOVERED_OUTSIDE,
    ZONE,
    draw_fill,
    draw_outline,
    halo,
)
from service.pipeline.sheet.page import Block, Canvas
from service.pipeline.sheet.planes import Orientation, Plane, ct_on, mask_on
from service.pipeline.sheet.text import SMALL, wrapped

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from engine.arrays import Float32Array, Float64Array
    from engine.assessment.outcome import AssessmentMaps, ComparedScans
    from engine.volume import CtVolume

_LUNG_WINDOW_HU: Final = (-1250.0, 250.0)
"""Level -500, width 1500: the usual lung window."""

_SURROUNDINGS_MM: Final = 4.0
"""Shown around target and zone, so that vessels and walls beside them can be compared."""

_TITLE_GAP_IN: Final = 0.02
_SCALE_MM: Final = 10.0
_FAR_MM: Final = 90.0
_FAR_SCALE_MM: Final = 50.0


@dataclass(frozen=True, eq=False)
class AssessedImages:
    """What the panels of an answer show."""

    scans: ComparedScans
    maps: AssessmentMaps

    def plane(self, orientation: Orientation, through_lps_mm: Float64Array) -> Plane:
        """Return the plane through a point that shows the whole measurement."""
        corners = self.maps.geometry.corners_lps_mm()
        center = corners.mean(axis=0)
        in_plane = [axis for axis in range(3) if axis != orientation.normal]
        half_mm = float(np.ptp(corners, axis=0)[in_plane].max()) / 2 + _SURROUNDINGS_MM
        center[orientation.normal] = through_lps_mm[orientation.normal]
        return Plane(orientation, center, half_mm)


def before_panel(images: AssessedImages, plane: Plane, size_in: float) -> Block:
    """The planning CT, moved as the tumor was, with the tumor."""
    scans, maps = images.scans, images.maps

    def draw(axis: Axes) -> None:
        _show(axis, ct_on(plane, scans.planning, scans.planning_from_verification))
        draw_outline(axis, mask_on(plane, maps.tumor, maps.geometry), TUMOR)
        _annotate(axis, plane)

    return _panel(f"before, {_place(plane)}", draw, size_in)


def after_panel(images: AssessedImages, plane: Plane, size_in: float) -> Block:
    """The verification CT with everything that was measured."""
    maps = images.maps

    def draw(axis: Axes) -> None:
        _show(axis, ct_on(plane, images.scans.verification))
        for mask, area in (
            (maps.not_assessable & ~maps.uncovered_outside, NOT_ASSESSABLE),
            (maps.uncovered_outside, UNCOVERED_OUTSIDE),
            (maps.uncovered, UNCOVERED),
        ):
            draw_fill(axis, mask_on(plane, mask, maps.geometry), area)
        for mask, mark in ((maps.zone, ZONE), (maps.target, TARGET), (maps.tumor, TUMOR)):
            draw_outline(axis, mask_on(plane, mask, maps.geometry), mark)
        _annotate(axis, plane)

    return _panel(f"after, {_place(plane)}", draw, size_in)


def scan_panel(ct: CtVolume, through_lps_mm: Float64Array, when: str, size_in: float) -> Block:
    """A whole axial slice of one CT, where no answer was given."""
    corners = ct.geometry.corners_lps_mm()
    center = corners.mean(axis=0)
    half_mm = float(np.ptp(corners, axis=0)[:2].max()) / 2
    center[2] = through_lps_mm[2]
    plane = Plane(Orientation.AXIAL, center, half_mm)

    def draw(axis: Axes) -> None:
        _show(axis, ct_on(plane, ct))
        _annotate(axis, plane)

    return _panel(f"{when}, {_place(plane)}", draw, size_in)


def _panel(title: str, draw: Callable[[Axes], None], size_in: float) -> Block:
    """A square image under its title."""
    lines = wrapped(title, size_in, SMALL)
    title_in = len(lines) * SMALL.line_in + _TITLE_GAP_IN

    def draw_block(canvas: Canvas, left: float, top: float) -> None:
        canvas.lines(lines, SMALL, left, top)
        axis = canvas.axes(left, top + title_in, size_in, size_in)
        draw(axis)
        axis.set_xticks([])
        axis.set_yticks([])

    return Block(title_in + size_in, draw_block)


def _show(axis: Axes, hu: Float32Array) -> None:
    low, high = _LUNG_WINDOW_HU
    axis.imshow(hu, cmap="gray", vmin=low, vmax=high, interpolation="bilinear")


def _place(plane: Plane) -> str:
    axis = "xyz"[plane.orientation.normal]
    return f"{plane.orientation.title}, {axis} = {plane.position_mm:.1f} mm"


def _annotate(axis: Axes, plane: Plane) -> None:
    """Write the patient's sides at the edges, so that a mirrored image is noticed, and a scale."""
    orientation = plane.orientation
    for x, y, letter in (
        (0.05, 0.5, orientation.left),
        (0.95, 0.5, orientation.right),
        (0.5, 0.95, orientation.top),
        (0.5, 0.05, orientation.bottom),
    ):
        axis.text(
            x,
            y,
            letter,
            transform=axis.transAxes,
            ha="center",
            va="center",
            color="white",
            fontsize=7.5,
            path_effects=halo(),
        )
    scale_mm = _SCALE_MM if plane.half_width_mm <= _FAR_MM else _FAR_SCALE_MM
    share = scale_mm / (2.0 * plane.half_width_mm)
    axis.plot(
        [0.04, 0.04 + share],
        [0.03, 0.03],
        transform=axis.transAxes,
        color="white",
        linewidth=1.6,
        solid_capstyle="butt",
        path_effects=halo(3.0),
    )
    axis.text(
        0.04,
        0.045,
        f"{scale_mm:g} mm",
        transform=axis.transAxes,
        va="bottom",
        color="white",
        fontsize=6.5,
        path_effects=halo(),
    )
