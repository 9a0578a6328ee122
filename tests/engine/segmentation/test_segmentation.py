"""nnU-Net's inference piece by piece, against its definition, on networks written down here."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from engine.arrays import Float32Array
from engine.errors import (
    BackendError,
    ClientCancelledError,
    InvalidGeometryError,
    InvalidRequestError,
    ManifestError,
    ModelError,
    NotCtError,
    PreconditionError,
)
from engine.manifest import Channel, Resampling, TensorSpec
from engine.segmentation import Box, Segmenter, open_segmenter
from engine.volume import CtVolume
from tests.support.segmentation_models import manifest_of, threshold_network, write_bundle_folder
from tests.support.stub_networks import DEEPSURV, StubSession, above_zero, ct_of, section, segmenter

# What comes out


def test_overlapping_regions_are_united_again_by_name() -> None:
    it = section(
        purpose="ablation_zone",
        labels={"background": 0, "zone": 1, "core": 2},
        regions=((1, 2), (2,)),
        regions_class_order=(1, 2),
    )

    def nested(image: Float32Array) -> Float32Array:
        return np.concatenate([image, image - 300], axis=1)

    ct = ct_of()
    found = segmenter(it, StubSession(it, nested)).segment(ct)
    np.testing.assert_array_equal(found.labels, (ct.voxels_hu > 0).astype(int) + (ct.voxels_hu > 300))
    np.testing.assert_array_equal(found.mask("zone").voxels, ct.voxels_hu > 0)
    np.testing.assert_array_equal(found.mask("core").voxels, ct.voxels_hu > 300)
    assert found.foreground_probability[ct.voxels_hu > 50].min() > 0.99


def test_a_mask_by_a_name_the_model_does_not_know_is_refused() -> None:
    found = segmenter(section()).segment(ct_of(), probability=False)
    assert found.mask("tumor").name == "tumor"
    for name in ("lung", "background", ""):
        with pytest.raises(InvalidRequestError, match="only tumor"):
            found.mask(name)
    with pytest.raises(PreconditionError, match="probability=True"):
        _ = found.foreground_probability


def test_logits_too_far_apart_for_an_exponential_are_certain() -> None:
    it = section()
    found = segmenter(it, StubSession(it, lambda image: above_zero(1e4 * image))).segment(ct_of())
    assert set(np.unique(found.foreground_probability)) == {0.0, 1.0}


# Memory, progress, interruption


def test_no_volume_of_logits_is_ever_held() -> None:
    """40 outputs on a CT finer than the network: a few slabs, not 40 volumes."""
    names = {"background": 0, **{f"organ {i}": i for i in range(1, 40)}}
    it = section(labels=names, patch_shape=(8, 16, 16), spacing_mm=(4.0, 2.0, 2.0))

    def many(image: Float32Array) -> Float32Array:
        return np.repeat(image, 40, axis=1)

    ct = ct_of((160, 128, 128))
    model = segmenter(it, StubSession(it, many))
    model.segment(ct_of(), probability=False)  # compiles the kernels
    tracemalloc.start()
    model.segment(ct, probability=False)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    volume_of_logits = 40 * ct.voxels_hu.size * 4
    network_logits = 40 * 4 * 80 * 64 * 64
    assert peak < 0.15 * volume_of_logits
    assert peak < 0.6 * network_logits + 14 * ct.voxels_hu.size


def test_progress_is_told_and_an_interruption_stops_between_patches() -> None:
    it, ct = section(), ct_of()
    told: list[tuple[int, int]] = []
    segmenter(it).segment(ct, on_progress=lambda done, total: told.append((done, total)))
    assert told == [(done, 64) for done in range(65)]

    def stop(done: int, total: int) -> None:
        if done == 2:
            raise ClientCancelledError("the client is gone")

    session = StubSession(it)
    with pytest.raises(ClientCancelledError):
        segmenter(it, session).segment(ct, on_progress=stop)
    assert len(session.batches) == 2


# What is refused


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_network_that_gives_no_numbers_is_refused(value: float) -> None:
    it = section()

    def broken(image: Float32Array) -> Float32Array:
        out = above_zero(image)
        out[0, 1, 3, 3, 3] = value
        return out

    with pytest.raises(ModelError, match="not finite"):
        segmenter(it, StubSession(it, broken)).segment(ct_of())


def test_a_network_that_gives_another_shape_is_refused() -> None:
    it = section()
    with pytest.raises(ModelError, match="export the model again"):
        segmenter(it, StubSession(it, lambda image: image)).segment(ct_of())


def test_a_ct_of_zeros_is_refused() -> None:
    ct = CtVolume(np.zeros((20, 30, 26), dtype=np.int16), ct_of().geometry)
    with pytest.raises(NotCtError, match="Hounsfield"):
        segmenter(section()).segment(ct)


def test_a_ct_thinner_than_a_voxel_of_the_network_is_refused() -> None:
    with pytest.raises(InvalidGeometryError, match="larger region"):
        segmenter(section(spacing_mm=(50.0, 1.0, 1.0))).segment(ct_of((1, 30, 26)))


@pytest.mark.parametrize(
    ("box", "said"),
    [
        (lambda: Box((500.0, 0.0, 0.0), (600.0, 9.0, 9.0)), "holds no voxel"),
        (lambda: Box((0.1, 0.1, 0.1), (0.2, 0.2, 0.2)), "holds no voxel"),
        (lambda: Box((0.0, 0.0, 0.0), (0.0, 9.0, 9.0)), "is empty"),
        (lambda: Box((np.nan, 0.0, 0.0), (9.0, 9.0, 9.0)), "finite"),
        (lambda: Box((-np.inf, 0.0, 0.0), (9.0, 9.0, 9.0)), "finite"),
        (lambda: Box.around((0.0, 0.0, 0.0), -1.0), "is empty"),
    ],
)
def test_a_region_without_a_voxel_is_refused(box: Callable[[], Box], said: str) -> None:
    with pytest.raises(InvalidRequestError, match=said) as refused:
        segmenter(section()).segment(ct_of(), around=box())
    assert refused.value.field == "region"


def test_networks_that_do_not_fit_their_manifest_are_refused() -> None:
    it = section()
    others = [
        section(patch_shape=(8, 12, 16)),
        section(labels={"background": 0, "a": 1, "b": 2}),
    ]
    for other in others:
        with pytest.raises(ManifestError, match="its file says otherwise"):
            segmenter(it, StubSession(it), StubSession(other))
    renamed = StubSession(it)
    renamed.inputs = (renamed.inputs[0].model_copy(update={"name": "input.1"}),)
    with pytest.raises(ManifestError, match="takes image"):
        segmenter(it, renamed)
    flat = StubSession(it)
    flat.outputs = (TensorSpec(name="logits", dtype="float32", shape=("batch", 2)),)
    with pytest.raises(ManifestError, match="gives logits"):
        segmenter(it, flat)


def test_a_model_that_is_not_for_one_ct_is_refused() -> None:
    two = section(channels=(Channel(name="CT", scheme="none"), Channel(name="PET", scheme="none")))
    with pytest.raises(ManifestError, match="takes 2 images"):
        segmenter(two, StubSession(two))
    with pytest.raises(ManifestError, match="survival model"):
        open_segmenter(DEEPSURV)
    with pytest.raises(InvalidRequestError, match="needs a network"):
        Segmenter(manifest_of(section()), [])


# Bundles


def test_a_bundle_of_two_folds_is_opened_by_name_or_by_measurement(tmp_path: Path) -> None:
    it, ct = section(), ct_of()
    networks = {"model.onnx": threshold_network(it, 300.0), "fold_1.onnx": threshold_network(it, -100.0)}
    folder = write_bundle_folder(tmp_path / "bundle", networks, segmentation=it.model_dump(mode="json"))
    with open_segmenter(folder, "onnxruntime") as model:
        assert (model.timings, str(model.identity)) == ((), "tumor-demo 1.0.0 (demo model)")
        found = model.segment(ct)
    np.testing.assert_array_equal(found.labels, ct.voxels_hu > 100)
    assert found.backend.startswith("onnxruntime")
    with open_segmenter(folder) as chosen:
        np.testing.assert_array_equal(chosen.segment(ct).labels, found.labels)
        assert chosen.timings
    with pytest.raises(BackendError, match="closed"):
        chosen.segment(ct)


def test_nothing_else_is_taken_for_what_was_asked_for(tmp_path: Path) -> None:
    it = section()
    folder = write_bundle_folder(
        tmp_path / "bundle",
        {"model.onnx": threshold_network(it, 0.0)},
        segmentation=it.model_dump(mode="json"),
    )
    with pytest.raises(InvalidRequestError, match="is not a backend"):
        open_segmenter(folder, "cpu")
    with pytest.raises(ManifestError, match="no variant"):
        open_segmenter(folder, "onnxruntime", "int8")


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_backends_give_the_same_labels(tmp_path: Path, backend: str) -> None:
    if backend == "openvino":
        pytest.importorskip("openvino", reason="openvino is not installed: make setup-export")
    it, ct = section(resampling=Resampling(), spacing_mm=(3.0, 1.4, 1.4)), ct_of((30, 40, 40))
    folder = write_bundle_folder(
        tmp_path / "bundle",
        {"model.onnx": threshold_network(it, 0.0)},
        segmentation=it.model_dump(mode="json"),
    )
    with open_segmenter(folder, backend) as model:
        found = model.segment(ct)
    expected = segmenter(it).segment(ct)
    np.testing.assert_array_equal(found.labels, expected.labels)
