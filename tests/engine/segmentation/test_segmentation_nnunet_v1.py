"""Agreement with nnU-Net v1, whose code no longer installs, written down again in the plainest way."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from engine.arrays import Float32Array, Float64Array
from engine.manifest import Channel, SegmentationSection
from engine.segmentation import Segmenter
from engine.volume import CtVolume
from tests.support.segmentation_models import (
    TorchSession,
    gap_of,
    manifest_of,
    needs_real_ct,
    require_same_labels,
    thick,
    thin,
)

torch = pytest.importorskip("torch", reason="torch is not installed: make setup-export")
transform = pytest.importorskip("skimage.transform", reason="skimage is not installed: make setup-export")
from tests.support.nnunet.v1_folders import v1_network  # noqa: E402 - it needs torch

pytestmark = needs_real_ct


def section(**changes: Any) -> SegmentationSection:
    settings: dict[str, Any] = {
        "framework": "nnunet_v1",
        "purpose": "other",
        "labels": {"background": 0, "zone": 1, "core": 2},
        "spacing_mm": (2.0, 1.2, 1.2),
        "patch_shape": (16, 24, 24),
        "mirror_axes": (0, 1, 2),
        "channels": (Channel(name="CT", scheme="ct", mean=-480.0, sd=390.0, low=-1010.0, high=320.0),),
    }
    return SegmentationSection(**{**settings, **changes})


def resized(volume: Float64Array, shape: list[int], order: int, axis: int | None) -> Float64Array:
    """``resample_data_or_seg`` of version 1, one volume."""
    if volume.shape == tuple(shape):
        return volume
    options = {"mode": "edge", "anti_aliasing": False}
    if axis is None:
        return np.asarray(transform.resize(volume, shape, order, **options))
    across = [n for i, n in enumerate(shape) if i != axis]
    slices = [transform.resize(image, across, order, **options) for image in np.moveaxis(volume, axis, 0)]
    stacked = np.stack(slices, axis)
    scale = np.divide(stacked.shape, shape)[:, None, None, None]
    places = scale * (np.indices(shape) + 0.5) - 0.5
    return np.asarray(ndimage.map_coordinates(stacked, places, order=0, mode="nearest"))


def coarse_axis(*spacings: tuple[float, ...]) -> int | None:
    for spacing in spacings:
        if max(spacing) / min(spacing) > 3:
            axes = [i for i, size in enumerate(spacing) if size == max(spacing)]
            return axes[0] if len(axes) == 1 else None
    return None


def reference(ct: CtVolume, networks: list[Any], it: SegmentationSection, *, mirror: bool) -> Float32Array:
    """Mean softmax (sigmoid) on the CT's grid: crop, transpose, resample, normalize, predict, transpose back,
    resample."""
    hu = ct.voxels_hu.astype(float)
    occupied = np.argwhere(ndimage.binary_fill_holes(hu != 0))
    cut = tuple(slice(a, b + 1) for a, b in zip(occupied.min(axis=0), occupied.max(axis=0), strict=True))
    hu, forward = hu[cut].transpose(it.transpose_forward), it.transpose_forward
    spacing = tuple(ct.geometry.spacing_zyx_mm[axis] for axis in forward)
    shape = [round(s / t * n) for s, t, n in zip(spacing, it.spacing_mm, hu.shape, strict=True)]
    image = resized(hu, shape, 3, coarse_axis(spacing, it.spacing_mm))
    channel = it.channels[0]
    image = (np.clip(image, channel.low, channel.high) - channel.mean) / channel.sd
    predicted = np.mean([tiled(image.astype(np.float32), n, it, mirror=mirror) for n in networks], axis=0)
    predicted = predicted.transpose([0, *[1 + axis for axis in it.transpose_backward]])
    # In version 1 the second spacing is still that of the network's axes.
    axis = coarse_axis(ct.geometry.spacing_zyx_mm, it.spacing_mm)
    native = [resized(p, [s.stop - s.start for s in cut], 1, axis) for p in predicted.astype(float)]
    out = np.zeros((it.output_count, *ct.geometry.shape_zyx), dtype=np.float32)
    out[0] = 0 if it.regions else 1
    out[(slice(None), *cut)] = native
    return out


def tiled(image: Float32Array, network: Any, it: SegmentationSection, *, mirror: bool) -> Float32Array:
    """``_internal_predict_3D_3Dconv_tiled`` of version 1."""
    patch, nonlinearity = it.patch_shape, (torch.sigmoid if it.regions else lambda x: torch.softmax(x, 1))
    missing = [max(p - n, 0) for p, n in zip(patch, image.shape, strict=True)]
    padded = np.pad(image, [(m // 2, m - m // 2) for m in missing])
    impulse = np.zeros(patch)
    impulse[tuple(p // 2 for p in patch)] = 1
    gaussian = ndimage.gaussian_filter(impulse, [p / 8 for p in patch], 0, mode="constant", cval=0)
    gaussian = (gaussian / gaussian.max()).astype(np.float32)
    gaussian[gaussian == 0] = gaussian[gaussian != 0].min()
    total, weight = np.zeros((it.output_count, *padded.shape)), np.zeros(padded.shape)
    starts = []
    for size, p in zip(padded.shape, patch, strict=True):
        count = int(np.ceil((size - p) / (p * 0.5))) + 1
        step = (size - p) / (count - 1) if count > 1 else 0
        starts.append([int(np.round(step * i)) for i in range(count)])
    axes = it.mirror_axes if mirror else ()
    flips = [c for n in range(len(axes) + 1) for c in itertools.combinations([a + 2 for a in axes], n)]
    for corner in itertools.product(*starts):
        cut = tuple(slice(a, a + p) for a, p in zip(corner, patch, strict=True))
        x = torch.from_numpy(padded[cut].copy())[None, None]
        with torch.inference_mode():
            y = sum(torch.flip(nonlinearity(network(torch.flip(x, f))), f) for f in flips) / len(flips)
        total[(slice(None), *cut)] += y[0].numpy() * gaussian
        weight[cut] += gaussian
    inside = tuple(slice(m // 2, m // 2 + n) for m, n in zip(missing, image.shape, strict=True))
    return np.asarray((total / weight)[(slice(None), *inside)], dtype=np.float32)


REGIONS = {"regions": ((1, 2), (2,)), "regions_class_order": (1, 2)}
TURNED = {"transpose_forward": (2, 0, 1), "transpose_backward": (1, 2, 0)}


@pytest.mark.parametrize("ct", [thin, thick], ids=["1 mm slices", "5 mm slices"])
@pytest.mark.parametrize(
    ("changes", "folds", "mirror"),
    [
        ({}, 1, False),
        ({}, 1, True),
        ({}, 2, False),
        (REGIONS, 1, False),
        ({**TURNED, "spacing_mm": (1.2, 2.0, 1.0), "patch_shape": (24, 16, 28)}, 1, False),
        ({**TURNED, "spacing_mm": (4.0, 1.0, 1.0), "patch_shape": (8, 32, 32)}, 1, False),
        ({"patch_shape": (40, 64, 20)}, 1, False),
    ],
    ids=["plain", "mirrored", "two folds", "regions", "turned", "turned, coarse network", "large patch"],
)
def test_version_1(ct: Any, changes: dict[str, Any], folds: int, mirror: bool) -> None:
    it = section(**changes)
    torch.manual_seed(3)
    networks = [
        v1_network(1, it.output_count, 4, [[2, 2, 2], [2, 2, 2]], [[3, 3, 3]] * 3).eval()
        for _ in range(folds)
    ]
    expected = reference(ct(), networks, it, mirror=mirror)
    found = Segmenter(manifest_of(it), [TorchSession(n, it) for n in networks]).segment(ct(), mirror=mirror)
    if it.regions:
        labels = np.zeros(expected.shape[1:], dtype=np.uint8)
        for written, probability in zip(it.regions_class_order, expected, strict=True):
            labels[probability > 0.5] = written
        foreground = expected.max(axis=0)
    else:
        labels, foreground = expected.argmax(axis=0).astype(np.uint8), 1 - expected[0]
    require_same_labels(found.labels, labels, gap_of(expected, it, even=0.5))
    np.testing.assert_allclose(found.foreground_probability, foreground, atol=1e-3)
