"""Networks of several channels: each gets the volume of its name, on the grid that it sees."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from engine.arrays import Float32Array
from engine.errors import InvalidRequestError, ManifestError
from engine.geometry import VolumeGeometry, VoxelBox
from engine.manifest import NAMED_CHANNELS, Channel, SegmentationSection
from engine.segmentation import Box
from engine.segmentation.companions import on_grid
from engine.segmentation.orientation import Reorientation
from tests.support.stub_networks import StubSession, ct_of, section, segmenter

CT, PLANNING, DISTANCE = NAMED_CHANNELS


def three_channels(*names: str, **changes: Any) -> SegmentationSection:
    channels = tuple(Channel(name=name, scheme="none") for name in names or NAMED_CHANNELS)
    given = {"purpose": "ablation_zone", "labels": {"background": 0, "zone": 1}, "channels": channels}
    return section(**{**given, **changes})


def what_changed_near(order: tuple[int, int, int] = (0, 1, 2)) -> Any:
    """Zone where the CT is above what was there before, within 5 mm of the tumor."""

    def network(image: Float32Array) -> Float32Array:
        ct, before, distance = (image[:, i : i + 1] for i in order)
        is_zone = (ct > before) & (distance < 5.0)
        return np.concatenate([np.zeros_like(ct), np.where(is_zone, 9.0, -9.0).astype(np.float32)], axis=1)

    return network


def before_and_distance(shape: tuple[int, int, int]) -> dict[str, Any]:
    rng = np.random.default_rng(5)
    return {
        PLANNING: rng.normal(0, 200, shape).astype(np.int16),
        DISTANCE: np.linalg.norm(np.moveaxis(np.indices(shape), 0, -1) - 12.0, axis=-1).astype(np.float32),
    }


def expected(ct: Any, volumes: dict[str, Any]) -> Any:
    return (ct.voxels_hu > volumes[PLANNING]) & (volumes[DISTANCE] < 5.0)


@pytest.mark.parametrize("framework", ["nnunet_v2", "nnunet_v1"])
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
def test_each_channel_gets_the_volume_of_its_name(framework: str, order: tuple[int, int, int]) -> None:
    names = [""] * 3
    for place, name in zip(order, NAMED_CHANNELS, strict=True):
        names[place] = name
    it = three_channels(*names, framework=framework)
    ct = ct_of()
    volumes = before_and_distance(ct.geometry.shape_zyx)
    found = segmenter(it, StubSession(it, what_changed_near(order))).segment(
        ct, companions=on_grid(volumes, ct.geometry)
    )
    np.testing.assert_array_equal(found.labels, expected(ct, volumes))


@pytest.mark.parametrize("orientation", ["as_stored", "ras", "lps"])
def test_a_region_of_a_turned_ct_sees_the_same_places(orientation: str) -> None:
    it = three_channels(orientation=orientation, spacing_mm=(1.0, 1.0, 1.0))
    directions = ((0.0, 1.0, 0.0), (0.0, 0.0, -1.0), (-1.0, 0.0, 0.0))
    ct = ct_of(directions_zyx_lps=directions, spacing_zyx_mm=(1.0, 1.0, 1.0))
    volumes = before_and_distance(ct.geometry.shape_zyx)
    whole = segmenter(it, StubSession(it, what_changed_near()))
    companions = on_grid(volumes, ct.geometry)
    np.testing.assert_array_equal(whole.segment(ct, companions=companions).labels, expected(ct, volumes))
    x, y, z = (float(v) for v in ct.geometry.to_lps((10, 14, 13)))
    part = whole.segment(ct, around=Box.around((x, y, z), 8.0), companions=companions)
    region = ct.geometry.box_of(part.geometry).slices if orientation == "as_stored" else None
    if region is not None:
        np.testing.assert_array_equal(part.labels, expected(ct, volumes)[region])
    assert part.labels.any()


def test_a_grid_is_cut_and_turned_as_it_is_asked_for() -> None:
    own = VolumeGeometry((6, 7, 8), (2.0, 1.0, 1.5), origin_lps_mm=(3.0, -4.0, 5.0))
    values = np.arange(6 * 7 * 8, dtype=np.float32).reshape(own.shape_zyx)
    source = on_grid({PLANNING: values}, own)
    for turned in (
        Reorientation(),
        Reorientation((2, 0, 1), (-1, 1, -1)),
        Reorientation((1, 2, 0), (1, -1, -1)),
    ):
        box = VoxelBox.between((1, 2, 1), (4, 5, 6))
        wanted = turned.geometry(own).crop(box)
        np.testing.assert_array_equal(source(PLANNING, wanted), turned.array(values)[box.slices])


def test_what_is_missing_or_unnamed_is_refused() -> None:
    it, ct = three_channels(), ct_of()
    it_segments = segmenter(it, StubSession(it, what_changed_near()))
    with pytest.raises(InvalidRequestError, match="which only an assessment has"):
        it_segments.segment(ct)
    volumes = before_and_distance(ct.geometry.shape_zyx)
    with pytest.raises(InvalidRequestError, match=f"{DISTANCE} is missing"):
        it_segments.segment(ct, companions=on_grid({PLANNING: volumes[PLANNING]}, ct.geometry))
    with pytest.raises(InvalidRequestError, match="has the shape"):
        it_segments.segment(ct, companions=lambda _name, _grid: np.zeros((2, 2, 2), np.float32))
    with pytest.raises(ValueError, match="--channel"):
        three_channels("CT", "CT")
    unnamed = three_channels("CT", "CT", purpose="other")
    with pytest.raises(ManifestError, match="--channel"):
        segmenter(unnamed, StubSession(unnamed))
    with pytest.raises(ValueError, match="planning CT alone"):
        three_channels(purpose="tumor", labels={"background": 0, "tumor": 1})


def test_a_single_channel_of_any_name_takes_the_ct() -> None:
    it = three_channels("MR of something")
    ct = ct_of()
    np.testing.assert_array_equal(segmenter(it).segment(ct).labels, ct.voxels_hu > 0)
