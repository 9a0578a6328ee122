"""The report as one HTML page that needs no other file, with its figures beside it as PNG and SVG."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Final

from engine import DISCLAIMER
from engine.errors import InvalidRequestError
from engine.manifest import MANIFEST_FILE, SIMULATED_COHORT
from export.survival_report.evaluation import Evaluation
from export.survival_report.figures import sheet as drawn
from export.survival_report.figures.drawing import DrawnFigure
from export.survival_report.figures.sheet import draw_figures
from export.survival_report.fit_report import FitReport
from export.survival_report.markup import bullets, interval, number, paragraph, picture, section
from export.survival_report.page_tables import (
    cohort_table,
    comparison_table,
    covariate_table,
    cox_table,
    performance_table,
    settings_table,
    signature_table,
)
from export.survival_report.stylesheet import STYLESHEET

REPORT_FILE: Final = "report.html"
_FIGURES_FOLDER: Final = "figures"
# The page runs nothing and fetches nothing, whatever a name in it says.
_POLICY: Final = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"

_FOOTER: Final = f"{DISCLAIMER} The figures lie beside this page as PNG and SVG, in {_FIGURES_FOLDER}/."


def write_report(report: FitReport, folder: Path) -> Path:
    """Write ``report.html`` and ``figures/*.png`` and ``*.svg``.

    Parameters
    ----------
    report : FitReport
    folder : Path
        Made if it is not there; files of an earlier report in it are replaced. Not the folder of a
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
    beside = folder / _FIGURES_FOLDER
    beside.mkdir(parents=True, exist_ok=True)
    for name in drawn.DRAWINGS:
        for kind in ("svg", "png"):
            path = beside / f"{name}.{kind}"
            if name in figures:
                path.write_bytes(getattr(figures[name], kind))
            else:
                path.unlink(missing_ok=True)  # of an earlier report, and not of this one
    page = folder / REPORT_FILE
    page.write_text(render_page(report, figures), encoding="utf-8", newline="\n")
    return page


def render_page(report: FitReport, figures: dict[str, DrawnFigure]) -> str:
    """Render the page.

    Parameters
    ----------
    report : FitReport
    figures : dict of str to DrawnFigure
        From :func:`export.survival_report.figures.sheet.draw_figures`.

    Returns
    -------
    str
        HTML, everything inside.
    """
    sections = {
        "performance": ("Performance", _performance(report, figures)),
        "calibration": ("Calibration", [picture(figures.get(drawn.CALIBRATION))]),
        "cohort": ("Cohort", _cohort(report)),
        "cox": ("Cox regression", _cox(report, figures)),
        "network": ("Contributions of the covariates", _network(figures)),
        "signature": ("Radiomics signature", _signature(report, figures)),
        "nomogram": ("Nomogram", [picture(figures.get(drawn.NOMOGRAM))]),
        "competing-risk": ("Competing risk", [picture(figures.get(drawn.COMPETING_RISK))]),
        "fit": ("How it was fitted", _fit(report)),
    }
    filled = {anchor: (title, parts) for anchor, (title, parts) in sections.items() if any(parts)}
    links = "".join(
        f'<li><a href="#{anchor}">{escape(title)}</a></li>' for anchor, (title, _) in filled.items()
    )
    body = "\n".join(section(anchor, title, *parts) for anchor, (title, parts) in filled.items())
    title = f"{report.model_id} {report.model_version}"
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}: fit report{f" ({SIMULATED_COHORT})" if report.simulated else ""}</title>
<style>{STYLESHEET}</style>
</head>
<body>
<main>
{_head(report, title)}
<nav aria-label="Contents"><ul>{links}</ul></nav>
{body}
<footer>{paragraph(_FOOTER, "quiet")}</footer>
</main>
</body>
</html>
"""


def _head(report: FitReport, title: str) -> str:
    horizons = ", ".join(f"{horizon:g}" for horizon in report.horizons_months)
    within = f" within {horizons} {report.time_unit}" if horizons else ""
    parts = [
        f'<header>\n<p class="quiet">Fit report of a survival model</p>\n<h1>{escape(title)}</h1>',
        paragraph(f"Risk of {report.endpoint}{within}. Fitted on: {report.fitted_on}."),
    ]
    if report.simulated:
        parts.append(
            f'<div class="banner" role="note"><strong>{SIMULATED_COHORT}.</strong> No patient took part. The figures '
            "show what the software does; use neither them nor the model for a patient.</div>"
        )
    parts.append(paragraph(_in_one_sentence(report)))
    if report.cautions:
        parts.append('<div class="cautions"><h3>Cautions</h3>' + bullets(report.cautions) + "</div>")
    return "\n".join([*parts, "</header>"])


def _in_one_sentence(report: FitReport) -> str:
    """The most honest evaluation there is, in words."""
    item = report.evaluations[0]
    ranked = (
        "" if item.c_index_interval_95 is None else f" (95 % interval {interval(item.c_index_interval_95)})"
    )
    return (
        f"In the cohort “{item.cohort}” ({item.role_words}; {item.cases} cases, {item.events} events) the C-index is "
        f"{number(item.c_index)}{ranked}{_brier_words(item)}."
    )


def _brier_words(item: Evaluation) -> str:
    if item.brier is None:
        return ""
    return (
        f" and the integrated Brier score {number(item.brier.integrated)}, the null model's "
        f"{number(item.brier.null_integrated)}"
    )


def _performance(report: FitReport, figures: dict[str, DrawnFigure]) -> list[str]:
    return [
        performance_table(report),
        picture(figures.get(drawn.KAPLAN_MEIER)),
        picture(figures.get(drawn.BRIER)),
    ]


def _cohort(report: FitReport) -> list[str]:
    return [
        cohort_table(report),
        "<h3>Covariates</h3>",
        covariate_table(report),
        "<h3>Groups compared</h3>" if report.group_comparison is not None else "",
        comparison_table(report.group_comparison),
    ]


def _cox(report: FitReport, figures: dict[str, DrawnFigure]) -> list[str]:
    if report.cox is None:
        return []
    return [picture(figures.get(drawn.FOREST)), cox_table(report.cox)]


def _network(figures: dict[str, DrawnFigure]) -> list[str]:
    return [picture(figures.get(name)) for name in (drawn.CONTRIBUTIONS, drawn.DEPENDENCE)]


def _signature(report: FitReport, figures: dict[str, DrawnFigure]) -> list[str]:
    signature = report.signature
    if signature is None:
        return []
    parts = [
        paragraph(
            f"{signature.features_offered} features were offered; {signature.features_after_redundancy} were left by "
            f"the redundancy filter (absolute correlation up to {signature.redundancy_threshold:g}); the LASSO-Cox "
            f"chose {len(signature.chosen)}, with the penalty from {signature.validation_repeats} × "
            f"{signature.validation_folds}-fold cross-validation. All of that was repeated inside each of "
            f"{signature.outer_folds} outer folds for the out-of-fold Radscore."
        )
    ]
    if not signature.chosen:
        parts.append(
            paragraph("An empty signature is a valid outcome: the Radscore is then the same for everybody.")
        )
    if signature.out_of_fold_c_index is not None:
        parts.append(
            paragraph(
                f"Radscore alone, out of fold: C-index {number(signature.out_of_fold_c_index)} "
                f"(95 % interval {interval(signature.out_of_fold_c_index_interval_95)})."
            )
        )
    parts += [picture(figures.get(drawn.SIGNATURE)), picture(figures.get(drawn.PENALTY_PATH))]
    if signature.weights:
        parts.append(f"<details><summary>All weights</summary>{signature_table(signature)}</details>")
    return parts


def _fit(report: FitReport) -> list[str]:
    return [
        settings_table(report),
        "<h3>Assumptions</h3>" + bullets(report.assumptions) if report.assumptions else "",
    ]
