"""nnU-Net's inference piece by piece, against its definition, on networks written down here."""

from __future__ import annotations

import itertools
import tracemalloc
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import ndimage

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
from engine.geometry import VolumeGeometry, VoxelBox
from engine.manifest import Channel, Resampling, SegmentationSection, TensorSpec
from engine.segmentation import Box, Segmenter, open_segmenter, resampling
from engine.segmentation.orientation import CANONICAL, Turn
from engine.segmentation.preprocessing import network_image
from engine.segmentation.region import crop_to, with_context
from engine.segmentation.resampling import Resizing, apart_axis, logits_resizing, resize_volume
from engine.segmentation.restoring import Restorer
from engine.segmentation.sliding_window import Slab, mirrorings, patch_starts, patch_weights
from engine.volume import CtVolume
from tests.support.segmentation_models import manifest_of, tensors, threshold_network, write_bundle_folder

DEEPSURV = Path(__file__).parents[3] / "models" / "deepsurv-demo" / "1.0.0"


def section(**changes: Any) -> SegmentationSection:
    """A network on the CT's own grid that sees HU."""
    given: dict[str, Any] = {
        "framework": "nnunet_v2",
        "purpose": "tumor",
        "labels": {"background": 0, "tumor": 1},
        "spacing_mm": (2.0, 1.0, 1.0),
        "patch_shape": (8, 12, 12),
        "mirror_axes": (0, 1, 2),
        "channels": (Channel(name="CT", scheme="none"),),
    }
    return SegmentationSection(**{**given, **changes})


class StubSession:
    """A network that is one function of the image."""

    backend = "stub"

    def __init__(
        self,
        it: SegmentationSection,
        network: Callable[[Float32Array], Float32Array] | None = None,
        batch: int | str = "batch",
    ) -> None:
        self.inputs, self.outputs = tensors(it, batch)
        self.network = network or above_zero
        self.batches: list[int] = []
        self.closed = False

    def run(self, inputs: dict[str, Float32Array]) -> dict[str, Float32Array]:
        self.batches.append(len(inputs["image"]))
        logits = self.network(inputs["image"])
        logits.flags.writeable = False
        return {"logits": logits}

    def close(self) -> None:
        self.closed = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def above_zero(image: Float32Array) -> Float32Array:
    """Label 1 wherever the image is above 0."""
    return np.concatenate([np.zeros_like(image), image], axis=1)


def segmenter(it: SegmentationSection, *sessions: StubSession, **options: Any) -> Segmenter:
    return Segmenter(manifest_of(it), sessions or (StubSession(it),), **options)


def ct_of(shape: tuple[int, int, int] = (20, 30, 26), seed: int = 0, **geometry: Any) -> CtVolume:
    """Smooth noise about 0 HU, nowhere 0."""
    rng = np.random.default_rng(seed)
    hu = (ndimage.gaussian_filter(rng.standard_normal(shape), 2.0) * 4000).astype(np.int16)
    hu[hu == 0] = 1
    return CtVolume(hu, VolumeGeometry(shape, **{"spacing_zyx_mm": (2.0, 1.0, 1.0), **geometry}))


# Patches


def test_patches_start_where_nnunet_says() -> None:
    assert patch_starts(110, 64, 0.5) == [0, 23, 46]
    assert patch_starts(64, 64, 0.5) == [0]
    assert patch_starts(65, 64, 0.5) == [0, 1]


@given(size=st.integers(1, 300), patch=st.integers(1, 200), share=st.floats(0.1, 1))
def test_patches_cover_an_axis_with_no_step_too_long(size: int, patch: int, share: float) -> None:
    size = max(size, patch)
    starts = patch_starts(size, patch, share)
    assert (starts[0], starts[-1]) == (0, size - patch)
    assert all(0 <= b - a <= patch * share + 1 for a, b in itertools.pairwise(starts))


@pytest.mark.parametrize(("framework", "peak"), [("nnunet_v2", 10), ("nnunet_v1", 1)])
def test_a_patch_counts_most_in_its_middle_and_everywhere_a_little(framework: str, peak: float) -> None:
    weights = patch_weights((16, 24, 48), framework)
    assert weights.max() == weights[8, 12, 24] == peak
    assert weights.min() > 0
    profile = np.exp(-0.5 * (np.arange(-8, 8) / 2) ** 2)
    np.testing.assert_allclose(weights[:, 12, 24] / peak, profile, atol=2e-3)
    assert (weights[..., 1:] == weights[..., :0:-1]).all()


