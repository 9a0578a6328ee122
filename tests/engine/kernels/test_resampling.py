"""Resampling on every backend: one test body, judged by its definition, SciPy and SimpleITK."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from engine.kernels.backend import KernelBackend
from engine.kernels.resampling import resample
from tests.support.kernels.kernel_inputs import (
    EVERY_BACKEND,
    EXAMPLES,
    FAST_BACKENDS,
    LARGEST,
    SEEDS,
    SHAPES,
    SIMULATED,
    an_index_map,
    frozen,
    shifted_by,
)

# --- resampling -----------------------------------------------------------------------------


@FAST_BACKENDS
@pytest.mark.parametrize("order", [0, 1, 3])
@pytest.mark.parametrize("displaced", [False, True])
@EXAMPLES
@given(shape=SHAPES, aligned=st.booleans(), seed=SEEDS)
def test_resampling_is_the_definitions(
    kernels: KernelBackend, order: int, displaced: bool, shape: Any, aligned: bool, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    voxels = frozen((rng.standard_normal(shape) * 300).astype(np.float32))
    options: dict[str, Any] = {"order": order, "fill": -7}
    if displaced:
        options["displacement"] = frozen(rng.standard_normal((2, 3, 2, 3)).astype(np.float32))
        options["displacement_map"] = np.diag([0.4, 0.3, 0.3, 1.0]) if aligned else an_index_map(rng, aligned)
    matrix, out_shape = an_index_map(rng, aligned), LARGEST[::-1] if SIMULATED else (6, 7, 31)
    found = resample(voxels, matrix, out_shape, kernels=kernels, **options)
    expected = resample(voxels, matrix, out_shape, kernels=KernelBackend.REFERENCE, **options)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=2e-3)
    hounsfield = voxels.astype(np.int16)
    exact = resample(
        hounsfield.astype(np.float32), matrix, out_shape, kernels=KernelBackend.REFERENCE, **options
    )
    rounded = resample(hounsfield, matrix, out_shape, kernels=kernels, **options)
    assert rounded.dtype == np.int16
    assert np.abs(rounded - exact).max() <= 0.5 + 2e-3


@EVERY_BACKEND
def test_cubic_resampling_is_scipys(kernels: KernelBackend) -> None:
    rng = np.random.default_rng(3)
    voxels = rng.standard_normal((5, 4, 6)).astype(np.float32)
    matrix = np.array([[0.6, 0.1, 0.0, 0.5], [-0.1, 0.5, 0.1, 1.0], [0.0, 0.1, 0.7, 0.7]])
    expected = ndimage.affine_transform(
        voxels.astype(float), matrix[:, :3], matrix[:, 3], output_shape=(4, 3, 5), order=3, mode="mirror"
    )
    found = resample(voxels, matrix, (4, 3, 5), order=3, fill=np.nan, kernels=kernels)
    inside = np.isfinite(found)
    assert inside.mean() > 0.9
    np.testing.assert_allclose(found[inside], expected[inside], atol=2e-6)


@pytest.mark.parametrize("turned", [False, True])
def test_cubic_resampling_of_more_than_a_block_is_scipys(turned: bool) -> None:
    # more columns than one block of the prefilter, most samples away from every border
    voxels = (np.random.default_rng(6).standard_normal((30, 70, 75)) * 300).astype(np.int16)
    matrix = np.array([[0.7, 0.05 * turned, 0.0], [0.0, -0.9, 0.06 * turned], [0.04 * turned, 0.0, 1.2]])
    offset = (1.3, 68.2, -0.4)
    shape = (38, 74, 66)
    expected = ndimage.affine_transform(
        voxels.astype(float), matrix, offset, output_shape=shape, order=3, mode="mirror"
    )
    found = resample(voxels, np.column_stack([matrix, offset]), shape, order=3, fill=-9999)
    inside = found != -9999
    assert inside.mean() > 0.8
    assert np.abs(found - expected)[inside].max() <= 0.5 + 2e-3


@EVERY_BACKEND
def test_displacement_is_added_in_input_voxels(kernels: KernelBackend) -> None:
    rng = np.random.default_rng(4)
    voxels = rng.standard_normal((4, 4, 6)).astype(np.float32)
    displacement = rng.uniform(-0.4, 0.4, (2, 2, 2, 3)).astype(np.float32)
    where = np.asarray(np.mgrid[:2, :2, :4]).astype(float)
    shift = [
        ndimage.map_coordinates(displacement[..., a], where / 4, order=1, mode="nearest") for a in range(3)
    ]
    expected = ndimage.map_coordinates(voxels.astype(float), where + 1 + np.stack(shift), order=1)
    found = resample(
        voxels,
        np.c_[np.eye(3), [1, 1, 1]],
        (2, 2, 4),
        displacement=displacement,
        displacement_map=np.diag([0.25, 0.25, 0.25, 1]),
        kernels=kernels,
    )
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_linear_resampling_is_simpleitks() -> None:
    rng = np.random.default_rng(5)
    voxels = rng.standard_normal((9, 10, 11)).astype(np.float32)
    matrix = np.array([[0.5, 0.1, 0.0, 1.0], [-0.1, 0.6, 0.1, 1.0], [0.0, 0.1, 0.7, 1.0]])
    transform = sitk.AffineTransform(matrix[::-1, 2::-1].ravel().tolist(), matrix[::-1, 3].tolist())
    image = sitk.Resample(sitk.GetImageFromArray(voxels), (8, 7, 9), transform, sitk.sitkLinear)
    found = resample(voxels, matrix, (9, 7, 8), fill=0)
    np.testing.assert_allclose(found, sitk.GetArrayFromImage(image), atol=1e-5)


@EVERY_BACKEND
@pytest.mark.parametrize("order", [0, 1, 3])
def test_border_rule(kernels: KernelBackend, order: int) -> None:
    # samples at -0.75, -0.5, 0, 1, 2, 2.25 and 2.5 of a row of three voxels
    voxels = np.array([[[10, 20, 40]]], dtype=np.int16)
    at = [-0.75, -0.5, -0.25, 2.0, 2.25, 2.5]
    found = [
        int(
            resample(
                voxels,
                shifted_by(x),
                (1, 1, 1),
                order=order,
                fill=-99,
                kernels=kernels,
            )[0, 0, 0]
        )
        for x in at
    ]
    assert found[0] == found[-1] == -99
    if order < 3:
        assert found[1:-1] == [10, 10, 40, 40]
    else:
        mirrored = ndimage.map_coordinates([10.0, 20.0, 40.0], [at[1:-1]], order=3, mode="mirror")
        np.testing.assert_allclose(found[1:-1], mirrored, atol=0.5)


@EVERY_BACKEND
def test_nearest_ties_go_up_and_labels_keep_their_type(kernels: KernelBackend) -> None:
    half = shifted_by(0.5)
    labels = np.array([[[3, 5, 9]]], dtype=np.uint8)
    found = resample(labels, half, (1, 1, 3), order=0, fill=0, kernels=kernels)
    assert found.dtype == np.uint8
    assert found.ravel().tolist() == [5, 9, 0]
    mask = resample(labels > 4, half, (1, 1, 3), order=0, fill=1, kernels=kernels)
    assert mask.dtype == np.bool_
    assert mask.ravel().tolist() == [True, True, True]


@EVERY_BACKEND
def test_int16_rounds_half_away_and_saturates(kernels: KernelBackend) -> None:
    half = shifted_by(0.5)
    voxels = np.array([[[0, 1, -2, -1]]], dtype=np.int16)
    assert resample(voxels, half, (1, 1, 3), kernels=kernels).ravel().tolist() == [1, -1, -2]
    edge = np.array([[[-32768, 32767, 32767, -32768]]], dtype=np.int16)
    assert resample(edge, half, (1, 1, 3), order=3, kernels=kernels)[0, 0, 1] == 32767
