"""Convolutions with fewer multiplications: the identity itself, whole networks, and what must be left as it is."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.runtime import minimal_filtering
from engine.runtime.minimal_filtering import OF_INPUT, OF_PRODUCTS, OF_WEIGHTS, with_minimal_filtering
from engine.runtime.onnx_session import OnnxSession
from engine.runtime.openvino_session import OpenVinoSession, load_openvino
from tests.networks import Graph, unet_3d

pytest.importorskip("openvino")

WIDTH = minimal_filtering.LEAST_CHANNELS
DEPTH = 2 * minimal_filtering.LEAST_DEPTH
SIDE = 6
TOLERANCE = 2e-5
"""Of values of about 1."""

FloatArray = npt.NDArray[np.float32]
Build = Callable[[Graph, str], str]


def exact(matrix: npt.NDArray[np.float64]) -> npt.NDArray[Any]:
    exactly: npt.NDArray[Any] = np.vectorize(lambda value: Fraction(float(value)).limit_denominator(1000))(
        matrix
    )
    return exactly


@given(st.lists(st.integers(-9, 9), min_size=9, max_size=9))
@settings(max_examples=20)
def test_six_products_are_four_outputs_of_three_taps(numbers: list[int]) -> None:
    taps, slices = np.array(numbers[:3], dtype=object), np.array(numbers[3:], dtype=object)
    products = (exact(OF_WEIGHTS) @ taps) * (exact(OF_INPUT) @ slices)
    assert list(exact(OF_PRODUCTS) @ products) == [sum(taps * slices[i : i + 3]) for i in range(4)]


def network(build: Build, *, depth: int = DEPTH, channels: int = WIDTH, batch: int | str = "batch") -> bytes:
    """What ``build`` makes of an image; its output's shape is not told."""
    graph = Graph(seed=3)
    graph.add("Identity", build(graph, "image"), output="logits")
    shape = (batch, channels, depth, SIDE, SIDE)
    return graph.model({"image": shape}, {"logits": ("batch", "c", "z", "y", "x")})


def convolution(
    graph: Graph, x: str, *, width: int = WIDTH, into: int = WIDTH, bias: bool = True, **told: Any
) -> str:
    names = [graph.weight(into, width, 3, 3, 3)]
    if bias:
        names.append(graph.weight(into, scale=0.5))
    return graph.add("Conv", x, *names, **{"kernel_shape": [3] * 3, "pads": [1] * 6, **told})


def image(shape: tuple[int, ...]) -> FloatArray:
    return np.random.default_rng(9).standard_normal(shape, dtype=np.float32)


def compare(model: bytes, shape: tuple[int, ...]) -> None:
    given_ = {"image": image(shape)}
    with OpenVinoSession(model, threads=1) as session, OnnxSession(model) as reference:
        found, expected = session.run(given_)["logits"], reference.run(given_)["logits"]
    scale = max(1.0, float(np.abs(expected).max()))
    np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE * scale)


def kernels(model: bytes, shape: tuple[int, ...]) -> list[list[int]]:
    """Sizes of the filters of a network after rewriting."""
    read = load_openvino().Core().read_model(model)
    read.reshape(list(shape))
    found = with_minimal_filtering(read).get_ordered_ops()
    return [list(op.input(1).get_shape())[2:] for op in found if op.get_type_name() == "Convolution"]


def plain(graph: Graph, x: str) -> str:
    return convolution(graph, x)


def without_bias(graph: Graph, x: str) -> str:
    return convolution(graph, x, bias=False)


def twice_in_order(graph: Graph, x: str) -> str:
    return graph.add("LeakyRelu", convolution(graph, convolution(graph, x)), alpha=0.1)


def used_twice(graph: Graph, x: str) -> str:
    """What carries no bias alone, and slices needed in both orders."""
    y = convolution(graph, x, bias=False)
    return graph.add("Add", graph.add("Mul", y, y), graph.add("Add", x, y))


def normalized_along_slices(graph: Graph, x: str) -> str:
    return graph.add("Softmax", convolution(graph, x), axis=2)


def joined_along_slices(graph: Graph, x: str) -> str:
    y = convolution(graph, x)
    return graph.add("Concat", y, x, axis=2)


def with_one_number_for_each_slice(graph: Graph, x: str) -> str:
    return graph.add("Add", convolution(graph, x), graph.weight(DEPTH, 1, 1))


def with_one_volume_for_all(graph: Graph, x: str) -> str:
    return graph.add("Add", convolution(graph, x), graph.weight(1, WIDTH, DEPTH, 1, 1))


def halved(graph: Graph, x: str) -> str:
    return convolution(graph, convolution(graph, x), strides=[2] * 3)


