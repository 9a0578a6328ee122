"""The words of a risk: every percentage has what it rests on in the same sentence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from engine.arrays import Float64Array

if TYPE_CHECKING:
    from engine.manifest import ModelManifest


def source_in_words(manifest: ModelManifest) -> str:
    """Return what a model was fitted on, with the word "demo" for one that saw no patient."""
    return f"demo, {manifest.fitted_on}" if manifest.demo else f"fitted on {manifest.fitted_on}"


def risk_statements(
    source: str,
    probability_complete: float,
    months: Sequence[float],
    estimate: Float64Array,
    band: Float64Array,
    if_complete: Float64Array,
) -> tuple[str, ...]:
    """Put a risk into words.

    Parameters
    ----------
    source : str
        Of :func:`source_in_words`.
    probability_complete : float
        That the target is covered completely.
    months : sequence of float, (horizon,)
    estimate : ndarray of float, (horizon,)
    band : ndarray of float, (2, horizon)
        Low and high end of the 90 % band.
    if_complete : ndarray of float, (horizon,) or empty
        Risk of cases with complete coverage, where it was asked for.
    """
    statements = [
        f"Local tumor progression within {month} months ({source}): {percent(p)}, "
        f"90 % band {percent(low)} to {percent(high)}."
        for month, p, low, high in zip(months, estimate, *band, strict=True)
    ]
    statements.append(
        "The risk weighs complete against incomplete coverage by the probability that the whole target is covered, "
        f"outside the lung as well: {probability_complete:.2f}."
    )
    statements += [
        f"Cases with complete coverage, otherwise like this one, progressed within {month} months in "
        f"{percent(p)} ({source}): an association in that cohort, not the effect of ablating "
        "further."
        for month, p in zip(months, if_complete, strict=False)
    ]
    return tuple(statements)


def percent(probability: float) -> str:
    """Write a probability as whole percent; neither 0 nor 100 is ever said."""
    if probability < 0.005:
        return "under 1 %"
    if probability > 0.995:
        return "over 99 %"
    return f"{100 * probability:.0f} %"
