"""Axis orientation of the images that a network was trained on, which no model folder records."""

from __future__ import annotations

from typing import Literal

Orientation = Literal["as_stored", "ras", "lps"]

_TOTALSEGMENTATOR = "totalsegmentator"

_AS_STORED = "in the order in which they are stored"
"""Words of the assumption that both versions' readers write down."""


def orientation_of(name: str) -> Orientation:
    """Axis orientation of a data set's images, by its name: TotalSegmentator turns all of its images to RAS."""
    return "ras" if _TOTALSEGMENTATOR in name.lower() else "as_stored"


def assumption_on(text: str, chosen: Orientation, name: str, *, requested: bool) -> str:
    """An assumption of a model; the one on the order of axes is rewritten where images are reoriented."""
    if chosen == "as_stored" or _AS_STORED not in text:
        return text
    reason = "as was asked for" if requested else f"as TotalSegmentator does: the data set is named {name}"
    return f"Images are turned to the closest {chosen.upper()} axes before the network sees them, {reason}."
