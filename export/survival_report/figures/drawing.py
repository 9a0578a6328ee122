"""One look for all figures, and files that are the same bytes each time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Final, Literal

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from engine.manifest import SIMULATED_COHORT

INK: Final = "#222222"
QUIET: Final = "#767676"
GRID: Final = "#e3e3e3"
# Paul Tol's medium-contrast set (dark triple): apart for color-blind readers and in gray.
BLUE, GOLD, WINE = "#004488", "#997700", "#994455"
LIGHT_BLUE, LIGHT_GOLD, LIGHT_WINE = "#6699cc", "#eecc66", "#ee99aa"
LINE_STYLES: Final = ("solid", (0, (6, 1.6)), (0, (2, 1.2)), "dashdot")
_DOTS_PER_INCH: Final = 150
_LABEL_STRIP_IN: Final = 0.24

_STYLE: Final[dict[Any, Any]] = {
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "text.color": INK,
    "axes.edgecolor": QUIET,
    "axes.labelcolor": INK,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "svg.fonttype": "path",
    "svg.hashsalt": "coldspot",
    "path.simplify": False,
    # A name with a dollar sign is a name.
    "text.parse_math": False,
}


@dataclass(frozen=True)
class DrawnFigure:
    """A figure as files.

    Attributes
    ----------
    name : str
        Of the files, without a suffix.
    caption : str
        What is seen, and how to read it.
    alternative : str
        The same for somebody who cannot see it: the figures in words.
    width_px : int
        Natural width on a page.
    svg, png : bytes
    """

    name: str
    caption: str
    alternative: str
    width_px: int
    svg: bytes
    png: bytes


@contextmanager
def report_style() -> Iterator[None]:
    """Draw in the report's style, whatever the caller's matplotlibrc says."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_STYLE)
        yield


def new_figure(width_in: float, height_in: float) -> Figure:
    """Make an empty figure that takes no part in pyplot's global state."""
    figure = Figure(figsize=(width_in, height_in), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def finish(figure: Figure, name: str, caption: str, alternative: str, *, simulated: bool) -> DrawnFigure:
    """Write a figure as SVG and PNG without date or version; label it where the cases are simulated."""
    if simulated:
        _label_simulated(figure)
    # Laid out once for both files: it takes most of the time, and the two pictures must not differ.
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    svg, png = BytesIO(), BytesIO()
    figure.savefig(svg, format="svg", metadata={"Date": None, "Creator": None})
    figure.savefig(png, format="png", dpi=_DOTS_PER_INCH, metadata={"Software": None})
    width = round(96 * figure.get_figwidth())
    return DrawnFigure(name, caption, alternative, width, svg.getvalue(), png.getvalue())


def _label_simulated(figure: Figure) -> None:
    """Add a strip on top that says that the cases are simulated."""
    height = figure.get_figheight() + _LABEL_STRIP_IN
    figure.set_figheight(height)
    engine = figure.get_layout_engine()
    if isinstance(engine, ConstrainedLayoutEngine):
        engine.set(rect=(0.0, 0.0, 1.0, 1.0 - _LABEL_STRIP_IN / height))
    figure.text(
        0.995, 1.0 - 0.04 / height, SIMULATED_COHORT, ha="right", va="top", fontsize=8.5, color=WINE,
        fontweight="bold", in_layout=False,
    )  # fmt: skip


def quiet_grid(axes: Axes, axis: Literal["both", "x", "y"] = "both") -> None:
    """Thin lines behind everything else."""
    axes.grid(visible=True, axis=axis, color=GRID, linewidth=0.7)
    axes.set_axisbelow(True)


def probability_axis(axes: Axes, which: str, label: str) -> None:
    """Axis of 0 to 100 %."""
    limits: Callable[..., object] = axes.set_xlim if which == "x" else axes.set_ylim
    limits(-0.015, 1.03)
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_ticks([0, 0.2, 0.4, 0.6, 0.8, 1.0], ["0", "20", "40", "60", "80", "100"])
    axis.set_label_text(f"{label}, %")


def p_value_words(p_value: float | None) -> str:
    """``p = 0.013``, ``p < 0.001``, ``p not estimable``."""
    if p_value is None:
        return "p not estimable"
    return "p < 0.001" if p_value < 0.001 else f"p = {p_value:.3f}"


def short_name(endpoint: str) -> str:
    """``local tumor progression (LTP)`` is ``LTP`` on an axis."""
    if endpoint.endswith(")") and "(" in endpoint:
        return endpoint[endpoint.rindex("(") + 1 : -1]
    return endpoint
