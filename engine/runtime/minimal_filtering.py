"""Convolutions along z with half of their multiplications: Winograd's minimal filtering.

Four outputs of a filter of three taps take twelve products, or six: F(4, 3). Here a product is a whole convolution
within slices, which the library computes as fast as it can; what is added around it are sums of slices.
It is the same function in exact arithmetic. In single precision the sums cost a digit: logits of a standard
nnU-Net move by 1e-4 where they reach 7.

Sources: Winograd, Arithmetic Complexity of Computations, SIAM 1980; Lavin and Gray, Fast algorithms for
convolutional neural networks, CVPR 2016, section 4.3.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from engine.runtime.slice_stacks import Stacks

OUTPUTS: Final = 4

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
ALL_ONES: Final = 1
"""The product that each output contains once: what is added to it is added to all."""

_PAIRS: Final = ((1, 2), (3, 4))
"""Interpolated at x and -x: outputs contain their sum or their difference."""

_Product = Callable[[int, Any, npt.NDArray[np.float64]], Any]


def filtered(
    ops: Any, quarters: Sequence[Any], weights: npt.NDArray[np.float64], product: _Product
) -> list[Any]:
    """The quarters of the stack of a convolution of three taps along z, padded with a slice of zeros at both ends.

    Parameters
    ----------
    ops : module
        An opset of OpenVINO.
    quarters : sequence of openvino.Output
        Of a stack.
    weights : numpy.ndarray
        (outputs, C, 3, rows, columns).
    product : callable
        Convolves slices with a filter (outputs, C, rows, columns); it is told which of the products it is.
    """
    stacks = Stacks(ops)
    first, third, second, fourth = quarters
    six = [stacks.neighbors(fourth, -1), first, second, third, fourth, stacks.neighbors(first, 1)]
    products = [
        product(
            number, _sum(ops, OF_INPUT[number], six), np.einsum("j,ocjyx->ocyx", OF_WEIGHTS[number], weights)
        )
        for number in range(OUTPUTS + 2)
    ]
    one, two, three, four = _outputs(ops, products)
    return [one, three, two, four]


def _outputs(ops: Any, products: Sequence[Any]) -> list[Any]:
    """Four neighboring slices, of six products."""
    sums = [ops.add(products[plus], products[minus]).output(0) for plus, minus in _PAIRS]
    differences = [ops.subtract(products[plus], products[minus]).output(0) for plus, minus in _PAIRS]
    columns = [0, *(plus for plus, _ in _PAIRS), OUTPUTS + 1]
    return [
        _sum(ops, row[columns], [products[0], *(differences if number % 2 else sums), products[-1]])
        for number, row in enumerate(OF_PRODUCTS)
    ]


def _sum(ops: Any, factors: npt.NDArray[np.float64], terms: Sequence[Any]) -> Any:
    """The sum of ``factor * term``, with as few operations as possible."""
    total = None
    for factor, term in zip(factors, terms, strict=True):
        if factor == 0:
            continue
        scaled = term
        if abs(factor) != 1 or (total is None and factor < 0):
            scaled = ops.multiply(term, ops.constant(np.float32(factor))).output(0)
        if total is None:
            total = scaled
        elif factor == -1:
            total = ops.subtract(total, scaled).output(0)
        else:
            total = ops.add(total, scaled).output(0)
    return total
