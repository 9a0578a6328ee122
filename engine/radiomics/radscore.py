"""The Radscore: a signature applied to the features of a zone (Wang et al. 2026, sections 1.3 and 2.2)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from engine.errors import RadiomicsError
from engine.manifest.signature import SignatureFeature, SignatureSection
from engine.radiomics.extraction import extract_radiomics
from engine.volume import CtVolume, LabelMask


@dataclass(frozen=True)
class FeatureContribution:
    """One feature of a Radscore: its value, what it adds, and whether the training cases had such values."""

    name: str
    value: float
    contribution: float
    within_reference: bool


@dataclass(frozen=True)
class Radscore:
    """A Radscore with what it is made of; ``flags`` are for people to read."""

    value: float
    contributions: tuple[FeatureContribution, ...] = ()
    flags: tuple[str, ...] = ()

    @property
    def features(self) -> dict[str, float]:
        """The signature's features by name."""
        return {feature.name: feature.value for feature in self.contributions}


def zone_radscore(ct: CtVolume, zone: LabelMask, signature: SignatureSection) -> Radscore:
    """Compute the features a signature names, and its Radscore.

    Parameters
    ----------
    ct : CtVolume
        The whole verification CT.
    zone : LabelMask
        Ablation zone on its grid.
    signature : SignatureSection

    Returns
    -------
    Radscore

    Raises
    ------
    EmptyMaskError, GridMismatchError, RadiomicsError, BackendError
        As :func:`engine.radiomics.extraction.extract_features`.
    """
    radiomics = extract_radiomics(
        ct, zone, signature.settings, [feature.name for feature in signature.features]
    )
    score = radscore(radiomics.features, signature)
    collapsed = tuple(
        f"{image} has {radiomics.gray_levels[image]} gray level(s) in this zone: its texture is only a threshold"
        for image in radiomics.collapsed_images
    )
    return replace(score, flags=score.flags + collapsed)


def radscore(features: Mapping[str, float], signature: SignatureSection) -> Radscore:
    """``intercept`` + sum of ``coefficient * (feature - mean) / sd``.

    A feature outside the range of the training cases is used as it is, and flagged.

    Parameters
    ----------
    features : mapping of str to float
        At least those of the signature.
    signature : SignatureSection

    Returns
    -------
    Radscore

    Raises
    ------
    RadiomicsError
        If a feature of the signature is missing or no number.
    """
    contributions = tuple(_contribution(feature, features) for feature in signature.features)
    flags = tuple(
        _flag(feature, contribution.value)
        for feature, contribution in zip(signature.features, contributions, strict=True)
        if not contribution.within_reference
    )
    # fsum: the order of the features does not matter to the last bit.
    value = math.fsum([signature.intercept, *(contribution.contribution for contribution in contributions)])
    return Radscore(value, contributions, flags)


def _contribution(feature: SignatureFeature, features: Mapping[str, float]) -> FeatureContribution:
    value = features.get(feature.name, math.nan)
    if not math.isfinite(value):
        raise RadiomicsError(f"the signature needs {feature.name}, which was not computed")
    return FeatureContribution(
        feature.name,
        value,
        feature.coefficient * (value - feature.mean) / feature.sd,
        feature.reference_low <= value <= feature.reference_high,
    )


def _flag(feature: SignatureFeature, value: float) -> str:
    return (
        f"{feature.name} {value:.4g} is outside the range of the training cases, {feature.reference_low:.4g} to "
        f"{feature.reference_high:.4g}: the Radscore is extrapolated"
    )
