"""3D convolutions with half of their multiplications: Winograd's minimal filtering along z.

Four outputs of a filter of three taps take twelve products, or six: F(4, 3). Here a product is a whole convolution
within slices (1 x 3 x 3), which the library computes as fast as it can; what is added around it are sums of slices.
It is the same function in exact arithmetic. In single precision the sums cost a digit: logits of a standard
nnU-Net move by 1e-4 where they reach 7.

The sums want every fourth slice, and give them. So volumes between such convolutions keep their slices in that
order, which nothing notices that works on each voxel or on each slice alone, and are put in order where something
needs their neighbors.

Sources: Winograd, Arithmetic Complexity of Computations, SIAM 1980; Lavin and Gray, Fast algorithms for
convolutional neural networks, CVPR 2016, section 4.3.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

OUTPUTS: Final = 4
LEAST_DEPTH: Final = 16
"""Slices below which weights, and not sums of products, take the time."""
LEAST_CHANNELS: Final = 16
"""Of the input: with fewer the sums of slices cost what the products save."""

# Interpolation at 0, 1, -1, 2, -2 and infinity.
OF_INPUT: Final = np.array(
    [
        [4, 0, -5, 0, 1, 0],
        [0, -4, -4, 1, 1, 0],
        [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0],
        [0, 2, -1, -2, 1, 0],
        [0, 4, 0, -5, 0, 1],
    ],
    dtype=np.float64,
)
OF_WEIGHTS: Final = np.array(
    [
        [1 / 4, 0, 0],
        [-1 / 6, -1 / 6, -1 / 6],
        [-1 / 6, 1 / 6, -1 / 6],
        [1 / 24, 1 / 12, 1 / 6],
        [1 / 24, -1 / 12, 1 / 6],
        [0, 0, 1],
    ],
    dtype=np.float64,
)
OF_PRODUCTS: Final = np.array(
    [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]], dtype=np.float64
)

_VOLUME: Final = 5
_DEPTH: Final = 2
_EACH_VOXEL: Final = frozenset(
    {"Add", "Subtract", "Multiply", "Divide", "Sqrt", "Power", "PRelu", "Relu", "Clamp"}
)
_MEANS: Final = frozenset({"ReduceMean", "ReduceSum"})

Order = tuple[int, ...]
"""Number of the slice that lies at each place."""


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

    manager = passes.Manager()
    manager.register_pass(passes.ConstantFolding())  # shapes are fixed: what follows from them is known
    manager.run_passes(model)
    _Rewriting(opset13).rewrite(model)
    model.validate_nodes_and_infer_types()
    return model


class _Rewriting:
    """One pass over a network in the order of its computation.

    Parameters
    ----------
    ops : module
        An opset of OpenVINO.
    """

    def __init__(self, ops: Any) -> None:
        self._ops = ops
        self._orders: dict[tuple[str, int], Order] = {}

    def rewrite(self, model: Any) -> None:
        """Replace what can be replaced."""
        for node in model.get_ordered_ops():
            if _is_slow_convolution(node):
                self._replace(node)
            elif any(self._order(source) is not None for source in _sources(node)):
                self._carry(node)

    def _order(self, output: Any) -> Order | None:
        """None if a tensor's slices lie in their order, or it has none."""
        return self._orders.get(_key(output))

    def _carry(self, node: Any) -> None:
        """Let a node work on slices in another order, or put them in order for it."""
        kind, orders = node.get_type_name(), [self._order(source) for source in _sources(node)]
        wanted = next(order for order in orders if order is not None)
        if kind == "ConvolutionBackpropData" and _within_pairs_of_slices(node):
            self._orders[_key(node.output(0))] = tuple(2 * z + half for z in wanted for half in (0, 1))
        elif (kind == "Convolution" and _within_slices(node)) or (kind in _MEANS and _within_rows(node)):
            self._orders[_key(node.output(0))] = wanted
        elif kind in _MEANS and _keeps_one_slice(node):
            pass  # a mean over all slices
        elif _treats_slices_alike(node, len(wanted)):
            for number, source in enumerate(_sources(node)):
                if _depth(source) == len(wanted):
                    node.input(number).replace_source_output(self._in_order(source, wanted))
            self._orders[_key(node.output(0))] = wanted
        else:
            for number, (source, order) in enumerate(zip(_sources(node), orders, strict=True)):
                if order is not None:
                    restored = self._in_order(source, tuple(range(len(order))))
                    if kind == "Result":
                        restored.get_tensor().set_names(source.get_tensor().get_names())
                        source.get_tensor().set_names(set())
                    node.input(number).replace_source_output(restored)

    def _replace(self, node: Any) -> None:
        """Compute a convolution by six within slices; the bias that follows goes into one of them."""
        image, weights = node.input_value(0), _constant(node.input_value(1))
        depth = _depth(image)
        wanted = tuple(range(depth))
        order = tuple(z for phase in range(OUTPUTS) for z in wanted[phase::OUTPUTS])
        slices = self._neighborhoods(image)
        bias = _bias_after(node)
        products = []
        for number in range(OUTPUTS + 2):
            taps = np.einsum("j,ocjyx->ocyx", OF_WEIGHTS[number], weights)[:, :, None].astype(np.float32)
            product = self._ops.convolution(
                self._sum(OF_INPUT[number], slices),
                self._ops.constant(taps),
                [1, 1, 1],
                [0, 1, 1],
                [0, 1, 1],
                [1, 1, 1],
            )
            if bias is not None and number == 1:  # its column of OF_PRODUCTS is all ones
                product = self._ops.add(product, bias.input_value(1))
            products.append(product.output(0))
        outputs = [self._sum(row, products) for row in OF_PRODUCTS]
        joined = self._ops.concat(outputs, _DEPTH).output(0)
        replaced = node if bias is None else bias
        joined.get_node().set_friendly_name(replaced.get_friendly_name() + "/filtered")
        for target in replaced.output(0).get_target_inputs():
            target.replace_source_output(joined)
        self._orders[_key(joined)] = order

    def _neighborhoods(self, image: Any) -> list[Any]:
        """For each of six neighboring slices, those that are it for one group of four outputs."""
        depth = _depth(image)
        groups = depth // OUTPUTS
        phases = [self._taken(image, tuple(range(phase, depth, OUTPUTS))) for phase in range(OUTPUTS)]
        _, channels, _, height, width = image.get_shape()
        zeros = self._ops.constant(np.zeros((1, channels, 1, height, width), np.float32)).output(0)
        before = [zeros, self._slices(phases[-1], 0, groups - 1, 1)]
        after = [self._slices(phases[0], 1, groups - 1, 1), zeros]
        return [
            self._ops.concat(before, _DEPTH).output(0),
            *phases,
            self._ops.concat(after, _DEPTH).output(0),
        ]

    def _sum(self, factors: npt.NDArray[np.float64], terms: Sequence[Any]) -> Any:
        """A sum of multiples, as few operations as there are."""
        total = None
        for factor, term in zip(factors, terms, strict=True):
            if factor == 0:
                continue
            scaled = term
            if abs(factor) != 1 or (total is None and factor < 0):
                scaled = self._ops.multiply(term, self._ops.constant(np.float32(factor))).output(0)
            if total is None:
                total = scaled
            elif factor == -1:
                total = self._ops.subtract(total, scaled).output(0)
            else:
                total = self._ops.add(total, scaled).output(0)
        return total

    def _in_order(self, output: Any, wanted: Order) -> Any:
        """A tensor with its slices in an order."""
        have = self._order(output) or tuple(range(len(wanted)))
        return output if have == wanted else self._taken(output, wanted)

    def _taken(self, output: Any, wanted: Sequence[int]) -> Any:
        """Some of the slices of a tensor, by their numbers."""
        have = self._order(output) or tuple(range(_depth(output)))
        place = {number: z for z, number in enumerate(have)}
        parts = [self._slices(output, *run) for run in _runs([place[number] for number in wanted])]
        return parts[0] if len(parts) == 1 else self._ops.concat(parts, _DEPTH).output(0)

    def _slices(self, output: Any, first: int, count: int, step: int) -> Any:
        bounds = (first, first + (count - 1) * step + 1, step, _DEPTH)
        return self._ops.slice(
            output, *(self._ops.constant(np.array([bound], np.int64)) for bound in bounds)
        ).output(0)


