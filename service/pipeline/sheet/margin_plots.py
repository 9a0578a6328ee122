"""How the tumor's surface divides by its margin: a bar of shares, and the histogram behind it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from engine.assessment.wording import share_in_words
from engine.coverage.surface_margin import MARGIN_BANDS_MM
from service.pipeline.sheet.marks import halo
from service.pipeline.sheet.page import Block, Canvas, stacked, text_block
from service.pipeline.sheet.text import BODY, HEADING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from engine.arrays import Float64Array

_BAR_IN: Final = 0.28
_HISTOGRAM_IN: Final = 1.0
_TICKS_IN: Final = 0.36
_LEFT_IN: Final = 0.42
"""Room for the histogram's vertical axis."""

_BIN_MM: Final = 1.0
_KEY_IN: Final = 0.16


@dataclass(frozen=True)
class _Band:
    """A range of margins: how it is called and drawn; darker and denser is worse."""

    words: str
    color: str
    hatch: str


_BANDS: Final = (
    _Band("outside the zone", "#7a0019", "xxxx"),
    _Band("0 to 5 mm, too small", "#e07b00", "////"),
    _Band("5 to 10 mm", "#a9cfe8", ""),
    _Band("10 mm or more", "#ffffff", "...."),
)


def margin_block(
    shares: Sequence[float], surface_margin_mm: Float64Array, target_margin_mm: float, width_in: float
) -> Block:
    """The shares as a bar with its key, above the histogram of the margin.

    Parameters
    ----------
    shares : sequence of four floats
        Of the tumor's surface, below 0, 0 to 5, 5 to 10 and at least 10 mm.
    surface_margin_mm : ndarray, (N,)
        At points spread over the tumor's surface.
    target_margin_mm, width_in : float
    """
    bar = Block(
        _BAR_IN, lambda canvas, left, top: _draw_bar(canvas.axes(left, top, width_in, _BAR_IN), shares)
    )

    def histogram(canvas: Canvas, left: float, top: float) -> None:
        axis = canvas.axes(left + _LEFT_IN, top, width_in - _LEFT_IN, _HISTOGRAM_IN)
        _draw_histogram(axis, surface_margin_mm, target_margin_mm)

    heading = text_block("Margin around the tumor", HEADING, width_in)
    return stacked((heading, bar, _key(shares), Block(_HISTOGRAM_IN + _TICKS_IN, histogram)), 0.05)


def _draw_bar(axis: Axes, shares: Sequence[float]) -> None:
    start = 0.0
    for share, band in zip(shares, _BANDS, strict=True):
        axis.barh(
            0.0,
            share,
            left=start,
            height=1.0,
            color=band.color,
            hatch=band.hatch,
            edgecolor="black",
            linewidth=0.7,
        )
        start += share
    axis.set_xlim(0.0, 1.0)
    axis.set_ylim(-0.5, 0.5)
    axis.set_axis_off()


def _key(shares: Sequence[float]) -> Block:
    """The bands with their shares, a line each: narrow bands need no room in the bar."""
    lines = [
        f"{share_in_words(share)} of the tumor's surface: {band.words}"
        for share, band in zip(shares, _BANDS, strict=True)
    ]

    def draw(canvas: Canvas, left: float, top: float) -> None:
        for i, (line, band) in enumerate(zip(lines, _BANDS, strict=True)):
            at = top + i * BODY.line_in
            key = canvas.axes(left, at + 0.03, _KEY_IN, BODY.line_in - 0.05)
            key.barh(0.0, 1.0, color=band.color, hatch=band.hatch, edgecolor="black", linewidth=0.7)
            key.set_xlim(0.0, 1.0)
            key.set_ylim(-0.4, 0.4)
            key.set_axis_off()
            canvas.lines((line,), BODY, left + _KEY_IN + 0.07, at)

    return Block(len(lines) * BODY.line_in, draw)


def _draw_histogram(axis: Axes, surface_margin_mm: Float64Array, target_margin_mm: float) -> None:
    low = min(0.0, np.floor(surface_margin_mm.min() / _BIN_MM) * _BIN_MM)
    high = max(target_margin_mm, np.ceil((surface_margin_mm.max() + 1e-6) / _BIN_MM) * _BIN_MM)
    edges = np.arange(low, high + _BIN_MM / 2, _BIN_MM)
    counts, _ = np.histogram(surface_margin_mm, edges)
    for i, band in enumerate(np.searchsorted(MARGIN_BANDS_MM, edges[:-1] + _BIN_MM / 2)):
        axis.bar(
            edges[i],
            100.0 * counts[i] / surface_margin_mm.size,
            width=_BIN_MM,
            align="edge",
            color=_BANDS[band].color,
            hatch=_BANDS[band].hatch,
            edgecolor="black",
            linewidth=0.6,
        )
    axis.axvline(
        target_margin_mm, color="black", linewidth=1.2, linestyle="dashed", path_effects=halo(2.4, "white")
    )
    axis.set_xlim(low - 0.5, high + 0.5)
    axis.set_xlabel("margin, mm (below 0: outside the zone; dashed: wanted)", fontsize=6.5, labelpad=1.5)
    axis.set_ylabel("% of surface", fontsize=6.5, labelpad=1.5)
    axis.tick_params(labelsize=6.5, length=2.0, pad=1.5)
    axis.spines[["top", "right"]].set_visible(False)
