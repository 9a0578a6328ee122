"""The Radscore: a signature's weighted sum of standardized features."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from engine.errors import ModelInputError
from engine.manifest.signature import SignatureSection


@dataclass(frozen=True)
class Radscore:
    """A Radscore with the features it is made of.

    Parameters
    ----------
    value : float
        The linear predictor: intercept plus coefficients times standardized features.
    features : mapping of str to float
        As extracted.
    outside_reference : tuple of str
        Features outside the range of the training cases.
    """

    value: float
    features: Mapping[str, float]
    outside_reference: tuple[str, ...]


def radscore_of(features: Mapping[str, float], signature: SignatureSection) -> Radscore:
    """Weigh features by a signature.

    Parameters
    ----------
    features : mapping of str to float
        At least those of the signature.
    signature : SignatureSection

    Raises
    ------
    ModelInputError
        A feature is missing or not finite.
    """
    value = signature.intercept
    used: dict[str, float] = {}
    outside = []
    for feature in signature.features:
        x = features.get(feature.name, float("nan"))
        if not abs(x) < float("inf"):
            raise ModelInputError(
                f"the signature needs {feature.name}, which this zone does not have; look at the zone's mask"
            )
        used[feature.name] = x
        value += feature.coefficient * (x - feature.mean) / feature.sd
        if not feature.reference_low <= x <= feature.reference_high:
            outside.append(feature.name)
    return Radscore(value, used, tuple(outside))
