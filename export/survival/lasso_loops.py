"""Compiled loops of the LASSO-Cox path: proximal Newton on the features that matter at a penalty.

The penalized objective is ``-log-likelihood / cases + penalty * sum |coefficient|``. At every penalty

1. the features that the strong rule of Tibshirani et al. 2012 (J R Stat Soc B 74:245) cannot exclude are
   fitted: Newton's quadratic model of the likelihood, exact in those features, is minimized by coordinate
   descent, with step halving;
2. the gradient of all others is checked, and those that the rule excluded wrongly join.

No sum depends on threads or on a linear-algebra library. Plain loops throughout: an array expression would
cost Numba a second of compilation each.
"""

from __future__ import annotations

import numpy as np

from engine.arrays import BoolArray, Float64Array, Int64Array
from export.survival.compiled import compiled

_NEWTON_STEPS = 50
_SWEEPS = 2000
_HALVINGS = 30
_COEFFICIENT_TOLERANCE = 1e-8
_SWEEP_TOLERANCE = 1e-10
"""Largest change of a coefficient of a standardized feature that ends a search."""
_KKT_SLACK = 1e-7
RIDGE = 1e-9
"""Added to the curvature, so that two equal features have one minimum."""

_Sets = tuple[BoolArray, Int64Array, Int64Array, Float64Array, Int64Array]
"""Of cases sorted by time: event, begin, group, share and last_group of a
:class:`export.survival.partial_likelihood.RiskSets`."""


@compiled
def fit_path(
    x: Float64Array, sets: _Sets, penalties: Float64Array, most_active: int
) -> tuple[Float64Array, Float64Array, int]:
    """Coefficients (penalty, feature) and log-likelihoods (penalty,) from the largest penalty down.

    Also how many penalties were fitted: the path ends before more than ``most_active`` features enter.
    """
    cases, features = x.shape
    path, values = np.zeros((penalties.size, features)), np.zeros(penalties.size)
    coefficients, log_risk, residual = np.zeros(features), np.zeros(cases), np.zeros(cases)
    inside, pull = np.zeros(features, dtype=np.bool_), np.zeros(features)
    _fit_inside(x, sets, inside, 0.0, coefficients, log_risk, residual)
    before = gradient(x, residual, pull)
    for index in range(penalties.size):
        penalty = penalties[index]
        bound = 2.0 * penalty - max(before, penalty)
        for feature in range(features):
            inside[feature] = coefficients[feature] != 0.0 or abs(pull[feature]) >= bound
        joined = 1
        while joined > 0:
            values[index] = _fit_inside(x, sets, inside, penalty, coefficients, log_risk, residual)
            gradient(x, residual, pull)
            joined = 0
            for feature in range(features):
                if not inside[feature] and abs(pull[feature]) > penalty + _KKT_SLACK:
                    inside[feature] = True
                    joined += 1
        active = 0
        for feature in range(features):
            path[index, feature] = coefficients[feature]
            active += coefficients[feature] != 0.0
        if active > most_active:
            return path, values, index
        before = penalty
    return path, values, penalties.size


@compiled
def gradient(x: Float64Array, residual: Float64Array, pull: Float64Array) -> float:
    """Fill the derivative of the log-likelihood per case by every feature; returns the largest size."""
    largest = 0.0
    for feature in range(x.shape[1]):
        total = 0.0
        for case in range(x.shape[0]):
            total += x[case, feature] * residual[case]
        pull[feature] = total / x.shape[0]
        largest = max(largest, abs(pull[feature]))
    return largest


@compiled
def _fit_inside(
    x: Float64Array,
    sets: _Sets,
    inside: BoolArray,
    penalty: float,
    coefficients: Float64Array,
    log_risk: Float64Array,
    residual: Float64Array,
) -> float:
    """Fit the features inside in place; returns the log-likelihood.

    ``coefficients`` (feature,), ``log_risk`` (case,) and ``residual`` (case,), the events less the expected
    ones, are those of the solution afterwards.
    """
    cases, width = x.shape[0], 0
    for feature in range(x.shape[1]):
        width += inside[feature]
    columns, working = np.empty((width, cases)), np.empty(width, dtype=np.int64)
    width = 0
    for feature in range(x.shape[1]):
        if inside[feature]:
            working[width] = feature
            for case in range(cases):
                columns[width, case] = x[case, feature]
            width += 1
    relative, expected, denominator = np.empty(cases), np.empty(cases), np.empty(sets[1].size)
    start, target, slope = np.empty(width), np.empty(width), np.empty(width)
    value = likelihood(log_risk, sets, relative, denominator)
    for _ in range(_NEWTON_STEPS):
        _expected_events(sets, relative, denominator, expected, residual)
        curvature = information(columns, sets, relative, denominator, expected)
        for row in range(width):
            start[row] = coefficients[working[row]]
            target[row] = start[row]
            slope[row] = _dot(columns[row], residual) / cases
        _quadratic_minimum(curvature, slope, target, penalty)
        value, largest_change = _step_towards(
            columns, sets, start, target, penalty, value, log_risk, relative, denominator
        )
        for row in range(width):
            coefficients[working[row]] = target[row]
        if largest_change < _COEFFICIENT_TOLERANCE:
            break
    _expected_events(sets, relative, denominator, expected, residual)
    return value


