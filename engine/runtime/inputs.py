"""What a session is given, checked against what its network takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from engine.errors import ModelInputError

if TYPE_CHECKING:
    from engine.manifest import TensorSpec


def require_inputs(inputs: Mapping[str, Any], specs: Sequence[TensorSpec]) -> None:
    """Refuse arrays that are not what a network takes.

    Parameters
    ----------
    inputs : mapping
        Arrays by name, on the host or on a device: only ``dtype`` and ``shape`` are read.
    specs : sequence of TensorSpec

    Raises
    ------
    ModelInputError
        If a name, element type or shape is not the network's.
    """
    if set(inputs) != {spec.name for spec in specs}:
        expected = ", ".join(spec.name for spec in specs)
        raise ModelInputError(f"the model takes {expected}, not {', '.join(sorted(inputs)) or 'nothing'}")
    for spec in specs:
        _require(inputs[spec.name], spec)


def _require(value: Any, spec: TensorSpec) -> None:
    if value.dtype != spec.dtype:
        raise ModelInputError(f"input {spec.name} must be {spec.dtype}, not {value.dtype}")
    fits = len(value.shape) == len(spec.shape) and all(
        isinstance(size, str) or size == actual for size, actual in zip(spec.shape, value.shape, strict=True)
    )
    if not fits:
        raise ModelInputError(f"input {spec.name} must have shape {spec.shape}, not {value.shape}")
