"""Reports for the tests of reports, one that has everything and one that has little, and their page as it is seen."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from html.parser import HTMLParser
from typing import Any

import numpy as np

from export.survival.signature import fit_signature
from export.survival_report.build import build_fit_report
from export.survival_report.figures import drawing
from export.survival_report.figures.sheet import draw_figures
from export.survival_report.fit_report import FitReport
from export.survival_report.radscore_signature import report_signature
from tests.support.cohorts.reported_models import cohorts, table, true_model, truth


@cache
def full_report() -> FitReport:
    """Everything that a report can have, built once."""
    training, test = cohorts()
    rng = np.random.default_rng(5)
    died = ~training.progressed & (rng.random(training.months.size) < 0.3)
    cases = replace(table(training), competing=died)
    features = rng.normal(size=(training.months.size, 12))
    features[:, 0] += 1.5 * training.true_log_risk
    follow_up = (training.months, training.progressed)
    fitted = fit_signature(features, [f"glcm_{i}" for i in range(12)], *follow_up, seed=1, repeats=1, folds=5)
    return build_fit_report(
        true_model(table(training)),
        cases,
        tests={"external": table(test)},
        signature=report_signature(fitted, features_offered=1316, follow_up=follow_up),
        truths={"training": truth(training), "external": truth(test)},
        left_out={"training": 3},
    )


@cache
def figures() -> dict[str, drawing.DrawnFigure]:
    return draw_figures(full_report())


def smallest_report(**changes: Any) -> FitReport:
    """A report with nothing that may be left out."""
    whole = full_report()
    apparent = whole.evaluations[-1]
    kept = {
        "group_comparison": None,
        "evaluations": (apparent,),
        "cox": None,
        "nomogram": None,
        "contributions": None,
        "signature": None,
        "competing_risk": None,
        "cautions": (),
        "assumptions": (),
        "settings": (),
        "software": (),
        "horizons_months": (),
    }
    return whole.model_copy(update={**kept, **changes})


class Page(HTMLParser):
    """What a browser would see; refuses tags that are not closed in order."""

    VOID = frozenset({"meta", "img", "link", "br"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())
