"""What the network is given: the prepared image, and the part of the CT that a region reads."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.geometry import VolumeGeometry, VoxelBox
from engine.manifest import Channel
from engine.segmentation import Box
from engine.segmentation.preprocessing import network_image
from engine.segmentation.region import crop_to, with_context
from engine.segmentation.resampling import logits_resizing
from tests.support.stub_networks import StubSession, ct_of, section, segmenter

# Preparation


def test_the_image_is_centered_in_its_padding_and_cut_to_what_is_not_zero() -> None:
    it = section(patch_shape=(9, 40, 12))
    hu = np.zeros((20, 30, 26), dtype=np.int16)
    hu[3:9, 5:29, 4:24] = -7
    image = network_image([hu], (2.0, 1.0, 1.0), it)
    assert image.nonzero == VoxelBox((3, 5, 4), (9, 29, 24))
    assert image.voxels.shape == (1, 9, 40, 20)
    assert image.inside == VoxelBox((1, 8, 0), (7, 32, 20))
    assert (image.voxels[0][image.inside.slices] == -7).all()
    assert np.count_nonzero(image.voxels) == 6 * 24 * 20


def test_a_ct_is_clipped_and_standardized() -> None:
    channel = Channel(name="CT", scheme="ct", mean=-100.0, sd=50.0, low=-500.0, high=200.0)
    hu = np.array([[[-1000, -500, -100, 100, 3000]]], dtype=np.int16)
    image = network_image([hu], (2.0, 1.0, 1.0), section(channels=(channel,), patch_shape=(1, 1, 1)))
    np.testing.assert_allclose(image.voxels[0, 0, 0], [-8, -8, 0, 4, 6])


def test_turned_axes_come_back_as_they_were() -> None:
    it = section(transpose_forward=(2, 0, 1), transpose_backward=(1, 2, 0), spacing_mm=(1.0, 2.0, 1.0))
    ct = ct_of()
    np.testing.assert_array_equal(segmenter(it).segment(ct).labels, ct.voxels_hu > 0)


def test_version_1_reads_the_networks_spacing_in_the_axes_of_the_ct() -> None:
    it = section(
        framework="nnunet_v1",
        transpose_forward=(2, 0, 1),
        transpose_backward=(1, 2, 0),
        spacing_mm=(9.0, 1.0, 1.0),
    )
    assert logits_resizing(it, (40, 40, 40), (1.0, 1.0, 1.0)).separate_axis == 1


# Regions


FLIPPED = {
    "directions_zyx_lps": ((0.0, 0.0, -1.0), (0.0, 1.0, 0.0), (-1.0, 0.0, 0.0)),
    "origin_lps_mm": (40.0, -7.0, 100.0),
}


@pytest.mark.parametrize("placed", [{}, FLIPPED])
def test_a_region_holds_the_voxels_whose_centers_are_in_it(placed: dict[str, Any]) -> None:
    ct = ct_of(**placed)
    low, high = (
        (10.0, -2.0, 71.0) if placed else (4.5, 3.0, 6.0),
        (21.0, 9.5, 90.0) if placed else (9.0, 9.0, 31.0),
    )
    crop = crop_to(ct.geometry, Box(low, high))
    centers = ct.geometry.to_lps(np.moveaxis(np.indices(ct.geometry.shape_zyx), 0, -1))
    inside = ((centers >= low) & (centers <= high)).all(axis=-1)
    marked = np.zeros(inside.shape, dtype=bool)
    marked[crop.slices] = True
    np.testing.assert_array_equal(marked, inside)


@given(
    start=st.tuples(*[st.integers(0, 40)] * 3),
    size=st.tuples(*[st.integers(1, 40)] * 3),
    spacing=st.floats(0.3, 5.0),
)
def test_a_small_region_grows_to_a_patch_and_no_further(
    start: tuple[int, int, int], size: tuple[int, int, int], spacing: float
) -> None:
    it = section()
    geometry = VolumeGeometry((60, 61, 62), (2.0, spacing, 1.0))
    stop = [min(a + n, edge) for a, n, edge in zip(start, size, geometry.shape_zyx, strict=True)]
    region = VoxelBox(start, (stop[0], stop[1], stop[2]))
    grown = with_context(region, geometry, it)
    for axis in range(3):
        assert 0 <= grown.start_zyx[axis] <= region.start_zyx[axis]
        assert region.stop_zyx[axis] <= grown.stop_zyx[axis] <= geometry.shape_zyx[axis]
        ratio = geometry.spacing_zyx_mm[axis] / it.spacing_mm[axis]
        patch = it.patch_shape[axis]
        if round(region.shape_zyx[axis] * ratio) > patch:
            assert (grown.start_zyx[axis], grown.stop_zyx[axis]) == (
                region.start_zyx[axis],
                region.stop_zyx[axis],
            )
        else:
            assert round(grown.shape_zyx[axis] * ratio) <= patch
            larger = (grown.shape_zyx[axis] + 1) * ratio
            assert round(larger) > patch or grown.shape_zyx[axis] == geometry.shape_zyx[axis]


def test_only_the_patches_of_a_region_are_computed() -> None:
    ct, it = ct_of(), section()
    session = StubSession(it)
    found = segmenter(it, session).segment(ct, around=Box.around((13.0, 15.0, 20.0), 4.0))
    assert session.batches == [1]
    assert found.geometry.shape_zyx == (5, 9, 9)
    cut = ct.geometry.box_of(found.geometry)
    assert cut.shape_zyx == (5, 9, 9)
    np.testing.assert_array_equal(found.labels, ct.voxels_hu[cut.slices] > 0)


def test_the_whole_ct_as_a_region_is_the_whole_ct() -> None:
    ct, it = ct_of(), section()
    found = segmenter(it).segment(ct, around=Box((-9.0, -9.0, -9.0), (99.0, 99.0, 99.0)))
    assert found.geometry == ct.geometry
    np.testing.assert_array_equal(found.labels, segmenter(it).segment(ct).labels)
    assert segmenter(it).crops(ct.geometry, None) == (VoxelBox.whole(ct.geometry.shape_zyx),) * 2
