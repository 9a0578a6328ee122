"""The report as one self-contained HTML page, and its figures as PNG and SVG files."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Final

from jinja2 import Environment, PackageLoader, StrictUndefined

from engine import DISCLAIMER
from engine.errors import InvalidRequestError
from engine.manifest import MANIFEST_FILE, SIMULATED_COHORT
from export.figures_in_words import interval, number, unbroken
from export.survival_report.figures import sheet
from export.survival_report.figures.drawing import DrawnFigure
from export.survival_report.figures.sheet import draw_figures
from export.survival_report.fit_report import FitReport
from export.survival_report.tables import (
    Table,
    cohort_table,
    comparison_table,
    covariate_table,
    cox_table,
    performance_table,
    settings_table,
    signature_table,
)

REPORT_FILE: Final = "report.html"
_FIGURES_FOLDER: Final = "figures"


def write_report(report: FitReport, folder: Path) -> Path:
    """Write ``report.html`` and ``figures/*.png`` and ``*.svg``.

    Parameters
    ----------
    report : FitReport
    folder : Path
        Made if it does not exist; files of an earlier report in it are replaced. Not the folder of a
        bundle, which holds only files that its manifest lists.

    Returns
    -------
    Path
        The page. The same report gives the same bytes on one machine.

    Raises
    ------
    InvalidRequestError
        If the folder is a bundle.
    """
    if (folder / MANIFEST_FILE).exists():
        raise InvalidRequestError(
            f"{folder} is a bundle, which holds only what its manifest lists: give another folder", "out"
        )
    figures = draw_figures(report)
    figures_folder = folder / _FIGURES_FOLDER
    figures_folder.mkdir(parents=True, exist_ok=True)
    for name in sheet.DRAWINGS:
        for kind in ("svg", "png"):
            path = figures_folder / f"{name}.{kind}"
            if name in figures:
                path.write_bytes(getattr(figures[name], kind))
            else:
                path.unlink(missing_ok=True)  # of an earlier report, and not of this one
    page = folder / REPORT_FILE
    page.write_text(render_page(report, figures), encoding="utf-8", newline="\n")
    return page


def render_page(report: FitReport, figures: Mapping[str, DrawnFigure]) -> str:
    """Render the page.

    Parameters
    ----------
    report : FitReport
    figures : mapping of str to DrawnFigure
        From :func:`export.survival_report.figures.sheet.draw_figures`.

    Returns
    -------
    str
        HTML, everything inside; whatever the report holds is escaped.
    """
    return (
        _templates()
        .get_template("report.html")
        .render(
            report=report,
            tables=_tables(report),
            figures={name: figures.get(name) for name in sheet.DRAWINGS},
            horizons=", ".join(f"{horizon:g}" for horizon in report.horizons_months),
            simulated_cohort=SIMULATED_COHORT,
            disclaimer=DISCLAIMER,
            figures_folder=_FIGURES_FOLDER,
        )
    )


def _tables(report: FitReport) -> dict[str, Table | None]:
    """The tables by the names that the templates have for them; None where the report has nothing for one."""
    comparison, cox, signature = report.group_comparison, report.cox, report.signature
    return {
        "performance": performance_table(report),
        "cohort": cohort_table(report),
        "covariates": covariate_table(report),
        "comparison": None if comparison is None else comparison_table(comparison),
        "cox": None if cox is None else cox_table(cox),
        "signature": None if signature is None else signature_table(signature),
        "settings": settings_table(report),
    }


@cache
def _templates() -> Environment:
    """Templates that escape whatever is put into them, and refuse a name that they are not given."""
    environment = Environment(
        loader=PackageLoader("export.survival_report"),
        autoescape=True,
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )
    environment.filters.update(
        number=number,
        interval=interval,
        unbroken=unbroken,
        base64=lambda content: base64.b64encode(content).decode("ascii"),
    )
    return environment
