"""Volumes as stacks of slices, (z, C, y, x): the form in which sums and joins of slices cost least in OpenVINO.

A volume (1, C, z, y, x) and its stack lie in memory alike, as OpenVINO keeps channels last. But along the first
axis tensors are joined where they are, without a copy, and a mean over rows is twice as fast.

Slices lie in the order of their reversed bits: the even ones before the odd ones, and so again among each of
these. So every second slice is one half of a stack and every fourth a quarter; halving and doubling a volume's
depth leads from such an order to such an order.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

DEPTH: Final = 2
"""Axis of a volume's slices; its stack has them on axis 0, and no axis of a batch."""
_MIN_SORTED_SLICES: Final = 6
"""Fewer slices lie as they are: their neighbors are then one run."""


def order(depth: int) -> list[int]:
    """Numbers of the slices of a volume, as they lie in its stack."""
    if not is_sorted(depth):
        return list(range(depth))
    return [2 * z + odd for odd in (0, 1) for z in order(depth // 2)]


def is_sorted(depth: int) -> bool:
    """Whether a stack is two halves, the even slices and the odd ones."""
    return depth % 2 == 0 and depth >= _MIN_SORTED_SLICES


def stacked(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The stack of a constant volume, or of one that is the same for all slices."""
    slices: npt.NDArray[Any] = np.moveaxis(values[0], 1, 0)[order(values.shape[DEPTH])]
    return slices


@dataclass(frozen=True)
class Stack:
    """One volume's slices, as one tensor and in parts that lie in it one after the other."""

    whole: Any
    halves: tuple[Any, ...] = ()
    """The even slices and the odd ones; none if nothing has computed them apart."""
    quarters: tuple[Any, ...] = ()
    """Numbers 0, 2, 1 and 3 of every four slices; none as above."""
    steps: int = 0
    """Operations on each voxel since a convolution."""


class Stacks:
    """Operations on stacks.

    Parameters
    ----------
    ops : module
        An opset of OpenVINO.
    """

    def __init__(self, ops: Any) -> None:
        self._ops = ops

    def of_volume(self, volume: Any) -> Any:
        """The stack of a volume (1, C, z, ...)."""
        _, channels, depth, *rest = volume.get_shape()
        if 1 in (channels, depth):
            stack = self._reshaped(volume, (depth, channels, *rest))
        else:
            stack = self._exchanged(self._reshaped(volume, (channels, depth, *rest)))
        return self._picked(stack, order(depth))

    def volume_of(self, stack: Any) -> Any:
        """The volume whose stack this is."""
        depth, channels, *rest = stack.get_shape()
        slices = self._picked(stack, [int(place) for place in np.argsort(order(depth))])
        if 1 not in (channels, depth):
            slices = self._exchanged(slices)
        return self._reshaped(slices, (1, channels, depth, *rest))

    def parts(self, stack: Any, number: int) -> list[Any]:
        """Halves (even, odd) or quarters (0, 2, 1, 3 of every four slices) of a stack."""
        return list(self._ops.split(stack, self._integers(0), number).outputs())

    def of_quarters(self, quarters: Sequence[Any], steps: int = 0) -> Stack:
        """A stack whose parts are computed one by one, and joined where they are."""
        halves = self.joined(quarters[:2]), self.joined(quarters[2:])
        return Stack(self.joined(halves), halves, tuple(quarters), steps)

    def joined(self, parts: Sequence[Any], axis: int = 0) -> Any:
        """One stack of several, or one of all their channels (axis 1)."""
        return self._ops.concat(list(parts), axis).output(0)

    def neighbors(self, stack: Any, step: int) -> Any:
        """For each slice the one before it (step -1) or after it (1); zeros outside of the volume."""
        depth = stack.get_shape()[0]
        moved = []
        for first, count, at_end in _runs(0, depth, step):
            run = stack if count == depth else self._run(stack, first, count)
            moved.append(self._moved(run, step) if at_end else run)
        return moved[0] if len(moved) == 1 else self.joined(moved)

    def _run(self, stack: Any, first: int, count: int) -> Any:
        bounds = (self._integers([bound]) for bound in (first, first + count, 1, 0))
        return self._ops.slice(stack, *bounds).output(0)

    def _moved(self, run: Any, step: int) -> Any:
        """A run of slices that lie as they are, with zeros at one end, and without the last at the other."""
        pads = [0] * (len(run.get_shape()) - 1)
        begin, end = self._integers([-step, *pads]), self._integers([step, *pads])
        return self._ops.pad(run, begin, end, "constant", self._ops.constant(np.float32(0))).output(0)

    def _picked(self, stack: Any, places: list[int]) -> Any:
        if places == list(range(len(places))):
            return stack
        return self._ops.gather(stack, self._integers(places), self._integers(0)).output(0)

    def _exchanged(self, tensor: Any) -> Any:
        """A tensor with its first two axes exchanged."""
        axes = [1, 0, *range(2, len(tensor.get_shape()))]
        return self._ops.transpose(tensor, self._integers(axes)).output(0)

    def _reshaped(self, tensor: Any, shape: Sequence[int]) -> Any:
        return self._ops.reshape(tensor, self._integers(list(shape)), False).output(0)

    def _integers(self, values: int | list[int]) -> Any:
        return self._ops.constant(np.array(values, np.int64))


def _runs(first: int, depth: int, step: int) -> Iterator[tuple[int, int, bool]]:
    """First place and count of the runs that are the neighbors, and whether one of them is to be moved itself.

    What comes before even slices are odd ones, one earlier; what comes before odd slices are even ones, as they are.
    """
    half = depth // 2
    if not is_sorted(depth):
        yield first, depth, True
    elif step < 0:
        yield from _runs(first + half, half, step)
        yield first, half, False
    else:
        yield first + half, half, False
        yield from _runs(first, half, step)
