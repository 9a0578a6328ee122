"""Cox's linear model as an ensemble of the network's own form: what the network has to beat, and what it shrinks to."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from engine.arrays import BoolArray, Float64Array
from export.deepsurv.network import Ensemble
from export.deepsurv.onnx_graph import weight_shapes
from export.deepsurv.partial_likelihood import log_partial_likelihood, weighted_risk_sets

_MAX_STEPS = 200
_TOLERANCE = 1e-9


@dataclass(frozen=True)
class LinearSettings:
    """Cox's model with a little ridge, so that covariates which repeat each other have an answer.

    Attributes
    ----------
    l2 : float
        On the coefficients of the standardized covariates, beside the mean log partial likelihood per event.
    """

    l2: float = 1e-3

    def __str__(self) -> str:
        """The settings in words."""
        return f"linear (Cox), L2 {self.l2:g}"


def fit_coefficients(
    covariates: Float64Array,
    months: Float64Array,
    event: BoolArray,
    weights: Float64Array,
    settings: LinearSettings,
) -> Float64Array:
    """Maximize the weighted partial likelihood of every member, ties by Efron.

    Parameters
    ----------
    covariates : ndarray of float, (case, covariate)
        Standardized.
    months, event : ndarray, (case,)
    weights : ndarray of float, (member, case)
        0 for cases a member must not see.
    settings : LinearSettings

    Returns
    -------
    ndarray of float, (member, covariate)
    """
    order = np.argsort(-months, kind="stable")
    rows = torch.tensor(covariates[order], dtype=torch.float64)
    sets = weighted_risk_sets(
        torch.tensor(months[order], dtype=torch.float64),
        torch.tensor(event[order], dtype=torch.float64),
        torch.tensor(weights[:, order], dtype=torch.float64),
    )
    events = sets.event_weights.sum(dim=1)
    beta = torch.zeros((len(weights), covariates.shape[1]), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [beta], max_iter=_MAX_STEPS, tolerance_grad=_TOLERANCE, line_search_fn="strong_wolfe"
    )

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        likelihood = log_partial_likelihood(beta @ rows.T, sets) / events
        # Members share no coefficient, so the sum of their losses fits each alone.
        value = -likelihood.sum() + settings.l2 * beta.square().sum()
        value.backward()
        return value

    optimizer.step(loss)
    return np.asarray(beta.detach().numpy())


def linear_ensemble(coefficients: Float64Array, hidden: int = 1) -> Ensemble:
    """Write coefficients (member, covariate) as weights of a network that computes them, with ``hidden`` units.

    The attention is even, the blocks are the identity, and one unit carries the log-risk.
    """
    members, covariates = coefficients.shape
    weights = {
        name: np.zeros(shape, dtype=np.float32)
        for name, shape in weight_shapes(members, covariates, hidden).items()
    }
    weights["stem.weight"][:, :, 0] = coefficients
    weights["log_risk_head.weight"][:, 0, 0] = 1.0
    return weights