def _runs(places: Sequence[int]) -> Iterator[tuple[int, int, int]]:
    """Places as first, count and step of the fewest runs that a greedy reader finds."""
    first = 0
    while first < len(places):
        last, step = first, 1
        if first + 1 < len(places) and places[first + 1] > places[first]:
            step = places[first + 1] - places[first]
            while last + 1 < len(places) and places[last + 1] - places[last] == step:
                last += 1
        yield places[first], last - first + 1, step
        first = last + 1


def _key(output: Any) -> tuple[str, int]:
    return output.get_node().get_friendly_name(), output.get_index()


def _sources(node: Any) -> list[Any]:
    return [node.input_value(number) for number in range(node.get_input_size())]


def _constant(output: Any) -> npt.NDArray[np.float64]:
    return np.asarray(output.get_node().get_data(), dtype=np.float64)


def _depth(output: Any) -> int:
    """Number of slices; 0 of what is no volume."""
    shape = output.get_shape()
    return int(shape[_DEPTH]) if len(shape) == _VOLUME else 0


def _treats_slices_alike(node: Any, depth: int) -> bool:
    """Whether a node works on each voxel, or joins channels, and every operand can be in any order."""
    kind = node.get_type_name()
    joins_channels = kind == "Concat" and node.get_attributes()["axis"] == 1
    return (kind in _EACH_VOXEL or joins_channels) and all(
        _takes_any_order(source, depth) for source in _sources(node)
    )


