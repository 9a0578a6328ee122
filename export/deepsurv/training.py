"""Training of an ensemble, every member with early stopping on cases held out from it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import torch

from engine.arrays import Float64Array
from export.deepsurv.linear import LinearSettings, fit_coefficients, linear_ensemble
from export.deepsurv.network import Ensemble, Parameters, forward, initial_parameters
from export.deepsurv.partial_likelihood import WeightedRiskSets, log_partial_likelihood, weighted_risk_sets

Progress = Callable[[float], None]

_FULL_BATCH: Final = 768
"""Up to so many cases every step sees all of them; more are trained in batches."""
_BATCH: Final = 512
_STEPS_BETWEEN_CHECKS: Final = 10


@dataclass(frozen=True)
class NetworkSettings:
    """What is trained and how: Adam on the mean log partial likelihood per event, with L2 on the weights.

    Attributes
    ----------
    hidden : int
        Width of every layer.
    l2 : float
    learning_rate : float
    max_steps : int
    patience_steps : int
        A member that has not improved on its held-out cases for so long is finished.
    shrunk_to_linear : bool
        Whether every member begins as the Cox model of its cases and L2 is on what differs from it; else on all
        weights.
    """

    hidden: int = 16
    l2: float = 1e-3
    learning_rate: float = 0.01
    max_steps: int = 1000
    patience_steps: int = 100
    shrunk_to_linear: bool = False

    def __str__(self) -> str:
        """The settings in words."""
        toward = ", toward Cox" if self.shrunk_to_linear else ""
        return f"width {self.hidden}, L2 {self.l2:g}{toward}"


def train(
    covariates: Float64Array,
    months: Float64Array,
    event: npt.NDArray[np.bool_],
    training_weights: Float64Array,
    held_out: Float64Array,
    settings: NetworkSettings,
    *,
    seed: int,
    on_progress: Progress | None = None,
) -> Ensemble:
    """Train every member on its weighted cases until its held-out ones no longer gain.

    Parameters
    ----------
    covariates : ndarray of float, (case, covariate)
        Standardized.
    months, event : ndarray, (case,)
    training_weights : ndarray of float, (member, case)
        0 for cases a member must not see.
    held_out : ndarray of float, (member, case)
        Weights of the cases that only stop it.
    settings : NetworkSettings
    seed : int
        Of the first weights and the batches.
    on_progress : callable, optional
        Called with a share from 0 to 1.

    Returns
    -------
    dict of str to ndarray of float32
        As :func:`export.deepsurv.onnx_graph.weight_shapes` names them; each member's log-risk has the
        mean 0 over its training cases.
    """
    # One thread adds in one order: the same seed gives the same weights on the same machine.
    torch.set_num_threads(1)
    # Latest first: a running sum from the start is then the sum over the risk set.
    order = np.argsort(-months, kind="stable")
    cohort = _Cohort(
        torch.tensor(covariates[order], dtype=torch.float32),
        torch.tensor(months[order], dtype=torch.float64),
        torch.tensor(event[order], dtype=torch.float64),
        torch.tensor(training_weights[:, order], dtype=torch.float64),
    )
    stopping = _Stopping(cohort, torch.tensor(held_out[:, order], dtype=torch.float64))
    parameters = initial_parameters(len(training_weights), covariates.shape[1], settings.hidden, seed)
    if settings.shrunk_to_linear:
        linear = fit_coefficients(covariates, months, event, training_weights, LinearSettings())
        _begin_as(parameters, linear)
    first = {name: value.clone() for name, value in parameters.items()}
    for value in parameters.values():
        value.requires_grad_()
    optimizer = torch.optim.Adam(parameters.values(), lr=settings.learning_rate)
    batches = _batches(cohort, seed)
    for step in range(settings.max_steps):
        if step and step % _STEPS_BETWEEN_CHECKS == 0:
            stopping.look(parameters, step)
            if stopping.finished(step, settings.patience_steps):
                break
            if on_progress is not None:
                on_progress(step / settings.max_steps)
        rows, sets, scale = next(batches)
        optimizer.zero_grad()
        log_risk, _ = forward(parameters, rows)
        penalty = sum(
            (w - first[name] if settings.shrunk_to_linear else w).square().sum()
            for name, w in parameters.items()
            if name.endswith(".weight")
        )
        # Members share no weight, so the sum of their losses trains each alone.
        loss: torch.Tensor = -(scale * log_partial_likelihood(log_risk, sets)).sum() + settings.l2 * penalty
        loss.backward()
        optimizer.step()
    stopping.look(parameters, settings.max_steps)
    return _centered(stopping.best, cohort)


@dataclass(frozen=True, eq=False)
class _Cohort:
    """Cases by falling time, with the weight that each has for each member."""

    rows: torch.Tensor
    months: torch.Tensor
    events: torch.Tensor
    weights: torch.Tensor


class _Stopping:
    """The best parameters of every member so far, by what its held-out cases add to the likelihood.

    The held-out part is judged as the log partial likelihood of all cases less that of the training
    cases: its few cases are compared with everybody, and not only with each other.

    References
    ----------
    Verweij and van Houwelingen 1993, Stat Med 12:2305.
    """

    def __init__(self, cohort: _Cohort, held_out: torch.Tensor) -> None:
        self._rows = cohort.rows
        self._training = weighted_risk_sets(cohort.months, cohort.events, cohort.weights)
        self._all = weighted_risk_sets(cohort.months, cohort.events, cohort.weights + held_out)
        self._best_value = torch.full((len(held_out),), -math.inf, dtype=torch.float64)
        self._best_step = torch.zeros(len(held_out), dtype=torch.int64)
        self.best: Parameters = {}

    def look(self, parameters: Parameters, step: int) -> None:
        """Keep the parameters of the members that have improved."""
        with torch.no_grad():
            log_risk, _ = forward(parameters, self._rows)
            gained = log_partial_likelihood(log_risk, self._all) - log_partial_likelihood(
                log_risk, self._training
            )
            better = gained > self._best_value
            self._best_value = torch.where(better, gained, self._best_value)
            self._best_step[better] = step
            for name, value in parameters.items():
                kept = self.best.get(name, value)
                self.best[name] = torch.where(better[:, None, None], value, kept).detach().clone()

    def finished(self, step: int, patience: int) -> bool:
        """Whether no member has improved for long enough."""
        return bool((step - self._best_step > patience).all())


def _batches(cohort: _Cohort, seed: int) -> Iterator[tuple[torch.Tensor, WeightedRiskSets, torch.Tensor]]:
    """Rows, risk sets and scale (member,) of one step after the other, without end."""
    cases = len(cohort.months)
    event_weight = (cohort.weights * cohort.events).sum(dim=1)
    if cases <= _FULL_BATCH:
        sets = weighted_risk_sets(cohort.months, cohort.events, cohort.weights)
        while True:
            yield cohort.rows, sets, 1 / event_weight
    drawn = torch.Generator().manual_seed(seed)
    while True:
        # Nearly equal batches: one of few cases would have risk sets that say little.
        for chosen in torch.randperm(cases, generator=drawn).chunk(math.ceil(cases / _BATCH)):
            index = chosen.sort().values
            sets = weighted_risk_sets(cohort.months[index], cohort.events[index], cohort.weights[:, index])
            yield cohort.rows[index], sets, cases / len(index) / event_weight


def _begin_as(parameters: Parameters, coefficients: Float64Array) -> None:
    """Make every member the linear model of its coefficients; the units that do not carry it stay as drawn."""
    linear = linear_ensemble(coefficients, parameters["stem.weight"].shape[2])
    parameters["stem.weight"][:, :, 0] = torch.from_numpy(linear["stem.weight"][:, :, 0])
    parameters["log_risk_head.weight"] = torch.from_numpy(linear["log_risk_head.weight"])


def _centered(parameters: Parameters, cohort: _Cohort) -> Ensemble:
    """Shift each head so that its log-risk has the mean 0; a Cox model leaves that open."""
    with torch.no_grad():
        log_risk, _ = forward(parameters, cohort.rows)
        mean = (log_risk.double() * cohort.weights).sum(dim=1) / cohort.weights.sum(dim=1)
        parameters["log_risk_head.bias"] -= mean[:, None, None].float()
    return {name: value.numpy().copy() for name, value in parameters.items()}
