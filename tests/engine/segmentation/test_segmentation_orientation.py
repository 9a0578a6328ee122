"""Models of images in one orientation see every CT so."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.arrays import Float32Array
from engine.geometry import VolumeGeometry
from engine.segmentation import Box, Segmenter
from engine.segmentation.orientation import CANONICAL, Reorientation
from engine.volume import CtVolume
from tests.support.segmentation_models import manifest_of
from tests.support.stub_networks import StubSession, ct_of, section

# Orientation


@settings(max_examples=60, deadline=None)
@given(
    order=st.permutations([0, 1, 2]),
    signs=st.tuples(*[st.sampled_from([-1, 1])] * 3),
    wanted=st.sampled_from(["ras", "lps"]),
    tilt=st.floats(-0.4, 0.4),
)
def test_every_stored_order_is_turned_to_one_and_back(
    order: list[int], signs: tuple[int, int, int], wanted: str, tilt: float
) -> None:
    """Where a voxel is stays; the axes run as the network was trained, as closely as the grid allows."""
    turned_head = np.array([[1, 0, 0], [0, np.cos(tilt), -np.sin(tilt)], [0, np.sin(tilt), np.cos(tilt)]])
    z, y, x = ((sign * turned_head[axis]).tolist() for axis, sign in zip(order, signs, strict=True))
    directions = ((z[0], z[1], z[2]), (y[0], y[1], y[2]), (x[0], x[1], x[2]))
    own = VolumeGeometry((3, 4, 5), (3.0, 1.0, 2.0), directions, (7.0, -3.0, 1.0))
    voxels = np.arange(60).reshape(3, 4, 5)
    reorientation = Reorientation.to(wanted, own)
    geometry = reorientation.geometry(own)
    axes = np.array(geometry.directions_zyx_lps)
    assert (np.einsum("ij,ij->i", CANONICAL[wanted], axes) > 0.9).all()
    assert reorientation.inverse.geometry(geometry).same_grid(own)
    np.testing.assert_array_equal(reorientation.inverse.array(reorientation.array(voxels)), voxels)
    for index in ((0, 0, 0), (2, 1, 4)):
        at = np.rint(geometry.to_index(own.to_lps(index))).astype(int)
        assert reorientation.array(voxels)[tuple(at)] == voxels[index]
    assert Reorientation.to("as_stored", own).is_identity


def rising(image: Float32Array) -> Float32Array:
    """An answer that turns with the axes: what is brighter than its neighbor before it along the last one."""
    rise = np.diff(image, axis=-1, prepend=image[..., :1])
    return np.concatenate([np.zeros_like(rise), rise], axis=1)


@pytest.mark.parametrize("around", [None, Box.around((7.0, -11.0, 21.0), 6.0)], ids=["whole", "region"])
@pytest.mark.parametrize(
    "stored", [((2, 0, 1), (1, -1, 1)), ((0, 1, 2), (-1, 1, -1))], ids=["turned", "flipped"]
)
def test_a_model_of_ras_images_sees_every_ct_so(
    around: Box | None, stored: tuple[tuple[int, int, int], tuple[int, int, int]]
) -> None:
    ras = ((0.0, 0.0, 1.0), (0.0, -1.0, 0.0), (-1.0, 0.0, 0.0))
    plain = ct_of(directions_zyx_lps=ras, origin_lps_mm=(20.0, 4.0, 0.0))
    reorientation = Reorientation(*stored)
    ct = CtVolume(
        np.ascontiguousarray(reorientation.array(plain.voxels_hu)), reorientation.geometry(plain.geometry)
    )
    as_stored, reoriented = section(), section(orientation="ras")
    expected = Segmenter(manifest_of(as_stored), [StubSession(as_stored, rising)]).segment(
        plain, around=around
    )
    model = Segmenter(manifest_of(reoriented), [StubSession(reoriented, rising)])
    found = model.segment(ct, around=around)
    np.testing.assert_array_equal(found.labels, reorientation.array(expected.labels))
    np.testing.assert_array_equal(
        found.foreground_probability, reorientation.array(expected.foreground_probability)
    )
    assert found.geometry.same_grid(reorientation.geometry(expected.geometry))
    assert around is not None or found.geometry == ct.geometry
    assert found.labels.flags.c_contiguous
    assert 0 < found.labels.mean() < 1
    unturned = Segmenter(manifest_of(as_stored), [StubSession(as_stored, rising)])
    assert (unturned.segment(ct, around=around).labels != found.labels).any()