def test_mirrorings_are_all_sets_of_axes() -> None:
    assert mirrorings(()) == [()]
    assert len(set(mirrorings((0, 1, 2)))) == 8


@pytest.mark.parametrize("batch", [1, 3, 100])
def test_overlapping_patches_of_a_local_network_change_nothing(batch: int) -> None:
    ct, it = ct_of(), section()
    found = segmenter(it, batch=batch).segment(ct)
    np.testing.assert_array_equal(found.labels, ct.voxels_hu > 0)
    assert found.patches == 4 * 4 * 4
    assert found.geometry == ct.geometry
    logits = segmenter(it, batch=batch).logits(ct)
    np.testing.assert_allclose(logits[1], ct.voxels_hu, rtol=1e-5)


def test_a_network_of_a_fixed_batch_gets_full_batches() -> None:
    ct, it = ct_of(), section()
    session = StubSession(it, batch=5)
    np.testing.assert_array_equal(segmenter(it, session).segment(ct).labels, ct.voxels_hu > 0)
    assert set(session.batches) == {5}


def test_mirrored_patches_are_turned_back() -> None:
    it = section()
    slope = np.linspace(-1, 1, 12, dtype=np.float32)

    def leaning(image: Float32Array) -> Float32Array:
        return above_zero(image + 1e4 * slope)

    ct = ct_of()
    straight = segmenter(it, StubSession(it, leaning)).segment(ct)
    session = StubSession(it, leaning)
    upright = segmenter(it, session).segment(ct, mirror=True)
    assert (straight.labels != (ct.voxels_hu > 0)).mean() > 0.2
    np.testing.assert_array_equal(upright.labels, ct.voxels_hu > 0)
    assert len(session.batches) == 8 * upright.patches


def test_folds_are_averaged() -> None:
    it, ct = section(), ct_of()

    def high(image: Float32Array) -> Float32Array:
        return above_zero(image + 300)

    def low(image: Float32Array) -> Float32Array:
        return above_zero(image - 500)

    model = segmenter(it, StubSession(it, high), StubSession(it, low))
    np.testing.assert_array_equal(model.segment(ct).labels, ct.voxels_hu > 100)


# Resampling


shapes = st.tuples(*[st.integers(1, 9)] * 3)


def zoomed(volume: Float32Array, shape: tuple[int, ...], order: Literal[0, 1, 3]) -> Float32Array:
    """What skimage's resize does: SciPy's zoom over the same extent, clipped."""
    factors = [n / m for n, m in zip(shape, volume.shape, strict=True)]
    out = ndimage.zoom(volume.astype(float), factors, order=order, mode="nearest", grid_mode=True)
    return np.asarray(np.clip(out, volume.min(), volume.max()), dtype=np.float32)


