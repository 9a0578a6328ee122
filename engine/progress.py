"""How a long computation reports how far it is: the kinds of functions that it calls.

What such a function raises stops the computation.
"""

from __future__ import annotations

from collections.abc import Callable

TextProgress = Callable[[str], None]
"""What is being done, in words."""

ItemProgress = Callable[[int, int], None]
"""How many items are done, and how many there are."""

ShareProgress = Callable[[str, float], None]
"""Phase, and the share of it that is done, 0 to 1."""

CountProgress = Callable[[str, int, int], None]
"""Phase, how many items of it are done, and how many there are."""


def ignore_progress(*_progress: object) -> None:
    """Report to nobody; stands in for any kind."""
