"""Comparison of groups of cases, as in a paper's Table 1."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from engine.arrays import Float64Array
from engine.errors import EstimationError, InvalidRequestError
from export.survival.follow_up import checked_values

_MIN_EXPECTED = 5.0
"""Below this expected count the chi-square distribution is no good approximation (Cochran's rule)."""


@dataclass(frozen=True)
class _Quartiles:
    """Median (lower quartile, upper quartile) of a group."""

    cases: int
    median: float
    q1: float
    q3: float


@dataclass(frozen=True)
class _ContinuousRow:
    """A continuous variable in each group, with the p-value of their comparison.

    Attributes
    ----------
    name : str
    groups : tuple of _Quartiles
        In the order of the group labels.
    test : str
    p_value : float
    """

    name: str
    groups: tuple[_Quartiles, ...]
    test: str
    p_value: float


@dataclass(frozen=True)
class _CategoricalRow:
    """A categorical variable in each group, with the p-value of their comparison.

    Attributes
    ----------
    name : str
    categories : tuple of str
    counts : tuple of tuple of int, (category, group)
    test : str
        Says so where the approximation of the chi-square test is doubtful.
    p_value : float or None
        None if there is one category only.
    """

    name: str
    categories: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]
    test: str
    p_value: float | None


def group_labels(groups: npt.ArrayLike) -> tuple[str, ...]:
    """Distinct labels, sorted: the order of the columns of a table."""
    return tuple(str(label) for label in np.unique(np.asarray(groups)))


def compare_continuous(name: str, values: npt.ArrayLike, groups: npt.ArrayLike) -> _ContinuousRow:
    """Median and quartiles by group; Mann–Whitney's test of two groups, Kruskal–Wallis' of more.

    Parameters
    ----------
    name : str
    values : array_like of float, (case,)
    groups : array_like, (case,)
        One label per case.

    Raises
    ------
    InvalidRequestError
        If lengths differ or a value is not finite.
    EstimationError
        If there is one group only.
    """
    parts = _parts(values, groups)
    if len(parts) == 2:
        test = "Mann–Whitney U"
        p_value = float(stats.mannwhitneyu(parts[0], parts[1]).pvalue)
    elif np.ptp(np.concatenate(parts)) == 0:
        test, p_value = "Kruskal–Wallis", 1.0
    else:
        test, p_value = "Kruskal–Wallis", float(stats.kruskal(*parts).pvalue)
    return _ContinuousRow(name, tuple(_quartiles(part) for part in parts), test, p_value)


def compare_categorical(name: str, values: Sequence[str], groups: npt.ArrayLike) -> _CategoricalRow:
    """Count by group; chi-square test without correction, Fisher's exact one for a sparse 2 x 2 table.

    Parameters
    ----------
    name : str
    values : sequence of str, (case,)
    groups : array_like, (case,)

    Raises
    ------
    InvalidRequestError
        If lengths differ.
    EstimationError
        If there is one group only.
    """
    labels = np.asarray(groups)
    if labels.shape != (len(values),):
        raise InvalidRequestError(f"{len(values)} values of {name} for {labels.size} cases: one each", name)
    columns, column = np.unique(labels, return_inverse=True)
    if columns.size < 2:
        raise EstimationError("there is one group only: a comparison needs two or more")
    categories, row = np.unique(np.asarray(values, dtype=str), return_inverse=True)
    counts = np.zeros((categories.size, columns.size), dtype=np.int64)
    np.add.at(counts, (row, column), 1)
    test, p_value = _categorical_test(counts)
    rows = tuple(tuple(int(count) for count in row_counts) for row_counts in counts)
    return _CategoricalRow(name, tuple(map(str, categories)), rows, test, p_value)


def _categorical_test(counts: npt.NDArray[np.int64]) -> tuple[str, float | None]:
    """Name and p-value of the test that suits a table of counts."""
    if counts.shape[0] < 2:
        return "none: one category only", None
    expected = stats.contingency.expected_freq(counts)
    if expected.min() >= _MIN_EXPECTED:
        return "chi-square", float(stats.chi2_contingency(counts, correction=False).pvalue)
    if counts.shape == (2, 2):
        return "Fisher's exact", float(stats.fisher_exact(counts).pvalue)
    p_value = float(stats.chi2_contingency(counts, correction=False).pvalue)
    return "chi-square (an expected count is below 5)", p_value


def _parts(values: npt.ArrayLike, groups: npt.ArrayLike) -> list[Float64Array]:
    """Values of each group, in the order of the labels."""
    labels = np.asarray(groups)
    array = checked_values(values, labels.size, "values")
    names = np.unique(labels)
    if names.size < 2:
        raise EstimationError("there is one group only: a comparison needs two or more")
    return [array[labels == name] for name in names]


def _quartiles(values: Float64Array) -> _Quartiles:
    """Describe one group."""
    q1, median, q3 = np.percentile(values, [25, 50, 75])
    return _Quartiles(values.size, float(median), float(q1), float(q3))
