"""What the header of an image file says, the same for every format."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from engine.arrays import AnyArray
from engine.errors import InvalidGeometryError, UnreadableFileError
from engine.files.stored_bytes import StoredBytes, read_stored
from engine.geometry import VolumeGeometry
from engine.input_warning import InputWarning, InputWarningCode


@dataclass(frozen=True)
class ValueScale:
    """Stored value to value: ``slope · stored + intercept``."""

    slope: float = 1.0
    intercept: float = 0.0

    def applied(self, stored: AnyArray) -> AnyArray:
        """Values of stored ones; whole numbers stay whole where the scale is whole."""
        if self == UNSCALED:
            return stored
        is_whole = self.slope.is_integer() and self.intercept.is_integer()
        if is_whole and stored.dtype.kind in "iu" and stored.dtype.itemsize <= 4:
            return stored.astype(np.int64) * int(self.slope) + int(self.intercept)
        return np.asarray(stored.astype(np.float64) * self.slope + self.intercept)


UNSCALED: Final = ValueScale()


@dataclass(frozen=True)
class ImageHeader:
    """Everything that is needed to read one volume.

    Parameters
    ----------
    grid : VolumeGeometry
    stored : StoredBytes
    stored_type : numpy.dtype
        Of one voxel, with its byte order.
    scale : ValueScale
    warnings : tuple of InputWarning
        What the header leaves open.
    """

    grid: VolumeGeometry
    stored: StoredBytes
    stored_type: np.dtype[Any]
    scale: ValueScale = UNSCALED
    warnings: tuple[InputWarning, ...] = ()

    def read_voxels(self) -> npt.NDArray[Any]:
        """Values (z, y, x), scaled as the header says; in a buffer of their own.

        Raises
        ------
        UnreadableFileError
            If the voxels are damaged, cut off, or not there.
        """
        content = read_stored(self.stored)
        return self.scale.applied(content.view(self.stored_type).reshape(self.grid.shape_zyx))


def orientation_not_stated(name: str, missing: Iterable[str]) -> InputWarning:
    """The warning about a volume whose place or side its header leaves open.

    Parameters
    ----------
    name : str
        Of the file.
    missing : iterable of str
        What the header lacks.
    """
    return InputWarning(
        InputWarningCode.ORIENTATION_NOT_STATED,
        f"{name} does not state where it lies in the patient ({', '.join(missing)}): its place and its left "
        "side are assumed; export it with its orientation",
    )


def whole_numbers(words: Iterable[str], field: str, name: str) -> list[int]:
    """Sizes and counts from words of a header.

    Raises
    ------
    UnreadableFileError
        If a word is no whole number.
    """
    try:
        return [int(word) for word in words]
    except ValueError as error:
        raise UnreadableFileError(
            f"{field} of {name} is no list of whole numbers; export it again"
        ) from error


def numbers(words: Iterable[str], count: int, field: str, name: str) -> list[float]:
    """Lengths or directions from words of a header.

    Raises
    ------
    InvalidGeometryError
        If a word is no finite number, or there are more or fewer than ``count``.
    """
    listed = list(words)
    try:
        values = [float(word) for word in listed]
    except ValueError:
        values = []
    if len(values) != count or not all(math.isfinite(value) for value in values):
        raise InvalidGeometryError(
            f"{field} of {name} is {' '.join(listed)[:80] or 'empty'}, not {count} finite numbers; export it again"
        )
    return values
