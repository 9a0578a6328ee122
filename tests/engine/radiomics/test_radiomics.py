"""Radiomics of a zone: names, the way onto the grid, refusals, and that less is the same."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

import engine.radiomics.extractor as library
import engine.radiomics.zone_image as grid_of_zone
from engine.errors import (
    BackendError,
    CollapsedTextureError,
    EmptyMaskError,
    GridMismatchError,
    InvalidRequestError,
    RadiomicsError,
)
from engine.geometry import VolumeGeometry
from engine.manifest.signature import RadiomicsSettings
from engine.radiomics import EXTRACTOR, extract_features, extract_radiomics, feature_names, require_extractor
from engine.volume import CtVolume, LabelMask
from tests.support.radiomics_zones import (
    NO_EXTRACTOR,
    SIGNATURE_FEATURES,
    library_features,
    made_zone,
    relative_differences,
)

pytest.importorskip("radiomics", reason=NO_EXTRACTOR)

LC_NICER = RadiomicsSettings()
FILTERS = RadiomicsSettings(image_types="wavelet_filters")


@pytest.mark.parametrize("configuration", [LC_NICER, FILTERS])
def test_both_configurations_have_1316_features(configuration: RadiomicsSettings) -> None:
    names = feature_names(configuration)
    assert len(set(names)) == len(names) == 1316 == 14 + 93 * 14
    assert sum("_shape_" in name for name in names) == 14
    assert set(SIGNATURE_FEATURES) <= set(names)


@settings(max_examples=8, deadline=None)
@given(
    spacing=st.tuples(*[st.sampled_from([0.61, 0.78125, 1.0, 1.37, 2.5])] * 3),
    new=st.sampled_from([1.0, 1.3]),
    interpolator=st.sampled_from(["sitkBSpline", "sitkLinear"]),
    normalize=st.booleans(),
    cut=st.booleans(),
)
def test_the_zone_is_resampled_as_by_the_library_with_the_whole_ct(
    spacing: tuple[float, float, float], new: float, interpolator: Any, normalize: bool, cut: bool
) -> None:
    operations = pytest.importorskip("radiomics.imageoperations")
    shape = (33, 40, 37)
    ct, zone = made_zone(shape, spacing, radius_mm=6.0)
    if cut:  # at the edge of the CT, where padding ends
        zone = LabelMask(np.roll(zone.voxels, (-12, 16, -14), axis=(0, 1, 2)), zone.geometry)
    chosen = RadiomicsSettings(spacing_mm=new, interpolator=interpolator, normalize=normalize)
    found = grid_of_zone.resample_zone(ct, zone, chosen)
    image, mask = as_itk(ct), as_itk(zone)
    image = sitk.Cast(image, sitk.sitkFloat64)
    if normalize:
        image = operations.normalizeImage(image, normalizeScale=100)
    expected, expected_mask = operations.resampleImage(
        image, mask, resampledPixelSpacing=[new] * 3, interpolator=interpolator, padDistance=5, label=1
    )
    np.testing.assert_array_equal(found.inside, sitk.GetArrayFromImage(expected_mask) == 1)
    np.testing.assert_allclose(found.voxels, sitk.GetArrayFromImage(expected), rtol=0, atol=2e-8)
    assert found.spacing_zyx_mm == pytest.approx(expected.GetSpacing()[::-1])


def as_itk(volume: CtVolume | LabelMask) -> Any:
    voxels = volume.voxels_hu if isinstance(volume, CtVolume) else volume.voxels.astype(np.uint8)
    image = sitk.GetImageFromArray(voxels)
    image.SetSpacing(volume.geometry.spacing_zyx_mm[::-1])
    return image


def test_all_features_are_the_librarys() -> None:
    ct, zone = made_zone()
    found = extract_features(ct, zone, LC_NICER)
    expected = library_features(as_itk(ct), as_itk(zone), LC_NICER)
    worst = relative_differences(found, expected)
    assert max(worst.values()) < 1e-9, max(worst, key=worst.__getitem__)
    assert tuple(found) == feature_names(LC_NICER)


@settings(max_examples=5, deadline=None)
@given(st.lists(st.sampled_from(feature_names(FILTERS)), min_size=1, max_size=6, unique=True))
def test_what_is_named_is_what_all_have(names: list[str]) -> None:
    found = extract_features(*made_zone(), FILTERS, names)
    assert list(found) == names
    assert found == {name: whole()[name] for name in names}


def whole(cached: dict[str, dict[str, float]] = {}) -> dict[str, float]:  # noqa: B006 - computed once
    if not cached:
        cached["all"] = extract_features(*made_zone(), FILTERS)
    return cached["all"]


def test_voxels_far_away_only_matter_for_the_normalization() -> None:
    ct, zone = made_zone((80, 80, 80), (0.8, 0.8, 0.8), radius_mm=4.0)
    plain = RadiomicsSettings(normalize=False)
    far = 8 + grid_of_zone.SPLINE_SUPPORT_VOXELS
    changed = np.array(ct.voxels_hu)
    near = zone.bounding_box().padded(far).clipped(zone.geometry.shape_zyx).slices
    kept = changed[near].copy()
    changed[:] = 3000
    changed[near] = kept
    there = extract_features(CtVolume(changed, ct.geometry), zone, plain, SIGNATURE_FEATURES)
    assert there == extract_features(ct, zone, plain, SIGNATURE_FEATURES)
    normalized = extract_features(CtVolume(changed, ct.geometry), zone, LC_NICER, SIGNATURE_FEATURES)
    assert normalized != extract_features(ct, zone, LC_NICER, SIGNATURE_FEATURES)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
@pytest.mark.parametrize("signs", [(1, 1, 1), (-1, 1, -1), (1, -1, 1)])
def test_the_order_in_which_a_file_stores_the_axes_changes_nothing(
    order: tuple[int, int, int], signs: tuple[int, int, int]
) -> None:
    ct, zone = made_zone()
    turn = tuple(slice(None, None, sign) for sign in signs)

    def stored(voxels: Any) -> Any:
        return np.ascontiguousarray(voxels.transpose(order)[turn])

    own = ct.geometry
    directions = np.array(own.directions_zyx_lps)[list(order)] * np.array(signs)[:, None]
    shape, spacing = [[each[a] for a in order] for each in (own.shape_zyx, own.spacing_zyx_mm)]
    geometry = VolumeGeometry(triple(shape), triple(spacing), triple(map(triple, directions.tolist())))
    turned = extract_features(
        CtVolume(stored(ct.voxels_hu), geometry),
        LabelMask(stored(zone.voxels), geometry, zone.name),
        LC_NICER,
        SIGNATURE_FEATURES,
    )
    assert turned == extract_features(ct, zone, LC_NICER, SIGNATURE_FEATURES)


def triple(values: Iterable[Any]) -> tuple[Any, Any, Any]:
    z, y, x = values
    return z, y, x


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(-32768, 32767), min_size=2, max_size=300))
def test_mean_and_deviation_are_those_of_the_whole_ct(values: list[int]) -> None:
    hu = np.array(values, dtype=np.int16).reshape(1, 1, -1)
    if len(set(values)) == 1:
        with pytest.raises(RadiomicsError, match="one value"):
            grid_of_zone.whole_mean_and_sd(hu)
        return
    mean, sd = grid_of_zone.whole_mean_and_sd(hu)
    assert mean == pytest.approx(hu.astype(float).mean(), abs=1e-9)
    assert sd == pytest.approx(hu.astype(float).std(ddof=1), rel=1e-12)


def test_a_z_score_with_the_default_bin_width_is_refused() -> None:
    collapsed = RadiomicsSettings(normalize_scale=1.0)
    with pytest.raises(CollapsedTextureError, match="normalize_scale 1 use a smaller bin_width"):
        extract_features(*made_zone(), collapsed)
    with pytest.raises(CollapsedTextureError):
        extract_features(*made_zone(), collapsed, ["wavelet-LLH_glcm_Contrast"])
    with pytest.raises(CollapsedTextureError):
        extract_features(*made_zone(), collapsed, ["original_firstorder_Entropy"])
    without_levels = ["original_firstorder_Mean", "original_shape_Sphericity"]
    assert len(extract_features(*made_zone(), collapsed, without_levels)) == 2
    narrow = RadiomicsSettings(normalize_scale=1.0, bin_width=0.25)
    assert len(extract_features(*made_zone(), narrow, SIGNATURE_FEATURES)) == 11


def test_images_with_two_gray_levels_are_named() -> None:
    ct, zone = made_zone()
    ramp = (np.indices(ct.voxels_hu.shape)[2] * 12).astype(np.int16)
    names = ["original_glcm_Contrast", "wavelet-LLL_ngtdm_Busyness", "wavelet-HHH_glcm_Contrast"]
    found = extract_radiomics(CtVolume(ramp, ct.geometry), zone, LC_NICER, names)
    assert found.gray_levels["original"] > 2
    assert found.gray_levels["wavelet-HHH"] <= 2
    assert found.collapsed_images == ("wavelet-HHH",)


@settings(max_examples=8, deadline=None)
@given(
    st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 3)),
    st.tuples(st.integers(0, 5), st.integers(0, 17), st.integers(0, 17)),
    st.sampled_from([0.3, 0.9, 3.0]),
)
def test_a_tiny_zone_has_numbers_or_a_reason(
    size: tuple[int, int, int], place: tuple[int, int, int], spacing: float
) -> None:
    ct, _ = made_zone((8, 20, 20), (spacing, spacing, spacing))
    voxels = np.zeros((8, 20, 20), dtype=bool)
    voxels[tuple(slice(a, a + n) for a, n in zip(place, size, strict=True))] = True
    with contextlib.suppress(RadiomicsError):
        found = extract_features(ct, LabelMask(voxels, ct.geometry, "zone"), LC_NICER, SIGNATURE_FEATURES)
        assert np.isfinite(list(found.values())).all()


def test_zones_that_cannot_be_measured_are_refused() -> None:
    ct, zone = made_zone()
    empty = LabelMask(np.zeros_like(zone.voxels), zone.geometry)
    with pytest.raises(EmptyMaskError):
        extract_features(ct, empty, LC_NICER)
    shifted = LabelMask(zone.voxels.copy(), replace(zone.geometry, origin_lps_mm=(9.0, 0.0, 0.0)))
    with pytest.raises(GridMismatchError):
        extract_features(ct, shifted, LC_NICER)
    line = np.zeros_like(zone.voxels)
    line[4, 5, 3:30] = True
    with pytest.raises(RadiomicsError, match="voxel or line"):
        extract_features(ct, LabelMask(line, zone.geometry), LC_NICER)
    uniform = CtVolume(np.full_like(ct.voxels_hu, -700), ct.geometry)
    with pytest.raises(RadiomicsError, match="one value"):
        extract_features(uniform, zone, LC_NICER)
    with pytest.raises(CollapsedTextureError):
        extract_features(uniform, zone, RadiomicsSettings(normalize=False))


def test_names_that_do_not_exist_are_refused() -> None:
    with pytest.raises(InvalidRequestError, match="square_glcm_Contrast"):
        extract_features(*made_zone(), LC_NICER, ["square_glcm_Contrast"])
    with pytest.raises(InvalidRequestError, match="twice"):
        extract_features(*made_zone(), LC_NICER, ["original_glcm_Contrast"] * 2)
    assert extract_features(*made_zone(), LC_NICER, []) == {}


def test_a_feature_that_is_no_number_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    glcm = pytest.importorskip("radiomics.glcm")
    monkeypatch.setattr(glcm.RadiomicsGLCM, "getContrastFeatureValue", lambda self: np.nan)
    with pytest.raises(RadiomicsError, match="1 of 2 features are not a number"):
        extract_features(*made_zone(), LC_NICER, ["original_glcm_Contrast", "original_glcm_Idm"])


@pytest.mark.parametrize("wrong", [{"bin_width": 0.0}, {"log_sigma_mm": ()}, {"log_sigma_mm": (1.0, 1.0)}])
def test_settings_without_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        RadiomicsSettings(**wrong)


def test_another_extractor_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    require_extractor(EXTRACTOR)
    with pytest.raises(BackendError, match=r"fitted on features of pyradiomics 3\.0\.1"):
        require_extractor("pyradiomics 3.0.1")
    library.load_library.cache_clear()
    monkeypatch.setattr(library, "version", lambda name: "9.9")
    with pytest.raises(BackendError, match=r"here is 9\.9"):
        require_extractor(EXTRACTOR)


def test_without_the_library_the_reason_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    library.load_library.cache_clear()
    monkeypatch.setitem(sys.modules, "radiomics", None)
    with pytest.raises(BackendError, match=r"install coldspot\[radiomics\]"):
        require_extractor(EXTRACTOR)
    library.load_library.cache_clear()


def test_the_bedside_needs_neither_pandas_nor_learning_libraries_and_hears_nothing() -> None:
    program = """
import sys
for name in ("pandas", "sklearn", "torch", "lifelines", "sksurv", "matplotlib"):
    sys.modules[name] = None
from tests.support.radiomics_zones import SIGNATURE_FEATURES, made_zone
from engine.manifest.signature import RadiomicsSettings
from engine.radiomics import extract_features
print(len(extract_features(*made_zone(), RadiomicsSettings(), (*SIGNATURE_FEATURES, "original_glcm_SumAverage"))))
"""
    root = Path(__file__).parents[3]
    run = subprocess.run(
        [sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=False, timeout=200
    )
    assert (run.returncode, run.stdout.strip(), run.stderr) == (0, "12", "")
