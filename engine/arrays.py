"""The types of array that modules share, named by what they hold."""

from __future__ import annotations

from typing import Any, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

BoolArray: TypeAlias = npt.NDArray[np.bool_]
UInt8Array: TypeAlias = npt.NDArray[np.uint8]
Int16Array: TypeAlias = npt.NDArray[np.int16]
Int32Array: TypeAlias = npt.NDArray[np.int32]
Int64Array: TypeAlias = npt.NDArray[np.int64]
Float16Array: TypeAlias = npt.NDArray[np.float16]
Float32Array: TypeAlias = npt.NDArray[np.float32]
Float64Array: TypeAlias = npt.NDArray[np.float64]
FloatingArray: TypeAlias = npt.NDArray[np.floating[Any]]
AnyArray: TypeAlias = npt.NDArray[Any]

_AnyKind = TypeVar("_AnyKind", bound=np.generic)


def read_only(array: npt.NDArray[_AnyKind]) -> npt.NDArray[_AnyKind]:
    """Return an array that nothing writes to from here on, so that a device which has it need not get it again."""
    array.flags.writeable = False
    return array
