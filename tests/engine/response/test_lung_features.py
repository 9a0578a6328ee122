"""Lesion patches and features: against direct computations, with PyTorch's own pooling as the oracle."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from engine.errors import (
    EmptyMaskError,
    GridMismatchError,
    InvalidRequestError,
    ManifestError,
    ModelError,
)
from engine.geometry import VolumeGeometry
from engine.manifest import FeatureSection
from engine.manifest.features import Recipe
from engine.response.features import LungFeatureModel
from engine.response.patch import area_resize, lesion_patch
from engine.runtime.onnx_session import OnnxSession
from engine.volume import CtVolume, LabelMask
from export.bundle.writing import write_bundle_folder
from tests.support.feature_models import GRID, feature_manifest, lesion, mean_network, section

NO_TORCH = "torch is not installed: make setup-export"
DATA = os.environ.get("COLDSPOT_DATA")
RECIPES: tuple[Recipe, ...] = ("zscore_patch", "hu_-1024_3072", "window_-450_1500")


def published(ct: CtVolume, mask: LabelMask, recipe: Recipe, *, roi_only: bool) -> npt.NDArray[np.float32]:
    """What the published programs do, step by step in PyTorch."""
    torch = pytest.importorskip("torch", reason=NO_TORCH)
    from scipy import ndimage

    hu, inside = ct.voxels_hu.astype(np.float32), mask.voxels
    if recipe == "window_-450_1500":
        labels, count = ndimage.label(inside, np.ones((3, 3, 3)))
        inside = labels == 1 + np.argmax([np.count_nonzero(labels == i + 1) for i in range(count)])
    box = ndimage.find_objects(inside.astype(int))[0]
    hu, inside = hu[box], inside[box]
    if recipe == "hu_-1024_3072":
        hu, inside = ((hu + 1024) / 4096).clip(0, 1).T, inside.T

    def resize(values: npt.NDArray[Any]) -> Any:
        tensor = torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))[None, None]
        return torch.nn.functional.interpolate(tensor, size=(48, 48, 48), mode="area")[0, 0]

    patch = resize(hu)
    if roi_only:
        kept = resize(inside).to(torch.uint8) == 1
        outside = -1024.0 if recipe == "window_-450_1500" else 0.0
        patch = torch.where(kept, patch, torch.full_like(patch, outside))
    if recipe == "zscore_patch":
        patch = (patch - patch.mean()) / (patch.std() + 1e-8)
    if recipe == "window_-450_1500":
        patch = patch.clamp(-1200, 300)
        patch = (patch - patch.min()) / (patch.max() - patch.min() + 1e-8)
    return np.asarray(patch.numpy())


@settings(max_examples=60, deadline=None)
@given(st.tuples(*[st.integers(1, 23)] * 3), st.tuples(*[st.integers(1, 17)] * 3), st.integers(0, 1000))
def test_area_resize_is_pytorchs_adaptive_average(
    old: tuple[int, int, int], new: tuple[int, int, int], seed: int
) -> None:
    torch = pytest.importorskip("torch", reason=NO_TORCH)
    values = np.random.default_rng(seed).normal(size=old)
    expected = torch.nn.functional.adaptive_avg_pool3d(torch.from_numpy(values)[None], new)[0].numpy()
    np.testing.assert_allclose(area_resize(values, new), expected, atol=1e-12)
    single = torch.nn.functional.adaptive_avg_pool3d(torch.from_numpy(values).float()[None], new)[0].numpy()
    np.testing.assert_allclose(area_resize(values, new), single, atol=1e-6)


def test_a_mean_over_ones_is_one_whatever_the_sizes() -> None:
    for old in range(1, 60):
        assert (area_resize(np.ones((old, 7, 11)), (48, 5, 48)) == 1).all()


def test_the_mean_is_kept_where_sizes_divide() -> None:
    values = np.random.default_rng(0).normal(size=(12, 8, 6))
    assert area_resize(values, (4, 4, 2)).mean() == pytest.approx(values.mean())
    np.testing.assert_array_equal(area_resize(values, (24, 16, 12))[::2, ::2, ::2], values)


@pytest.mark.parametrize("roi_only", [False, True])
@pytest.mark.parametrize("recipe", RECIPES)
def test_each_recipe_is_the_published_one(recipe: Recipe, roi_only: bool) -> None:
    ct, mask = lesion()
    found = lesion_patch(ct, mask, section(recipe, roi_only=roi_only))
    assert found.dtype == np.float32
    assert found.shape == (48, 48, 48)
    np.testing.assert_allclose(found, published(ct, mask, recipe, roi_only=roi_only), atol=2e-5)


@pytest.mark.skipif(not DATA, reason="COLDSPOT_DATA is not set: no real CT to read")
@pytest.mark.parametrize("recipe", RECIPES)
def test_each_recipe_is_the_published_one_on_real_ct_of_both_spacings(recipe: Recipe) -> None:
    from engine.files.reading import read_ct, read_mask

    for ct_name, mask_name in (
        ("ct-lidc0314/ct_right_lung.nii.gz", "ct-lidc0314/nodule_consensus50.nii.gz"),
        ("ct-pyradiomics-lung1/image.nii.gz", "ct-pyradiomics-lung1/label.nii.gz"),
    ):
        ct = read_ct(Path(DATA or "") / ct_name)
        mask = read_mask(Path(DATA or "") / mask_name, ct, "nodule")
        found = lesion_patch(ct, mask, section(recipe, roi_only=True))
        np.testing.assert_allclose(found, published(ct, mask, recipe, roi_only=True), atol=2e-5)


def test_recipes_differ_and_say_what_they_are() -> None:
    ct, mask = lesion()
    zscore, scaled, window = (lesion_patch(ct, mask, section(recipe)) for recipe in RECIPES)
    assert float(zscore.mean()) == pytest.approx(0, abs=1e-5)
    assert float(zscore.std(ddof=1)) == pytest.approx(1, abs=1e-5)
    assert 0 <= scaled.min() < scaled.max() < 1
    assert (window.min(), window.max()) == (0, pytest.approx(1))


def test_the_island_counts_for_the_box_except_where_the_largest_part_is_taken() -> None:
    ct, mask = lesion()
    without = np.array(mask.voxels)
    without[16:] = False
    alone = LabelMask(without, GRID, "tumor")
    for recipe in RECIPES:
        same = np.array_equal(
            lesion_patch(ct, mask, section(recipe)), lesion_patch(ct, alone, section(recipe))
        )
        assert same == (recipe == "window_-450_1500")


def test_what_lies_outside_the_box_changes_nothing() -> None:
    ct, mask = lesion()
    other = np.full_like(ct.voxels_hu, 3000)
    box = mask.bounding_box().slices
    other[box] = ct.voxels_hu[box]
    for recipe in RECIPES[:2]:
        np.testing.assert_array_equal(
            lesion_patch(ct, mask, section(recipe)),
            lesion_patch(CtVolume(other, GRID), mask, section(recipe)),
        )


def test_masks_that_give_no_patch_are_refused() -> None:
    ct, mask = lesion()
    with pytest.raises(EmptyMaskError, match="no voxel"):
        lesion_patch(ct, LabelMask(np.zeros(GRID.shape_zyx, bool), GRID), section())
    moved = VolumeGeometry(GRID.shape_zyx, GRID.spacing_zyx_mm, origin_lps_mm=(9.0, 0.0, 0.0))
    with pytest.raises(GridMismatchError):
        lesion_patch(ct, LabelMask(np.array(mask.voxels), moved), section())
    point = np.zeros(GRID.shape_zyx, bool)
    point[3, 4, 5] = True
    with pytest.raises(InvalidRequestError, match="same value"):
        lesion_patch(ct, LabelMask(point, GRID), section())
    diagonal = np.zeros(GRID.shape_zyx, bool)
    diagonal[np.arange(18), np.arange(18), np.arange(18)] = True
    with pytest.raises(EmptyMaskError, match="too thin"):
        lesion_patch(ct, LabelMask(diagonal, GRID), section(size=4, roi_only=True))


def test_a_section_without_a_patch_is_refused() -> None:
    with pytest.raises(ValidationError, match="one voxel"):
        section(size=1)
    with pytest.raises(ValidationError):
        FeatureSection.model_validate({**section().model_dump(), "recipe": "zscore"})


def test_a_bundle_gives_features_from_ct_and_mask(tmp_path: Path) -> None:
    write_bundle_folder(feature_manifest(), mean_network(), tmp_path / "bundle")
    ct, mask = lesion()
    with LungFeatureModel.load(tmp_path / "bundle") as model:
        assert (str(model.identity), model.backend[:11]) == ("mean-features 1.0.0", "onnxruntime")
        found = model.features(ct, mask)
        expected = float(lesion_patch(ct, mask, model.section).mean())
    np.testing.assert_allclose(found, expected * np.array([1, 2, -1, 1]), rtol=1e-5)


def test_a_network_that_does_not_fit_or_fails_is_refused(tmp_path: Path) -> None:
    other = section("hu_-1024_3072", size=5)
    write_bundle_folder(feature_manifest(features=other), mean_network(), tmp_path / "section")
    with pytest.raises(ManifestError, match="other tensors"):
        LungFeatureModel.load(tmp_path / "section")
    bundle = write_bundle_folder(feature_manifest(), mean_network(np.nan), tmp_path / "nan")
    with (
        LungFeatureModel(bundle, OnnxSession(bundle.model_bytes)) as model,
        pytest.raises(ModelError, match="not finite"),
    ):
        model.features(*lesion())
    risk = Path(__file__).parents[3] / "models" / "deepsurv-demo" / "1.0.0"
    with pytest.raises(ManifestError, match="survival model; give a feature model"):
        LungFeatureModel.load(risk)