def _takes_any_order(source: Any, depth: int) -> bool:
    """Whether an operand is a volume of so many slices, or the same for all of them."""
    return _depth(source) in {1, depth} or len(source.get_shape()) < _VOLUME - _DEPTH


def _is_slow_convolution(node: Any) -> bool:
    """Whether minimal filtering along z can take a node's place, and is quicker."""
    if node.get_type_name() != "Convolution" or node.input_value(1).get_node().get_type_name() != "Constant":
        return False
    image, weights, told = node.input_value(0), node.input(1).get_shape(), node.get_attributes()
    plain = all(
        list(told[name]) == [one] * 3
        for name, one in (("strides", 1), ("dilations", 1), ("pads_begin", 1), ("pads_end", 1))
    )
    return bool(
        plain
        and list(weights)[2:] == [3, 3, 3]
        and weights[1] >= LEAST_CHANNELS
        and _depth(image) >= LEAST_DEPTH
        and _depth(image) % OUTPUTS == 0
        and image.get_shape()[0] == 1
        and image.get_element_type().get_type_name() == "f32"
    )


def _bias_after(node: Any) -> Any | None:
    """The node that adds a constant to each channel of a convolution, if that is all that it is used for."""
    targets = list(node.output(0).get_target_inputs())
    if len(targets) != 1:
        return None
    user = targets[0].get_node()
    if user.get_type_name() != "Add" or targets[0].get_index() != 0:
        return None
    constant = user.input_value(1)
    shape = list(constant.get_shape())
    of_channels = len(shape) == _VOLUME and shape[0] == 1 and shape[2:] == [1, 1, 1]
    return user if of_channels and constant.get_node().get_type_name() == "Constant" else None


def _within_slices(node: Any) -> bool:
    """Whether no output of a convolution depends on more than one slice."""
    told = node.get_attributes()
    return bool(
        node.input(1).get_shape()[_DEPTH] == 1
        and told["strides"][0] == 1
        and told["pads_begin"][0] == told["pads_end"][0] == 0
    )


def _within_pairs_of_slices(node: Any) -> bool:
    """Whether each slice becomes two of its own."""
    told = node.get_attributes()
    return bool(
        node.get_input_size() == 2  # no wanted shape of the output
        and node.input(1).get_shape()[_DEPTH] == 2
        and told["strides"][0] == 2
        and told["pads_begin"][0] == told["pads_end"][0] == told["output_padding"][0] == 0
        and told["dilations"][0] == 1
    )


def _axes(node: Any) -> set[int]:
    found = _constant(node.input_value(1)).astype(int).ravel()
    return {int(axis) % len(node.input(0).get_shape()) for axis in found}


def _within_rows(node: Any) -> bool:
    """Whether a mean leaves the slices apart, where they are."""
    return min(_axes(node)) > _DEPTH


def _keeps_one_slice(node: Any) -> bool:
    return _DEPTH in _axes(node)
