"""Networks of volumes, rewritten to work on stacks of slices, and with fewer multiplications.

From the first 3 x 3 x 3 convolution on that minimal filtering makes faster, volumes are stacks of slices
(:mod:`engine.runtime.slice_stacks`), as long as what follows can work on each voxel, on each slice or on halves of
a stack. They are put together again for all else, and for a network's outputs.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from engine.runtime.graph_reading import (
    EACH_VOXEL,
    MEANS,
    VOLUME,
    along_z,
    axes,
    bias_after,
    constant,
    joins_channels,
    key,
    leads_to,
    sources,
)
from engine.runtime.minimal_filtering import ALL_ONES, OUTPUTS, filtered
from engine.runtime.slice_stacks import DEPTH, Stack, Stacks, is_sorted, stacked

MIN_DEPTH: Final = 16
"""Slices below which weights, and not sums of products, take the time."""
MIN_CHANNELS: Final = 16
"""Of the input: with fewer the sums of slices cost what the products save."""
_STEPS_TO_REPEAT: Final = 2
"""Operations on each voxel after a convolution that are done again for a mean, rather than kept."""
_MAX_IMAGE_CHANNELS: Final = 4
"""Of an image: neighboring slices can be more channels."""


def with_minimal_filtering(model: Any) -> Any:
    """Compute a network's 3 x 3 x 3 convolutions with fewer multiplications.

    Parameters
    ----------
    model : openvino.Model
        With fixed shapes; changed in place.

    Returns
    -------
    openvino.Model
        The same function of the same inputs, by the same names.
    """
    from openvino import opset13, passes  # noqa: PLC0415 - an optional library, which the session has loaded
    from openvino.utils.node_factory import NodeFactory  # noqa: PLC0415 - the same

    manager = passes.Manager()
    manager.register_pass(passes.ConstantFolding())  # shapes are fixed: what follows from them is known
    manager.run_passes(model)
    _Rewriting(opset13, NodeFactory("opset13")).rewrite(model)
    model.validate_nodes_and_infer_types()
    return model


class _SliceOperations:
    """The operations of a network, on stacks of slices.

    Parameters
    ----------
    ops : module
        An opset of OpenVINO.
    factory : openvino.utils.node_factory.NodeFactory
        Makes a node of a type's name.
    """

    def __init__(self, ops: Any, factory: Any) -> None:
        self._ops, self._factory = ops, factory

    def within_slices(self, node: Any, stack: Any, weights: npt.NDArray[np.float64]) -> Any:
        """A convolution within slices, with a node's strides, padding and dilations there."""
        attributes = node.get_attributes()
        names = ("strides", "pads_begin", "pads_end", "dilations")
        inside = [attributes[name][1:] for name in names]
        return self._ops.convolution(stack, self._constant(weights), *inside).output(0)

    def raised_within_slices(self, node: Any, stack: Any, tap: int) -> Any:
        """A transposed convolution within slices, by the weights of one slice of its filter."""
        attributes = node.get_attributes()
        names = ("pads_begin", "pads_end", "dilations", "output_padding")
        inside = {name: attributes[name][1:] for name in names}
        weights = self._constant(_weights(node)[:, :, tap])
        return self._ops.convolution_backprop_data(
            stack, weights, attributes["strides"][1:], **inside
        ).output(0)

    def repeated(self, node: Any, operands: list[Any]) -> Any:
        """The same node of other operands."""
        return self._factory.create(node.get_type_name(), operands, node.get_attributes()).output(0)

    def _constant(self, values: npt.NDArray[np.float64]) -> Any:
        return self._ops.constant(np.ascontiguousarray(values, dtype=np.float32)).output(0)


