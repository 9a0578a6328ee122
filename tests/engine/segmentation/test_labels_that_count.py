"""Only what the manifest declares is the structure: labels, outputs and probability of networks written down here."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.arrays import Float32Array
from engine.manifest import SegmentationSection
from engine.structures.model_contour import segment_parts
from tests.support.stub_networks import StubSession, ct_of, section, segmenter

LABELS = {"background": 0, "zone": 1, "core": 2, "hemorrhage": 3}
ROLES: dict[str, Any] = {"zone": ("zone",), "core": ("core",)}


def zone_section(**changes: Any) -> SegmentationSection:
    return section(**{"purpose": "ablation_zone", "labels": LABELS, "roles": ROLES, **changes})


def logits_of(weights: tuple[float, ...], offsets: tuple[float, ...]) -> Any:
    def network(image: Float32Array) -> Float32Array:
        return np.concatenate([w * image / 100 + b for w, b in zip(weights, offsets, strict=True)], axis=1)

    return network


@given(
    st.tuples(*[st.floats(-3, 3)] * 4),
    st.tuples(*[st.floats(-3, 3)] * 4),
    st.lists(st.sampled_from(["zone", "core", "hemorrhage"]), min_size=1, unique=True),
)
@settings(max_examples=15, deadline=None)
def test_the_probability_is_that_of_the_counted_labels_alone(
    weights: tuple[float, ...], offsets: tuple[float, ...], counted: list[str]
) -> None:
    it = zone_section(roles={"zone": tuple(counted)})
    network, ct = logits_of(weights, offsets), ct_of((8, 12, 12))
    found = segmenter(it, StubSession(it, network)).segment(ct)
    logits = network(ct.voxels_hu[None, None].astype(np.float32))[0].astype(np.float64)
    shares = np.exp(logits - logits.max(axis=0))
    expected = shares[[LABELS[name] for name in counted]].sum(axis=0) / shares.sum(axis=0)
    np.testing.assert_allclose(found.foreground_probability, expected, atol=2e-3)


@pytest.mark.parametrize("framework", ["nnunet_v2", "nnunet_v1"])
def test_hemorrhage_is_never_zone(framework: str) -> None:
    it = zone_section(framework=framework)
    ct = ct_of()
    network = logits_of((0.0, 9.0, -9.0, 0.0), (0.0, 0.0, 0.0, 2000.0))
    bleeding = segmenter(it, StubSession(it, network)).segment(ct)
    assert (bleeding.labels == 3).all()
    assert bleeding.foreground_probability.max() == 0
    network = logits_of((0.0, 9.0, 0.0, -9.0), (0.0, 0.0, -2000.0, 0.0))
    stub = segmenter(it, StubSession(it, network))
    parts = segment_parts(stub, ct, None)
    np.testing.assert_array_equal(parts.labels > 0, ct.voxels_hu > 0)
    assert set(np.unique(stub.segment(ct).labels)) == {1, 3}
    assert (parts.components.labels[ct.voxels_hu < 0] == 0).all()
    assert parts.probability[ct.voxels_hu < -100].max() < 0.01


def test_logits_beyond_every_float_still_say_which_label_wins() -> None:
    it = zone_section()
    for offsets, expected in (
        ((0.0, 500.0, 0.0, 0.0), 1.0),
        ((0.0, 0.0, 0.0, 500.0), 0.0),
        ((500.0, 0.0, 0.0, 0.0), 0.0),
    ):
        found = segmenter(it, StubSession(it, logits_of((0.0,) * 4, offsets))).segment(ct_of())
        assert (found.foreground_probability == expected).all()


REGIONS = {"regions": ((1, 2, 3), (2,), (3,)), "regions_class_order": (1, 2, 3)}


@pytest.mark.parametrize("hemorrhage_first", [False, True])
def test_a_region_that_does_not_count_takes_away_what_it_writes_later(*, hemorrhage_first: bool) -> None:
    order = {"regions": ((3,), (1, 2, 3)), "regions_class_order": (3, 1)} if hemorrhage_first else REGIONS
    it = zone_section(**order, roles={"zone": ("zone",)} if hemorrhage_first else ROLES)

    def network(image: Float32Array) -> Float32Array:
        zone, bleeding = np.full_like(image, 5.0), image / 20
        return np.concatenate([bleeding, zone] if hemorrhage_first else [zone, zone * -1, bleeding], axis=1)

    ct = ct_of()
    found = segmenter(it, StubSession(it, network)).segment(ct)
    is_zone = np.isin(found.labels, list(it.counted_labels))
    np.testing.assert_array_equal(found.foreground_probability > 0.5, is_zone)
    np.testing.assert_array_equal(is_zone, (ct.voxels_hu <= 0) | hemorrhage_first)


def test_without_a_purpose_every_label_is_foreground() -> None:
    it = section(labels=LABELS)
    assert it.counted_labels == {1, 2, 3}
    assert it.counted_outputs == (False, True, True, True)
