"""A page of blocks: each knows its height before it is drawn, so that the page grows and nothing overlaps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from service.pipeline.sheet.text import DPI, TextStyle, wrapped

PAGE_WIDTH_IN: Final = 9.0
_PAGE_HEIGHT_IN: Final = 12.73
"""The proportions of A4; more text makes a longer page."""

MARGIN_IN: Final = 0.45
CONTENT_IN: Final = PAGE_WIDTH_IN - 2 * MARGIN_IN
_BAND_PADDING_IN: Final = 0.09


@dataclass(frozen=True)
class Canvas:
    """A figure that is drawn on in inches from its top left corner."""

    figure: Figure
    height_in: float

    def axes(self, left_in: float, top_in: float, width_in: float, height_in: float) -> Axes:
        """Add axes in a box."""
        return self.figure.add_axes(
            (
                left_in / PAGE_WIDTH_IN,
                1.0 - (top_in + height_in) / self.height_in,
                width_in / PAGE_WIDTH_IN,
                height_in / self.height_in,
            )
        )

    def lines(self, lines: Sequence[str], style: TextStyle, left_in: float, top_in: float) -> None:
        """Write lines of text below each other."""
        for i, line in enumerate(lines):
            self.figure.text(
                left_in / PAGE_WIDTH_IN,
                1.0 - (top_in + (i + 0.5) * style.line_in) / self.height_in,
                line,
                fontsize=style.size_pt,
                fontweight=style.weight,
                color=style.color,
                va="center_baseline",
                parse_math=False,
            )

    def rectangle(
        self, left_in: float, top_in: float, width_in: float, height_in: float, face: str, edge: str
    ) -> None:
        """Fill a box."""
        self.figure.add_artist(
            Rectangle(
                (left_in / PAGE_WIDTH_IN, 1.0 - (top_in + height_in) / self.height_in),
                width_in / PAGE_WIDTH_IN,
                height_in / self.height_in,
                facecolor=face,
                edgecolor=edge,
                linewidth=1.5,
                zorder=-1,
            )
        )


@dataclass(frozen=True)
class Block:
    """Something on the page.

    Parameters
    ----------
    height_in : float
    draw : callable
        Draws it on a canvas with its top left corner at (left, top), inches.
    """

    height_in: float
    draw: Callable[[Canvas, float, float], None]


def text_block(text: str, style: TextStyle, width_in: float = CONTENT_IN) -> Block:
    """Text in lines of a width."""
    lines = wrapped(text, width_in, style)
    return Block(len(lines) * style.line_in, lambda canvas, left, top: canvas.lines(lines, style, left, top))


def band(text: str, style: TextStyle, face: str, edge: str) -> Block:
    """Text on a colored band across the page."""
    lines = wrapped(text, CONTENT_IN - 2 * _BAND_PADDING_IN, style)
    height = len(lines) * style.line_in + 2 * _BAND_PADDING_IN

    def draw(canvas: Canvas, left: float, top: float) -> None:
        canvas.rectangle(left, top, CONTENT_IN, height, face, edge)
        canvas.lines(lines, style, left + _BAND_PADDING_IN, top + _BAND_PADDING_IN)

    return Block(height, draw)


def stacked(blocks: Sequence[Block], gap_in: float = 0.0) -> Block:
    """Blocks below each other."""

    def draw(canvas: Canvas, left: float, top: float) -> None:
        for block in blocks:
            block.draw(canvas, left, top)
            top += block.height_in + gap_in

    return Block(sum(block.height_in for block in blocks) + gap_in * max(0, len(blocks) - 1), draw)


def side_by_side(columns: Sequence[tuple[float, Block]]) -> Block:
    """Blocks beside each other, each at its offset from the left, inches."""

    def draw(canvas: Canvas, left: float, top: float) -> None:
        for offset, block in columns:
            block.draw(canvas, left + offset, top)

    return Block(max(block.height_in for _, block in columns), draw)


@dataclass
class Page:
    """A page of blocks, from top to bottom."""

    _blocks: list[Block] = field(default_factory=list)

    def add(self, block: Block, gap_in: float = 0.08) -> None:
        """Add a block below the others, with so much space below it."""
        self._blocks.append(stacked((block, Block(gap_in, lambda _canvas, _left, _top: None))))

    def render(self) -> Figure:
        """Draw the page; it has the proportions of A4, or is longer where its blocks are."""
        content = stacked(self._blocks)
        height = max(_PAGE_HEIGHT_IN, content.height_in + 2 * MARGIN_IN)
        figure = Figure(figsize=(PAGE_WIDTH_IN, height), dpi=DPI, facecolor="white")
        FigureCanvasAgg(figure)
        content.draw(Canvas(figure, height), MARGIN_IN, MARGIN_IN)
        return figure