class _Rewriting:
    """One pass over a network in the order of its computation.

    Parameters
    ----------
    ops : module
        An opset of OpenVINO.
    factory : openvino.utils.node_factory.NodeFactory
        Makes a node of a type's name.
    """

    def __init__(self, ops: Any, factory: Any) -> None:
        self._ops = ops
        self._slices = _SliceOperations(ops, factory)
        self._form = Stacks(ops)
        self._stacks: dict[tuple[str, int], Stack] = {}
        self._volumes: dict[tuple[str, int], Any] = {}

    def rewrite(self, model: Any) -> None:
        """Replace what can be replaced."""
        for node in model.get_ordered_ops():
            if node.get_output_size() == 1 and key(node.output(0)) in self._stacks:
                continue  # a bias, which is in its convolution
            stack = self._computed(node)
            if stack is None:
                self._give_back(node)
            else:
                stack.whole.get_node().set_friendly_name(node.get_friendly_name() + "/slices")
                self._stacks[key(node.output(0))] = stack

    def _computed(self, node: Any) -> Stack | None:
        """The stack of what a node computes; None if it is to have volumes."""
        kind = node.get_type_name()
        if kind == "Convolution":
            return self._convolution(node)
        if not any(key(source) in self._stacks for source in sources(node)):
            return None
        if kind == "ConvolutionBackpropData":
            return self._raised(node)
        if kind in MEANS:
            return self._mean(node)
        if kind in EACH_VOXEL or joins_channels(node):
            return self._each_voxel(node)
        return None

    def _give_back(self, node: Any) -> None:
        """Let a node have volumes."""
        for number, source in enumerate(sources(node)):
            stack = self._stacks.get(key(source))
            if stack is None:
                continue
            volume = self._volumes.get(key(source))
            if volume is None:
                volume = self._volumes[key(source)] = self._form.volume_of(stack.whole)
            if node.get_type_name() == "Result":
                volume.get_tensor().add_names(source.get_tensor().get_names())
                source.get_tensor().set_names(set())
            node.input(number).replace_source_output(volume)

    def _convolution(self, node: Any) -> Stack | None:
        image, filter_along_z = node.input_value(0), along_z(node)
        if filter_along_z is None:
            return None
        channels, depth = image.get_shape()[1:3]
        stack = self._stacks.get(key(image))
        if _is_filterable(node) and channels <= _MAX_IMAGE_CHANNELS and (stack or leads_to(node, _is_slow)):
            return self._of_more_channels(node, stack or self._of_volume(image))
        if _is_slow(node) or (stack and _is_filterable(node)):
            return self._filtered(node, stack or self._of_volume(image))
        if stack and filter_along_z.stays_within and filter_along_z.stride == 1:
            return Stack(self._slices.within_slices(node, stack.whole, _weights(node)[:, :, 0]))
        if stack and filter_along_z.halves_depth and is_sorted(depth):
            return self._halved(node, stack)
        return None

    def _filtered(self, node: Any, stack: Stack) -> Stack:
        bias = self._fused_bias(node)

        def product(number: int, term: Any, weights: npt.NDArray[np.float64]) -> Any:
            term = self._slices.within_slices(node, term, weights)
            return self._ops.add(term, bias).output(0) if bias is not None and number == ALL_ONES else term

        quarters = stack.quarters or self._form.parts(stack.whole, OUTPUTS)
        return self._recorded(
            node, self._form.of_quarters(filtered(self._ops, quarters, _weights(node), product))
        )

    def _halved(self, node: Any, stack: Stack) -> Stack:
        """Every second slice: from the even slices, the odd ones after them and the odd ones before them."""
        weights, bias = _weights(node), self._fused_bias(node)
        even, odd = stack.halves or self._form.parts(stack.whole, 2)
        total = self._slices.within_slices(node, even, weights[:, :, 1])
        if bias is not None:
            total = self._ops.add(total, bias).output(0)
        total = self._ops.add(total, self._slices.within_slices(node, odd, weights[:, :, 2])).output(0)
        before = self._form.neighbors(self._slices.within_slices(node, odd, weights[:, :, 0]), -1)
        return self._recorded(node, Stack(self._ops.add(total, before).output(0)))

    def _of_more_channels(self, node: Any, stack: Stack) -> Stack:
        """One convolution within slices of which each has its neighbors' channels, too."""
        weights = np.concatenate(np.moveaxis(_weights(node), DEPTH, 0), axis=1)
        before, after = (self._form.neighbors(stack.whole, step) for step in (-1, 1))
        parts = self._form.parts(self._form.joined([before, stack.whole, after], axis=1), OUTPUTS)
        return self._form.of_quarters([self._slices.within_slices(node, part, weights) for part in parts])

    def _raised(self, node: Any) -> Stack | None:
        """A transposed convolution by which each slice becomes one or two of its own."""
        filter_along_z, stack = along_z(node), self._stacks.get(key(node.input_value(0)))
        if filter_along_z is None or stack is None or not filter_along_z.stays_within:
            return None
        depth, taps = stack.whole.get_shape()[0], filter_along_z.taps
        if taps == 1:
            return Stack(self._slices.raised_within_slices(node, stack.whole, 0))
        if taps > 2 or not is_sorted(2 * depth):
            return None
        parts = stack.halves or (self._form.parts(stack.whole, 2) if is_sorted(depth) else [stack.whole])
        raised = [self._slices.raised_within_slices(node, part, tap) for tap in (0, 1) for part in parts]
        return Stack(self._form.joined(raised)) if len(raised) == 2 else self._form.of_quarters(raised)

    def _mean(self, node: Any) -> Stack | None:
        """A mean of rows or columns, or one over the slices that keeps their axis."""
        stack, over, attributes = (
            self._stacks.get(key(node.input_value(0))),
            axes(node),
            node.get_attributes(),
        )
        if (
            stack is None
            or over is None
            or min(over) < DEPTH
            or (DEPTH in over and not attributes["keep_dims"])
        ):
            return None
        of_stack = [0 if axis == DEPTH else axis - 1 for axis in over]
        axes_ = self._ops.constant(np.array(of_stack, np.int64)).output(0)
        return Stack(self._slices.repeated(node, [stack.whole, axes_]))

    def _each_voxel(self, node: Any) -> Stack | None:
        """The same node applied to stacks, or to their quarters where these are kept separately."""
        shape = list(node.output(0).get_shape())
        if len(shape) != VOLUME or shape[0] != 1:
            return None
        depth, inputs = shape[DEPTH], sources(node)
        operands = [operand for source in inputs if (operand := self._operand(source)) is not None]
        stacked_operands = [list(operand.whole.get_shape())[: 2 - VOLUME] == [depth] for operand in operands]
        if len(operands) < len(inputs) or not any(
            is_stacked and key(source) in self._stacks
            for is_stacked, source in zip(stacked_operands, inputs, strict=True)
        ):
            return None
        paired = list(zip(operands, stacked_operands, strict=True))

        def repeat_node(quarter: int | None = None) -> Any:
            parts = [
                operand.quarters[quarter] if is_stacked and quarter is not None else operand.whole
                for operand, is_stacked in paired
            ]
            return self._slices.repeated(node, parts)

        if not all(operand.quarters for operand, is_stacked in paired if is_stacked):
            return Stack(repeat_node())
        quarters, steps = (
            tuple(repeat_node(number) for number in range(OUTPUTS)),
            1 + max(o.steps for o in operands),
        )
        if steps > _STEPS_TO_REPEAT:
            return self._form.of_quarters(quarters, steps)
        return Stack(repeat_node(), quarters=quarters, steps=steps)

    def _operand(self, source: Any) -> Stack | None:
        """The stack of a source, or a stack that broadcasts over all slices; None if there is neither."""
        stack, shape = self._stacks.get(key(source)), list(source.get_shape())
        if stack is not None:
            return stack if len(shape) == VOLUME else None
        if len(shape) < VOLUME - DEPTH:
            return Stack(source)
        whole = [1] * (VOLUME - len(shape)) + shape
        values = constant(source)
        if values is not None:
            return Stack(self._ops.constant(np.ascontiguousarray(stacked(values.reshape(whole)))).output(0))
        return self._of_volume(source) if len(shape) == VOLUME else None

    def _fused_bias(self, node: Any) -> Any | None:
        """What is added to each channel after a convolution, as it is added to slices."""
        bias = bias_after(node)
        operand = None if bias is None else self._operand(bias.input_value(1))
        return None if operand is None else operand.whole

    def _recorded(self, node: Any, stack: Stack) -> Stack:
        """Record a convolution's stack as that of the bias addition after it, and return it."""
        bias = bias_after(node)
        if bias is not None:
            self._stacks[key(bias.output(0))] = stack
        return stack

    def _of_volume(self, volume: Any) -> Stack:
        return Stack(self._form.of_volume(volume))


def _weights(node: Any) -> npt.NDArray[np.float64]:
    return np.asarray(node.input_value(1).get_node().get_data(), dtype=np.float64)


def _is_filterable(node: Any) -> bool:
    """Whether minimal filtering along z can take a node's place."""
    filter_along_z = along_z(node) if node.get_type_name() == "Convolution" else None
    if filter_along_z is None or not filter_along_z.keeps_depth:
        return False
    depth = int(node.input(0).get_shape()[DEPTH])
    return depth >= MIN_DEPTH and depth % OUTPUTS == 0


def _is_slow(node: Any) -> bool:
    """Whether minimal filtering saves enough time to make a stack for it."""
    return (
        _is_filterable(node)
        and int(node.input(0).get_shape()[1]) >= MIN_CHANNELS
        and list(node.input(1).get_shape())[DEPTH:] == [3, 3, 3]
        and list(node.get_attributes()["strides"]) == [1, 1, 1]
    )