@compiled
def _step_towards(
    columns: Float64Array,
    sets: _Sets,
    start: Float64Array,
    target: Float64Array,
    penalty: float,
    value: float,
    log_risk: Float64Array,
    relative: Float64Array,
    denominator: Float64Array,
) -> tuple[float, float]:
    """Step to the target, halved until the objective does not rise; ``target`` becomes the point reached.

    Returns the log-likelihood at that point and the largest change of a coefficient; fills ``log_risk``.
    """
    cases, width = log_risk.size, start.size
    objective = penalty * _absolute_sum(start) - value / cases
    trial, new_value, largest_change = np.empty(cases), value, 0.0
    for _ in range(_HALVINGS):
        largest_change = 0.0
        for case in range(cases):
            trial[case] = log_risk[case]
        for row in range(width):
            step = target[row] - start[row]
            largest_change = max(largest_change, abs(step))
            if step != 0.0:
                for case in range(cases):
                    trial[case] += step * columns[row, case]
        new_value = likelihood(trial, sets, relative, denominator)
        if penalty * _absolute_sum(target) - new_value / cases <= objective + 1e-12 * (1.0 + abs(objective)):
            break
        for row in range(width):
            target[row] = 0.5 * (start[row] + target[row])
    for case in range(cases):
        log_risk[case] = trial[case]
    return new_value, largest_change


@compiled
def _quadratic_minimum(
    curvature: Float64Array, slope: Float64Array, solution: Float64Array, penalty: float
) -> None:
    """Move the solution to the minimum of ``-slope.d + d.curvature.d / 2 + penalty sum |start + d|``."""
    width = solution.size
    residual = np.empty(width)
    for row in range(width):
        residual[row] = slope[row]
    for _ in range(_SWEEPS):
        largest = 0.0
        for row in range(width):
            diagonal = curvature[row, row] + RIDGE
            minimum = _soft_threshold(residual[row] + diagonal * solution[row], penalty) / diagonal
            change = minimum - solution[row]
            if change != 0.0:
                solution[row] = minimum
                residual[row] -= RIDGE * change
                for other in range(width):
                    residual[other] -= curvature[row, other] * change
                largest = max(largest, abs(change))
        if largest < _SWEEP_TOLERANCE:
            break


@compiled
def _soft_threshold(value: float, penalty: float) -> float:
    """Value moved towards 0 by the penalty, at most to 0."""
    if value > penalty:
        return value - penalty
    if value < -penalty:
        return value + penalty
    return 0.0


@compiled
def likelihood(
    log_risk: Float64Array, sets: _Sets, relative: Float64Array, denominator: Float64Array
) -> float:
    """Log partial likelihood; fills the relative risks (case,) and their sums over risk sets (event,)."""
    event, begin, group, share, _ = sets
    cases, events = log_risk.size, begin.size
    shift = log_risk[0]
    for case in range(cases):
        shift = max(shift, log_risk[case])
    at_risk, tied = np.zeros(cases + 1), np.zeros(events)
    for case in range(cases - 1, -1, -1):
        relative[case] = np.exp(log_risk[case] - shift)
        at_risk[case] = at_risk[case + 1] + relative[case]
    value, number = 0.0, 0
    for case in range(cases):
        if event[case]:
            tied[group[number]] += relative[case]
            value += log_risk[case] - shift
            number += 1
    for number in range(events):
        denominator[number] = at_risk[begin[number]] - share[number] * tied[group[number]]
        value -= np.log(denominator[number])
    return value


@compiled
def _expected_events(
    sets: _Sets,
    relative: Float64Array,
    denominator: Float64Array,
    expected: Float64Array,
    residual: Float64Array,
) -> None:
    """Fill the events expected of each case until it leaves, and the events less those (case,)."""
    event, _, group, share, last_group = sets
    groups = group[-1] + 1
    hazard, left = np.zeros(groups + 1), np.zeros(groups)
    for number in range(group.size):
        hazard[group[number] + 1] += 1.0 / denominator[number]
        left[group[number]] += share[number] / denominator[number]
    for step in range(groups):
        hazard[step + 1] += hazard[step]
    number = 0
    for case in range(relative.size):
        total = hazard[last_group[case]]
        if event[case]:
            total -= left[group[number]]
            number += 1
        expected[case] = relative[case] * total
        residual[case] = event[case] - expected[case]


@compiled
def information(
    columns: Float64Array,
    sets: _Sets,
    relative: Float64Array,
    denominator: Float64Array,
    expected: Float64Array,
) -> Float64Array:
    """Negative second derivative of the log-likelihood per case by the columns (feature, case)."""
    event, begin, group, share, _ = sets
    width, cases = columns.shape
    weighted, means = np.empty((width, cases)), np.empty((width, begin.size))
    later, tied = np.zeros(cases + 1), np.empty(begin.size)
    for row in range(width):
        for number in range(begin.size):
            tied[number] = 0.0
        for case in range(cases - 1, -1, -1):
            weighted[row, case] = expected[case] * columns[row, case]
            later[case] = later[case + 1] + relative[case] * columns[row, case]
        number = 0
        for case in range(cases):
            if event[case]:
                tied[group[number]] += relative[case] * columns[row, case]
                number += 1
        for number in range(begin.size):
            drawn = later[begin[number]] - share[number] * tied[group[number]]
            means[row, number] = drawn / denominator[number]
    result = np.empty((width, width))
    for row in range(width):
        for column in range(row + 1):
            total = _dot(weighted[row], columns[column]) - _dot(means[row], means[column])
            result[row, column] = total / cases
            result[column, row] = result[row, column]
    return result


@compiled
def _dot(left: Float64Array, right: Float64Array) -> float:
    """Sum of products."""
    total = 0.0
    for index in range(left.size):
        total += left[index] * right[index]
    return total


@compiled
def _absolute_sum(values: Float64Array) -> float:
    """Sum of absolute values."""
    total = 0.0
    for index in range(values.size):
        total += abs(values[index])
    return total
