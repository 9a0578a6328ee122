"""Which cases a model can be fitted to, and why not the others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from engine.arrays import BoolArray, Float64Array
from engine.errors import EstimationError
from export.cohort.case_result import CaseResult
from export.cohort.table import CohortCase, CohortTable
from export.survival.table import SurvivalTable

COMPLETE_COVERAGE: Final = "complete_coverage"
_CLINICAL: Final = ("sex", "fibrinogen_g_per_l", COMPLETE_COVERAGE)
"""Covariates of every model of local tumor progression, as the engine names them; male and complete are 1."""

MALE: Final = 1.0
_PROGRESSION: Final = 1
_DEATH: Final = 2

_MAX_LEFT_OUT_SHARE: Final = 0.5
"""If more are left out, those that remain say little of the cohort, whatever their number."""


@dataclass(frozen=True)
class LeftOut:
    """A case that is used neither to fit nor to test a model."""

    case_id: str
    split: str
    reason: str


@dataclass(frozen=True, eq=False)
class UsableCases:
    """Cases of one split with all that a model needs, in the order of the cohort table."""

    cases: tuple[CohortCase, ...]
    results: tuple[CaseResult, ...]

    @property
    def months(self) -> Float64Array:
        """Follow-up (case,)."""
        return np.array([case.months for case in self.cases], dtype=np.float64)

    @property
    def progressed(self) -> BoolArray:
        """Whether local tumor progression was seen (case,)."""
        return np.array([case.event == _PROGRESSION for case in self.cases], dtype=np.bool_)

    def features(self, names: Sequence[str]) -> Float64Array:
        """Radiomics (case, feature)."""
        rows = [[result.features[name] for name in names] for result in self.results]
        return np.array(rows, dtype=np.float64).reshape(len(rows), len(names))

    def table(self, names: Sequence[str] = (), columns: Float64Array | None = None) -> SurvivalTable:
        """The clinical covariates, with further named columns (case, column)."""
        clinical = [
            (MALE if case.sex == "m" else 0.0, case.fibrinogen_g_per_l, float(bool(result.complete_coverage)))
            for case, result in zip(self.cases, self.results, strict=True)
        ]
        covariates = np.array(clinical, dtype=np.float64).reshape(len(clinical), len(_CLINICAL))
        if columns is not None:
            covariates = np.concatenate([covariates, columns], axis=1)
        died = np.array([case.event == _DEATH for case in self.cases], dtype=np.bool_)
        return SurvivalTable(
            (*_CLINICAL, *names), covariates, self.months, self.progressed, died if died.any() else None
        )


def sort_out(
    table: CohortTable, results: Mapping[str, CaseResult]
) -> tuple[UsableCases, UsableCases, tuple[LeftOut, ...]]:
    """Split a cohort into usable training cases, usable test cases, and the rest with its reasons."""
    usable: dict[str, list[CohortCase]] = {"train": [], "test": []}
    left_out: list[LeftOut] = []
    for case in table.cases:
        reason = _why_not(case, results[case.case_id])
        if reason:
            left_out.append(LeftOut(case.case_id, case.split, reason))
        else:
            usable[case.split].append(case)
    train, test = (
        UsableCases(tuple(cases), tuple(results[case.case_id] for case in cases)) for cases in usable.values()
    )
    return train, test, tuple(left_out)


def require_enough(
    train: UsableCases, total: int, left_out: Sequence[LeftOut], min_cases: int, min_events: int
) -> None:
    """Refuse a cohort of which too little remains.

    Raises
    ------
    EstimationError
    """
    cases, events = len(train.cases), int(train.progressed.sum())
    if cases >= min_cases and events >= min_events and cases >= (1.0 - _MAX_LEFT_OUT_SHARE) * total:
        return
    raise EstimationError(
        f"of {total} training cases {cases} with {events} progressions can be used; a model needs {min_cases} cases, "
        f"{min_events} progressions and half of the cohort. {in_words(left_out)}"
    )


def in_words(left_out: Sequence[LeftOut]) -> str:
    """One sentence: how many cases were left out, and why."""
    if not left_out:
        return "No case was left out."
    counts = Counter(item.reason.split(":")[0] for item in left_out)
    reasons = "; ".join(f"{count} {reason}" for reason, count in sorted(counts.items()))
    return f"{len(left_out)} case{'s were' if len(left_out) > 1 else ' was'} left out: {reasons}."


def complete_features(train: UsableCases) -> tuple[str, ...]:
    """Names of the features that every training case has, in alphabetical order."""
    if not train.results:
        return ()
    names = sorted(train.results[0].features)
    return tuple(
        name for name in names if all(result.features.get(name) is not None for result in train.results)
    )


def _why_not(case: CohortCase, result: CaseResult) -> str:
    """Why a case cannot be used, empty if it can; reasons are counted by what precedes the first colon."""
    if result.outcome == "refused":
        return f"refused by the assessment ({result.code}): {result.reason}"
    if result.outcome == "failed":
        return f"failed ({result.code}): {result.reason}"
    lacking = [
        name for name, value in (("sex", case.sex), ("fibrinogen", case.fibrinogen_g_per_l)) if value is None
    ]
    return f"without {' and '.join(lacking)}" if lacking else ""
