"""What every inference backend offers, whatever library stands behind it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, Self

import numpy.typing as npt

if TYPE_CHECKING:
    from types import TracebackType

    from engine.manifest import TensorSpec

Tensor = npt.NDArray[Any]


class InferenceSession(Protocol):
    """A loaded network. Safe to share between threads; close it, or use it in a ``with``."""

    @property
    def backend(self) -> str:
        """Name and version of the library and device, for results and health."""
        ...

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """Inputs in the graph's order."""
        ...

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """Outputs in the graph's order."""
        ...

    def run(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Compute all outputs by name from all inputs by name.

        Raises
        ------
        ModelInputError
            If a name, element type or shape is not the one of the graph.
        BackendError
            If the session is closed or the library fails.
        """
        ...

    def close(self) -> None:
        """Release the network; a second call does nothing."""
        ...

    def __enter__(self) -> Self:
        """Return this session."""
        ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the session."""
        ...