@settings(max_examples=60, deadline=None)
@given(source=shapes, target=shapes, order=st.sampled_from([0, 1, 3]), slab=st.integers(1, 400))
def test_resizing_in_slabs_is_scipys_zoom(
    source: tuple[int, int, int], target: tuple[int, int, int], order: Literal[0, 1, 3], slab: int
) -> None:
    volume = np.random.default_rng(0).standard_normal(source).astype(np.float32)
    out = np.empty(target, dtype=np.float32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(resampling, "SLAB_VOXELS", slab)
        resize_volume(partial(slab_of, volume), Resizing(source, target, order), out)
    np.testing.assert_allclose(out, zoomed(volume, target, order), atol=3e-6)


def test_a_deep_volume_is_resized_in_several_slabs(monkeypatch: pytest.MonkeyPatch) -> None:
    volume = np.random.default_rng(1).standard_normal((300, 8, 9)).astype(np.float32)
    for target in ((211, 8, 9), (333, 10, 7)):
        calls: list[tuple[int, int]] = []

        def source(axis: int, a: int, b: int, calls: list[tuple[int, int]] = calls) -> Float32Array:
            calls.append((a, b))
            return slab_of(volume, axis, a, b)

        monkeypatch.setattr(resampling, "SLAB_VOXELS", 40 * 72)
        out = np.empty(target, dtype=np.float32)
        resize_volume(source, Resizing((300, 8, 9), target, 3), out)
        assert len(calls) > 6
        np.testing.assert_allclose(out, zoomed(volume, target, 3), atol=3e-6)


@settings(max_examples=40, deadline=None)
@given(source=shapes, target=shapes, axis=st.integers(0, 2), order=st.sampled_from([1, 3]))
def test_the_coarse_axis_is_resized_apart(
    source: tuple[int, int, int], target: tuple[int, int, int], axis: int, order: Literal[1, 3]
) -> None:
    volume = np.random.default_rng(0).standard_normal(source).astype(np.float32)
    across = [n for i, n in enumerate(target) if i != axis]
    plane = np.stack([zoomed(image, tuple(across), order) for image in np.moveaxis(volume, axis, 0)])
    at = source[axis] / target[axis] * (np.arange(target[axis]) + 0.5) - 0.5
    for order_apart, expected in (
        (0, plane[np.floor(at + 0.5).astype(int).clip(0, source[axis] - 1)]),
        (1, ndimage.map_coordinates(plane, grid(at, plane.shape), order=1, mode="nearest")),
    ):
        out = np.empty(target, dtype=np.float32)
        plan = Resizing(source, target, order, axis, order_apart)
        resize_volume(partial(slab_of, volume), plan, out)
        np.testing.assert_allclose(np.moveaxis(out, axis, 0), expected, atol=3e-6)


def slab_of(volume: Float32Array, axis: int, start: int, stop: int) -> Float32Array:
    return np.ascontiguousarray(np.moveaxis(volume, axis, 0)[start:stop])


def grid(first: Any, shape: tuple[int, ...]) -> Any:
    return np.meshgrid(first, np.arange(shape[1]), np.arange(shape[2]), indexing="ij")


@pytest.mark.parametrize(
    ("first", "second", "forced", "expected"),
    [
        ((5.0, 0.7, 0.7), (1.0, 1.0, 1.0), None, 0),
        ((1.0, 1.0, 1.0), (5.0, 0.7, 0.7), None, 0),
        ((0.7, 5.0, 0.7), (5.0, 0.7, 0.7), None, 1),
        ((3.0, 1.0, 1.0), (3.0, 1.0, 1.0), None, None),
        ((5.0, 5.0, 0.7), (1.0, 1.0, 1.0), None, None),
        ((5.0, 0.7, 0.7), (1.0, 1.0, 1.0), False, None),
        ((2.0, 1.0, 1.0), (9.0, 1.0, 1.0), True, 0),
        ((1.0, 1.0, 1.0), (9.0, 1.0, 1.0), True, None),
    ],
)
def test_the_rule_of_the_coarse_axis(
    first: tuple[float, ...], second: tuple[float, ...], forced: bool | None, expected: int | None
) -> None:
    assert apart_axis(first, second, forced) == expected


@settings(max_examples=150, deadline=None)
@example(
    network=(7, 1, 1), native=(1, 1, 1), cuts=[4, 6, 7], apart=None, order_apart=0, pad=(1, 0, 0), outputs=3
)  # done before the last slab
@given(
    network=shapes,
    native=shapes,
    cuts=st.lists(st.integers(1, 10), max_size=4),
    apart=st.sampled_from([None, 0, 1, 2]),
    order_apart=st.sampled_from([0, 1]),
    pad=st.tuples(*[st.integers(0, 2)] * 3),
    outputs=st.sampled_from([2, 3]),
)
def test_labels_restored_in_slabs_are_those_of_the_whole(
    network: tuple[int, int, int],
    native: tuple[int, int, int],
    cuts: list[int],
    apart: int | None,
    order_apart: int,
    pad: tuple[int, int, int],
    outputs: int,
) -> None:
    names = ("background", "tumor", "lung")[:outputs]
    it = section(labels={name: value for value, name in enumerate(names)})
    logits = np.random.default_rng(2).standard_normal((outputs, *network)).astype(np.float32)
    padded = np.pad(logits, [(0, 0), *((p, 1) for p in pad)], constant_values=99)
    inside = VoxelBox(pad, (pad[0] + network[0], pad[1] + network[1], pad[2] + network[2]))
    labels, foreground = np.full(native, 77, dtype=np.uint8), np.empty(native, dtype=np.float16)
    restorer = Restorer(it, Resizing(network, native, 1, apart, order_apart), inside, labels, foreground)
    edges = sorted({0, padded.shape[1], *(c for c in cuts if c < padded.shape[1])})
    for start, stop in itertools.pairwise(edges):
        restorer.take(Slab(start, padded[:, start:stop]))
    expected = np.empty((outputs, *native), dtype=np.float32)
    for channel, out in zip(logits, expected, strict=True):
        plan = Resizing(network, native, 1, apart, order_apart)
        resize_volume(partial(slab_of, channel), plan, out)
    gap = np.sort(expected, axis=0)
    clear = gap[-1] - gap[-2] > 1e-5
    np.testing.assert_array_equal(labels[clear], expected.argmax(axis=0)[clear])
    share = np.exp(expected) / np.exp(expected).sum(axis=0)
    np.testing.assert_allclose(foreground, 1 - share[0], atol=1e-3)


# Preparation


def test_the_image_is_centered_in_its_padding_and_cut_to_what_is_not_zero() -> None:
    it = section(patch_shape=(9, 40, 12))
    hu = np.zeros((20, 30, 26), dtype=np.int16)
    hu[3:9, 5:29, 4:24] = -7
    image = network_image(hu, (2.0, 1.0, 1.0), it)
    assert image.nonzero == VoxelBox((3, 5, 4), (9, 29, 24))
    assert image.voxels.shape == (1, 9, 40, 20)
    assert image.inside == VoxelBox((1, 8, 0), (7, 32, 20))
    assert (image.voxels[0][image.inside.slices] == -7).all()
    assert np.count_nonzero(image.voxels) == 6 * 24 * 20


def test_a_ct_is_clipped_and_standardized() -> None:
    channel = Channel(name="CT", scheme="ct", mean=-100.0, sd=50.0, low=-500.0, high=200.0)
    hu = np.array([[[-1000, -500, -100, 100, 3000]]], dtype=np.int16)
    image = network_image(hu, (2.0, 1.0, 1.0), section(channels=(channel,), patch_shape=(1, 1, 1)))
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
    assert logits_resizing(it, (40, 40, 40), (1.0, 1.0, 1.0)).apart == 1


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
    with pytest.raises(InvalidRequestError, match="no backend"):
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
    turn = Turn.to(wanted, own)
    geometry = turn.geometry(own)
    axes = np.array(geometry.directions_zyx_lps)
    assert (np.einsum("ij,ij->i", CANONICAL[wanted], axes) > 0.9).all()
    assert turn.back.geometry(geometry).same_grid(own)
    np.testing.assert_array_equal(turn.back.array(turn.array(voxels)), voxels)
    for index in ((0, 0, 0), (2, 1, 4)):
        at = np.rint(geometry.to_index(own.to_lps(index))).astype(int)
        assert turn.array(voxels)[tuple(at)] == voxels[index]
    assert Turn.to("as_stored", own).is_none


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
    away = Turn(*stored)
    ct = CtVolume(np.ascontiguousarray(away.array(plain.voxels_hu)), away.geometry(plain.geometry))
    as_stored, turned = section(), section(orientation="ras")
    expected = Segmenter(manifest_of(as_stored), [StubSession(as_stored, rising)]).segment(
        plain, around=around
    )
    model = Segmenter(manifest_of(turned), [StubSession(turned, rising)])
    found = model.segment(ct, around=around)
    np.testing.assert_array_equal(found.labels, away.array(expected.labels))
    np.testing.assert_array_equal(found.foreground_probability, away.array(expected.foreground_probability))
    assert found.geometry.same_grid(away.geometry(expected.geometry))
    assert around is not None or found.geometry == ct.geometry
    assert found.labels.flags.c_contiguous
    assert 0 < found.labels.mean() < 1
    unturned = Segmenter(manifest_of(as_stored), [StubSession(as_stored, rising)])
    assert (unturned.segment(ct, around=around).labels != found.labels).any()
