"""What nodes of OpenVINO's graphs say of themselves, as far as slices of a volume are concerned."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from engine.runtime.slice_stacks import DEPTH

VOLUME: Final = 5
"""Axes of a volume."""
EACH_VOXEL: Final = frozenset(
    {"Add", "Subtract", "Multiply", "Divide", "Sqrt", "Power", "PRelu", "Relu", "Clamp"}
)
MEANS: Final = frozenset({"ReduceMean", "ReduceSum"})


@dataclass(frozen=True)
class _AlongZ:
    """How a convolution's filter moves along z."""

    taps: int
    stride: int
    before: int
    after: int

    @property
    def keeps_depth(self) -> bool:
        """Whether it is three taps for every slice."""
        return (self.taps, self.stride, self.before, self.after) == (3, 1, 1, 1)

    @property
    def halves_depth(self) -> bool:
        """Whether it is three taps around every second slice, if their number is even."""
        return (self.taps, self.stride, self.before) == (3, 2, 1) and self.after in {0, 1}

    @property
    def stays_within(self) -> bool:
        """Whether no slice is computed from another one, and each slice gives as many as are its stride."""
        return self.taps == self.stride and self.before == self.after == 0


def key(output: Any) -> tuple[str, int]:
    """Name of a tensor; OpenVINO makes new Python objects for the same one."""
    return output.get_node().get_friendly_name(), output.get_index()


def sources(node: Any) -> list[Any]:
    """Tensors that a node is computed from."""
    return [node.input_value(number) for number in range(node.get_input_size())]


def constant(output: Any) -> npt.NDArray[Any] | None:
    """Values of a tensor that is not computed."""
    node = output.get_node()
    return np.asarray(node.get_data()) if node.get_type_name() == "Constant" else None


def along_z(node: Any) -> _AlongZ | None:
    """How a convolution, or a transposed one, of one volume moves along z; None if slices cannot tell."""
    attributes, image = node.get_attributes(), node.input_value(0)
    if (
        node.get_input_size() != 2  # a wanted shape of the output
        or constant(node.input_value(1)) is None
        or len(image.get_shape()) != VOLUME
        or image.get_shape()[0] != 1
        or image.get_element_type().get_type_name() != "f32"
        or attributes["auto_pad"] != "explicit"
        or attributes["dilations"][0] != 1
        or attributes.get("output_padding", [0])[0] != 0
    ):
        return None
    taps = int(node.input(1).get_shape()[DEPTH])
    return _AlongZ(taps, *(int(attributes[name][0]) for name in ("strides", "pads_begin", "pads_end")))


def axes(node: Any) -> list[int] | None:
    """Axes of a mean; None if they are computed."""
    values = constant(node.input_value(1))
    rank = len(node.input(0).get_shape())
    return None if values is None else [int(axis) % rank for axis in values.ravel()]


def joins_channels(node: Any) -> bool:
    """Whether a node joins volumes by their channels."""
    rank = len(node.output(0).get_shape())
    return node.get_type_name() == "Concat" and rank == VOLUME and node.get_attributes()["axis"] % rank == 1


def bias_after(node: Any) -> Any | None:
    """The node that adds a constant to each channel of a convolution, if that is all that it is used for."""
    targets = list(node.output(0).get_target_inputs())
    if len(targets) != 1:
        return None
    user = targets[0].get_node()
    if user.get_type_name() != "Add" or targets[0].get_index() != 0:
        return None
    shape = list(user.input(1).get_shape())
    of_channels = len(shape) == VOLUME and shape[0] == 1 and shape[2:] == [1, 1, 1]
    return user if of_channels and constant(user.input_value(1)) is not None else None


def leads_to(node: Any, wanted: Callable[[Any], bool]) -> bool:
    """Whether what a node computes reaches another one through nodes that work on each voxel, or join channels."""
    pending, seen = [node], set()
    while pending:
        for target in pending.pop().output(0).get_target_inputs():
            user = target.get_node()
            if wanted(user):
                return True
            name = user.get_friendly_name()
            if name not in seen and (user.get_type_name() in EACH_VOXEL or joins_channels(user)):
                seen.add(name)
                pending.append(user)
    return False
