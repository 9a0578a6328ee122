"""Convolutions with fewer multiplications, on stacks: identities, whole networks, and what must be left as it is."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.arrays import Float32Array
from engine.runtime import slice_rewriting
from engine.runtime.minimal_filtering import OF_INPUT, OF_PRODUCTS, OF_WEIGHTS
from engine.runtime.normalization import with_exact_normalization
from engine.runtime.onnx_session import OnnxSession
from engine.runtime.openvino_session import OpenVinoSession, load_openvino
from engine.runtime.slice_rewriting import with_minimal_filtering
from engine.runtime.slice_stacks import Stacks, order, stacked
from tests.support.networks import Graph, unet_3d

pytest.importorskip("openvino")

WIDTH = slice_rewriting.MIN_CHANNELS
DEPTH = 2 * slice_rewriting.MIN_DEPTH
SIDE = 6
TOLERANCE = 2e-5
"""Of values of about 1."""

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


@pytest.mark.parametrize("depth", [6, 10, 16, 20, 44, 128])
def test_halves_and_quarters_of_a_stack(depth: int) -> None:
    """Halving and doubling a depth keeps the order."""
    slices = order(depth)
    assert sorted(slices) == list(range(depth))
    assert slices == [2 * z for z in order(depth // 2)] + [2 * z + 1 for z in order(depth // 2)]
    if depth >= 12 and depth % 4 == 0:
        quarters = [slices[first : first + depth // 4] for first in range(0, depth, depth // 4)]
        assert quarters == [[4 * z + phase for z in order(depth // 4)] for phase in (0, 2, 1, 3)]


@pytest.mark.parametrize("depth", [1, 2, 4, 5, 6, 8, 20, 44])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_stack_and_its_neighbors(depth: int, channels: int) -> None:
    from openvino import opset13 as ops

    shape = (1, channels, depth, 2, 3)
    form, volume = Stacks(ops), ops.parameter(shape, np.float32)
    stack = form.of_volume(volume.output(0))
    shifted = [form.volume_of(form.neighbors(stack, step)) for step in (-1, 1)]
    outputs = [stack, form.volume_of(stack), *shifted]
    model = load_openvino().Model([ops.result(output) for output in outputs], [volume])
    values = image(shape)
    found = load_openvino().Core().compile_model(model, "CPU")([values])
    zeros = np.zeros((1, channels, 1, 2, 3), np.float32)
    np.testing.assert_array_equal(found[0], stacked(values))
    np.testing.assert_array_equal(found[1], values)
    np.testing.assert_array_equal(found[2], np.concatenate([zeros, values[:, :, :-1]], axis=2))
    np.testing.assert_array_equal(found[3], np.concatenate([values[:, :, 1:], zeros], axis=2))


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


def image(shape: tuple[int, ...]) -> Float32Array:
    return np.random.default_rng(9).standard_normal(shape, dtype=np.float32)


def compare(model: bytes, shape: tuple[int, ...]) -> None:
    given_ = {"image": image(shape)}
    with OpenVinoSession(model, threads=1) as session, OnnxSession(model) as reference:
        found, expected = session.run(given_)["logits"], reference.run(given_)["logits"]
    scale = max(1.0, float(np.abs(expected).max()))
    np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE * scale)


def kernels(model: bytes, shape: tuple[int, ...]) -> list[list[int]]:
    """Sizes of the filters of a network after rewriting."""
    read = load_openvino().Core().read_model(with_exact_normalization(model))
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


def mean_of_all_voxels(graph: Graph, x: str) -> str:
    """As in a block that weighs channels."""
    y = convolution(graph, x)
    mean = graph.add("ReduceMean", y, axes=[2, 3, 4], keepdims=1)
    within = graph.add("Conv", mean, graph.weight(WIDTH, WIDTH, 1, 1, 1), kernel_shape=[1] * 3)
    return graph.add("Add", graph.add("Mul", y, within), graph.add("Mul", x, within))


def mean_of_slices_without_their_axis(graph: Graph, x: str) -> str:
    mean = graph.add("ReduceMean", convolution(graph, x), axes=[2], keepdims=0)
    return graph.add("Unsqueeze", mean, graph.constant(np.array([2], np.int64)))


def residual(graph: Graph, x: str) -> str:
    for _ in range(3):
        y = convolution(graph, graph.add("LeakyRelu", convolution(graph, x), alpha=0.1))
        x = graph.add("Relu", graph.add("Add", y, x))
    return x


def joined_with_a_raised_one(graph: Graph, x: str) -> str:
    skip = graph.add("Relu", convolution(graph, x))
    low = graph.add("Relu", convolution(graph, convolution(graph, skip, strides=[2] * 3)))
    up = graph.weight(WIDTH, WIDTH, 2, 2, 2, scale=0.2)
    risen = graph.add("ConvTranspose", low, up, kernel_shape=[2] * 3, strides=[2] * 3)
    return convolution(graph, graph.add("Concat", risen, skip, axis=1), width=2 * WIDTH)


def halved_again_and_again(graph: Graph, x: str) -> str:
    """As long as there are halves, and beyond."""
    y = convolution(graph, x)
    for bias in (True, False, True, True):
        y = convolution(graph, y, bias=bias, strides=[2, 1, 1], pads=[1, 1, 1, 0, 1, 1])
    return y


def raised_from_few_slices(graph: Graph, x: str) -> str:
    y = halved_again_and_again(graph, x)
    up = graph.weight(WIDTH, WIDTH, 2, 1, 1, scale=0.2)
    for _ in range(4):
        y = graph.add("ConvTranspose", y, up, kernel_shape=[2, 1, 1], strides=[2, 1, 1])
    return graph.add("Add", y, convolution(graph, x))


def anisotropic(graph: Graph, x: str) -> str:
    y = convolution(graph, convolution(graph, x), strides=[1, 2, 2])
    within = graph.weight(WIDTH, WIDTH, 1, 3, 3)
    flat: dict[str, Any] = {"kernel_shape": [1, 3, 3], "pads": [0, 1, 1, 0, 1, 1]}
    y = graph.add("Conv", graph.add("Conv", y, within, **flat), within, strides=[1, 2, 2], **flat)
    up = graph.weight(WIDTH, WIDTH, 1, 2, 2, scale=0.2)
    return graph.add("ConvTranspose", y, up, kernel_shape=[1, 2, 2], strides=[1, 2, 2])


def without_padding_in_slices(graph: Graph, x: str) -> str:
    return convolution(graph, x, pads=[1, 0, 1, 1, 0, 1])


def few_channels_in_between(graph: Graph, x: str) -> str:
    y = convolution(graph, convolution(graph, x, into=2), width=2, into=WIDTH // 2)
    return convolution(graph, y, width=WIDTH // 2)


def padded_with_slices(graph: Graph, x: str) -> str:
    weights = graph.weight(WIDTH, WIDTH, 1, 1, 1)
    told: dict[str, Any] = {"kernel_shape": [1] * 3, "pads": [1, 0, 0, 1, 0, 0]}
    return graph.add("Conv", convolution(graph, x), weights, **told)


def two_volumes_from_one(graph: Graph, x: str) -> str:
    return graph.add("Add", convolution(graph, x), graph.weight(2, WIDTH, 1, 1, 1))


BUILDS = (
    padded_with_slices,
    two_volumes_from_one,
    residual,
    joined_with_a_raised_one,
    halved_again_and_again,
    raised_from_few_slices,
    anisotropic,
    without_padding_in_slices,
    few_channels_in_between,
    mean_of_all_voxels,
    mean_of_slices_without_their_axis,
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
    assert [3, 3] in kernels(model, shape)
    compare(model, shape)


@pytest.mark.parametrize("depth", [slice_rewriting.MIN_DEPTH, 20, 44])
def test_depths(depth: int) -> None:
    shape = (1, WIDTH, depth, SIDE, SIDE)
    assert kernels(network(plain, depth=depth), shape) == [[3, 3]] * 6
    compare(network(plain, depth=depth), shape)


def test_an_image_of_few_channels() -> None:
    def build(graph: Graph, x: str) -> str:
        return convolution(graph, graph.add("Relu", convolution(graph, x, width=2)))

    model, shape = network(build, channels=2), (1, 2, DEPTH, SIDE, SIDE)
    assert kernels(model, shape) == [[3, 3]] * (4 + 6)
    compare(model, shape)


def test_two_outputs_that_are_the_same_volume() -> None:
    graph = Graph(seed=3)
    y = convolution(graph, "image")
    graph.add("Identity", y, output="logits")
    graph.add("Identity", y, output="again")
    shape = (1, WIDTH, DEPTH, SIDE, SIDE)
    sizes = ("batch", "c", "z", "y", "x")
    model = graph.model({"image": shape}, {"logits": sizes, "again": sizes})
    assert kernels(model, shape) == [[3, 3]] * 6
    with OpenVinoSession(model, threads=1) as session, OnnxSession(model) as reference:
        found, expected = session.run({"image": image(shape)}), reference.run({"image": image(shape)})
    for name in ("logits", "again"):
        np.testing.assert_allclose(found[name], expected[name], rtol=0, atol=1e-4)


@pytest.mark.parametrize("patch", [32, 64])
def test_a_network(patch: int) -> None:
    """From its image to its logits on stacks: four quarters, three taps of every second slice, six products."""
    model, shape = unet_3d(width=WIDTH, patch=patch), (1, 1, patch, patch, patch)
    assert sorted(kernels(model, shape)) == [[1, 1]] + [[3, 3]] * (4 + 3 + 6)
    compare(model, shape)


@pytest.mark.parametrize(
    ("told", "channels", "depth", "batch"),
    [
        ({}, WIDTH, DEPTH + 2, 1),
        ({}, WIDTH, slice_rewriting.MIN_DEPTH - 4, 1),
        ({}, WIDTH - 1, DEPTH, 1),
        ({}, WIDTH, DEPTH, 2),
        ({"strides": [1, 2, 1]}, WIDTH, DEPTH, 1),
        ({"dilations": [2, 1, 1]}, WIDTH, DEPTH, 1),
        ({"dilations": [2, 1, 1], "pads": [2, 1, 1, 2, 1, 1]}, WIDTH, DEPTH, 1),
        ({"pads": [0, 1, 1, 2, 1, 1]}, WIDTH, DEPTH, 1),
    ],
    ids=[
        "depth",
        "few slices",
        "few channels",
        "batch",
        "stride",
        "dilation",
        "padded dilation",
        "uneven padding",
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
