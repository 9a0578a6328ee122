"""Agreement of an exported graph with its PyTorch source."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from engine.runtime.onnx_session import OnnxSession
from export.deepsurv import evaluate

if TYPE_CHECKING:
    from export.onnx_graph import Weights

STANDARDIZED_RANGE = 4.0
"""Cases reach this many standard deviations, beyond any training range."""


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
    """
    columns = weights["stem.weight"].shape[1]
    rng = np.random.default_rng(seed)
    covariates = rng.uniform(-STANDARDIZED_RANGE, STANDARDIZED_RANGE, (cases, columns)).astype(np.float32)
    source = evaluate(weights, covariates)
    with OnnxSession(model_bytes) as session:
        exported = session.run({"covariates": covariates})
    worst = max(float(np.abs(source[name] - exported[name]).max()) for name in source)
    return worst, covariates
