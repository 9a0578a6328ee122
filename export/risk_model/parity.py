"""Agreement of the exported DeepSurv graph with its PyTorch source."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from engine.runtime.onnx_session import OnnxSession
from export.deepsurv.network import evaluate
from export.deepsurv.onnx_graph import Weights
from export.parity.comparison import compare_sessions

_STANDARDIZED_RANGE = 4.0
"""Cases reach this many standard deviations, beyond most training ranges."""


class _DeepSurvSource:
    """The trained ensemble in PyTorch, answering as a session does."""

    def __init__(self, weights: Weights) -> None:
        self._weights = weights

    @property
    def backend(self) -> str:
        """Library and device."""
        return f"torch {torch.__version__.split('+')[0]} (CPU, float32)"

    def run(self, inputs: dict[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
        """``log_risk``, ``attention`` and ``effective_signal`` of standardized ``covariates``."""
        return dict(evaluate(self._weights, inputs["covariates"]))


def largest_difference(
    weights: Weights, model_bytes: bytes, *, cases: int = 1024, seed: int = 0
) -> tuple[float, npt.NDArray[np.float32]]:
    """Largest difference of any output between PyTorch and ONNX Runtime.

    Absolute where an output is at most 1, else relative to it: a log-risk of 40, far outside any
    training range, has no seventh digit in single precision.

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
    covariates = rng.uniform(-_STANDARDIZED_RANGE, _STANDARDIZED_RANGE, (cases, columns)).astype(np.float32)
    source = _DeepSurvSource(weights)
    with OnnxSession(model_bytes) as session:
        compare_sessions(
            source,
            session,
            [{"covariates": covariates}],
            tolerance=1.0,  # the caller judges
            measured_on=f"{cases} drawn cases",
        )
        exported = session.run({"covariates": covariates})
    expected = source.run({"covariates": covariates})
    return max(_difference(exported[name], values) for name, values in expected.items()), covariates


def _difference(actual: npt.NDArray[Any], expected: npt.NDArray[Any]) -> float:
    exact = expected.astype(np.float64)
    return float((np.abs(actual - exact) / np.maximum(np.abs(exact), 1.0)).max())
