"""What the sessions of all libraries have in common: their tensors, their checks and their end."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar

from engine.errors import BackendError
from engine.runtime.inputs import require_inputs

if TYPE_CHECKING:
    from types import TracebackType

    from engine.manifest import TensorSpec

Network = TypeVar("Network")


class NetworkSession(ABC):
    """What a library's session derives from to become an ``InferenceSession``.

    Parameters
    ----------
    inputs, outputs : tuple of TensorSpec
        In the network's order.
    """

    opened_from: ClassVar = "bundle"
    """Where somebody with a closed session gets another."""

    def __init__(self, inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...]) -> None:
        self._inputs, self._outputs = inputs, outputs

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """Inputs in the network's order."""
        return self._inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """Outputs in the network's order."""
        return self._outputs

    @abstractmethod
    def close(self) -> None:
        """Release the network; a second call does nothing."""

    def __enter__(self) -> Self:
        """Return this session."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the session."""
        self.close()

    def _accepting(self, network: Network | None, inputs: Mapping[str, Any]) -> Network:
        """Return the network (None once it is closed) if it can be run on these inputs."""
        if network is None:
            raise BackendError(f"the session is closed; open a new one from its {self.opened_from}")
        require_inputs(inputs, self._inputs)
        return network
