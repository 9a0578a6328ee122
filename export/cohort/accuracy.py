"""The figures of a fit that a program asks for."""

from __future__ import annotations

from typing import Any

from export.figures_in_words import with_interval
from export.survival_report.evaluation import Evaluation
from export.survival_report.fit_report import FitReport


def accuracy_of(report: FitReport) -> dict[str, Any]:
    """Return ``train`` and ``test`` (null without a test cohort) with their figures."""
    by_role: dict[str, Evaluation] = {item.role: item for item in reversed(report.evaluations)}
    train, out_of_fold, test = (by_role.get(role) for role in ("apparent", "out_of_fold", "test"))
    return {
        "train": {
            "c_index": None if train is None else train.c_index,
            "c_index_out_of_fold": None if out_of_fold is None else out_of_fold.c_index,
        },
        "test": None
        if test is None
        else {
            "c_index": test.c_index,
            "c_index_interval_95": test.c_index_interval_95,
            "integrated_brier": None if test.brier is None else test.brier.integrated,
            "null_integrated_brier": None if test.brier is None else test.brier.null_integrated,
        },
    }


def accuracy_in_words(report: FitReport) -> list[str]:
    """The same, a line for each cohort and role."""
    lines = []
    for item in report.evaluations:
        line = f"{item.title}: C-index {with_interval(item.c_index, item.c_index_interval_95, level=95)}"
        if item.brier is not None:
            brier = item.brier
            line += (
                f", integrated Brier score {brier.integrated:.3f} (null model {brier.null_integrated:.3f})"
            )
        lines.append(line)
    return lines
