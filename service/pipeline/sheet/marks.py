"""How structures are marked: by fill, hatch and line, so that print and color blindness take nothing away."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

import matplotlib as mpl
import numpy as np
from matplotlib.patheffects import Normal, Stroke

from engine.arrays import Float32Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.contour import ContourSet
    from matplotlib.patheffects import AbstractPathEffect

_LineStyle = Literal["solid"] | tuple[float, tuple[float, ...]]


@dataclass(frozen=True)
class OutlineMark:
    """An outline with a dark casing, seen on lung and on soft tissue."""

    color: str
    width_pt: float
    style: _LineStyle


@dataclass(frozen=True)
class FillMark:
    """A filled and hatched area; its hatch and edge are ``ink``."""

    fill: str
    opacity: float
    hatch: str
    ink: str
    edge: str


TUMOR: Final = OutlineMark("#ffffff", 1.9, "solid")
TARGET: Final = OutlineMark("#ffffff", 1.1, (0.0, (3.5, 2.5)))
ZONE: Final = OutlineMark("#56b4e9", 1.7, (0.0, (7.0, 1.5, 1.2, 1.5)))
UNCOVERED: Final = FillMark("#ffe600", 0.88, "/" * 6, "#000000", "#000000")
"""Bright with black stripes: the brightest thing on the sheet in every rendering, and the only striped one."""
UNCOVERED_OUTSIDE: Final = FillMark("#d55e00", 0.85, "." * 4, "#ffffff", "#ffffff")
"""Dark with white dots: uncovered, too, but where coverage cannot be assessed."""
NOT_ASSESSABLE: Final = FillMark("#b9c2d0", 0.55, "-" * 5, "#1b2440", "#1b2440")

HATCH_WIDTH_PT: Final = 0.9
_CASING_PT: Final = 1.6


def halo(width_pt: float = 2.2, color: str = "black") -> list[AbstractPathEffect]:
    """Return the effect that keeps text and lines readable on any image."""
    return [Stroke(linewidth=width_pt, foreground=color), Normal()]


def draw_outline(axis: Axes, mask: Float32Array, mark: OutlineMark) -> None:
    """Draw the outline of a mask that was sampled on the axes' pixels."""
    if not _has_outline(mask):
        return
    contour = axis.contour(mask, levels=[0.5], colors=[mark.color], linewidths=[mark.width_pt])
    contour.set_linestyle([mark.style])
    contour.set_path_effects(halo(mark.width_pt + _CASING_PT))


def draw_fill(axis: Axes, mask: Float32Array, mark: FillMark) -> None:
    """Fill and hatch a mask that was sampled on the axes' pixels, and draw its outline."""
    if not (mask >= 0.5).any():
        return
    shade = np.zeros((*mask.shape, 4))
    shade[mask >= 0.5] = (*mpl.colors.to_rgb(mark.fill), mark.opacity)
    axis.imshow(shade, interpolation="nearest")
    hatched: ContourSet = axis.contourf(mask, levels=[0.5, 2.0], colors="none", hatches=[mark.hatch])
    hatched.set_edgecolor(mark.ink)
    hatched.set_linewidth(0.0)
    draw_outline(axis, mask, OutlineMark(mark.fill, 0.9, "solid"))


def swatch_of(mark: FillMark) -> dict[str, Any]:
    """Return how a patch looks like the area."""
    return {
        "facecolor": (*mpl.colors.to_rgb(mark.fill), mark.opacity),
        "hatch": mark.hatch,
        "edgecolor": mark.ink,
        "linewidth": 0.8,
    }


def _has_outline(mask: Float32Array) -> bool:
    return bool((mask >= 0.5).any() and (mask < 0.5).any())
