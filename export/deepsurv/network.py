"""The network in PyTorch: all members of an ensemble at once, on stacked weights."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from export.deepsurv.onnx_graph import RESIDUAL_BLOCKS, Weights, weight_shapes

Parameters = dict[str, torch.Tensor]
Ensemble = dict[str, npt.NDArray[np.float32]]

_ZERO_AT_FIRST = (
    "attention_score",
    *(f"residual_{block}_outer" for block in range(1, RESIDUAL_BLOCKS + 1)),
)


def initial_parameters(members: int, covariates: int, hidden: int, seed: int) -> Parameters:
    """Draw weights by fan-in; the attention starts uniform and each block as the identity.

    The network thus begins as a linear Cox model, and becomes another only where that pays. A head of 0
    would be a saddle: effects without a linear part were then found late, after training had stopped.
    """
    drawn = torch.Generator().manual_seed(seed)
    parameters: Parameters = {}
    for name, shape in weight_shapes(members, covariates, hidden).items():
        starts_at_zero = name.endswith(".bias") or name.startswith(_ZERO_AT_FIRST)
        scale = 0.0 if starts_at_zero else shape[1] ** -0.5
        parameters[name] = scale * torch.randn(shape, generator=drawn)
    return parameters


def forward(parameters: Parameters, covariates: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-risk (member, case) and attention (member, case, covariate) of (case, covariate)."""

    def dense(layer: str, source: torch.Tensor) -> torch.Tensor:
        # baddbmm adds the bias while it multiplies; matmul of a shared input multiplies once for all members.
        weight, bias = parameters[f"{layer}.weight"], parameters[f"{layer}.bias"]
        if source.dim() == 2:
            return source @ weight + bias
        return torch.baddbmm(bias, source, weight)

    elu = torch.nn.functional.elu
    scores = dense("attention_score", elu(dense("attention_hidden", covariates)))
    attention = torch.softmax(scores, dim=-1) * covariates.shape[-1]
    hidden = dense("stem", attention * covariates)
    for block in range(1, RESIDUAL_BLOCKS + 1):
        hidden = hidden + dense(f"residual_{block}_outer", elu(dense(f"residual_{block}_inner", hidden)))
    return dense("log_risk_head", hidden).squeeze(-1), attention


def evaluate(weights: Weights, covariates: npt.NDArray[np.float32]) -> dict[str, npt.NDArray[np.float32]]:
    """Outputs of the ensemble by PyTorch.

    Parameters
    ----------
    weights : mapping
    covariates : ndarray of float32, (case, covariate)
        Standardized.

    Returns
    -------
    dict
        ``log_risk`` (case, member), ``attention`` and ``effective_signal`` (case, member, covariate).
    """
    with torch.no_grad():
        rows = torch.from_numpy(np.ascontiguousarray(covariates))
        log_risk, attention = forward({name: torch.from_numpy(w) for name, w in weights.items()}, rows)
        signal = attention * rows
    return {
        "log_risk": log_risk.T.numpy(),
        "attention": attention.permute(1, 0, 2).numpy(),
        "effective_signal": signal.permute(1, 0, 2).numpy(),
    }
