"""Names of covariates with their units, as they are printed."""

from __future__ import annotations

from typing import Final

WITHOUT_UNIT: Final = frozenset({"", "1", "coded", "as given", "score"})
"""What a covariate has in place of a unit."""


def with_unit(name: str, unit: str) -> str:
    """``fibrinogen, g/L``; the name alone where there is no unit."""
    return name if unit in WITHOUT_UNIT else f"{name}, {unit}"
