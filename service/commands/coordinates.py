"""Positions as they are written on the command line: LPS, in mm, separated by commas."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.errors import InvalidRequestError

if TYPE_CHECKING:
    from engine.geometry import Vector3


def parse_point(text: str, option: str) -> Vector3:
    """Return the point that ``X,Y,Z`` describes.

    Raises
    ------
    InvalidRequestError
    """
    match parse_numbers(text):
        case [x, y, z]:
            return x, y, z
    raise InvalidRequestError(f"--{option} is X,Y,Z in LPS mm, not {text!r}", option)


def parse_numbers(text: str) -> list[float]:
    """Return the numbers of a list; an empty list if a part is not a number."""
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        return []
