"""Text on the page: measured in inches before the page exists, so that it is wrapped and never cut."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.font_manager import FontProperties

DPI: Final = 150.0
_LINE_HEIGHT: Final = 1.32
"""Distance of two lines of text as a multiple of the font size."""


@dataclass(frozen=True)
class TextStyle:
    """Size in points, weight and color of a text."""

    size_pt: float = 8.5
    bold: bool = False
    color: str = "black"

    @property
    def weight(self) -> str:
        """As matplotlib calls it."""
        return "bold" if self.bold else "normal"

    @property
    def line_in(self) -> float:
        """Height of a line, inches."""
        return _LINE_HEIGHT * self.size_pt / 72.0


BODY: Final = TextStyle()
HEADING: Final = TextStyle(size_pt=9.5, bold=True)
SMALL: Final = TextStyle(size_pt=7.5)


def wrapped(text: str, width_in: float, style: TextStyle) -> tuple[str, ...]:
    """Break a text into lines that fit a width; a word that is wider than a line is broken, nothing is left out.

    Parameters
    ----------
    text : str
        Its own line breaks are kept.
    width_in : float
    style : TextStyle

    Returns
    -------
    tuple of str
    """
    lines = []
    for paragraph in text.splitlines() or [""]:
        line = ""
        for word in (part for whole in paragraph.split() for part in _pieces(whole, width_in, style)):
            longer = f"{line} {word}" if line else word
            if line and text_width_in(longer, style) > width_in:
                lines.append(line)
                line = word
            else:
                line = longer
        lines.append(line)
    return tuple(lines)


def _pieces(word: str, width_in: float, style: TextStyle) -> list[str]:
    """Break a word where it is wider than a line: an identifier, a path."""
    pieces = []
    while text_width_in(word, style) > width_in and len(word) > 1:
        fits = max(1, int(len(word) * width_in / text_width_in(word, style)))
        while fits > 1 and text_width_in(word[:fits], style) > width_in:
            fits -= 1
        pieces.append(word[:fits])
        word = word[fits:]
    return [*pieces, word]


def text_width_in(text: str, style: TextStyle) -> float:
    """Return the width of one line of text, inches."""
    font = FontProperties(size=style.size_pt, weight=style.weight)
    width, _, _ = _measuring().get_text_width_height_descent(text, font, ismath=False)
    return float(width) / DPI


@cache
def _measuring() -> Any:
    make_renderer: Callable[..., Any] = RendererAgg  # matplotlib has no types for it
    return make_renderer(1, 1, DPI)
