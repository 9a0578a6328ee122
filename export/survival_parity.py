"""Agreement of the exported DeepSurv graph with its PyTorch source."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch  # type: ignore[import-not-found,unused-ignore]  # only the workshop has it

from engine.runtime.onnx_session import OnnxSession
from export.deepsurv import evaluate
from export.parity import compare_sessions

if TYPE_CHECKING:
    from export.onnx_graph import Weights

STANDARDIZED_RANGE = 4.0
"""Cases reach this many standard deviations, beyond any training range."""


class DeepSurvSource:
    """The trained ensemble in PyTorch, answering as a session does."""

    def __init__(self, weights: Weights) -> None:
        self._weights = weights

    @property
    def backend(self) -> str:
        """Library and device."""
        return f"torch {torch.__version__.split('+')[0]} (CPU, float32)"

    def run(self, inputs: dict[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
        """``log_risk`` and ``attention`` of standardized ``covariates``."""
        return dict(evaluate(self._weights, inputs["covariates"]))


def largest_difference(
    weights: Weights, model_bytes: bytes, *, cases: int = 1024, seed: int = 0
) -> tuple[float, npt.NDArray[np.float32]]:
    """Largest absolute difference of any output between PyTorch and ONNX Runtime.

    Parameters
    ----------
    weights : mapping
        The source ensemble.
    model_bytes : bytes
        The exported graph.
    cases, seed : int, optional
        Number and seed of the uniformly drawn, standardized cases.

    Returns
    -------
    difference : float
    covariates : ndarray of float32, (case, covariate)
        The cases it was measured on.

    Raises
    ------
    ParityError
        If the graph gives NaN, one value for all cases, or other outputs than its source.
    """
    columns = weights["stem.weight"].shape[1]
    rng = np.random.default_rng(seed)
    covariates = rng.uniform(-STANDARDIZED_RANGE, STANDARDIZED_RANGE, (cases, columns)).astype(np.float32)
    with OnnxSession(model_bytes) as session:
        report = compare_sessions(
            DeepSurvSource(weights),
            session,
            [{"covariates": covariates}],
            tolerance=1.0,  # the caller judges
            measured_on=f"{cases} drawn cases",
        )
    return report.max_abs, covariates
