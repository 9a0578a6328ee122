"""A PyTorch network behind the protocol of the engine's sessions, as the reference of a comparison."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from engine.errors import ModelError
from engine.manifest import TensorSpec
from engine.runtime.network_session import NetworkSession
from engine.runtime.session import Tensor


class TorchSession(NetworkSession):
    """A PyTorch module in evaluation mode; an ``InferenceSession``.

    Parameters
    ----------
    network : torch.nn.Module
        Called with its inputs in order; returns one tensor, a tuple of them in the order of
        ``outputs``, or a mapping by name.
    inputs, outputs : tuple of TensorSpec
        As the exported graph will name them.
    device : str, optional
        Where PyTorch computes; the network is moved there.
    """

    opened_from = "network"

    def __init__(
        self,
        network: nn.Module,
        inputs: tuple[TensorSpec, ...],
        outputs: tuple[TensorSpec, ...],
        device: str = "cpu",
    ) -> None:
        self._network: nn.Module | None = network.eval().to(device)
        super().__init__(inputs, outputs)
        self._device = device
        kinds = {parameter.dtype for parameter in network.parameters()} or {torch.float32}
        self._precision = ", ".join(sorted(str(kind).removeprefix("torch.") for kind in kinds))

    @property
    def backend(self) -> str:
        """Name and version of the library, device and precision of the weights."""
        return f"torch {torch.__version__.split('+')[0]} ({self._device.upper()}, {self._precision})"

    def run(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Compute all outputs by name from all inputs by name, without gradients.

        Raises
        ------
        ModelInputError
            If a name, element type or shape is not the one of ``inputs``.
        ModelError
            If the network does not give what ``outputs`` names.
        BackendError
            If the session is closed.
        """
        network = self._accepting(self._network, inputs)
        tensors = [torch.from_numpy(inputs[spec.name]).to(self._device) for spec in self._inputs]
        with torch.inference_mode():
            return self._named(network(*tensors))

    def close(self) -> None:
        """Release the network; a second call does nothing."""
        self._network = None

    def _named(self, computed: Any) -> dict[str, Tensor]:
        """Arrays by the names of ``outputs``."""
        names = [spec.name for spec in self._outputs]
        if not isinstance(computed, Mapping):
            values = computed if isinstance(computed, tuple) else (computed,)
            computed = dict(zip(names, values, strict=len(values) == len(names)))
        if set(computed) != set(names):
            raise ModelError(f"the network gives {', '.join(map(str, computed))}, not {', '.join(names)}")
        return {name: computed[name].cpu().numpy() for name in names}
