"""Who was in the cohort: groups of cases side by side, as in a paper's Table 1."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from engine.arrays import Float64Array
from engine.errors import EstimationError
from export.figures_in_words import compact, compact_range
from export.survival.groups import compare_categorical, compare_continuous, group_labels
from export.survival_report.digits import rounded
from export.survival_report.regression import GroupComparison, GroupComparisonRow
from export.survival_report.units import with_unit

_MAX_CATEGORIES = 6


def compare_groups(
    names: Sequence[str],
    units: Sequence[str],
    codings: Sequence[Mapping[str, float]],
    covariates: Float64Array,
    groups: npt.ArrayLike,
) -> GroupComparison | None:
    """Compare every covariate over groups of cases.

    Parameters
    ----------
    names, units, codings : sequence, (p,)
        A covariate with a coding, or with values 0 and 1 only, is counted; others have medians.
    covariates : ndarray of float, (case, p)
    groups : array_like, (case,)
        One label per case: a centre, or train and test.

    Returns
    -------
    GroupComparison or None
        None if there is one group only.
    """
    labels = np.asarray(groups).astype(str)
    # As they come: the training cohort is named first, whatever its name.
    columns = tuple(dict.fromkeys(map(str, labels)))
    if len(columns) < 2:
        return None
    indices = [group_labels(labels).index(column) for column in columns]
    rows: list[GroupComparisonRow] = []
    for name, unit, coding, values in zip(names, units, codings, covariates.T, strict=True):
        try:
            comparison = _rows(name, unit, coding, values, labels)
        except EstimationError:
            continue
        rows += (
            row.model_copy(update={"values": tuple(row.values[index] for index in indices)})
            for row in comparison
        )
    cases = tuple(int((labels == column).sum()) for column in columns)
    return GroupComparison(groups=columns, cases=cases, rows=tuple(rows)) if rows else None


def _rows(
    name: str, unit: str, coding: Mapping[str, float], values: Float64Array, labels: npt.NDArray[np.str_]
) -> list[GroupComparisonRow]:
    words = {code: meaning for meaning, code in coding.items()}
    if not words and np.isin(values, (0.0, 1.0)).all():
        words = {0.0: "0", 1.0: "1"}
    if words and len(words) <= _MAX_CATEGORIES and np.isin(values, list(words)).all():
        return _counted(name, [words[float(value)] for value in values], labels, words[max(words)])
    comparison = compare_continuous(name, values, labels)
    cells = tuple(
        f"{compact(group.median)} ({compact_range(group.q1, group.q3)})" for group in comparison.groups
    )
    variable, p_value = with_unit(name, unit), rounded(comparison.p_value)
    return [GroupComparisonRow(variable=variable, values=cells, test=comparison.test, p_value=p_value)]


def _counted(
    name: str, values: list[str], labels: npt.NDArray[np.str_], highest: str
) -> list[GroupComparisonRow]:
    """Rows of a categorical covariate; of two categories the one with the higher code says it all."""
    comparison = compare_categorical(name, values, labels)
    totals = np.array(comparison.counts).sum(axis=0)
    p_value = None if comparison.p_value is None else rounded(comparison.p_value)
    rows = list(zip(comparison.categories, comparison.counts, strict=True))
    if len(rows) == 2:
        rows = [row for row in rows if row[0] == highest]
    return [
        GroupComparisonRow(
            variable=f"{name}: {category}",
            values=tuple(
                f"{count} ({100 * count / total:.0f} %)" for count, total in zip(counts, totals, strict=True)
            ),
            test=comparison.test,
            p_value=p_value,
        )
        for category, counts in rows
    ]
