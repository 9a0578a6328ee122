"""Rows and columns of an image, checked before anything is allocated."""

from __future__ import annotations

from pydicom.dataset import Dataset

from engine.dicom.attributes import optional_number, whole_number
from engine.errors import InvalidGeometryError, NotCtError

_MAX_SLICE_SIDE = 8192
"""Rows or columns beyond any CT; a header that claims more is damaged or hostile."""


def slice_shape(dataset: Dataset, where: str) -> tuple[int, int]:
    """Rows and columns of an image with one sample a pixel.

    Raises
    ------
    InvalidGeometryError, NotCtError
    """
    rows = whole_number(dataset, "Rows", where, InvalidGeometryError)
    columns = whole_number(dataset, "Columns", where, InvalidGeometryError)
    if not (1 <= rows <= _MAX_SLICE_SIDE and 1 <= columns <= _MAX_SLICE_SIDE):
        raise InvalidGeometryError(
            f"{where} claims {rows} rows of {columns} pixels; no CT has that, export it again"
        )
    if optional_number(dataset, "SamplesPerPixel", where) != 1:
        raise NotCtError(f"{where} is a color image or does not say; choose the original CT series")
    return rows, columns
