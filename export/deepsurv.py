"""DeepSurv with feature attention and two residual blocks, as an ensemble, in PyTorch.

Network and loss after Wang et al. 2026, section 1.4: a fully connected network with dual
residual blocks and a feature attention module, trained on the Cox partial likelihood with L2
regularization (Katzman et al. 2018). Widths and hyper-parameters are not published; those here
are ours. All members train at once on stacked weights, each on its own Bayesian bootstrap of the
cases (Rubin 1981), whose spread stands for the uncertainty of the fit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch  # type: ignore[import-not-found,unused-ignore]  # only the workshop has it

from export.onnx_graph import RESIDUAL_BLOCKS, Weights, weight_shapes

FloatArray = npt.NDArray[np.float64]
Parameters = dict[str, torch.Tensor]


@dataclass(frozen=True)
class TrainingSettings:
    """How the ensemble is trained; full batch, Adam, step size falling as a cosine."""

    members: int = 20
    hidden: int = 8
    epochs: int = 250
    learning_rate: float = 0.02
    l2: float = 6e-3
    seed: int = 20260301


@dataclass(frozen=True, eq=False)
class TrainedEnsemble:
    """Weights with the case weights (member, case) each member was trained on."""

    weights: dict[str, npt.NDArray[np.float32]]
    case_weights: FloatArray


def train(
    covariates: FloatArray,
    months: FloatArray,
    progressed: npt.NDArray[np.bool_],
    settings: TrainingSettings | None = None,
) -> TrainedEnsemble:
    """Train the ensemble on standardized covariates.

    Parameters
    ----------
    covariates : ndarray of float, (case, covariate)
        Standardized.
    months : ndarray of float, (case,)
        Time to progression or to the end of follow-up; ties are broken by order.
    progressed : ndarray of bool, (case,)
    settings : TrainingSettings, optional

    Returns
    -------
    TrainedEnsemble
        Each member's log-risk has the mean 0 over its own bootstrap.
    """
    settings = settings or TrainingSettings()
    torch.manual_seed(settings.seed)
    # One thread adds in one order: the same seed gives the same weights on the same machine.
    torch.set_num_threads(1)
    bootstrap = np.random.default_rng(settings.seed).exponential(1.0, (settings.members, len(months)))
    # Latest first: a running sum from the start is then the sum over the risk set.
    order = np.argsort(-months, kind="stable")
    rows = torch.tensor(covariates[order], dtype=torch.float32)
    events = torch.tensor(progressed[order], dtype=torch.float32)
    case_weights = torch.tensor(bootstrap[:, order], dtype=torch.float32)
    parameters = _initial(settings, covariates.shape[1])
    optimizer = torch.optim.Adam(parameters.values(), lr=settings.learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, settings.epochs)
    for _ in range(settings.epochs):
        optimizer.zero_grad()
        log_risk, _ = forward(parameters, rows)
        penalty = sum(w.square().sum() for name, w in parameters.items() if name.endswith(".weight"))
        # Members share no weight, so the sum of their losses trains each alone.
        loss: torch.Tensor = cox_loss(log_risk, events, case_weights).sum() + settings.l2 * penalty
        loss.backward()  # type: ignore[no-untyped-call,unused-ignore]  # torch has no type here
        optimizer.step()
        schedule.step()
    return TrainedEnsemble(_centered(parameters, rows, case_weights), bootstrap)


def forward(parameters: Parameters, covariates: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-risk (member, case) and attention (member, case, covariate) of (case, covariate)."""

    def dense(layer: str, source: torch.Tensor) -> torch.Tensor:
        return source @ parameters[f"{layer}.weight"] + parameters[f"{layer}.bias"]

    elu = torch.nn.functional.elu
    scores = dense("attention_score", elu(dense("attention_hidden", covariates)))
    attention = torch.softmax(scores, dim=-1) * covariates.shape[-1]
    hidden = dense("stem", attention * covariates)
    for block in range(1, RESIDUAL_BLOCKS + 1):
        hidden = hidden + dense(f"residual_{block}_outer", elu(dense(f"residual_{block}_inner", hidden)))
    return dense("log_risk_head", hidden).squeeze(-1), attention


def cox_loss(log_risk: torch.Tensor, events: torch.Tensor, case_weights: torch.Tensor) -> torch.Tensor:
    """Weighted negative log partial likelihood of each member, per unit weight of events.

    Cases are sorted by falling time; ``log_risk`` and ``case_weights`` are (member, case).
    """
    # A running sum after a shift by the largest: many times faster than logcumsumexp.
    largest = log_risk.detach().max(dim=1, keepdim=True).values
    risk_set = (case_weights * (log_risk - largest).exp()).cumsum(dim=1).log() + largest
    event_weights = case_weights * events
    return -((log_risk - risk_set) * event_weights).sum(dim=1) / event_weights.sum(dim=1)


def evaluate(weights: Weights, covariates: npt.NDArray[np.float32]) -> dict[str, npt.NDArray[np.float32]]:
    """``log_risk`` (case, member) and ``attention`` (case, member, covariate) by PyTorch."""
    with torch.no_grad():
        log_risk, attention = forward(
            {name: torch.from_numpy(w) for name, w in weights.items()}, torch.from_numpy(covariates)
        )
    return {"log_risk": log_risk.T.numpy(), "attention": attention.permute(1, 0, 2).numpy()}


def _initial(settings: TrainingSettings, covariates: int) -> Parameters:
    """Draw weights by fan-in; the attention starts uniform and each block as the identity."""
    parameters: Parameters = {}
    for name, shape in weight_shapes(settings.members, covariates, settings.hidden).items():
        starts_at_zero = name.endswith(".bias") or name.startswith("attention_score") or "_outer" in name
        scale = 0.0 if starts_at_zero else shape[1] ** -0.5
        parameters[name] = (scale * torch.randn(shape)).requires_grad_()
    return parameters


def _centered(
    parameters: Parameters, rows: torch.Tensor, case_weights: torch.Tensor
) -> dict[str, npt.NDArray[np.float32]]:
    """Shift each head so that its log-risk has the mean 0; a Cox model leaves that open."""
    with torch.no_grad():
        log_risk, _ = forward(parameters, rows)
        mean = (log_risk * case_weights).sum(dim=1) / case_weights.sum(dim=1)
        parameters["log_risk_head.bias"] -= mean[:, None, None]
    return {name: value.detach().numpy().copy() for name, value in parameters.items()}