def raised(graph: Graph, x: str) -> str:
    up = graph.weight(WIDTH, WIDTH, 2, 2, 2, scale=0.2)
    y = graph.add("ConvTranspose", convolution(graph, x), up, kernel_shape=[2] * 3, strides=[2] * 3)
    return convolution(graph, y)


def raised_by_overlapping_filters(graph: Graph, x: str) -> str:
    up = graph.weight(WIDTH, WIDTH, 4, 4, 4, scale=0.2)
    told: dict[str, Any] = {"kernel_shape": [4] * 3, "strides": [2] * 3, "pads": [1] * 6}
    return graph.add("ConvTranspose", convolution(graph, x), up, **told)


def mean_of_rows(graph: Graph, x: str) -> str:
    return graph.add("ReduceMean", convolution(graph, x), axes=[3, 4], keepdims=1)


def mean_of_slices(graph: Graph, x: str) -> str:
    return graph.add("ReduceMean", convolution(graph, x), axes=[2], keepdims=1)


def mean_of_channels(graph: Graph, x: str) -> str:
    return graph.add("ReduceMean", convolution(graph, x), axes=[-4], keepdims=1)


BUILDS = (
    plain,
    without_bias,
    twice_in_order,
    used_twice,
    normalized_along_slices,
    joined_along_slices,
    with_one_number_for_each_slice,
    with_one_volume_for_all,
    halved,
    raised,
    raised_by_overlapping_filters,
    mean_of_rows,
    mean_of_slices,
    mean_of_channels,
)


@pytest.mark.parametrize("build", BUILDS, ids=lambda build: build.__name__)
def test_the_same_function(build: Build) -> None:
    model, shape = network(build), (1, WIDTH, DEPTH, SIDE, SIDE)
    assert [1, 3, 3] in kernels(model, shape)
    compare(model, shape)


@pytest.mark.parametrize("depth", [minimal_filtering.LEAST_DEPTH, 20, 44])
def test_depths(depth: int) -> None:
    shape = (1, WIDTH, depth, SIDE, SIDE)
    assert kernels(network(plain, depth=depth), shape) == [[1, 3, 3]] * 6
    compare(network(plain, depth=depth), shape)


@pytest.mark.parametrize("patch", [32, 64])
def test_a_network(patch: int) -> None:
    """Its patch of 64 has slices in another order at both levels."""
    model, shape = unet_3d(width=WIDTH, patch=patch), (1, 1, patch, patch, patch)
    expected = [[1, 3, 3]] * 6 + [[3, 3, 3]] * 2 + [[1, 1, 1]]
    assert sorted(kernels(model, shape)) == sorted(expected)
    compare(model, shape)


@pytest.mark.parametrize(
    ("told", "channels", "depth", "batch"),
    [
        ({}, WIDTH, DEPTH + 2, 1),
        ({}, WIDTH, minimal_filtering.LEAST_DEPTH - 4, 1),
        ({}, WIDTH - 1, DEPTH, 1),
        ({}, WIDTH, DEPTH, 2),
        ({"strides": [1, 2, 1]}, WIDTH, DEPTH, 1),
        ({"dilations": [2, 1, 1], "pads": [2, 1, 1, 2, 1, 1]}, WIDTH, DEPTH, 1),
        ({"pads": [0, 1, 1, 2, 1, 1]}, WIDTH, DEPTH, 1),
        ({"pads": [1, 0, 1, 1, 0, 1]}, WIDTH, DEPTH, 1),
    ],
    ids=[
        "depth",
        "few slices",
        "few channels",
        "batch",
        "stride",
        "dilation",
        "uneven padding",
        "no padding",
    ],
)
def test_what_it_leaves_alone(told: dict[str, Any], channels: int, depth: int, batch: int) -> None:
    def build(graph: Graph, x: str) -> str:
        return convolution(graph, x, width=channels, **told)

    model, shape = network(build, depth=depth, channels=channels), (batch, channels, depth, SIDE, SIDE)
    assert kernels(model, shape) == [[3, 3, 3]]
    compare(model, shape)


def test_weights_that_are_computed() -> None:
    def build(graph: Graph, x: str) -> str:
        weights = graph.weight(WIDTH, WIDTH, 3, 3, 3)
        mean = graph.add("ReduceMean", x, axes=[0, 1, 2, 3, 4], keepdims=1)
        return graph.add("Conv", x, graph.add("Mul", weights, mean), kernel_shape=[3] * 3, pads=[1] * 6)

    shape = (1, WIDTH, DEPTH, SIDE, SIDE)
    assert kernels(network(build), shape) == [[3, 3, 3]]
    compare(network(build), shape)
