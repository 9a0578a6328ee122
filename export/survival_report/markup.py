"""Pieces of HTML; whatever comes from a table or a manifest is escaped here."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from html import escape

from export.survival_report.figures.drawing import DrawnFigure

_MINUS = "−"
NONE = "–"


def words(text: str) -> str:
    """Plain text as HTML; no line may end between a figure and its percent sign."""
    return escape(text).replace(" %", "&nbsp;%")


def paragraph(text: str, css_class: str = "") -> str:
    """One paragraph of plain text."""
    chosen = f' class="{css_class}"' if css_class else ""
    return f"<p{chosen}>{words(text)}</p>"


def bullets(lines: Iterable[str]) -> str:
    """A list of plain sentences."""
    return "<ul>" + "".join(f"<li>{words(line)}</li>" for line in lines) + "</ul>"


def section(anchor: str, title: str, *parts: str) -> str:
    """A section; nothing where none of its parts has anything."""
    inside = "\n".join(part for part in parts if part)
    if not inside:
        return ""
    return f'<section id="{anchor}">\n<h2>{escape(title)}</h2>\n{inside}\n</section>'


def table(
    head: Sequence[str], body: Sequence[Sequence[str]], *, numbers: Iterable[int] = (), caption: str = ""
) -> str:
    """A table whose first column names the rows; ``numbers`` are columns set flush right."""
    if not body:
        return ""
    right = set(numbers)

    def cell(tag: str, column: int, text: str, scope: str = "") -> str:
        css_class = "number" if column in right else "name"
        return f'<{tag} class="{css_class}"{scope}>{words(text)}</{tag}>'

    header = "".join(cell("th", column, text, ' scope="col"') for column, text in enumerate(head))
    rows = "\n".join(
        "<tr>"
        + "".join(
            cell("td", column, text) if column else cell("th", column, text, ' scope="row"')
            for column, text in enumerate(row)
        )
        + "</tr>"
        for row in body
    )
    said = f"<caption>{words(caption)}</caption>" if caption else ""
    return f'<div class="wide"><table>{said}<thead><tr>{header}</tr></thead>\n<tbody>\n{rows}\n</tbody></table></div>'


def picture(figure: DrawnFigure | None) -> str:
    """A figure inside the page; the SVG as an image, so that its ids meet no other's."""
    if figure is None:
        return ""
    source = base64.b64encode(figure.svg).decode("ascii")
    return (
        f'<figure id="figure-{figure.name}"><img width="{figure.width_px}" alt="{escape(figure.alternative)}" '
        f'src="data:image/svg+xml;base64,{source}">\n<figcaption>{words(figure.caption)}</figcaption></figure>'
    )


def number(value: float | None, digits: int = 3) -> str:
    """A figure with a true minus sign; a dash where there is none."""
    if value is None:
        return NONE
    text = f"{value:.{digits}f}"
    if float(text) == 0.0:
        text = text.removeprefix("-")
    return text.replace("-", _MINUS)


def compact(value: float) -> str:
    """A figure of any size in about four digits."""
    return f"{value:.4g}".replace("-", _MINUS)


def interval(ends: tuple[float, float] | None, digits: int = 3) -> str:
    """``0.61 to 0.72``."""
    return NONE if ends is None else f"{number(ends[0], digits)} to {number(ends[1], digits)}"


def with_interval(value: float | None, ends: tuple[float, float] | None, digits: int = 3) -> str:
    """``0.66 (0.61 to 0.72)``."""
    return number(value, digits) + ("" if ends is None else f" ({interval(ends, digits)})")


def p_value(value: float | None) -> str:
    """Three decimals, or ``< 0.001``."""
    if value is None:
        return NONE
    return "< 0.001" if value < 0.001 else f"{value:.3f}"
